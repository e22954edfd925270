//! The example's Services, given addresses and endpoints as a cluster's control plane gives them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use podgate_lab::{Service, ServicePort, Transport};
use serde_json::Value;

/// The Services of the demo, by `namespace/name`, with the last number of their addresses.
const NUMBERS: [(&str, u8); 3] = [("kube-system/kube-dns", 10), ("shop/api", 20), ("shop/database", 30)];

/// kube-dns, which every cluster has and the example does not bring along.
const KUBE_DNS: &str = "
apiVersion: v1
kind: Service
metadata: { namespace: kube-system, name: kube-dns }
spec:
  selector: { k8s-app: kube-dns }
  ports:
    - { name: dns, protocol: UDP, port: 53, targetPort: 53 }
    - { name: dns-tcp, protocol: TCP, port: 53, targetPort: 53 }
";

/// The ClusterIP of a Service.
pub(super) fn cluster_ip(name: &str, v6: bool) -> Option<IpAddr> {
    let (_, number) = NUMBERS.iter().find(|(known, _)| *known == name)?;
    let text = if v6 { format!("fd00:10:96::{number}") } else { format!("10.96.0.{number}") };
    text.parse().ok()
}

/// The Services of a file of the example, and kube-dns, with these pods as far as their labels say that they belong.
pub(super) fn all(example: &str, pods: &[Value]) -> Result<Vec<Service>> {
    let documents = format!("{example}\n---\n{KUBE_DNS}");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&documents).context("read the Services")?;
    objects.iter().map(|object| service(object, pods)).collect()
}

fn service(object: &Value, pods: &[Value]) -> Result<Service> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let name = format!("{}/{}", text("namespace"), text("name"));
    let (Some(v4), Some(v6)) = (cluster_ip(&name, false), cluster_ip(&name, true)) else {
        bail!("the demo has no addresses for the Service {name}");
    };
    let members: Vec<&Value> = pods.iter().filter(|pod| is_member(pod, object)).collect();
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| service_port(port, &members).with_context(|| format!("read a port of {name}")));
    let ports: Vec<ServicePort> = ports.collect::<Result<_>>()?;
    Ok(ports.into_iter().fold(Service::new(&name).cluster_ips([v4, v6]), Service::port))
}

/// A pod of the Service's namespace that has all labels of its selector.
fn is_member(pod: &Value, service: &Value) -> bool {
    let selector: BTreeMap<&String, &Value> = service["spec"]["selector"].as_object().into_iter().flatten().collect();
    pod["metadata"]["namespace"] == service["metadata"]["namespace"]
        && selector.iter().all(|(key, value)| pod["metadata"]["labels"][*key] == **value)
}

fn service_port(port: &Value, pods: &[&Value]) -> Result<ServicePort> {
    let transport = match port["protocol"].as_str() {
        Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        other => bail!("the demo knows no protocol {other:?}"),
    };
    let mut backends = Vec::new();
    for pod in pods {
        let target = number(target(port, pod)).context("a target port is neither a number nor one of the pod's")?;
        let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|address| address["ip"].as_str()?.parse::<IpAddr>().ok());
        backends.extend(addresses.map(|address| SocketAddr::new(address, target)));
    }
    Ok(ServicePort::new(transport, number(&port["port"]).context("it has no number")?).to(backends))
}

/// The target port, by the pod's own number where it is a name.
fn target<'a>(port: &'a Value, pod: &'a Value) -> &'a Value {
    let target = &port["targetPort"];
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let named = ports.find(|own| target.is_string() && own["name"] == *target);
    named.map_or(target, |own| &own["containerPort"])
}

fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = "
metadata: { namespace: shop, name: one, labels: { app: database } }
spec: { containers: [{ ports: [{ name: postgres, containerPort: 5432 }] }] }
status: { podIPs: [{ ip: 10.0.0.1 }, { ip: 'fd00::1' }] }
---
metadata: { namespace: shop, name: two, labels: { app: database } }
spec: { containers: [{ ports: [{ name: postgres, containerPort: 5433 }] }] }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
metadata: { namespace: shop, name: archive, labels: { app: archive } }
status: { podIPs: [{ ip: 10.0.0.3 }] }
---
metadata: { namespace: elsewhere, name: three, labels: { app: database } }
status: { podIPs: [{ ip: 10.0.0.4 }] }
";
    const DATABASE: &str = "
metadata: { namespace: shop, name: database }
spec: { selector: { app: database }, ports: [{ protocol: TCP, port: 15432, targetPort: postgres }] }
";

    #[test]
    fn a_service_has_the_pods_that_its_selector_matches_with_their_own_numbers() {
        let pods: Vec<Value> = serde_saphyr::from_multiple(PODS).unwrap();
        let backends = ["10.0.0.1:5432", "[fd00::1]:5432", "10.0.0.2:5433"].map(|text| text.parse().unwrap());
        let addresses = ["10.96.0.30", "fd00:10:96::30"].map(|text| text.parse().unwrap());
        let port = ServicePort::new(Transport::Tcp, 15432).to(backends);
        let expected = Service::new("shop/database").cluster_ips(addresses).port(port);
        assert_eq!(all(DATABASE, &pods).unwrap().first(), Some(&expected));
    }
}
