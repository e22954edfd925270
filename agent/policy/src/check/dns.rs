//! Pods whose egress is restricted so that they can't ask for names.

use std::collections::BTreeMap;

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity};
use crate::cluster::Cluster;
use crate::evaluate::{Party, SharedAddress, Traffic, isolating, rules, verdict};
use crate::explain::listed;
use crate::model::{Direction, ObjectKey, Pod, Policy, PortMatch, PortSpec, Ports, Protocol};
use crate::services::{Backend, Through, Within, backends};

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
    for pod in known.all_pods().filter(|pod| !is_server(&servers, pod)) {
        let policies = isolating(cluster, pod, Direction::Egress);
        let doubtful = policies.iter().any(|policy| known.written.unsound.contains(&policy.key));
        if !policies.is_empty() && !doubtful && !reaches(cluster, pod, &policies, &servers) {
            groups.entry(policies.iter().map(|policy| &policy.key).collect()).or_default().push(pod);
        }
    }
    groups.into_iter().map(|(policies, pods)| finding(cluster, &policies, &pods, &servers)).collect()
}

/// At the first policy that has egress rules: there somebody has thought of what the pods need. Pods that may not open anything
/// need no names.
fn finding(cluster: &Cluster, policies: &[&ObjectKey], pods: &[&Pod], servers: &[Backend]) -> Finding {
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

/// The endpoints of the cluster's DNS; empty if they are not known.
fn servers(cluster: &Cluster) -> Vec<Backend> {
    if let Some(service) = cluster.services.get(&ObjectKey::new(NAMESPACE, SERVICE)) {
        let ports = service.ports.iter().filter(|port| port.port == PORT);
        let found: Vec<_> =
            ports.flat_map(|port| backends(cluster, service, Through::Port(port), Within::Cluster)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    labelled(cluster, LABEL).filter(|pod| &*pod.key.namespace == NAMESPACE).flat_map(endpoints).collect()
}

fn endpoints(pod: &Pod) -> impl Iterator<Item = Backend> {
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

fn is_server(servers: &[Backend], pod: &Pod) -> bool {
    servers.iter().any(|server| server.pod.as_ref() == Some(&pod.key))
}

fn reaches(cluster: &Cluster, pod: &Pod, policies: &[&Policy], servers: &[Backend]) -> bool {
    if servers.is_empty() {
        return policies
            .iter()
            .filter_map(|policy| rules(policy, Direction::Egress))
            .flatten()
            .any(|rule| covers(&rule.ports));
    }
    let from = Party::pod_at(pod, pod.addresses.first().copied());
    servers.iter().any(|server| match server.party(cluster) {
        Ok(to) => verdict(cluster, &from, &to, server.traffic).egress.is_allowed(),
        Err(SharedAddress { .. }) => true,
    })
}

/// Whether DNS may be among the ports. What a name stands for is not known here.
fn covers(ports: &Ports) -> bool {
    let Ports::Listed(ports) = ports else { return true };
    ports.iter().any(|PortMatch { protocol, port }| {
        *protocol != Protocol::Sctp
            && match port {
                PortSpec::All | PortSpec::Named(_) => true,
                PortSpec::Range { first, last } => (*first..=*last).contains(&PORT),
            }
    })
}
