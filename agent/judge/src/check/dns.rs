//! Pods whose egress is restricted so that they can't ask for names.

use std::collections::BTreeMap;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, SharedAddress, Traffic, isolating, judge, rules, verdict};
use podgate_policy::model::{Direction, Namespaces, ObjectKey, Peer, Peers, Pod, Policy, PortSpec, Ports, Protocol};
use podgate_policy::services::{Backend, Through, Within, backends};

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity};
use crate::explain::listed;

/// Where every installer puts the cluster's DNS.
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The label of node-local DNS, which every pod reaches as a process of its own node.
const LOCAL: (&str, &str) = ("k8s-app", "node-local-dns");
const PORT: u16 = 53;

pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    let cluster = known.cluster;
    if labelled(cluster, LOCAL).next().is_some() {
        return vec![];
    }
    let servers = servers(cluster);
    let mut groups: BTreeMap<Vec<&ObjectKey>, Vec<&Pod>> = BTreeMap::new();
    for alike in known.groups() {
        let Some(first) = alike.first() else { continue };
        let policies = isolating(cluster, first, Direction::Egress);
        let doubtful = policies.iter().any(|policy| known.written.unsound.contains(&policy.key));
        if policies.is_empty() || doubtful || may_reach(known, first, &policies, &servers) {
            continue;
        }
        let left = alike.iter().filter(|pod| !is_server(&servers, pod) && !is_beside(known, pod, &servers));
        groups.entry(policies.iter().map(|policy| &policy.key).collect()).or_default().extend(left);
    }
    groups.retain(|_, pods| !pods.is_empty());
    groups.values_mut().for_each(|pods| pods.sort_by(|one, other| one.key.cmp(&other.key)));
    groups.into_iter().map(|(policies, pods)| finding(cluster, &policies, &pods, &servers)).collect()
}

/// At the first policy that has egress rules: there somebody has thought of what the pods need. Pods that may not open anything
/// need no names.
fn finding(cluster: &Cluster, policies: &[&ObjectKey], pods: &[&Pod], servers: &[Server<'_>]) -> Finding {
    let egress = |key: &ObjectKey| cluster.policies.get(key).and_then(|policy| rules(policy, Direction::Egress));
    let has_rules = |key: &&&ObjectKey| egress(key).is_some_and(|rules| !rules.is_empty());
    let with_rules = policies.iter().find(has_rules);
    let pods: Vec<_> = pods.iter().map(|pod| pod.key.to_string()).collect();
    let by: Vec<_> = policies.iter().map(ToString::to_string).collect();
    let dns = if servers.is_empty() { "port 53 of any DNS server" } else { "the cluster's DNS" };
    Finding {
        policy: ObjectKey::clone(with_rules.unwrap_or(&policies[0])),
        field: Field::Rules(Direction::Egress),
        rule: Rule::EgressWithoutDns,
        severity: if with_rules.is_some() { Severity::Warning } else { Severity::Note },
        why: format!(
            "egress of {} is isolated by {}, and no rule allows {dns}, so names can't be resolved",
            listed(&pods),
            listed(&by)
        ),
        instead: "allow UDP and TCP 53 to the pods with k8s-app=kube-dns in namespace kube-system".to_owned(),
    }
}

/// An endpoint of the cluster's DNS.
struct Server<'c> {
    backend: Backend,
    /// Who it is.
    party: Result<Party<'c>, SharedAddress>,
}

/// The endpoints of the cluster's DNS; empty if they are not known.
fn servers(cluster: &Cluster) -> Vec<Server<'_>> {
    let backends = endpoints(cluster).into_iter();
    backends.map(|backend| Server { party: backend.party(cluster), backend }).collect()
}

