//! Which connections open or close between two states.
//!
//! Ends are the pods of both states, and the addresses outside them that blocks of either state tell apart: of each block one
//! stands for all that are in no smaller one. Connections from outside are judged at the ports of their destination; those to
//! the outside at the ports that egress rules name, and at TCP/443.

mod outside;
mod render;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::ClusterPeer;
use podgate_policy::evaluate::{PolicyRef, selects as selects_pod};
use podgate_policy::model::{ObjectKey, Pod, Protocol};

pub use render::render;

use crate::explain::listed;
use crate::groups::{Group, Marks, Members, cluster_peers, grouped};
use crate::matrix::{Matrix, PortChoice, Row};

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Connections that open or close, sorted.
    pub changes: Vec<Change>,
    /// Pods of the pod network that are only in the new state.
    pub added: BTreeSet<ObjectKey>,
    /// Those that are only in the old one.
    pub removed: BTreeSet<ObjectKey>,
}

/// A connection that opens or closes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What becomes of it.
    pub what: Move,
    /// Why.
    pub cause: Cause,
    /// Who is connected to.
    pub to: End,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Who opens it.
    pub from: End,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Move {
    /// It passes now.
    Opens,
    /// It passes no more.
    Closes,
}

/// Why a connection opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Both ends are in both states: policies, labels or addresses differ.
    Policy,
    /// One of its pods is only in one of the states.
    Pod,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A pod, or pods that are alike in both states.
    Pod(Group),
    /// The addresses of this block that are no pod's and in no smaller block that some policy names.
    Outside(IpNet),
}

impl Diff {
    /// Whether nothing opens and nothing closes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Move {
    const fn between(before: bool, after: bool) -> Option<Self> {
        match (before, after) {
            (false, true) => Some(Self::Opens),
            (true, false) => Some(Self::Closes),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => pod.fmt(f),
            Self::Outside(block) => block.fmt(f),
        }
    }
}

/// Why nothing that opens or closes was found although something may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCompared {
    /// There are no pods in either state: workloads alone run nothing.
    NoPods,
    /// No pod names a container port, and no ports were asked for.
    NoPorts,
    /// The policies that differ, these, select no pod of either state.
    NothingSelected(BTreeSet<PolicyRef>),
}

impl fmt::Display for NotCompared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was compared: ")?;
        match self {
            Self::NoPods => f.write_str(
                "there are no pods in either state, and workloads such as Deployments stand for none; add the pods, as \
                 kubectl get pods -A -o yaml gives them",
            ),
            Self::NoPorts => f.write_str("no pod names a container port; give --port"),
            Self::NothingSelected(policies) => {
                let policies: Vec<_> = policies.iter().map(PolicyRef::to_string).collect();
                write!(f, "no pod of either state is selected by the policies that differ: {}", listed(&policies))
            }
        }
    }
}

/// Why a diff without changes says nothing; `None`: it has changes, or states with nothing that could open or close are the
/// same.
#[must_use]
pub fn not_compared(old: &Cluster, new: &Cluster, choice: &PortChoice, diff: &Diff) -> Option<NotCompared> {
    if !diff.is_empty() {
        return None;
    }
    if pods(old).is_empty() && pods(new).is_empty() {
        return Some(NotCompared::NoPods);
    }
    let differing = differing_policies(old, new);
    if differing.is_empty() {
        return None;
    }
    if !differing.iter().any(|policy| selects(old, policy) || selects(new, policy)) {
        return Some(NotCompared::NothingSelected(differing));
    }
    ports(old, new, choice).values().all(BTreeSet::is_empty).then_some(NotCompared::NoPorts)
}

