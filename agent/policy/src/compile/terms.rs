//! What compiled policies are made of: small values that compare fast and mean the same wherever they stand.

use std::sync::Arc;

use crate::cluster_policy::{Action, Tier};
use crate::id::{PolicyId, RuleId, id};
use crate::model::{IpBlock, Mode, Protocol, Selector};

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
    /// Whether it selects pods.
    pub(crate) fn is_pods(&self) -> bool {
        matches!(self, Self::Pods { .. })
    }

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

/// What addresses fulfil: what tells their class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fulfilled {
    /// What everybody does whose the address may be.
    pub(crate) all: Atoms,
    /// Of several pods that have the address what each does; empty where they don't differ.
    pub(crate) each: Arc<[Atoms]>,
}

impl Fulfilled {
    /// Nothing.
    pub(crate) fn nothing() -> Self {
        Self::from(Atoms::from([]))
    }

    /// What the pods fulfil that have an address, at least one.
    pub(crate) fn by(mut each: Vec<Vec<Atom>>) -> Self {
        each.sort_unstable();
        each.dedup();
        let first = each.first().cloned().unwrap_or_default();
        if each.len() < 2 {
            return Self::from(Atoms::from(first));
        }
        let is_common = |atom: &Atom| each.iter().all(|atoms| atoms.binary_search(atom).is_ok());
        let all = first.into_iter().filter(is_common).collect();
        Self { all, each: each.into_iter().map(Atoms::from).collect() }
    }

    /// The asks that somebody fulfils whose the address may be.
    pub(crate) fn asks(&self) -> impl Iterator<Item = AskId> {
        self.all.iter().chain(self.each.iter().flat_map(|atoms| atoms.iter())).map(|atom| atom.ask)
    }
}

/// Where there is nobody else whose the address may be.
impl From<Atoms> for Fulfilled {
    fn from(all: Atoms) -> Self {
        Self { all, each: Arc::from([]) }
    }
}

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

/// Which packets of the peers that it asks for a rule is about.
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

/// What a rule does with the packets that it is about, and when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// A ClusterNetworkPolicy's.
    Cluster {
        /// The policy's tier.
        tier: Tier,
        /// The rule's place among those of its tier; the lowest is asked first.
        place: u32,
        /// What it does.
        action: Action,
        /// Whether the policy is in force.
        mode: Mode,
    },
    /// A NetworkPolicy's: it allows.
    NetworkPolicy,
}

impl Step {
    /// Whether it may take from somebody what is allowed to those whom it is not about.
    pub(crate) fn is_shift(self) -> bool {
        matches!(self, Self::Cluster { action: Action::Deny | Action::Pass, .. })
    }

    /// Whether it denies; in this mode.
    pub(crate) fn denies(self) -> Option<Mode> {
        match self {
            Self::Cluster { action: Action::Deny, mode, .. } => Some(mode),
            Self::Cluster { .. } | Self::NetworkPolicy => None,
        }
    }
}

/// One ask with one grant of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term {
    /// Whom it is about; `None`: everyone.
    pub(crate) ask: Option<AskId>,
    /// Which of their packets.
    pub(crate) grant: Grant,
    /// What becomes of these.
    pub(crate) step: Step,
    /// By which rule.
    pub(crate) rule: RuleId,
}

/// What NetworkPolicies make of packets that no rule of theirs allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rest {
    /// They drop them: one that is in force isolates the endpoint.
    Denied,
    /// They leave them to the Baseline tier, and would drop them: only ones in audit mode isolate the endpoint.
    WouldDeny,
    /// They leave them to the Baseline tier: none isolates the endpoint.
    Undecided,
}

/// What makes a [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    /// Sorted and without duplicates, so terms with the same ask stand together.
    pub(crate) terms: Vec<Term>,
    /// What becomes of the rest.
    pub(crate) rest: Rest,
}

impl Content {
    /// Nothing is allowed.
    pub(crate) const NOTHING: Self = Self { terms: Vec::new(), rest: Rest::Denied };
}

/// All that policies say of packets of an endpoint in one direction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Its id.
    pub(crate) id: SpecId,
    /// What it says.
    pub(crate) content: Content,
}

impl Spec {
    /// The terms, those with the same ask together.
    pub(crate) fn terms(&self) -> &[Term] {
        &self.content.terms
    }

    /// The terms with this ask.
    pub(crate) fn terms_of(&self, ask: Option<AskId>) -> &[Term] {
        let start = self.terms().partition_point(|term| term.ask < ask);
        let length = self.terms()[start..].partition_point(|term| term.ask == ask);
        &self.terms()[start..start + length]
    }

    /// The asks, ascending, each once.
    pub(crate) fn asks(&self) -> impl Iterator<Item = AskId> {
        self.terms().chunk_by(|a, b| a.ask == b.ask).filter_map(|terms| terms[0].ask)
    }

    /// Whether those who fulfil an ask may be allowed less than those who don't.
    pub(crate) fn shifts(&self, ask: AskId) -> bool {
        self.terms_of(Some(ask)).iter().any(|term| term.step.is_shift())
    }

    /// The asks whose fulfilment may take something away.
    pub(crate) fn shifting(&self) -> impl Iterator<Item = AskId> {
        self.asks().filter(|&ask| self.shifts(ask))
    }
}
