//! What nearly every pod needs, denied: the cluster's DNS and the API server.

use std::collections::BTreeMap;

use podgate_policy::evaluate::{DirectionVerdict, Party, PolicyRef, RuleRef, SharedAddress, Traffic, guarding};
use podgate_policy::model::{Direction, Pod};
use podgate_policy::services::{Through, Within, backends};

use crate::check::guards::verdict;
use crate::check::half::{name_of, one_of_each};
use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity, Subject, api_server, dns};
use crate::explain::listed;

/// The namespace of what the cluster itself runs.
const SYSTEM: &str = "kube-system";

/// Who is asked, and for what.
type Server<'c> = (Result<Party<'c>, SharedAddress>, Traffic);

pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    let names: Vec<Server<'_>> = dns::servers(known).into_iter().map(|server| (server.party, server.traffic)).collect();
    let mut findings = of(known, &names, Rule::DeniesDns);
    findings.extend(of(known, &api_servers(known), Rule::DeniesApiServer));
    findings
}

/// The endpoints of the API server, as its Service has them.
fn api_servers<'c>(known: &Known<'c>) -> Vec<Server<'c>> {
    let service = known.cluster.services.get(&api_server::key());
    let served = service.into_iter().flat_map(|service| {
        service.ports.iter().flat_map(|port| backends(known.cluster, service, Through::Port(port), Within::Cluster))
    });
    served.map(|backend| (backend.party(known.cluster), backend.traffic)).collect()
}

/// One for each rule by which pods reach none of the servers.
fn of(known: &Known<'_>, servers: &[Server<'_>], rule: Rule) -> Vec<Finding> {
    let mut denied: BTreeMap<RuleRef, Vec<&Pod>> = BTreeMap::new();
    for alike in known.groups() {
        let Some(first) = alike.first() else { continue };
        if guarding(known.cluster, first, Direction::Egress).is_empty() {
            continue;
        }
        let by: Option<Vec<_>> = servers.iter().map(|server| denying(known, first, server)).collect();
        if let Some(by) = by.and_then(|by| by.into_iter().next()) {
            denied.entry(by).or_default().extend(alike);
        }
    }
    denied.into_iter().filter_map(|(by, pods)| finding(by, pods, rule)).collect()
}

/// The rule of a ClusterNetworkPolicy that denies a pod a server, if one does.
fn denying(known: &Known<'_>, pod: &Pod, (party, traffic): &Server<'_>) -> Option<RuleRef> {
    let to = party.as_ref().ok()?;
    if to.pod().is_some_and(|server| server.key == pod.key) {
        return None;
    }
    match verdict(known, pod, to, *traffic) {
        DirectionVerdict::ByTiers(tiers) if !tiers.is_allowed() => Some(tiers.deciding()?.1.rule.clone()),
        _ => None,
    }
}

fn finding(by: RuleRef, pods: Vec<&Pod>, rule: Rule) -> Option<Finding> {
    let PolicyRef::Cluster(name) = &by.policy else { return None };
    let is_system = pods.iter().any(|pod| &*pod.key.namespace == SYSTEM);
    let names: Vec<_> = one_of_each(pods.into_iter()).into_iter().map(name_of).collect();
    let (what, severity, instead) = match rule {
        Rule::DeniesApiServer => (
            "the API server",
            // Most pods of applications don't need it.
            if is_system { Severity::Warning } else { Severity::Note },
            "put a rule before it that accepts TCP to the API server's addresses",
        ),
        _ => (
            "the cluster's DNS, so that names can't be resolved",
            Severity::Warning,
            "put a rule before it that accepts UDP and TCP 53 to the cluster's DNS",
        ),
    };
    Some(Finding {
        object: Subject::ClusterPolicy(name.clone()),
        field: Field::Rule(by.direction, by.index),
        rule,
        severity,
        why: format!("the rule denies {} {what}", listed(&names)),
        instead: instead.to_owned(),
        yaml: None,
    })
}
