//! What is to be done to the kernel, who asks for it, and how it ended.

use std::time::Instant;

use podgate_datapath::{Guard, Identity, OnLinks};
use podgate_policy::op::Op;

use super::at_source::LeadChanges;
use super::deferral::Changes as DeferralChanges;
use super::upkeep::Check;

/// Something to do to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop to enforce on the interface of a slot.
    Release {
        /// The slot.
        slot: u32,
    },
    /// Tell who is in a slot.
    Identify {
        /// The slot.
        slot: u32,
        /// Who.
        identity: Identity,
    },
    /// Isolate whoever is in a slot in both directions.
    Isolate {
        /// The slot.
        slot: u32,
    },
    /// Isolate whoever is on an interface in both directions, without a slot of its own.
    Confine {
        /// The interface.
        ifindex: u32,
    },
    /// Do so no longer: the interface is gone.
    Unconfine {
        /// The interface.
        ifindex: u32,
    },
    /// Change the tables.
    Apply {
        /// How, in order.
        ops: Vec<Op>,
    },
    /// Let the programs judge the packets of a slot's interface.
    Attach {
        /// The slot.
        slot: u32,
    },
    /// Judge what pods send by a device that is no pod's, or, with `None`, do so no longer.
    Guard {
        /// The device.
        ifindex: u32,
        /// How.
        guard: Option<Guard>,
    },
    /// Change which addresses are judged where packets leave the host, not where they leave the pod.
    Defer {
        /// How.
        changes: DeferralChanges,
    },
    /// Change where frontends lead that are judged where packets leave the pod.
    Lead {
        /// How.
        changes: LeadChanges,
    },
    /// Change which IPv6 link-local and Ethernet addresses are pods' own.
    Own {
        /// How.
        changes: OnLinks,
    },
    /// Put a TCX link in the place of one filter of an interface.
    Link {
        /// The interface.
        ifindex: u32,
    },
    /// Take what a former agent left off the interfaces that have no slot.
    FinishTakeover,
    /// See that what was done is still there.
    Check(Check),
}

impl Command {
    /// Whether it puts programs on interfaces or takes them off, or follows an interface that is gone.
    pub(super) const fn touches_hooks(&self) -> bool {
        match self {
            Self::Release { .. }
            | Self::Confine { .. }
            | Self::Unconfine { .. }
            | Self::Attach { .. }
            | Self::Guard { .. }
            | Self::Link { .. }
            | Self::FinishTakeover => true,
            Self::Identify { .. }
            | Self::Isolate { .. }
            | Self::Apply { .. }
            | Self::Defer { .. }
            | Self::Lead { .. }
            | Self::Own { .. }
            | Self::Check(_) => false,
        }
    }

    /// Whether nothing has failed where its interface is gone, which the host's view will tell too.
    pub(super) const fn is_told_of_departure(&self) -> bool {
        matches!(self, Self::Guard { .. } | Self::Link { .. } | Self::Check(Check::Confined(_) | Check::Device(..)))
    }

    /// Whether it waits for the kernel's lock on its network configuration, which others may hold for seconds.
    pub(super) const fn is_at_hooks(&self) -> bool {
        self.touches_hooks() || matches!(self, Self::Check(Check::Pod(_) | Check::Confined(_) | Check::Device(..)))
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Well, but a filter judges where a TCX link is to: [`Command::Link`] is to follow.
    Provisional,
    /// Well, but a [`Command::Check`] had something to put right that somebody else has changed.
    Repaired,
    /// The interface to guard, or to look at, is gone, which the host's view will tell too: pods and devices go all the time.
    Gone,
    /// Not well.
    Failed {
        /// Operations of [`Command::Apply`] that are in force all the same.
        applied: usize,
        /// Why.
        error: String,
    },
}

/// A part of what is in the kernel, which is brought command by command to what it is to be.
pub(super) trait Reconciler {
    /// What to do next; `None`: nothing, before something changes or the deadline. [`Self::report`] must follow.
    fn next(&mut self, now: Instant) -> Option<Command>;

    /// Takes in how that ended.
    fn report(&mut self, command: Command, outcome: Outcome, now: Instant);

    /// When something that failed is to be tried again.
    fn deadline(&self, now: Instant) -> Option<Instant>;
}
