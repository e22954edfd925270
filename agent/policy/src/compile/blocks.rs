//! The prefixes of active blocks and their exceptions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::peers::PeerId;
use crate::compile::terms::GroupNumber;
use crate::model::IpBlock;

/// Every prefix that is some active block's or exception's. The addresses whose longest prefix is the same are in the
/// same blocks.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    nodes: BTreeMap<IpNet, Node>,
    /// How many prefixes have a length, for IPv4 and IPv6.
    lengths: [BTreeMap<u8, u32>; 2],
}

/// What is known of a prefix.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The blocks that contain it and have no exception around it.
    pub(crate) peers: BTreeSet<PeerId>,
    /// The groups of addresses whose longest prefix it is.
    pub(crate) groups: BTreeSet<GroupNumber>,
    /// How many blocks have it as `cidr` or exception.
    owners: u32,
}

/// What a change of blocks did to the prefixes.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Prefixes that came or went: the longest prefix of addresses in them may be another now.
    pub(crate) moved: BTreeSet<IpNet>,
    /// Prefixes that are in other blocks than before, or in the same that now mean something else.
    pub(crate) changed: BTreeSet<IpNet>,
}

impl Blocks {
    /// Adds a block.
    pub(crate) fn insert(&mut self, peer: PeerId, block: &IpBlock, touched: &mut Touched) {
        for prefix in block.prefixes() {
            self.own(prefix, touched);
        }
        for prefix in self.covered(block) {
            self.node(prefix).peers.insert(peer);
            touched.changed.insert(prefix);
        }
    }

    /// Removes a block.
    pub(crate) fn remove(&mut self, peer: PeerId, block: &IpBlock, touched: &mut Touched) {
        for prefix in self.covered(block) {
            self.node(prefix).peers.remove(&peer);
            touched.changed.insert(prefix);
        }
        for prefix in block.prefixes() {
            self.disown(prefix, touched);
        }
    }

    /// Notes that a block means something else than before: an ask came or went that has it.
    pub(crate) fn touch(&self, block: &IpBlock, touched: &mut Touched) {
        touched.changed.extend(self.covered(block));
    }

    /// The longest prefix around an address.
    pub(crate) fn longest(&self, address: IpAddr) -> Option<IpNet> {
        let prefix = |&length: &u8| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            self.nodes.contains_key(&prefix).then_some(prefix)
        };
        self.lengths[usize::from(address.is_ipv6())].keys().rev().find_map(prefix)
    }

    /// What is known of a prefix.
    pub(crate) fn get(&self, prefix: IpNet) -> Option<&Node> {
        self.nodes.get(&prefix)
    }

    /// The groups at a prefix, to be changed; `None` if it is gone.
    pub(crate) fn groups_mut(&mut self, prefix: IpNet) -> Option<&mut BTreeSet<GroupNumber>> {
        self.nodes.get_mut(&prefix).map(|node| &mut node.groups)
    }

    /// The prefixes in a block and in none of its exceptions.
    fn covered(&self, block: &IpBlock) -> Vec<IpNet> {
        let inside = self.nodes.range(block.cidr..).map(|(&prefix, _)| prefix).take_while(|p| block.cidr.contains(p));
        let exceptions = outermost(block);
        inside.filter(|prefix| !is_in(&exceptions, prefix)).collect()
    }

    fn own(&mut self, prefix: IpNet, touched: &mut Touched) {
        if !self.nodes.contains_key(&prefix) {
            let peers = self.parent(prefix).map(|parent| self.nodes[&parent].peers.clone()).unwrap_or_default();
            self.nodes.insert(prefix, Node { peers, ..Node::default() });
            *self.lengths[family(prefix)].entry(prefix.prefix_len()).or_default() += 1;
            touched.moved.insert(prefix);
            touched.changed.insert(prefix);
        }
        self.node(prefix).owners += 1;
    }

    fn disown(&mut self, prefix: IpNet, touched: &mut Touched) {
        let node = self.node(prefix);
        node.owners -= 1;
        if node.owners > 0 {
            return;
        }
        self.nodes.remove(&prefix);
        touched.moved.insert(prefix);
        touched.changed.insert(prefix);
        let lengths = &mut self.lengths[family(prefix)];
        if let Some(count) = lengths.get_mut(&prefix.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&prefix.prefix_len());
            }
        }
    }

    /// The longest prefix around this one, other than itself.
    fn parent(&self, prefix: IpNet) -> Option<IpNet> {
        let shorter = self.lengths[family(prefix)].range(..prefix.prefix_len()).rev();
        shorter
            .filter_map(|(&length, _)| Some(IpNet::new(prefix.network(), length).ok()?.trunc()))
            .find(|around| self.nodes.contains_key(around))
    }

    fn node(&mut self, prefix: IpNet) -> &mut Node {
        self.nodes.get_mut(&prefix).expect("prefixes are there as long as a block owns them")
    }
}

/// The exceptions of a block that are in no other, sorted. They have no address in common.
pub(super) fn outermost(block: &IpBlock) -> Vec<IpNet> {
    let mut outermost: Vec<_> = block.exceptions().collect();
    // What contains a prefix stands before it.
    outermost.sort_unstable();
    outermost.dedup_by(|inner, outer| outer.contains(&*inner));
    outermost
}

/// Whether a prefix is in one of these, which are sorted and have no address in common.
fn is_in(exceptions: &[IpNet], prefix: &IpNet) -> bool {
    let after = exceptions.partition_point(|except| except <= prefix);
    after.checked_sub(1).is_some_and(|last| exceptions[last].contains(prefix))
}

fn family(prefix: IpNet) -> usize {
    match prefix {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}