/// Whether ClusterNetworkPolicies that differ are about nodes: connections with these are not compared.
#[must_use]
pub fn leaves_out_nodes(old: &Cluster, new: &Cluster) -> bool {
    let nodes = || [old, new].into_iter().flat_map(|state| state.nodes.values()).flat_map(|node| &node.addresses);
    let is_of_nodes = |peer: &ClusterPeer| match peer {
        ClusterPeer::Nodes(_) => true,
        ClusterPeer::Networks(networks) => nodes().any(|node| networks.iter().any(|network| network.contains(node))),
        ClusterPeer::Pods(_) => false,
    };
    let names = differing_policies(old, new);
    let names = names.iter().filter_map(|policy| match policy {
        PolicyRef::Cluster(name) => Some(name),
        PolicyRef::NetworkPolicy(_) => None,
    });
    let policies = names.flat_map(|name| [old, new].into_iter().filter_map(|state| state.cluster_policies.get(name)));
    policies.flat_map(|policy| cluster_peers(policy)).any(is_of_nodes)
}

/// The policies that are other than before, new or gone.
fn differing_policies(old: &Cluster, new: &Cluster) -> BTreeSet<PolicyRef> {
    let all = old.policies.keys().chain(new.policies.keys());
    let differing = all.filter(|key| old.policies.get(*key) != new.policies.get(*key));
    let guards = old.cluster_policies.names().chain(new.cluster_policies.names());
    let guards = guards.filter(|name| old.cluster_policies.get(name) != new.cluster_policies.get(name));
    differing.cloned().map(PolicyRef::from).chain(guards.cloned().map(PolicyRef::Cluster)).collect()
}

/// Whether a policy selects a pod of the pod network.
fn selects(cluster: &Cluster, policy: &PolicyRef) -> bool {
    let selected = |pod: &Pod| match policy {
        PolicyRef::NetworkPolicy(key) => cluster
            .policies
            .get(key)
            .is_some_and(|policy| pod.key.namespace == key.namespace && policy.pod_selector.matches(&pod.labels)),
        PolicyRef::Cluster(name) => {
            cluster.cluster_policies.get(name).is_some_and(|policy| selects_pod(cluster, &policy.subject, pod))
        }
    };
    cluster.pods.values().any(|pod| pod.is_networked() && selected(pod))
}

/// Compares two states on the given ports, every pod by itself. Of container ports, those of both states count.
#[must_use]
pub fn diff(old: &Cluster, new: &Cluster, choice: &PortChoice) -> Diff {
    Comparison::new(old, new, choice, &mut |_, _| {}).by_pod().diff()
}

/// Two states, judged: pods that are alike in both once.
pub struct Comparison<'c> {
    before: Matrix<'c>,
    after: Matrix<'c>,
    /// With addresses outside.
    outside: Vec<Change>,
    /// Pods of the pod network.
    pods: [BTreeSet<ObjectKey>; 2],
    /// The pods that a group in `outside` stands for, where every pod is to stand for itself.
    members: BTreeMap<Group, Vec<&'c ObjectKey>>,
}

impl<'c> Comparison<'c> {
    /// Judges both states; tells after each step how many are done, and of how many.
    #[must_use]
    pub fn new(old: &'c Cluster, new: &'c Cluster, choice: &PortChoice, tell: &mut dyn FnMut(usize, usize)) -> Self {
        let ports = ports(old, new, choice);
        let groups = groups(old, new, &ports);
        let outside = outside::changes(old, new, choice, &groups, &ports);
        let members = groups.iter().map(|members| (members.group.clone(), members.pods.clone())).collect();
        let each = PortChoice::Each(ports);
        let of = |cluster: &'c Cluster| -> Vec<_> {
            groups.iter().filter(|members| networked(cluster, members.pods[0]).is_some()).cloned().collect()
        };
        let before = Matrix::of_groups(old, of(old), &each, &mut |done, of| tell(done, 2 * of));
        let after = Matrix::of_groups(new, of(new), &each, &mut |done, of| tell(of + done, 2 * of));
        Self { before, after, outside, pods: [pods(old), pods(new)], members }
    }

    /// The same with every pod by itself.
    #[must_use]
    pub fn by_pod(self) -> Self {
        let outside = self.outside.iter().flat_map(|change| self.of_each_pod(change)).collect();
        Self { outside, before: self.before.by_pod(), after: self.after.by_pod(), ..self }
    }

    fn of_each_pod(&self, change: &Change) -> Vec<Change> {
        let pods = |end: &End| match end {
            End::Outside(_) => vec![end.clone()],
            End::Pod(group) => {
                let pods = self.members.get(group).into_iter().flatten();
                pods.map(|&pod| End::Pod(pod.clone().into())).collect()
            }
        };
        let (from, to) = (pods(&change.from), pods(&change.to));
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone())));
        pairs.map(|(from, to)| Change { from, to, ..change.clone() }).collect()
    }

    /// What opens and closes.
    #[must_use]
    pub fn diff(&self) -> Diff {
        let mut changes = between_pods(self.before.rows(), self.after.rows());
        changes.extend(self.outside.iter().cloned());
        changes.sort();
        let [before, after] = &self.pods;
        Diff { changes, added: after - before, removed: before - after }
    }

    /// What opens and closes as text, several lines, each ended.
    #[must_use]
    pub fn render(&self, diff: &Diff) -> String {
        let [before, after] = [&self.before, &self.after].map(|it| it.parties().map(|it| &it.group).collect());
        render::render_within(diff, &before, &after)
    }
}

