//! Blocks of the ClusterIP of the API server, which is no pod: what to write instead is its own addresses.

use ipnet::IpNet;
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::{self, Direction, IpBlock, ObjectKey, Policy, Protocol};
use podgate_policy::services::{Backend, Service, Through, Within, backends};

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity};
use crate::explain::listed;

/// Which Service the API server gives itself.
const NAMESPACE: &str = "default";
const SERVICE: &str = "kubernetes";

/// The first address of the ranges that installers choose for Services: kubeadm's, k3s', and those of EKS.
const USUAL: [&str; 4] = ["10.96.0.1", "10.43.0.1", "10.100.0.1", "172.20.0.1"];

/// The key of that Service.
pub(super) fn key() -> ObjectKey {
    ObjectKey::new(NAMESPACE, SERVICE)
}

pub(super) fn is_api_server(service: &ObjectKey) -> bool {
    (&*service.namespace, &*service.name) == (NAMESPACE, SERVICE)
}

/// The finding of a block that is made of nothing else.
pub(super) fn finding(known: &Known<'_>, policy: &Policy, field: Field, block: &IpBlock) -> Option<Finding> {
    let service = known.cluster.services.get(&key())?;
    let why = format!(
        "{} is the ClusterIP of Service {NAMESPACE}/{SERVICE}, which is replaced by an address of the API server before policies \
         see a packet",
        block.cidr
    );
    let endpoints = service.ports.iter().flat_map(|port| endpoints(known, service, Through::Port(port)));
    let mut endpoints: Vec<_> = endpoints.map(|backend| words(&backend)).collect();
    endpoints.sort();
    endpoints.dedup();
    let instead = match endpoints.as_slice() {
        [] => look_up(),
        endpoints => format!("allow the API server's own addresses: ipBlock {}", listed(endpoints)),
    };
    let (rule, severity) = (Rule::ApiServerBlock, Severity::Warning);
    Some(Finding { object: policy.into(), field, rule, severity, why, instead, yaml: None })
}

/// The finding of a block that would be one in the clusters of usual installers, where no Service says what it is.
pub(super) fn usual(
    known: &Known<'_>,
    policy: &Policy,
    field: Field,
    (direction, rule): (Direction, &model::Rule),
    block: &IpBlock,
) -> Option<Finding> {
    let IpNet::V4(cidr) = block.cidr else { return None };
    let is_usual = cidr.prefix_len() == 32 && USUAL.contains(&cidr.network().to_string().as_str());
    let asks = Traffic::Port { protocol: Protocol::Tcp, number: 443 };
    let is_known = known.cluster.services.values().any(|service| !service.cluster_ips.is_empty());
    let is_asked = podgate_policy::evaluate::ports_match(&rule.ports, None, asks).is_match();
    (direction == Direction::Egress && is_usual && is_asked && !is_known).then(|| Finding {
        object: policy.into(),
        field,
        rule: Rule::ApiServerBlock,
        severity: Severity::Note,
        why: format!(
            "{} is in many clusters the ClusterIP of Service {NAMESPACE}/{SERVICE}, which is replaced by an address of the API \
             server before policies see a packet",
            block.cidr
        ),
        instead: look_up(),
        yaml: None,
    })
}

fn endpoints(known: &Known<'_>, service: &Service, through: Through<'_>) -> Vec<Backend> {
    backends(known.cluster, service, through, Within::Cluster)
}

fn words(backend: &Backend) -> String {
    let block = IpNet::from(backend.address);
    match backend.traffic {
        Traffic::Port { protocol, number } => format!("{block} with {protocol} {number}"),
        Traffic::Other => block.to_string(),
    }
}

fn look_up() -> String {
    "allow the API server's own addresses and port, which kubectl get endpointslices -n default -l \
     kubernetes.io/service-name=kubernetes shows"
        .to_owned()
}
