//! A world as Kubernetes objects, as the API server would show them.

use std::net::IpAddr;

use podgate_lab::{Outside, Pod};
use serde_json::{Value, json};

use super::proxied::{Cast, name, node_port};
use super::world::{Listed, PORTS, PortPlan, RandomWorld, ServicePlan, Target};

impl RandomWorld {
    /// All objects but the nodes.
    pub(super) fn manifests(&self, cast: Cast<'_>) -> String {
        let namespaces = [("shop", "a"), ("other", "b")].map(|(name, team)| {
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "team": team } } })
        });
        let pods = self.pods.iter().zip(cast.pods).map(|(plan, pod)| {
            let labels = plan.labels.iter().fold(pod.manifest(), |pod, (key, value)| pod.label(key, value));
            let http = plan.http.into_iter().fold(labels, |pod, number| pod.port("http", "TCP", number));
            plan.dns.into_iter().fold(http, |pod, number| pod.port("dns", "UDP", number)).json()
        });
        let services = self.services.iter().enumerate();
        let services = services.flat_map(|(number, service)| {
            [vec![service.json(number, cast)], self.slices(number, service, cast)].concat()
        });
        let objects = namespaces.into_iter().chain(pods).chain(self.policies.iter().cloned()).chain(services);
        objects.map(|object| object.to_string()).collect::<Vec<_>>().join("\n---\n")
    }

    /// A slice for each pod and family, and one without endpoints, as the controller leaves one.
    fn slices(&self, number: usize, service: &ServicePlan, cast: Cast<'_>) -> Vec<Value> {
        let Some(listed) = &service.listed else { return Vec::new() };
        let slice = |what: &str, address: IpAddr, endpoints: Value, ports: Vec<Value>| {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": service.namespace,
                    "name": format!("{}-{what}-{}", name(number), family.to_lowercase()),
                    "labels": { "kubernetes.io/service-name": name(number) },
                },
                "addressType": family,
                "endpoints": endpoints,
                "ports": ports,
            })
        };
        let ports = |number: &dyn Fn(&PortPlan) -> Option<u16>| -> Vec<Value> {
            let port = |((name, _), port): (&(&str, u16), &PortPlan)| {
                Some(json!({ "name": name, "protocol": port.transport.to_string(), "port": number(port)? }))
            };
            PORTS.iter().zip(&service.ports).filter_map(port).collect()
        };
        let mut slices = vec![slice("none", Outside::IP4, json!([]), Vec::new())];
        for ((plan, pod), listed) in self.pods.iter().zip(cast.pods).zip(listed) {
            if *listed == Listed::Not {
                continue;
            }
            let ports = ports(&|port| plan.number(port));
            for address in pod.addresses().both() {
                let endpoint = listed.endpoint(address, pod, service.names_pods);
                slices.push(slice(pod.name().name.as_str(), address, json!([endpoint]), ports.clone()));
            }
        }
        if service.outside {
            let ports = ports(&PortPlan::at_outside);
            for address in [Outside::IP4, Outside::IP6] {
                slices.push(slice("outside", address, json!([{ "addresses": [address] }]), ports.clone()));
            }
        }
        slices
    }
}

impl Listed {
    fn endpoint(self, address: IpAddr, pod: &Pod, names_its_pod: bool) -> Value {
        let (is_ready, is_terminating) = (self == Self::Ready, self == Self::Terminating);
        let mut endpoint = json!({
            "addresses": [address],
            "conditions": { "ready": is_ready, "serving": is_ready || is_terminating, "terminating": is_terminating },
            "nodeName": pod.node_name(),
        });
        if names_its_pod {
            let name = pod.name();
            endpoint["targetRef"] = json!({ "kind": "Pod", "namespace": name.namespace, "name": name.name });
        }
        endpoint
    }
}

impl ServicePlan {
    fn json(&self, number: usize, cast: Cast<'_>) -> Value {
        let cluster_ips = self.cluster_ips(number);
        let families: Vec<&str> = self.families.iter().map(|is_ipv4| if *is_ipv4 { "IPv4" } else { "IPv6" }).collect();
        let ports: Vec<Value> = (0..)
            .zip(self.ports.iter().zip(PORTS))
            .map(|(index, (port, (name, port_number)))| {
                let (protocol, target) = (port.transport.to_string(), port.target_json());
                let mut json = json!({ "name": name, "protocol": protocol, "port": port_number, "targetPort": target });
                if port.has_node_port {
                    json["nodePort"] = node_port(number, index).into();
                }
                json
            })
            .collect();
        let policy = |is_local| if is_local { "Local" } else { "Cluster" };
        let (key, value) = self.label;
        let labels = match self.is_other_proxys {
            true => json!({ "service.kubernetes.io/service-proxy-name": "somebody" }),
            false => json!({}),
        };
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": self.namespace, "name": name(number), "labels": labels },
            "spec": {
                "type": if self.ports.iter().any(|port| port.has_node_port) { "NodePort" } else { "ClusterIP" },
                "clusterIP": cluster_ips[0],
                "clusterIPs": cluster_ips,
                "ipFamilies": families,
                "externalIPs": self.external_ips(number, cast),
                "sessionAffinity": if self.is_sticky { "ClientIP" } else { "None" },
                "internalTrafficPolicy": policy(self.internal_is_local),
                "externalTrafficPolicy": policy(self.external_is_local),
                "selector": { key: value },
                "ports": ports,
            },
        })
    }
}

impl PortPlan {
    fn target_json(&self) -> Value {
        match self.target {
            Target::Number(number) => number.into(),
            Target::Name => self.name().into(),
        }
    }
}
