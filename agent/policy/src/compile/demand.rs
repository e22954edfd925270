//! How much work policies make, counted before any of it is done.
//!
//! Classes keep tables small where rules share peers and ports. Rules that all overlap in all others have a class for each
//! combination: what they cost grows with the square or the cube of their number, while a policy of a megabyte has room for ten
//! thousand of them. So the steps that a spec would take are counted first, in the time that it takes to sort it:
//!
//! - for ports, the stretches between the ends of ranges, each with the square of how many ranges cover it;
//! - for blocks, the prefixes with the blocks around each;
//! - for pods, what is compared with each, beyond a few;
//! - for the classes that these make, the terms and the stretches of ports of each.
//!
//! Where rules overlap, a stretch counts for each rule. Counting ends where the budget does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use crate::cluster::Cluster;
use crate::cluster_policy::{ClusterPeer, ClusterPolicy, Matches, PodSelection, ProtocolMatch, Protocols};
use crate::compile::asks::Asks;
use crate::compile::blocks::outermost;
use crate::compile::peers::{Hook, hooks};
use crate::compile::terms::{AskId, Grant, PortRange, Scope, Spec, Term, Who};
use crate::id::Id as _;
use crate::model::{IpBlock, Labels, Policy, Protocol, Selector};
use crate::model::{Isolation, Peer, Peers, PortSpec, Ports};

/// What has no more terms, blocks, exceptions and selectors than this is not worth counting.
const FEW: usize = 64;

/// Where `FEW` such things are overlaid without end, what they cost together is.
const DEPTH_SHIFT: u32 = 4;

/// The steps to compile a policy: of an egress rule that names ports, whose number each peer has for itself, each peer counts
/// for each.
pub(crate) fn of_policy(policy: &Policy) -> u64 {
    let rules = match &policy.egress {
        Isolation::Restricted(rules) => rules.as_slice(),
        Isolation::Unaffected => &[],
    };
    let steps = rules.iter().map(|rule| {
        let names = match &rule.ports {
            Ports::Any => 0,
            Ports::Listed(ports) => ports.iter().filter(|port| matches!(port.port, PortSpec::Named(_))).count(),
        };
        let peers = match &rule.peers {
            Peers::Any => 0,
            Peers::Listed(peers) => peers.iter().map(weight).sum(),
        };
        product(names, peers)
    });
    steps.sum()
}

/// The steps to compile a ClusterNetworkPolicy, likewise. A name is one of each protocol.
pub(crate) fn of_cluster_policy(policy: &ClusterPolicy) -> u64 {
    let steps = policy.egress.iter().map(|rule| {
        let Matches::Some { peers, protocols: Protocols::Listed(protocols) } = &rule.matches else { return 0 };
        let names = protocols.iter().filter(|protocol| matches!(protocol, ProtocolMatch::Named(_))).count();
        let weight = |peer: &ClusterPeer| match peer {
            ClusterPeer::Pods(PodSelection { pods, .. }) => 1 + pods.weight(),
            ClusterPeer::Networks(networks) => networks.len(),
            ClusterPeer::Nodes(_) => 0,
        };
        product(names * Protocol::ALL.len(), peers.iter().map(weight).sum())
    });
    steps.sum()
}

fn weight(peer: &Peer) -> usize {
    match peer {
        Peer::Block(block) => block.prefixes().count(),
        Peer::Pods { pods, .. } => 1 + pods.weight(),
    }
}

/// The steps of a spec, if they are more than a budget; else something within it.
pub(crate) fn of_spec(spec: &Spec, asks: &Asks, cluster: &Cluster, budget: u64) -> u64 {
    let weight = |ask: AskId| asks.get(ask).peers.iter().map(Who::weight).sum::<usize>();
    if spec.terms().len() <= FEW && spec.asks().map(weight).sum::<usize>() <= FEW {
        return 0;
    }
    let stretches = Stretches::of(spec.terms().iter());
    let weights = Weights::new(spec, &stretches);
    let mut steps = Steps { taken: stretches.steps(), budget };
    Nodes::new(spec, asks).count(&weights, &mut steps);
    if !steps.are_over() {
        Pods::new(spec, asks).count(cluster, &weights, &mut steps);
    }
    steps.taken
}

