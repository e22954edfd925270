//! Policies of other kinds, which other programs enforce.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::convert::{as_cluster_policy, quote};

/// Kinds of policies, with the group of their `apiVersion`.
const KINDS: [(&str, &str); 14] = [
    ("cilium.io", "CiliumClusterwideNetworkPolicy"),
    ("cilium.io", "CiliumNetworkPolicy"),
    ("crd.antrea.io", "ClusterNetworkPolicy"),
    ("crd.antrea.io", "NetworkPolicy"),
    ("crd.projectcalico.org", "GlobalNetworkPolicy"),
    ("crd.projectcalico.org", "NetworkPolicy"),
    ("networking.k8s.aws", "ClusterNetworkPolicy"),
    ("policy.networking.k8s.io", "AdminNetworkPolicy"),
    ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy"),
    ("projectcalico.org", "GlobalNetworkPolicy"),
    ("projectcalico.org", "NetworkPolicy"),
    ("projectcalico.org", "StagedGlobalNetworkPolicy"),
    ("projectcalico.org", "StagedKubernetesNetworkPolicy"),
    ("projectcalico.org", "StagedNetworkPolicy"),
];

/// A policy of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignPolicy {
    group: &'static str,
    kind: &'static str,
    /// Namespace and name, or the name alone.
    name: String,
    /// The same as a ClusterNetworkPolicy, as YAML.
    converted: Option<String>,
}

impl ForeignPolicy {
    /// What an object is, if it is one.
    pub(super) fn of(kind: &str, api_version: &str, value: &Value) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let (group, kind) = KINDS.into_iter().find(|known| *known == (group, kind))?;
        let text = |field: &str| value["metadata"][field].as_str().filter(|text| !text.is_empty());
        let name = text("name").unwrap_or("(unnamed)");
        let name = text("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
        // Names are input; those that are not printable print in quotes.
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-./()".contains(c));
        let converted = as_cluster_policy(kind, value);
        Some(Self { group, kind, name: if is_plain { name } else { quote(&name) }, converted })
    }
}

/// The policies of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPolicies {
    /// Their kind.
    pub kind: &'static str,
    /// The group of their `apiVersion`.
    pub group: &'static str,
    /// Their namespaces and names, in the order in which they are written; at least one.
    pub names: Vec<String>,
    /// The file of the first.
    pub path: Arc<Path>,
    /// The document in it, counted from 1.
    pub document: usize,
    /// Those that can be written as ClusterNetworkPolicies: name, file, document, and what to write, as YAML.
    pub converted: Vec<(String, Arc<Path>, usize, String)>,
}

/// All of them, by group and kind.
pub(super) fn by_kind<'a>(found: impl Iterator<Item = (&'a Path, usize, ForeignPolicy)>) -> Vec<ForeignPolicies> {
    let mut kinds: BTreeMap<_, ForeignPolicies> = BTreeMap::new();
    for (path, document, ForeignPolicy { group, kind, name, converted }) in found {
        let policies = kinds.entry((group, kind)).or_insert_with(|| ForeignPolicies {
            kind,
            group,
            names: vec![],
            path: path.into(),
            document,
            converted: vec![],
        });
        policies.converted.extend(converted.map(|text| (name.clone(), path.into(), document, text)));
        policies.names.push(name);
    }
    kinds.into_values().collect()
}