fn endpoints(cluster: &Cluster) -> Vec<Backend> {
    if let Some(service) = cluster.services.get(&ObjectKey::new(NAMESPACE, SERVICE)) {
        let ports = service.ports.iter().filter(|port| port.port == PORT);
        let found: Vec<_> =
            ports.flat_map(|port| backends(cluster, service, Through::Port(port), Within::Cluster)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    labelled(cluster, LABEL).filter(|pod| &*pod.key.namespace == NAMESPACE).flat_map(of_pod).collect()
}

fn of_pod(pod: &Pod) -> impl Iterator<Item = Backend> {
    pod.addresses.iter().flat_map(|&address| {
        [Protocol::Udp, Protocol::Tcp].map(|protocol| {
            let traffic = Traffic::Port { protocol, number: PORT };
            Backend { address, traffic, pod: Some(pod.key.clone()) }
        })
    })
}

fn labelled<'c>(cluster: &'c Cluster, (key, value): (&str, &str)) -> impl Iterator<Item = &'c Pod> {
    cluster.pods.values().map(|pod| &**pod).filter(move |pod| pod.labels.get(key).is_some_and(|its| **its == *value))
}

fn is_server(servers: &[Server<'_>], pod: &Pod) -> bool {
    servers.iter().any(|server| server.backend.pod.as_ref() == Some(&pod.key))
}

/// Whether policies let a pod reach some server.
fn may_reach(known: &Known<'_>, pod: &Pod, policies: &[&Policy], servers: &[Server<'_>]) -> bool {
    if servers.is_empty() {
        return policies.iter().any(|policy| may_reach_some(known, policy));
    }
    servers.iter().any(|server| match &server.party {
        Ok(to) => judge(known.cluster, Direction::Egress, pod, to, server.backend.traffic).is_allowed(),
        Err(SharedAddress { .. }) => true,
    })
}

/// Whether a pod reaches some server whatever its policies say: its own node's processes, or itself.
fn is_beside(known: &Known<'_>, pod: &Pod, servers: &[Server<'_>]) -> bool {
    let from = Party::pod_at(pod, pod.addresses.first().copied());
    servers.iter().any(|server| match &server.party {
        Ok(to) if to.pod().is_some_and(|server| server.key != pod.key) => false,
        Ok(to) => verdict(known.cluster, &from, to, server.backend.traffic).egress.is_allowed(),
        Err(SharedAddress { .. }) => true,
    })
}

/// Whether some rule of a policy may lead to DNS, whose place is not known: it names the port, or peers that may be anybody.
fn may_reach_some(known: &Known<'_>, policy: &Policy) -> bool {
    let rules = rules(policy, Direction::Egress).unwrap_or_default();
    rules.iter().any(|rule| match &rule.ports {
        Ports::Any => may_be_dns(known, policy, &rule.peers),
        Ports::Listed(ports) => ports.iter().any(|port| match &port.port {
            _ if port.protocol == Protocol::Sctp => false,
            // What a name stands for is not known here.
            PortSpec::Named(_) => true,
            PortSpec::All => may_be_dns(known, policy, &rule.peers),
            PortSpec::Range { first, last } => (*first..=*last).contains(&PORT),
        }),
    })
}

/// Whether DNS may be among the peers: they are not all known, or one of them has the port.
fn may_be_dns(known: &Known<'_>, policy: &Policy, peers: &Peers) -> bool {
    let Peers::Listed(peers) = peers else { return true };
    peers.iter().any(|peer| match peer {
        Peer::Block(_) => true,
        Peer::Pods { namespaces, pods } => {
            let names = known.namespaces(&policy.key.namespace, namespaces);
            let unknown = *namespaces != Namespaces::Own && !known.written.namespaces;
            let here = names.iter().flat_map(|name| known.pods_in(name)).filter(|pod| pods.matches(&pod.labels));
            let serves = |pod: &&Pod| pod.ports.iter().any(|port| port.number == PORT);
            unknown || names.iter().any(|name| known.is_hidden(name)) || here.copied().any(|pod| serves(&pod))
        }
    })
}
