//! What the plugins before this one have done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::failure::{Code, Failure};

/// The parts of a previous result that matter here; their form is the same in every version that is spoken.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Previous {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    /// Empty: it is on the host.
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Ip {
    /// With the length of its prefix.
    address: String,
    /// The index of the interface that has it.
    interface: Option<usize>,
}

impl Previous {
    /// Reads a previous result.
    ///
    /// # Errors
    /// There is none, or it is not in the specification's form.
    pub(crate) fn parse(result: Option<&Value>) -> Result<Self, Failure> {
        let result = result.ok_or_else(|| {
            let message =
                "there is no previous result: podgate must come after the primary plugin in the network's list";
            Failure::new(Code::InvalidConfig, message)
        })?;
        let undecodable = || Failure::new(Code::Undecodable, "the previous result makes no sense");
        // A list would be taken for the fields of the struct, in order.
        if !result.is_object() {
            return Err(undecodable());
        }
        Self::deserialize(result).map_err(|error| undecodable().details(error))
    }

    /// The names of the interfaces on the host, in order.
    pub(crate) fn host_interfaces(&self) -> Vec<String> {
        let on_host = self.interfaces.iter().filter(|interface| interface.sandbox.is_empty());
        on_host.map(|interface| interface.name.clone()).filter(|name| !name.is_empty()).collect()
    }

    /// The addresses of an interface in the container, and those of which nothing is said.
    ///
    /// # Errors
    /// One of them is no address.
    pub(crate) fn addresses(&self, interface: &str) -> Result<BTreeSet<IpAddr>, Failure> {
        self.ips.iter().filter(|ip| self.is_on(ip, interface)).map(address).collect()
    }

    fn is_on(&self, ip: &Ip, name: &str) -> bool {
        ip.interface.and_then(|index| self.interfaces.get(index)).is_none_or(|interface| interface.name == name)
    }
}

fn address(ip: &Ip) -> Result<IpAddr, Failure> {
    let address = ip.address.split('/').next().unwrap_or_default();
    address
        .parse()
        .map_err(|_| Failure::new(Code::Undecodable, format!("the previous result has {:?} as an address", ip.address)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(all: &[&str]) -> BTreeSet<IpAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_bridges_result_names_bridge_and_veth_and_the_addresses_inside() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "cni0", "mac": "00:11:22:33:44:55"},
                {"name": "veth1", "mac": "00:11:22:33:44:55"},
                {"name": "eth0", "mac": "00:11:22:33:44:55", "sandbox": "/run/netns/x"},
                {"name": "net1", "sandbox": "/run/netns/x"},
            ],
            "ips": [
                {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2},
                {"address": "fd00::2/64", "interface": 2},
                {"address": "192.0.2.1/24", "interface": 3},
                {"address": "192.0.2.7/24", "version": "4"},
            ],
            "routes": [{"dst": "0.0.0.0/0"}], "dns": {},
        });
        let previous = Previous::parse(Some(&result)).unwrap();
        assert_eq!(previous.host_interfaces(), ["cni0", "veth1"]);
        assert_eq!(previous.addresses("eth0").unwrap(), addresses(&["10.1.0.2", "fd00::2", "192.0.2.7"]));
    }

    #[test]
    fn a_result_may_be_empty_but_must_be_there() {
        assert_eq!(Previous::parse(Some(&json!({}))), Ok(Previous::default()));
        let failure = Previous::parse(None).unwrap_err();
        assert_eq!(failure.code, Code::InvalidConfig);
        assert!(failure.message.contains("podgate must come after the primary plugin"), "{failure}");
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let cases = [
            json!([]),
            json!("result"),
            json!({"ips": {}}),
            json!({"ips": [{}]}),
            json!({"ips": [{"address": 4}]}),
            json!({"ips": [{"address": "10.0.0.1", "interface": -1}]}),
            json!({"interfaces": [4]}),
        ];
        for case in cases {
            assert_eq!(Previous::parse(Some(&case)).unwrap_err().code, Code::Undecodable, "{case}");
        }
        let bad = Previous::parse(Some(&json!({"ips": [{"address": "10.0.0/24"}]}))).unwrap();
        assert_eq!(bad.addresses("eth0").unwrap_err().code, Code::Undecodable);
    }
}
