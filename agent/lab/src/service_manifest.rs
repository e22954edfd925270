//! Services, their endpoints and nodes as Kubernetes objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::node::Node;
use crate::service::{Service, ServicePort};

impl Service {
    /// The Service and its EndpointSlices as documents of a manifest file, as the API server would show them.
    #[must_use]
    pub fn manifests(&self) -> String {
        let documents: Vec<String> =
            [self.json()].into_iter().chain(self.slices()).map(|document| document.to_string()).collect();
        documents.join("\n---\n")
    }

    /// The Service alone. JSON is YAML too.
    #[must_use]
    pub fn json(&self) -> Value {
        let ingress: Vec<Value> = self.balancer_ips.iter().map(|ip| json!({ "ip": ip })).collect();
        let none = vec!["None".to_owned()];
        let cluster_ips: Vec<String> = self.cluster_ips.iter().map(ToString::to_string).collect();
        let cluster_ips = if cluster_ips.is_empty() { none } else { cluster_ips };
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": self.name.namespace, "name": self.name.name },
            "spec": {
                "type": self.kind(),
                "clusterIP": cluster_ips[0],
                "clusterIPs": cluster_ips,
                "externalIPs": self.external_ips,
                "sessionAffinity": if self.affinity { "ClientIP" } else { "None" },
                "ports": self.ports.iter().map(ServicePort::json).collect::<Vec<_>>(),
            },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }

    fn kind(&self) -> &'static str {
        if !self.balancer_ips.is_empty() {
            "LoadBalancer"
        } else if self.ports.iter().any(|port| port.node_port.is_some()) {
            "NodePort"
        } else {
            "ClusterIP"
        }
    }

    /// One slice for each port, family and target port: within a slice all endpoints have the same ports.
    fn slices(&self) -> Vec<Value> {
        self.ports.iter().flat_map(|port| self.slices_of(port)).collect()
    }

    fn slices_of(&self, port: &ServicePort) -> Vec<Value> {
        let mut slices: BTreeMap<(bool, u16), Vec<IpAddr>> = BTreeMap::new();
        for backend in &port.backends {
            slices.entry((backend.is_ipv6(), backend.port())).or_default().push(backend.ip());
        }
        let slices = slices.into_iter().map(|((v6, target), addresses)| self.slice(port, v6, target, &addresses));
        slices.collect()
    }

    fn slice(&self, port: &ServicePort, v6: bool, target: u16, addresses: &[IpAddr]) -> Value {
        let family = if v6 { "IPv6" } else { "IPv4" };
        let name = format!("{}-{}-{target}-{}", self.name.name, port.name(), family.to_lowercase());
        let endpoints: Vec<Value> =
            addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": self.name.namespace,
                "name": name,
                "labels": { "kubernetes.io/service-name": self.name.name },
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{ "name": port.name(), "protocol": port.transport.upper(), "port": target }],
        })
    }
}

impl ServicePort {
    fn name(&self) -> String {
        format!("{}-{}", self.transport.lower(), self.number)
    }

    fn json(&self) -> Value {
        let target = self.backends.first().map_or(self.number, std::net::SocketAddr::port);
        let mut port = json!({
            "name": self.name(),
            "protocol": self.transport.upper(),
            "port": self.number,
            "targetPort": target,
        });
        if let Some(node_port) = self.node_port {
            port["nodePort"] = node_port.into();
        }
        port
    }
}

impl Node {
    /// The node as a Kubernetes object with its addresses and pod ranges. JSON is YAML too.
    #[must_use]
    pub fn json(&self) -> Value {
        let addresses = [self.ip4(), self.ip6()].map(|ip| json!({ "type": "InternalIP", "address": ip }));
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.name() },
            "spec": { "podCIDRs": self.pod_cidrs() },
            "status": { "addresses": addresses },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Transport;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn a_service_has_slices_by_family_and_target_port() {
        let backends = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:9090", "[fd00::1]:8080"];
        let backends = backends.map(|text| text.parse().expect("it is a socket address"));
        let service = Service::new("shop/api")
            .cluster_ips([address("10.96.0.1"), address("fd00:10:96::1")])
            .port(ServicePort::new(Transport::Tcp, 80).node_port(30080).to(backends));
        let slices: Vec<(Value, Value)> =
            service.slices().iter().map(|slice| (slice["endpoints"].clone(), slice["ports"].clone())).collect();
        let endpoint = |ip: &str| json!({ "addresses": [ip], "conditions": { "ready": true } });
        let port = |number: u16| json!([{ "name": "tcp-80", "protocol": "TCP", "port": number }]);
        let expected = [
            (json!([endpoint("10.0.0.1"), endpoint("10.0.0.2")]), port(8080)),
            (json!([endpoint("10.0.0.3")]), port(9090)),
            (json!([endpoint("fd00::1")]), port(8080)),
        ];
        assert_eq!(slices, expected);
        assert_eq!(service.json()["spec"]["type"], "NodePort");
    }

    #[test]
    fn a_service_without_address_is_headless() {
        let spec = &Service::new("api").json()["spec"];
        assert_eq!((&spec["clusterIP"], &spec["clusterIPs"]), (&json!("None"), &json!(["None"])));
    }
}