/// Steps that were counted.
struct Steps {
    taken: u64,
    budget: u64,
}

impl Steps {
    fn take(&mut self, steps: usize) {
        self.taken = self.taken.saturating_add(steps as u64);
    }

    fn are_over(&self) -> bool {
        self.taken > self.budget
    }
}

fn product(one: usize, other: usize) -> u64 {
    (one as u64).saturating_mul(other as u64)
}

/// The ends of ranges of ports, by protocol: the first port of each stretch that all ranges cover or leave out as one.
pub(crate) struct Stretches {
    starts: [Vec<u32>; 3],
    /// The sum of the squares of how many ranges cover each stretch.
    depths: u64,
}

impl Stretches {
    /// Those of the ranges among terms.
    pub(crate) fn of<'t>(terms: impl Iterator<Item = &'t Term>) -> Self {
        let ranges: BTreeSet<_> = terms.filter_map(|term| range(term.grant)).collect();
        Self::new(ranges.iter().copied())
    }

    /// Those of these ranges, each once.
    pub(crate) fn new(ranges: impl Iterator<Item = PortRange>) -> Self {
        let mut ends: [Vec<(u32, i64)>; 3] = Default::default();
        for range in ranges {
            let (first, after) = bounds(range);
            ends[range.protocol as usize].extend([(first, 1), (after, -1)]);
        }
        let mut depths = 0u64;
        let starts = ends.map(|mut ends| {
            ends.sort_unstable();
            let mut depth = 0i64;
            let mut starts = Vec::new();
            for at in ends.chunk_by(|a, b| a.0 == b.0) {
                depth += at.iter().map(|(_, change)| change).sum::<i64>();
                depths = depths.saturating_add(depth.unsigned_abs().saturating_mul(depth.unsigned_abs()));
                starts.push(at[0].0);
            }
            starts
        });
        Self { starts, depths }
    }

    /// What it takes to lay the ranges over each other.
    pub(crate) fn steps(&self) -> u64 {
        self.depths >> DEPTH_SHIFT
    }

    fn all(&self) -> usize {
        self.starts.iter().map(Vec::len).sum()
    }

    /// How many stretches there are from one port to before another.
    fn between(&self, protocol: Protocol, (first, after): (u32, u32)) -> usize {
        let starts = &self.starts[protocol as usize];
        starts.partition_point(|&start| start < after) - starts.partition_point(|&start| start < first)
    }

    /// How many stretches terms cover that are sorted by protocol and first port.
    fn covered(&self, terms: &[Term]) -> usize {
        let (mut covered, mut until) = (0, [0; 3]);
        for range in terms.iter().filter_map(|term| range(term.grant)) {
            let (first, after) = bounds(range);
            let until = &mut until[range.protocol as usize];
            covered += self.between(range.protocol, (first.max(*until), after.max(*until)));
            *until = after.max(*until);
        }
        covered
    }
}

fn bounds(range: PortRange) -> (u32, u32) {
    (u32::from(range.first), u32::from(range.last) + 1)
}

pub(crate) fn range(grant: Grant) -> Option<PortRange> {
    match grant {
        Grant::Range(range) => Some(range),
        Grant::Any | Grant::Protocol(_) | Grant::Named(_) => None,
    }
}

/// What each ask adds to the row of a class.
struct Weights {
    /// Terms and stretches of ports.
    asks: HashMap<AskId, (usize, usize)>,
    /// Of what is for everyone.
    default: (usize, usize),
    /// All stretches: no row has more.
    stretches: usize,
}