/// The pods of both states that are alike in either, and are asked for the same ports.
fn groups<'c>(old: &'c Cluster, new: &'c Cluster, ports: &Ports) -> Vec<Members<'c>> {
    let (old_marks, new_marks) = (Marks::of(old), Marks::of(new));
    let keys: BTreeSet<&ObjectKey> = old.pods.keys().chain(new.pods.keys()).collect();
    let facts = keys.into_iter().filter_map(|key| {
        let (before, after) = (networked(old, key), networked(new, key));
        let workload = after.or(before)?.workload.as_ref();
        let facts = (before.map(|pod| old_marks.facts(pod)), after.map(|pod| new_marks.facts(pod)), ports.get(key));
        Some((key, workload, facts))
    });
    grouped(facts)
}

/// A pod of the pod network.
fn networked<'c>(cluster: &'c Cluster, key: &ObjectKey) -> Option<&'c Pod> {
    cluster.pods.get(key).map(|pod| &**pod).filter(|pod| pod.is_networked())
}

/// The ports of every pod, by pod.
type Ports = BTreeMap<ObjectKey, BTreeSet<(Protocol, u16)>>;

fn pods(cluster: &Cluster) -> BTreeSet<ObjectKey> {
    cluster.pods.values().filter(|pod| pod.is_networked()).map(|pod| pod.key.clone()).collect()
}

fn ports(old: &Cluster, new: &Cluster, choice: &PortChoice) -> Ports {
    let mut ports = Ports::new();
    for pod in old.pods.values().chain(new.pods.values()) {
        ports.entry(pod.key.clone()).or_default().extend(choice.of(pod));
    }
    ports
}

fn between_pods(old: impl Iterator<Item = Row>, new: impl Iterator<Item = Row>) -> Vec<Change> {
    let other = |row: &Row| row.from != row.to || !row.to.is_pod();
    let mut before = old.filter(other).peekable();
    let mut after = new.filter(other).peekable();
    let mut changes = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => pair(before).cmp(&pair(after)),
        };
        let before = before.next_if(|_| order.is_le());
        let after = after.next_if(|_| order.is_ge());
        changes.extend(change(before, after));
    }
}

fn pair(row: &Row) -> (&Group, &Group, Protocol, u16) {
    (&row.from, &row.to, row.protocol, row.port)
}

/// The change of one pair, which may be in only one of the states.
fn change(before: Option<Row>, after: Option<Row>) -> Option<Change> {
    let allowed = |row: &Option<Row>| row.as_ref().is_some_and(|row| row.allowed);
    let what = Move::between(allowed(&before), allowed(&after))?;
    let cause = if before.is_some() && after.is_some() { Cause::Policy } else { Cause::Pod };
    let Row { from, to, protocol, port, .. } = before.or(after)?;
    Some(Change { what, cause, to: End::Pod(to), protocol, port, from: End::Pod(from) })
}
