//! Manifests: what is accepted, what is refused with which words, and what a directory of them becomes.

mod as_kubectl;
mod cluster_policies;
mod directory;
mod examples;
mod hostile;
mod kinds;
mod places;
mod policies;
mod random;
mod refused;
mod workloads;

use std::path::Path;

use podgate_policy::model::Policy;
use podgate_source::manifests::{self, Loaded};

/// A text as the file `net.yaml`.
fn parse(text: &str) -> Loaded {
    manifests::parse(Path::new("net.yaml"), text)
}

/// The problems of a text, in the words that users see.
fn problems(text: &str) -> Vec<String> {
    parse(text).problems.iter().map(ToString::to_string).collect()
}

/// A text without any problem.
fn sound(text: &str) -> Loaded {
    let loaded = parse(text);
    assert_eq!(loaded.problems, [], "{text}");
    loaded
}

/// The only policy of a text.
fn only_policy(loaded: &Loaded) -> &Policy {
    assert_eq!(loaded.cluster.policies.len(), 1);
    loaded.cluster.policies.values().next().expect("one policy")
}

/// A NetworkPolicy `shop/p` with this spec, indented by two spaces or in braces.
fn policy(spec: &str) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n";
    format!("{head}spec: {spec}\n")
}
