//! A NetworkPolicy written out: the half of a permission that is missing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use podgate_policy::model::{Direction, Labels, ObjectKey, Pod, PortMatch, PortSpec, Ports, Workload};

use crate::check::known::{Known, NAME_LABEL};

/// The labels by which people name their workloads, the best first: the first set that tells a workload from the others of its
/// namespace is taken.
const NAMING: [&[&str]; 6] = [
    &["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"],
    &["app.kubernetes.io/name", "app.kubernetes.io/component"],
    &["app.kubernetes.io/name", "app.kubernetes.io/instance"],
    &["app.kubernetes.io/name"],
    &["app"],
    &["k8s-app"],
];

/// Labels that controllers give, and that change with every roll-out or pod, or with every release.
const PASSING: [&str; 12] = [
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "helm.sh/chart",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
];
/// The same, by pod.
const OF_POD: &str = "statefulset.kubernetes.io/pod-name";

/// A workload, or a pod without one, as people know it.
pub(super) fn name_of(pod: &Pod) -> String {
    match &pod.workload {
        Some(workload) => format!("{} {}/{}", workload.kind, pod.key.namespace, workload.name),
        None => format!("pod {}", pod.key),
    }
}

/// One half of a permission: what a policy for some pods has to say of others.
pub(super) struct Half<'a> {
    /// The pods that the policy selects: one of them.
    pub(super) subject: &'a Pod,
    /// In which direction.
    pub(super) direction: Direction,
    /// The other end: one pod of each workload, at least one.
    pub(super) peers: Vec<&'a Pod>,
    /// On which ports.
    pub(super) ports: Ports,
}

impl Half<'_> {
    /// As YAML, ended; `None` where an end has no labels by which it can be selected.
    pub(super) fn yaml(&self, known: &Known<'_>) -> Option<String> {
        let subject = labels(known, self.subject)?;
        let (types, peers_field) = match self.direction {
            Direction::Ingress => ("Ingress", "from"),
            Direction::Egress => ("Egress", "to"),
        };
        let first = self.peers.first()?;
        let namespace = scalar(&self.subject.key.namespace);
        let name = scalar(&format!("{}-{peers_field}-{}", short(self.subject), short(first)));
        let mut text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  namespace: {namespace}\n  name: {name}\nspec:\n  \
             podSelector:\n{}  policyTypes: [{types}]\n  {}:\n    - {peers_field}:\n",
            match_labels(&subject, 4),
            self.direction
        );
        let mut elements = BTreeSet::new();
        for peer in &self.peers {
            let mut element = String::new();
            if peer.key.namespace == self.subject.key.namespace {
                element += "        - podSelector:\n";
            } else {
                let own = [(NAME_LABEL.into(), Arc::clone(&peer.key.namespace))].into_iter().collect();
                element += "        - namespaceSelector:\n";
                element += &match_labels(&own, 12);
                element += "          podSelector:\n";
            }
            elements.insert(element + &match_labels(&labels(known, peer)?, 12));
        }
        elements.iter().for_each(|element| text += element);
        if let Ports::Listed(ports) = &self.ports {
            text += "      ports:\n";
            ports.iter().for_each(|port| text += &port_element(port));
        }
        Some(text)
    }
}

fn short(pod: &Pod) -> &str {
    pod.workload.as_ref().map_or(&pod.key.name, |workload| &workload.name)
}

/// The labels that tell a pod's workload from the others of its namespace and stay what they are: as few as do.
fn labels(known: &Known<'_>, pod: &Pod) -> Option<Labels> {
    let whose = |pod: &Pod| pod.workload.clone().ok_or_else(|| pod.labels.clone());
    let own = whose(pod);
    let others: Vec<_> = known.pods_in(&pod.key.namespace).iter().filter(|other| whose(other) != own).collect();
    let tells = |labels: &Labels| !others.iter().any(|other| has_all(&other.labels, labels));
    let stable = || pod.labels.iter().filter(|(key, _)| !PASSING.contains(&&***key) && ***key != *OF_POD);
    let of = |keys: &[&str]| -> Labels {
        stable().filter(|(key, _)| keys.contains(&&***key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let complete = NAMING.iter().map(|keys| (keys.len(), of(keys))).filter(|(asked, found)| found.len() == *asked);
    let fewest = complete.map(|(_, labels)| labels).filter(tells).min_by_key(|labels| labels.len());
    let all: Labels = stable().map(|(key, value)| (key.clone(), value.clone())).collect();
    fewest.or_else(|| (!all.is_empty()).then_some(all))
}

fn has_all(labels: &Labels, asked: &Labels) -> bool {
    asked.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn match_labels(labels: &Labels, indent: usize) -> String {
    let mut text = format!("{:indent$}matchLabels:\n", "");
    for (key, value) in labels {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:indent$}  {}: {}", "", scalar(key), scalar(value));
    }
    text
}

fn port_element(port: &PortMatch) -> String {
    let head = format!("        - protocol: {}\n", port.protocol);
    match &port.port {
        PortSpec::All => head,
        PortSpec::Named(name) => format!("{head}          port: {}\n", scalar(name)),
        PortSpec::Range { first, last } if first == last => format!("{head}          port: {first}\n"),
        PortSpec::Range { first, last } => format!("{head}          port: {first}\n          endPort: {last}\n"),
    }
}

/// A text as YAML reads it back: plain where nothing else could be meant.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    // What YAML 1.1 takes for a truth value or for nothing.
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if plain && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    format!("{text:?}")
}

/// Workloads, one pod of each, by key.
pub(super) fn one_of_each<'c>(pods: impl Iterator<Item = &'c Pod>) -> Vec<&'c Pod> {
    let mut seen: BTreeSet<(&str, Result<&Workload, &ObjectKey>)> = BTreeSet::new();
    let whose = |pod: &'c Pod| (&*pod.key.namespace, pod.workload.as_ref().ok_or(&pod.key));
    let mut pods: Vec<_> = pods.filter(|pod| seen.insert(whose(pod))).collect();
    pods.sort_by(|one, other| one.key.cmp(&other.key));
    pods
}
