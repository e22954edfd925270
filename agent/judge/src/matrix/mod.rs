//! Who reaches whom: the verdicts of all pairs of pods, and of pods and Services.

mod fits;
mod render;
mod services;
mod tiers;

use std::collections::{BTreeMap, BTreeSet};

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Pod, Protocol};

use crate::groups::{Group, Marks, Members, grouped};
use fits::Column;

pub(crate) use render::names_within;
pub use render::{render, render_services};
pub use services::{ServiceRow, services};

/// Which ports are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// These, of every pod.
    Listed(BTreeSet<(Protocol, u16)>),
    /// Of each destination the ports that its containers declare.
    ContainerPorts,
    /// Of each of these destinations its own.
    Each(BTreeMap<ObjectKey, BTreeSet<(Protocol, u16)>>),
}

impl PortChoice {
    /// The ports that are asked for at a pod.
    pub(crate) fn of(&self, pod: &Pod) -> BTreeSet<(Protocol, u16)> {
        match self {
            Self::Listed(ports) => ports.clone(),
            Self::ContainerPorts => pod.ports.iter().map(|port| (port.protocol, port.number)).collect(),
            Self::Each(ports) => ports.get(&pod.key).cloned().unwrap_or_default(),
        }
    }
}

/// The verdict of one pair and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The source. A group as both source and destination means connections from one of its pods to another.
    pub from: Group,
    /// The destination.
    pub to: Group,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether a connection passes over every pair of addresses of one family that the pods have. Pods without a
    /// family in common don't reach each other.
    pub allowed: bool,
}

/// The verdicts of all ordered pairs of pods of the pod network, each with itself included. Those that are alike are
/// judged once.
pub struct Matrix<'c> {
    /// Sorted, each with the index under which it was judged.
    parties: Vec<(Members<'c>, usize)>,
    /// Who reaches whom, by the index of the destination.
    columns: Vec<Vec<Column>>,
}

/// A port of a party, and who reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The party, by its index among [`Matrix::parties`].
    pub party: usize,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// By party: whether it reaches the port.
    pub from: Vec<bool>,
}

impl<'c> Matrix<'c> {
    /// Judges all pairs of groups of pods; tells after each step how many are done, and of how many.
    #[must_use]
    pub fn new(cluster: &'c Cluster, ports: &PortChoice, tell: &mut dyn FnMut(usize, usize)) -> Self {
        let marks = Marks::of(cluster);
        let pods = cluster.pods.values().filter(|pod| pod.is_networked());
        let facts = pods.map(|pod| (&pod.key, pod.workload.as_ref(), (marks.facts(pod), ports.of(pod))));
        Self::of_groups(cluster, grouped(facts), ports, tell)
    }

    /// Judges these groups, of pods that are alike and asked for the same ports.
    pub(crate) fn of_groups(
        cluster: &Cluster,
        groups: Vec<Members<'c>>,
        ports: &PortChoice,
        tell: &mut dyn FnMut(usize, usize),
    ) -> Self {
        let columns = fits::columns(cluster, &groups, ports, tell);
        Self { parties: groups.into_iter().zip(0..).collect(), columns }
    }

    /// The same with every pod as a party by itself.
    #[must_use]
    pub fn by_pod(self) -> Self {
        let pods = self.parties.iter().flat_map(|(members, index)| {
            let single = |&pod: &&'c ObjectKey| (Members { group: pod.clone().into(), pods: vec![pod] }, *index);
            members.pods.iter().map(single)
        });
        let mut parties: Vec<_> = pods.collect();
        parties.sort_by(|(one, _), (other, _)| one.group.cmp(&other.group));
        Self { parties, columns: self.columns }
    }

    /// Whoever is a source and a destination, sorted.
    pub fn parties(&self) -> impl Iterator<Item = &Members<'c>> {
        self.parties.iter().map(|(members, _)| members)
    }

    /// A row for each port of each ordered pair of parties, sorted.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let pairs = (0..self.parties.len()).flat_map(|from| (0..self.parties.len()).map(move |to| (from, to)));
        pairs.flat_map(move |(from, to)| {
            self.columns[self.parties[to].1].iter().map(move |column| Row {
                from: self.parties[from].0.group.clone(),
                to: self.parties[to].0.group.clone(),
                protocol: column.protocol,
                port: column.port,
                allowed: self.is_allowed(from, to, column),
            })
        })
    }

    /// The ports of each party, in the order of the parties.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        (0..self.parties.len()).flat_map(move |to| {
            self.columns[self.parties[to].1].iter().map(move |column| Target {
                party: to,
                protocol: column.protocol,
                port: column.port,
                from: (0..self.parties.len()).map(|from| self.is_allowed(from, to, column)).collect(),
            })
        })
    }

    /// What is judged of a group is judged of different pods; a pod always reaches itself.
    fn is_allowed(&self, from: usize, to: usize, column: &Column) -> bool {
        let (members, _) = &self.parties[to];
        (from == to && members.group.is_pod()) || column.allowed[self.parties[from].1]
    }
}

/// The rows of every pod by itself.
#[must_use]
pub fn matrix(cluster: &Cluster, ports: &PortChoice) -> Vec<Row> {
    Matrix::new(cluster, ports, &mut |_, _| {}).by_pod().rows().collect()
}
