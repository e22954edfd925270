//! What compiled policies are made of: small values that compare fast and mean the same wherever they stand.

use std::sync::Arc;

use crate::id::{PolicyId, RuleId, id};
use crate::model::{IpBlock, Protocol, Selector};

id! {
    /// Names an [`Ask`]. Given out by [`Asks`](crate::compile::asks::Asks), never again.
    pub(crate) struct AskId(u32);
}

/// The id of a [`Spec`], which is its policy id in the tables. Never reused.
pub(crate) type SpecId = PolicyId;

id! {
    /// Names a group of addresses in the compiler. Given out by [`Groups`](crate::compile::groups::Groups), never again;
    /// the tables give each group for which there is room an id of the kernel's.
    pub(crate) struct GroupNumber(u32);
}

/// The namespaces that a peer's pods may be in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// This one.
    Own(Arc<str>),
    /// Those with matching labels.
    Matching(Selector),
}

/// A peer of a rule with its namespace resolved, so that equal peers of policies in different namespaces differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// Pods by labels.
    Pods {
        /// Where.
        scope: Scope,
        /// Which.
        pods: Selector,
    },
    /// Addresses by block.
    Block(IpBlock),
}

impl Who {
    /// How many prefixes, requirements and values it names.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Block(block) => block.prefixes().count(),
            Self::Pods { pods, .. } => 1 + pods.weight(),
        }
    }
}

/// A name of container ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortName {
    /// The name.
    pub(crate) name: Arc<str>,
    /// The protocol.
    pub(crate) protocol: Protocol,
}

/// What a rule asks of the other end: to be one of these peers and, where an egress rule names a port, to be a pod that
/// serves it. The list of peers is one thing, so that the thousand blocks of a rule make one class and not a thousand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ask {
    /// Any of these, sorted and without duplicates.
    pub(crate) peers: Arc<[Who]>,
    /// Serving this.
    pub(crate) port: Option<PortName>,
}

/// An ask that an address fulfils. A set of them is a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Atom {
    /// The ask.
    pub(crate) ask: AskId,
    /// The number under which the pod serves the port that the ask names; 0 if it names none.
    pub(crate) number: u16,
}

/// Atoms, sorted and without duplicates.
pub(crate) type Atoms = Arc<[Atom]>;

/// Ports of a protocol, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortRange {
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

/// What a rule grants to the peers it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Grant {
    /// Every packet.
    Any,
    /// Every port of a protocol.
    Protocol(Protocol),
    /// Some ports.
    Range(PortRange),
    /// The number that the atom carries.
    Named(Protocol),
}

/// One ask with one grant of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term {
    /// Whom it is for; `None`: everyone.
    pub(crate) ask: Option<AskId>,
    /// What they may.
    pub(crate) grant: Grant,
    /// By which rule.
    pub(crate) rule: RuleId,
}

/// All that an isolated endpoint is allowed in one direction. Without terms: nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Its id.
    pub(crate) id: SpecId,
    /// Sorted and without duplicates, so terms with the same ask stand together.
    pub(crate) terms: Vec<Term>,
}

impl Spec {
    /// The terms with this ask.
    pub(crate) fn terms_of(&self, ask: Option<AskId>) -> &[Term] {
        let start = self.terms.partition_point(|term| term.ask < ask);
        let length = self.terms[start..].partition_point(|term| term.ask == ask);
        &self.terms[start..start + length]
    }

    /// The asks, ascending, each once.
    pub(crate) fn asks(&self) -> impl Iterator<Item = AskId> {
        self.terms.chunk_by(|a, b| a.ask == b.ask).filter_map(|terms| terms[0].ask)
    }
}
