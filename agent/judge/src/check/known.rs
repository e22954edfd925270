//! What is known of the cluster, arranged for questions about selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::{Cluster, Written};
use podgate_policy::evaluate::{Party, claims, everybody_among, rules};
use podgate_policy::model::{Direction, IpBlock, Labels, Namespaces, ObjectKey, Pod, Policy, Rule, Selector};
use podgate_policy::services::Service;

use crate::groups::Marks;

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
    /// The same pods: those that are alike together.
    groups: Vec<Vec<&'c Pod>>,
    /// The same pods by address.
    addresses: BTreeMap<IpAddr, Vec<&'c Pod>>,
    /// What labels of the same pods there are in each namespace, and in all.
    labels: BTreeMap<&'c str, Vocabulary<'c>>,
    all_labels: Vocabulary<'c>,
    /// Labels by namespace.
    namespaces: BTreeMap<Arc<str>, Labels>,
}

/// Every key of some labels with all its values.
#[derive(Debug, Default)]
pub(super) struct Vocabulary<'c>(BTreeMap<&'c str, BTreeSet<&'c str>>);

impl<'c> Vocabulary<'c> {
    pub(super) fn of(all: impl Iterator<Item = &'c Labels>) -> Self {
        let mut words: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (key, value) in all.flatten() {
            words.entry(key).or_default().insert(value);
        }
        Self(words)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'c str> {
        self.0.keys().copied()
    }

    /// The values under a key; `None`: nothing has it.
    pub(super) fn values(&self, key: &str) -> Option<&BTreeSet<&'c str>> {
        self.0.get(key)
    }
}

impl<'c> Known<'c> {
    pub(super) fn new(cluster: &'c Cluster, written: &'c Written) -> Self {
        let mut pods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pod in cluster.pods.values().filter(|pod| pod.is_networked()) {
            pods.entry(&*pod.key.namespace).or_default().push(&**pod);
        }
        let addresses = claims(pods.values().flatten().copied());
        let labels = pods.iter().map(|(&name, pods)| (name, Vocabulary::of(pods.iter().map(|pod| &pod.labels))));
        let labels = labels.collect();
        let all_labels = Vocabulary::of(pods.values().flatten().map(|pod| &pod.labels));
        let groups = alike(cluster, pods.values().flatten().copied());
        let mut namespaces: BTreeMap<Arc<str>, Labels> =
            SYSTEM.map(|name| (name.into(), Labels::from([(NAME_LABEL.into(), name.into())]))).into();
        namespaces.extend(cluster.namespaces.iter().map(|(name, namespace)| (name.clone(), namespace.labels.clone())));
        Self { cluster, written, pods, groups, addresses, labels, all_labels, namespaces }
    }

    /// Pods that selectors can match, those that are alike together: the same policies select them, the same peers
    /// match them.
    pub(super) fn groups(&self) -> &[Vec<&'c Pod>] {
        &self.groups
    }

    /// Those with an address in a block, by key.
    pub(super) fn pods_at(&self, block: &IpBlock) -> BTreeMap<&'c ObjectKey, &'c Pod> {
        let inside = self.addresses.range(block.cidr.network()..=block.cidr.broadcast());
        let inside = inside.filter(|(address, _)| block.contains(**address));
        inside.flat_map(|(_, pods)| pods).map(|&pod| (&pod.key, pod)).collect()
    }

    /// A party as each of the pods whose its address is.
    pub(super) fn everybody(&self, party: &Party<'c>) -> Vec<Party<'c>> {
        everybody_among(&self.addresses, party)
    }

    /// What labels these pods have in a namespace, if there are any.
    pub(super) fn labels_in(&self, namespace: &str) -> Option<&Vocabulary<'c>> {
        self.labels.get(namespace)
    }

    /// What labels these pods have anywhere.
    pub(super) fn all_labels(&self) -> &Vocabulary<'c> {
        &self.all_labels
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

    /// Namespaces of pods that selectors can match, with these.
    pub(super) fn inhabited(&self) -> impl Iterator<Item = (&'c str, &[&'c Pod])> {
        self.pods.iter().map(|(&name, pods)| (name, pods.as_slice()))
    }

    /// The pods that a policy selects.
    pub(super) fn selected(&self, policy: &Policy) -> Vec<&'c Pod> {
        let here = self.pods_in(&policy.key.namespace).iter();
        here.copied().filter(|pod| policy.pod_selector.matches(&pod.labels)).collect()
    }

    /// The Services that select a pod.
    pub(super) fn services_of(&self, pod: &Pod) -> impl Iterator<Item = &'c Service> + use<'c> {
        let (namespace, labels) = (pod.key.namespace.clone(), pod.labels.clone());
        let start = ObjectKey::new(namespace.clone(), "");
        let here = self.cluster.services.range(start..).take_while(move |(key, _)| key.namespace == namespace);
        here.map(|(_, service)| &**service).filter(move |service| {
            let fits = service.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            fits && !service.selector.is_empty()
        })
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

/// Pods by what policies can tell apart, in order.
fn alike<'c>(cluster: &'c Cluster, pods: impl Iterator<Item = &'c Pod>) -> Vec<Vec<&'c Pod>> {
    let marks = Marks::of(cluster);
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for pod in pods {
        groups.entry(marks.facts(pod)).or_default().push(pod);
    }
    groups.into_values().collect()
}

/// Every rule of a policy with its direction and index.
pub(super) fn all_rules(policy: &Policy) -> impl Iterator<Item = (Direction, usize, &Rule)> {
    Direction::ALL.into_iter().flat_map(move |direction| {
        let rules = rules(policy, direction).unwrap_or_default();
        rules.iter().enumerate().map(move |(index, rule)| (direction, index, rule))
    })
}
