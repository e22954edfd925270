//! Networks of one family alone, and those that have pods in them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols,
};
use podgate_policy::evaluate::{
    DirectionVerdict, Element, Party, PolicyRef, RuleAnswer, Traffic, cluster_peers_match, selects,
};
use podgate_policy::model::{Direction, Pod, Protocol};

use crate::check::guards::verdict;
use crate::check::half::{name_of, one_of_each};
use crate::check::known::Known;
use crate::check::{Field, Finding, Part, Rule, Severity, Subject};
use crate::explain::listed;

/// Networks are peers of egress alone.
const DIRECTION: Direction = Direction::Egress;

pub(super) fn findings(known: &Known<'_>, policy: &ClusterPolicy) -> Vec<Finding> {
    let mut findings: Vec<_> = one_family(known, policy).into_iter().collect();
    for (index, rule) in policy.rules(DIRECTION).iter().enumerate().filter(|(_, rule)| rule.action == Action::Deny) {
        findings.extend(with_pods(known, policy, index, rule));
    }
    findings
}

fn peers(rule: &ClusterRule) -> &[ClusterPeer] {
    match &rule.matches {
        Matches::Some { peers, .. } => peers,
        Matches::Nothing | Matches::Everything => &[],
    }
}

/// The networks of a rule, with the index of their peer.
fn networks(rule: &ClusterRule) -> impl Iterator<Item = (usize, &IpNet)> {
    peers(rule).iter().enumerate().flat_map(|(index, peer)| {
        let networks = match peer {
            ClusterPeer::Networks(networks) => networks.as_slice(),
            ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) => &[],
        };
        networks.iter().map(move |network| (index, network))
    })
}

/// The first Deny of all addresses of one family, where no Deny of the policy means all of the other.
fn one_family(known: &Known<'_>, policy: &ClusterPolicy) -> Option<Finding> {
    let denying = || policy.rules(DIRECTION).iter().enumerate().filter(|(_, rule)| rule.action == Action::Deny);
    let all = denying().flat_map(|(index, rule)| networks(rule).map(move |(peer, network)| (index, peer, network)));
    let all: Vec<_> = all.filter(|(.., network)| network.prefix_len() == 0).collect();
    let families: BTreeSet<_> = all.iter().map(|(.., network)| network.addr().is_ipv4()).collect();
    let ((rule, peer, network), 1) = (all.first()?, families.len()) else { return None };
    let (missing, family) = if network.addr().is_ipv4() { ("::/0", "IPv6") } else { ("0.0.0.0/0", "IPv4") };
    let addresses = || known.all_pods().flat_map(|pod| &pod.addresses);
    let is_other = |address: &std::net::IpAddr| address.is_ipv4() != network.addr().is_ipv4();
    let is_single = addresses().next().is_some() && !addresses().any(is_other);
    Some(Finding {
        object: Subject::ClusterPolicy(policy.name.clone()),
        field: Field::Peer(DIRECTION, *rule, *peer, Part::Networks),
        rule: Rule::OneFamilyOnly,
        severity: if is_single { Severity::Note } else { Severity::Warning },
        why: format!("{network} denies one family alone, and {family} passes"),
        instead: format!("add {missing}"),
        yaml: None,
    })
}

/// Pods that a Deny of networks denies by their addresses.
fn with_pods(known: &Known<'_>, policy: &ClusterPolicy, index: usize, rule: &ClusterRule) -> Option<Finding> {
    let (peer, network) = networks(rule).next()?;
    let subject = known.all_pods().find(|pod| selects(known.cluster, &policy.subject, pod));
    let (severity, why) = match subject {
        Some(subject) => {
            let names = named_by_network(known, (policy, index, rule), subject);
            if names.is_empty() {
                return None;
            }
            let why = format!("the networks hold addresses of pods, which the rule denies too: {}", listed(&names));
            (Severity::Warning, why)
        }
        None if known.has_pods() || network.prefix_len() > 0 || has_rule_of_pods(policy, index) => return None,
        None => (Severity::Note, format!("{network} holds the addresses of all pods, which the rule denies too")),
    };
    Some(Finding {
        object: Subject::ClusterPolicy(policy.name.clone()),
        field: Field::Peer(DIRECTION, index, peer, Part::Networks),
        rule: Rule::NetworksCoverPods,
        severity,
        why,
        instead: "if pods are not meant, put a rule before it: action: Pass, to: [{namespaces: {}}]".to_owned(),
        yaml: None,
    })
}

/// Something that the protocols of a rule match, if they name numbers.
fn asked(rule: &ClusterRule) -> Traffic {
    let listed = match &rule.matches {
        Matches::Some { protocols: Protocols::Listed(listed), .. } => listed.as_slice(),
        Matches::Some { .. } | Matches::Nothing | Matches::Everything => &[],
    };
    let numbers = listed.iter().find_map(|asked| match asked {
        ProtocolMatch::Range { protocol, first, .. } => Some((*protocol, *first)),
        ProtocolMatch::Named(_) => None,
    });
    let (protocol, number) = numbers.unwrap_or((Protocol::Tcp, 443));
    Traffic::Port { protocol, number }
}

/// The pods to which this rule decides what the subject sends them, by their addresses.
fn named_by_network(known: &Known<'_>, of: (&ClusterPolicy, usize, &ClusterRule), subject: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    for alike in known.groups() {
        let others = || alike.iter().copied().filter(|pod| pod.key != subject.key);
        if others().next().is_some_and(|pod| is_by_network(known, of, pod, subject)) {
            found.extend(others());
        }
    }
    one_of_each(found.into_iter()).into_iter().map(name_of).collect()
}

fn is_by_network(
    known: &Known<'_>,
    (policy, index, rule): (&ClusterPolicy, usize, &ClusterRule),
    pod: &Pod,
    subject: &Pod,
) -> bool {
    let is_network = |element: &Element| {
        let Element::Index(element) = element else { return false };
        matches!(peers(rule).get(*element), Some(ClusterPeer::Networks(_)))
    };
    pod.addresses.iter().any(|&address| {
        let party = Party::pod_at(pod, Some(address));
        // What this rule does not match it does not decide, and to ask all others takes long.
        if !cluster_peers_match(known.cluster, rule.action, peers(rule), &party).is_match() {
            return false;
        }
        let verdict = verdict(known, subject, &party, asked(rule));
        let DirectionVerdict::ByTiers(tiers) = verdict else { return false };
        tiers.deciding().is_some_and(|(_, asked)| {
            let is_it = asked.rule.policy == PolicyRef::Cluster(policy.name.clone()) && asked.rule.index == index;
            is_it && matches!(&asked.answer, RuleAnswer::Matches { peer, .. } if is_network(peer))
        })
    })
}

/// Whether a rule before this one is about the pods of all namespaces.
fn has_rule_of_pods(policy: &ClusterPolicy, index: usize) -> bool {
    let all = ClusterPeer::Pods(PodSelection::default());
    policy.rules(DIRECTION)[..index].iter().any(|rule| peers(rule).contains(&all))
}