impl Weights {
    fn new(spec: &Spec, stretches: &Stretches) -> Self {
        let weigh = |terms: &[Term]| (terms.len(), stretches.covered(terms));
        Self {
            asks: spec.asks().map(|ask| (ask, weigh(spec.terms_of(Some(ask))))).collect(),
            default: weigh(spec.terms_of(None)),
            stretches: stretches.all(),
        }
    }

    fn of(&self, ask: AskId) -> (usize, usize) {
        self.asks.get(&ask).copied().unwrap_or_default()
    }
}

/// A set of asks, told apart from others by a number that is as good as random.
#[derive(Clone, Copy, Default)]
struct Class {
    signature: u64,
    asks: usize,
    terms: usize,
    stretches: usize,
}

impl Class {
    fn add(&mut self, ask: AskId, weights: &Weights) {
        let (terms, stretches) = weights.of(ask);
        self.signature ^= scatter(ask);
        self.asks += 1;
        self.terms += terms;
        self.stretches += stretches;
    }

    fn remove(&mut self, ask: AskId, weights: &Weights) {
        let (terms, stretches) = weights.of(ask);
        self.signature ^= scatter(ask);
        self.asks -= 1;
        self.terms -= terms;
        self.stretches -= stretches;
    }

    /// What the row of the class takes.
    fn steps(&self, weights: &Weights) -> usize {
        self.asks + weights.default.0 + self.terms + weights.stretches.min(weights.default.1 + self.stretches)
    }
}

