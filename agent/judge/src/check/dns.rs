//! Pods whose egress is restricted so that they can't ask for names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, SharedAddress, Traffic, isolating, judge, rules, verdict};
use podgate_policy::model::{Direction, Namespaces, ObjectKey, Peer, Peers, Pod, Policy, PortSpec, Ports, Protocol};
use podgate_policy::services::{Service, Through, Within, backends};

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity, Subject};
use crate::explain::listed;

/// Where installers put the cluster's DNS: the name that Kubernetes gives it, those of CoreDNS' and RKE2's charts, and
/// OpenShift's.
const SERVICES: [(&str, &str); 4] = [
    (NAMESPACE, "kube-dns"),
    (NAMESPACE, "coredns"),
    (NAMESPACE, "rke2-coredns-rke2-coredns"),
    ("openshift-dns", "dns-default"),
];
const NAMESPACE: &str = "kube-system";
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The label of node-local DNS, which every pod reaches as a process of its own node.
const LOCAL: (&str, &str) = ("k8s-app", "node-local-dns");
const PORT: u16 = 53;

pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    let cluster = known.cluster;
    if labelled(cluster, LOCAL).next().is_some() {
        return vec![];
    }
    let servers = servers(known);
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
        object: Subject::Policy(ObjectKey::clone(with_rules.unwrap_or(&policies[0]))),
        yaml: None,
        field: Field::Rules(Direction::Egress),
        rule: Rule::EgressWithoutDns,
        severity: if with_rules.is_some() { Severity::Warning } else { Severity::Note },
        why: format!(
            "egress of {} is isolated by {}, and no rule allows {dns}, so names can't be resolved",
            listed(&pods),
            listed(&by)
        ),
        instead: instead(cluster, servers),
    }
}

/// Ports are those of the pods: a Service may lead to another one than its own.
fn instead(cluster: &Cluster, servers: &[Server<'_>]) -> String {
    let numbers: BTreeSet<u16> = servers.iter().filter_map(|server| server.number()).collect();
    let service = service(cluster).filter(|_| !servers.is_empty());
    let labels = service.map(|service| &service.selector).filter(|labels| !labels.is_empty());
    let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let labels = pairs.reduce(|all, one| format!("{all},{one}")).unwrap_or_else(|| format!("{}={}", LABEL.0, LABEL.1));
    let namespace = service.map_or(NAMESPACE, |service| &service.key.namespace);
    if numbers.is_empty() || numbers == BTreeSet::from([PORT]) {
        return format!("allow UDP and TCP {PORT} to the pods with {labels} in namespace {namespace}");
    }
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    format!(
        "allow UDP and TCP {} to the pods with {labels} in namespace {namespace}: policies judge the port that the Service leads \
         to, not its own",
        numbers.join(" and ")
    )
}

/// An endpoint of the cluster's DNS.
pub(super) struct Server<'c> {
    /// Who it is.
    pub(super) party: Result<Party<'c>, SharedAddress>,
    pub(super) traffic: Traffic,
    /// The pod, where it is known.
    pod: Option<ObjectKey>,
}

impl Server<'_> {
    fn number(&self) -> Option<u16> {
        match self.traffic {
            Traffic::Port { number, .. } => Some(number),
            Traffic::Other => None,
        }
    }

    /// Whether a block may turn out to have its address.
    fn may_be_in_block(&self) -> bool {
        matches!(&self.party, Ok(Party { address: None, .. }))
    }
}

fn service(cluster: &Cluster) -> Option<&Service> {
    let mut known = SERVICES.iter();
    known
        .find_map(|&(namespace, name)| cluster.services.get(&ObjectKey::new(namespace, name)).map(|service| &**service))
}

/// The endpoints of the cluster's DNS; empty if they are not known.
pub(super) fn servers<'c>(known: &Known<'c>) -> Vec<Server<'c>> {
    let cluster = known.cluster;
    if let Some(service) = service(cluster) {
        let ports = || service.ports.iter().filter(|port| port.port == PORT);
        let served = ports().flat_map(|port| backends(cluster, service, Through::Port(port), Within::Cluster));
        let mut found: Vec<_> = served
            .map(|backend| Server { party: backend.party(cluster), traffic: backend.traffic, pod: backend.pod })
            .collect();
        let to_be = known
            .pods_in(&service.key.namespace)
            .iter()
            .filter(|pod| pod.addresses.is_empty() && known.services_of(pod).any(|its| its.key == service.key));
        found.extend(
            to_be.flat_map(|pod| ports().filter_map(|port| Some(at(pod, None, port.protocol, port.target_at(pod)?)))),
        );
        if !found.is_empty() {
            return found;
        }
    }
    let pods = labelled(cluster, LABEL).filter(|pod| &*pod.key.namespace == NAMESPACE);
    pods.flat_map(|pod| {
        let unknown = pod.addresses.is_empty().then_some(None);
        let addresses = pod.addresses.iter().copied().map(Some).chain(unknown);
        addresses.flat_map(|address| [Protocol::Udp, Protocol::Tcp].map(|protocol| at(pod, address, protocol, PORT)))
    })
    .collect()
}

fn at<'c>(pod: &'c Pod, address: Option<IpAddr>, protocol: Protocol, number: u16) -> Server<'c> {
    let traffic = Traffic::Port { protocol, number };
    Server { party: Ok(Party::pod_at(pod, address)), traffic, pod: Some(pod.key.clone()) }
}

fn labelled<'c>(cluster: &'c Cluster, (key, value): (&str, &str)) -> impl Iterator<Item = &'c Pod> {
    cluster.pods.values().map(|pod| &**pod).filter(move |pod| pod.labels.get(key).is_some_and(|its| **its == *value))
}

fn is_server(servers: &[Server<'_>], pod: &Pod) -> bool {
    servers.iter().any(|server| server.pod.as_ref() == Some(&pod.key))
}

/// Whether policies let a pod reach some server.
fn may_reach(known: &Known<'_>, pod: &Pod, policies: &[&Policy], servers: &[Server<'_>]) -> bool {
    if servers.is_empty() {
        return policies.iter().any(|policy| may_reach_some(known, policy));
    }
    let has_block = || policies.iter().any(|policy| has_block(policy));
    servers.iter().any(|server| match &server.party {
        Ok(_) if server.may_be_in_block() && has_block() => true,
        Ok(to) => judge(known.cluster, Direction::Egress, pod, to, server.traffic).is_allowed(),
        Err(SharedAddress { .. }) => true,
    })
}

fn has_block(policy: &Policy) -> bool {
    let rules = rules(policy, Direction::Egress).unwrap_or_default();
    let mut peers = rules.iter().filter_map(|rule| match &rule.peers {
        Peers::Listed(peers) => Some(peers),
        Peers::Any => None,
    });
    peers.any(|peers| peers.iter().any(|peer| matches!(peer, Peer::Block(_))))
}

/// Whether a pod reaches some server whatever its policies say: its own node's processes, or itself.
fn is_beside(known: &Known<'_>, pod: &Pod, servers: &[Server<'_>]) -> bool {
    let from = Party::pod_at(pod, pod.addresses.first().copied());
    servers.iter().any(|server| match &server.party {
        Ok(to) if to.pod().is_some_and(|server| server.key != pod.key) => false,
        Ok(to) => verdict(known.cluster, &from, to, server.traffic).egress.is_allowed(),
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
