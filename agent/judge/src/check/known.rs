//! What is known of the cluster, arranged for questions about selectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use podgate_policy::cluster::{Cluster, Written};
use podgate_policy::evaluate::rules;
use podgate_policy::model::{Direction, Labels, Namespaces, ObjectKey, Pod, Policy, Rule, Selector};

/// The label that the API server gives every namespace.
pub(super) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The namespaces that every cluster has.
const SYSTEM: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The state, and pods and namespaces as selectors see them.
pub(super) struct Known<'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) written: &'c Written,
    /// Pods that selectors can match, by namespace.
    pods: BTreeMap<&'c str, Vec<&'c Pod>>,
    /// Labels by namespace.
    namespaces: BTreeMap<Arc<str>, Labels>,
}

impl<'c> Known<'c> {
    pub(super) fn new(cluster: &'c Cluster, written: &'c Written) -> Self {
        let mut pods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pod in cluster.pods.values().filter(|pod| pod.is_networked()) {
            pods.entry(&*pod.key.namespace).or_default().push(&**pod);
        }
        let mut namespaces: BTreeMap<Arc<str>, Labels> =
            SYSTEM.map(|name| (name.into(), Labels::from([(NAME_LABEL.into(), name.into())]))).into();
        namespaces.extend(cluster.namespaces.iter().map(|(name, namespace)| (name.clone(), namespace.labels.clone())));
        Self { cluster, written, pods, namespaces }
    }

    /// Every policy as it was written.
    pub(super) fn policies(&self) -> impl Iterator<Item = &'c Policy> {
        let sound = |policy: &&Policy| !self.written.unsound.contains(&policy.key);
        self.cluster.policies.values().map(|policy| &**policy).filter(sound)
    }

    /// Whether anything can be said of what selects pods.
    pub(super) fn has_pods(&self) -> bool {
        !self.cluster.pods.is_empty()
    }

    /// Pods that selectors can match.
    pub(super) fn all_pods(&self) -> impl Iterator<Item = &'c Pod> {
        self.pods.values().flatten().copied()
    }

    /// Those of one namespace.
    pub(super) fn pods_in(&self, namespace: &str) -> &[&'c Pod] {
        self.pods.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The pods that a policy selects.
    pub(super) fn selected(&self, policy: &Policy) -> Vec<&'c Pod> {
        let here = self.pods_in(&policy.key.namespace).iter();
        here.copied().filter(|pod| policy.pod_selector.matches(&pod.labels)).collect()
    }

    /// The namespaces of a peer of a policy in namespace `own`.
    pub(super) fn namespaces(&self, own: &str, which: &Namespaces) -> Vec<&str> {
        let fits = |name: &str, labels: &Labels| match which {
            Namespaces::Own => name == own,
            Namespaces::Matching(selector) => selector.matches(labels),
        };
        self.namespaces.iter().filter(|(name, labels)| fits(name, labels)).map(|(name, _)| &**name).collect()
    }

    /// All namespaces with their labels.
    pub(super) fn all_namespaces(&self) -> &BTreeMap<Arc<str>, Labels> {
        &self.namespaces
    }

    /// Whether a namespace holds pods that are not given: it exists in every cluster, and none of its pods is known.
    pub(super) fn is_hidden(&self, namespace: &str) -> bool {
        SYSTEM.contains(&namespace) && self.pods_in(namespace).is_empty()
    }

    /// Host-network pods of these namespaces that a selector would match if it could.
    pub(super) fn host_pods(&self, namespaces: &[&str], selector: &Selector) -> Vec<&'c ObjectKey> {
        let fits =
            |pod: &&Pod| pod.host_network && namespaces.contains(&&*pod.key.namespace) && selector.matches(&pod.labels);
        self.cluster.pods.values().map(|pod| &**pod).filter(fits).map(|pod| &pod.key).collect()
    }
}

/// Every rule of a policy with its direction and index.
pub(super) fn all_rules(policy: &Policy) -> impl Iterator<Item = (Direction, usize, &Rule)> {
    Direction::ALL.into_iter().flat_map(move |direction| {
        let rules = rules(policy, direction).unwrap_or_default();
        rules.iter().enumerate().map(move |(index, rule)| (direction, index, rule))
    })
}