/// A number for an ask that sums of other asks' numbers don't hit by chance (the finaliser of SplitMix64).
fn scatter(ask: AskId) -> u64 {
    let mut bits = u64::from(ask.number()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The prefixes of a spec's blocks and exceptions.
struct Nodes {
    /// Sorted, so that what contains a prefix stands before it.
    prefixes: Vec<IpNet>,
    /// By ask.
    blocks: Vec<(AskId, Vec<IpBlock>)>,
}

impl Nodes {
    fn new(spec: &Spec, asks: &Asks) -> Self {
        let of = |ask| {
            let blocks = asks.get(ask).peers.iter().filter_map(|who| match who {
                Who::Block(block) => Some(block.clone()),
                Who::Pods { .. } => None,
            });
            (ask, blocks.collect::<Vec<_>>())
        };
        let blocks: Vec<_> = spec.asks().map(of).filter(|(_, blocks)| !blocks.is_empty()).collect();
        let prefixes = prefixes(blocks.iter().flat_map(|(_, blocks)| blocks));
        Self { prefixes, blocks }
    }

    fn count(&self, weights: &Weights, steps: &mut Steps) {
        for (_, blocks) in &self.blocks {
            steps.taken = steps.taken.saturating_add(around(&self.prefixes, blocks.iter()));
        }
        if !steps.are_over() {
            self.count_classes(weights, steps);
        }
    }

    /// Counts the classes along the prefixes, each once.
    fn count_classes(&self, weights: &Weights, steps: &mut Steps) {
        let mut turns: Vec<_> = self.blocks.iter().flat_map(|(ask, blocks)| turns(*ask, blocks)).collect();
        turns.sort_unstable();
        let (mut seen, mut walk) = (BTreeSet::new(), Walk::<Class>::default());
        for here in turns.chunk_by(|a, b| a.0 == b.0) {
            let prefix = here[0].0;
            let mut class = walk.around(prefix);
            for &(_, ask, begins) in here {
                if begins { class.add(ask, weights) } else { class.remove(ask, weights) }
            }
            walk.enter(prefix, class);
            if seen.insert(class.signature) {
                steps.take(class.steps(weights));
            }
            if steps.are_over() {
                return;
            }
        }
    }
}

/// A walk over prefixes, what contains others first: where it is, from the outermost prefix on, with what holds in each.
#[derive(Default)]
struct Walk<T>(Vec<(IpNet, T)>);

impl<T: Copy + Default> Walk<T> {
    /// Goes to the next prefix; what holds around it.
    fn around(&mut self, prefix: IpNet) -> T {
        while self.0.pop_if(|(around, _)| !around.contains(&prefix)).is_some() {}
        self.0.last().map(|(_, held)| *held).unwrap_or_default()
    }

    /// Says what holds in the prefix.
    fn enter(&mut self, prefix: IpNet, held: T) {
        self.0.push((prefix, held));
    }
}

/// The prefixes at which addresses begin to fulfil an ask, or cease to.
fn turns(ask: AskId, blocks: &[IpBlock]) -> Vec<(IpNet, AskId, bool)> {
    let mut changes = BTreeMap::<IpNet, i64>::new();
    for block in blocks {
        *changes.entry(block.cidr).or_default() += 1;
        for except in outermost(block) {
            *changes.entry(except).or_default() -= 1;
        }
    }
    let (mut turns, mut walk) = (Vec::new(), Walk::<i64>::default());
    for (prefix, change) in changes {
        let before = walk.around(prefix);
        walk.enter(prefix, before + change);
        if (before > 0) != (before + change > 0) {
            turns.push((prefix, ask, before == 0));
        }
    }
    turns
}

/// The prefixes of blocks and their exceptions, sorted, each once.
fn prefixes<'b>(blocks: impl Iterator<Item = &'b IpBlock>) -> Vec<IpNet> {
    let mut prefixes: Vec<_> = blocks.flat_map(IpBlock::prefixes).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// How many blocks are around prefixes, all in all.
fn around<'b>(prefixes: &[IpNet], blocks: impl Iterator<Item = &'b IpBlock>) -> u64 {
    let inside = |net: &IpNet| {
        let start = prefixes.partition_point(|prefix| prefix < net);
        prefixes[start..].partition_point(|prefix| net.contains(prefix))
    };
    let of = |block: &IpBlock| inside(&block.cidr) - outermost(block).iter().map(inside).sum::<usize>();
    blocks.map(|block| of(block) as u64).sum()
}

/// The selectors of a spec, filed as [`hooks`] says, by scope.
struct Pods<'s> {
    scopes: Vec<&'s Scope>,
    filed: HashMap<(usize, Hook), Vec<(AskId, &'s Selector)>>,
}

impl<'s> Pods<'s> {
    fn new(spec: &Spec, asks: &'s Asks) -> Self {
        let mut pods = Self { scopes: Vec::new(), filed: HashMap::new() };
        let mut numbers = HashMap::new();
        for ask in spec.asks() {
            for who in asks.get(ask).peers.iter() {
                let Who::Pods { scope, pods: selector } = who else { continue };
                let number = *numbers.entry(scope).or_insert_with(|| {
                    pods.scopes.push(scope);
                    pods.scopes.len() - 1
                });
                for hook in hooks(selector) {
                    pods.filed.entry((number, hook)).or_default().push((ask, selector));
                }
            }
        }
        pods
    }

    fn count(&self, cluster: &Cluster, weights: &Weights, steps: &mut Steps) {
        if self.scopes.is_empty() {
            return;
        }
        let (mut seen, mut near) = (BTreeSet::new(), (None, Vec::new()));
        for pod in cluster.pods.values().filter(|pod| pod.is_networked() && !pod.addresses.is_empty()) {
            let namespace = &pod.key.namespace;
            if near.0 != Some(namespace) {
                near = (Some(namespace), self.scopes_around(cluster, namespace));
                steps.take(self.scopes.len());
            }
            let class = self.class(&pod.labels, &near.1, weights, steps);
            if seen.insert(class.signature) {
                steps.take(class.steps(weights));
            }
            if steps.are_over() {
                return;
            }
        }
    }

    fn scopes_around(&self, cluster: &Cluster, namespace: &Arc<str>) -> Vec<usize> {
        let none = Labels::new();
        let labels = cluster.namespaces.get(namespace).map_or(&none, |namespace| &namespace.labels);
        let contains = |scope: &Scope| match scope {
            Scope::Own(own) => own == namespace,
            Scope::Matching(selector) => selector.matches(labels),
        };
        (0..self.scopes.len()).filter(|&number| contains(self.scopes[number])).collect()
    }

    /// What a pod with these labels fulfils. A few comparisons for each pod are what any policy takes: only more are counted.
    fn class(&self, labels: &Labels, scopes: &[usize], weights: &Weights, steps: &mut Steps) -> Class {
        let (mut fulfilled, mut few) = (BTreeSet::new(), FEW);
        for &scope in scopes {
            let pairs = labels.iter().map(|(key, value)| Some((Arc::clone(key), Arc::clone(value))));
            for hook in pairs.chain([None]) {
                for (ask, selector) in self.filed.get(&(scope, hook)).into_iter().flatten() {
                    let compared = 1 + selector.requirements().len();
                    steps.take(compared.saturating_sub(few));
                    few = few.saturating_sub(compared);
                    if selector.matches(labels) {
                        fulfilled.insert(*ask);
                    }
                    if steps.are_over() {
                        return Class::default();
                    }
                }
            }
        }
        let mut class = Class::default();
        fulfilled.into_iter().for_each(|ask| class.add(ask, weights));
        class
    }
}

/// The ranges and blocks of all specs that the tables are asked to hold: what they cost together.
#[derive(Debug, Default)]
pub(crate) struct Together {
    ranges: BTreeMap<PortRange, u32>,
    blocks: BTreeMap<IpBlock, u32>,
    prefixes: usize,
}

impl Together {
    /// Takes in a spec.
    pub(crate) fn add(&mut self, spec: &Spec, asks: &Asks) {
        for range in ranges_of(spec) {
            *self.ranges.entry(range).or_default() += 1;
        }
        for block in blocks_of(spec, asks) {
            self.prefixes += block.prefixes().count();
            *self.blocks.entry(block.clone()).or_default() += 1;
        }
    }

    /// Takes out a spec.
    pub(crate) fn remove(&mut self, spec: &Spec, asks: &Asks) {
        for range in ranges_of(spec) {
            decrement(&mut self.ranges, &range);
        }
        for block in blocks_of(spec, asks) {
            self.prefixes -= block.prefixes().count();
            decrement(&mut self.blocks, block);
        }
    }

    /// The steps of all, with one more spec; 0 if they are few.
    pub(crate) fn steps_with(&self, spec: &Spec, asks: &Asks) -> u64 {
        self.steps_of_ranges(spec).saturating_add(self.steps_of_blocks(spec, asks))
    }

    fn steps_of_ranges(&self, spec: &Spec) -> u64 {
        let new: BTreeSet<_> = ranges_of(spec).into_iter().filter(|range| !self.ranges.contains_key(range)).collect();
        if new.is_empty() || self.ranges.len() + new.len() <= 2 * FEW {
            return 0;
        }
        Stretches::new(self.ranges.keys().copied().chain(new)).steps()
    }

    fn steps_of_blocks(&self, spec: &Spec, asks: &Asks) -> u64 {
        let new: BTreeSet<_> = blocks_of(spec, asks).filter(|block| !self.blocks.contains_key(*block)).collect();
        let more: usize = new.iter().map(|block| block.prefixes().count()).sum();
        if new.is_empty() || self.prefixes + more <= 8 * FEW {
            return 0;
        }
        let all = || self.blocks.keys().chain(new.iter().copied());
        around(&prefixes(all()), all())
    }
}

fn ranges_of(spec: &Spec) -> BTreeSet<PortRange> {
    spec.terms().iter().filter_map(|term| range(term.grant)).collect()
}

fn blocks_of<'a>(spec: &'a Spec, asks: &'a Asks) -> impl Iterator<Item = &'a IpBlock> {
    let peers = spec.asks().flat_map(|ask| asks.get(ask).peers.iter());
    peers.filter_map(|who| if let Who::Block(block) = who { Some(block) } else { None })
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
