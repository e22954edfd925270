//! Running CNI plugins as a container runtime does.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::command;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::pod::{Link, Pod};
use crate::service::Transport;
use crate::wiring::{Addresses, Subnets, Wiring};

/// Where distributions and clusters keep plugins.
const DIRECTORIES: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// The bridge of the pods wired by `bridge`.
pub(crate) const BRIDGE: &str = "cni0";

/// A plugin with its network configuration.
pub(crate) struct Plugin {
    kind: &'static str,
    config: Value,
}

impl Plugin {
    /// The plugin that makes this wiring, if it is one.
    pub(crate) fn of(wiring: Wiring, subnets: &Subnets, directory: &Path) -> Option<Self> {
        let kind = match wiring {
            Wiring::Ptp => "ptp",
            Wiring::Bridge => "bridge",
            Wiring::Routed => return None,
        };
        let mut config = json!({
            "cniVersion": "1.0.0",
            "name": format!("lab-{kind}"),
            "type": kind,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": directory.join("ipam"),
                "ranges": [[{ "subnet": subnets.v4() }], [{ "subnet": subnets.v6() }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        });
        if wiring == Wiring::Bridge {
            config["bridge"] = BRIDGE.into();
            config["isGateway"] = true.into();
            config["hairpinMode"] = true.into();
        }
        Some(Self { kind, config })
    }

    pub(crate) fn add(self, node: &Namespace, pod: &Namespace, wanted: Option<Addresses>) -> Result<Link> {
        self.wire(node, pod, wanted).map(|(link, _)| link)
    }

    /// Wires a pod; also returns the plugin's whole result.
    pub(crate) fn wire(
        mut self,
        node: &Namespace,
        pod: &Namespace,
        wanted: Option<Addresses>,
    ) -> Result<(Link, Value)> {
        if let Some(wanted) = wanted {
            self.config["args"] = json!({ "cni": { "ips": wanted.both() } });
        }
        let answer = self.invoke("ADD", node, pod)?;
        let result: Value = serde_json::from_str(&answer).map_err(|_| self.strange(&answer))?;
        let link = link(&result).ok_or_else(|| self.strange(&answer))?;
        Ok((link, result))
    }

    pub(crate) fn delete(&self, node: &Namespace, pod: &Namespace) -> Result<()> {
        self.invoke("DEL", node, pod).map(drop)
    }

    /// The plugin that lets a pod be reached through a port of its node, for a pod that is wired already.
    pub(crate) fn port_map(pod: &Pod, host_port: u16, transport: Transport, port: u16) -> Self {
        let addresses = pod.addresses();
        let ips = [format!("{}/32", addresses.ip4), format!("{}/128", addresses.ip6)];
        let mapping = json!({ "hostPort": host_port, "containerPort": port, "protocol": transport.lower() });
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "lab-portmap",
            "type": "portmap",
            "snat": true,
            "capabilities": { "portMappings": true },
            "runtimeConfig": { "portMappings": [mapping] },
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [{ "name": "eth0", "sandbox": pod.path() }],
                "ips": ips.map(|address| json!({ "address": address, "interface": 0 })),
            },
        });
        Self { kind: "portmap", config }
    }

    /// Runs the plugin for a pod whose result is known before.
    pub(crate) fn add_to(&self, node: &Namespace, pod: &Namespace) -> Result<()> {
        self.invoke("ADD", node, pod).map(drop)
    }

    fn invoke(&self, verb: &str, node: &Namespace, pod: &Namespace) -> Result<String> {
        let directory = plugins();
        let mut plugin: Command = node.command(directory.join(self.kind));
        plugin
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", pod.netns())
            .env("CNI_NETNS", pod.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &directory);
        command::run(&mut plugin, &self.config.to_string())
    }

    fn strange(&self, answer: &str) -> Error {
        Error::Answer(format!(
            "the CNI plugin {} did not return two addresses and a host interface: {answer}",
            self.kind
        ))
    }
}

/// The first directory that has the CNI plugins; starting one from a directory without them says what is missing.
#[must_use]
pub fn plugins() -> PathBuf {
    let found = DIRECTORIES.iter().find(|directory| Path::new(directory).join("ptp").exists());
    PathBuf::from(found.unwrap_or(&DIRECTORIES[0]))
}

/// The addresses, and the host-side interface: the one without a sandbox that is not the bridge.
fn link(result: &Value) -> Option<Link> {
    let mut interfaces = result["interfaces"].as_array()?.iter();
    let host = interfaces.find(|interface| {
        interface["sandbox"].as_str().unwrap_or_default().is_empty() && interface["name"] != BRIDGE
    })?;
    let addresses = result["ips"].as_array()?.iter().filter_map(|ip| ip["address"].as_str()?.split('/').next());
    let addresses: Vec<&str> = addresses.collect();
    Some(Link {
        host_interface: host["name"].as_str()?.to_owned(),
        addresses: Addresses {
            ip4: addresses.iter().find_map(|text| text.parse().ok())?,
            ip6: addresses.iter().find_map(|text| text.parse().ok())?,
        },
    })
}
