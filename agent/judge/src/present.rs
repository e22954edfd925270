//! Expectations that hold now, as a file of expectations to begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Operator, Requirement, Selector};

use crate::expectations::{Expectation, Expected, Group, Source, Target, judge};
use crate::explain::{Asked, Destination, End};
use crate::groups::{Members, Parties};
use crate::matrix::{self, Matrix, PortChoice};

/// Labels that controllers give: they tell replicas and revisions apart, not workloads.
const GENERATED: [&str; 8] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "controller-revision-hash",
    "controller-uid",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// Expectations that hold now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The cases, by destination.
    pub cases: Vec<Expectation>,
    /// How many more there would be if they held: a connection passes over some pairs of addresses and not over others, or
    /// it hangs on an address that is not known.
    pub left_out: usize,
}

/// Pods that a case can name at once.
#[derive(Clone, Debug)]
enum Ends {
    These(Group),
    Each(Vec<ObjectKey>),
}

/// Who reaches these ports of whom now, and who does not. Sources are whole namespaces where all their pods fare alike.
#[must_use]
pub fn present(cluster: &Cluster, ports: &PortChoice, tell: &mut dyn FnMut(usize, usize)) -> Present {
    let matrix = Matrix::new(cluster, ports, tell);
    let parties: Vec<&Members<'_>> = matrix.parties().collect();
    let ends: Vec<Ends> = parties.iter().map(|members| ends(cluster, members)).collect();
    let networked = cluster.pods.values().filter(|pod| pod.is_networked());
    let families: BTreeSet<Vec<bool>> =
        networked.map(|pod| pod.addresses.iter().map(IpAddr::is_ipv4).collect()).collect();
    // Each pod has addresses of the same families, and how many.
    let ways = families.first().filter(|_| families.len() == 1).map_or(0, Vec::len);
    let mut present = Present::default();
    for target in matrix.targets() {
        let sources = sources(&parties, &ends, &target);
        for to in targets(&ends[target.party]) {
            for (from, expected) in sources.iter().filter(|(from, _)| !is_same_pod(from, &to)) {
                let asked = Asked::Number(target.protocol, target.port);
                let case = Expectation { from: from.clone(), to: to.clone(), asked, expected: *expected };
                // The matrix says which connections pass over every pair of addresses. A case may expect that none does,
                // and holds only if there is one, and what is not known makes no difference.
                let is_certain = ways == 1 || ways > 1 && *expected == Expected::Allow;
                if is_certain || judge(cluster, &case, Parties::Groups).is_met() {
                    present.cases.push(case);
                } else {
                    present.left_out += 1;
                }
            }
        }
    }
    present
}

fn is_same_pod(from: &Source, to: &Target) -> bool {
    matches!((from, to), (Source::One(End::Pod(from)), Target::One(Destination::Pod(to))) if from == to)
}

/// Who reaches a port and who does not: namespaces whose pods fare alike, and parties of the others.
fn sources(parties: &[&Members<'_>], ends: &[Ends], target: &matrix::Target) -> Vec<(Source, Expected)> {
    let expected = |party: usize| if target.from[party] { Expected::Allow } else { Expected::Deny };
    // A pod reaches itself whatever policies say.
    let is_itself = |party: usize| party == target.party && parties[party].group.is_pod();
    let mut namespaces: BTreeMap<&Arc<str>, Vec<usize>> = BTreeMap::new();
    for party in (0..parties.len()).filter(|&party| !is_itself(party)) {
        namespaces.entry(&parties[party].group.name.namespace).or_default().push(party);
    }
    let of_namespace = |(namespace, members): (&Arc<str>, Vec<usize>)| -> Vec<(Source, Expected)> {
        let fates: BTreeSet<bool> = members.iter().map(|&party| target.from[party]).collect();
        if fates.len() == 1 && members.len() > 1 {
            let all = Group { namespace: namespace.clone(), pods: Selector::default() };
            return vec![(Source::Pods(all), expected(members[0]))];
        }
        members.iter().flat_map(|&party| source(&ends[party]).map(move |from| (from, expected(party)))).collect()
    };
    namespaces.into_iter().flat_map(of_namespace).collect()
}

fn source(ends: &Ends) -> impl Iterator<Item = Source> {
    let (these, each) = match ends.clone() {
        Ends::These(group) => (Some(Source::Pods(group)), vec![]),
        Ends::Each(pods) => (None, pods),
    };
    these.into_iter().chain(each.into_iter().map(|pod| Source::One(End::Pod(pod))))
}

fn targets(ends: &Ends) -> Vec<Target> {
    match ends {
        Ends::These(group) => vec![Target::Pods(group.clone())],
        Ends::Each(pods) => pods.iter().map(|pod| Target::One(Destination::Pod(pod.clone()))).collect(),
    }
}

/// The labels that these pods have and no others of their namespace, if there are any.
fn ends(cluster: &Cluster, members: &Members<'_>) -> Ends {
    let each = || Ends::Each(members.pods.iter().map(|&pod| pod.clone()).collect());
    let mut labels = members.pods.iter().map(|&pod| -> BTreeSet<(&str, &str)> {
        let labels = cluster.pods[pod].labels.iter().map(|(key, value)| (&**key, &**value));
        labels.filter(|(key, _)| !GENERATED.contains(key)).collect()
    });
    let Some(common) = labels.next().map(|first| labels.fold(first, |common, its| &common & &its)) else {
        return each();
    };
    if common.is_empty() {
        return each();
    }
    let requirement =
        |(key, value): (&str, &str)| Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) };
    let namespace = &members.group.name.namespace;
    let pods = Selector::new(common.into_iter().map(requirement).collect());
    let in_namespace = cluster.pods.values().filter(|pod| pod.key.namespace == *namespace && pod.is_networked());
    let selected = in_namespace.filter(|pod| pods.matches(&pod.labels)).count();
    if selected == members.pods.len() { Ends::These(Group { namespace: namespace.clone(), pods }) } else { each() }
}
