//! How sure it is that an interface is a pod's.

/// Why a pod is taken to be behind an interface, the surest first.
///
/// What the status of a pod says of its address is only as new as the status. After a restart of the node the statuses are
/// those from before it, and an interface may have been given the address of another pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// CNI said so.
    HandedOver,
    /// The pod's status told the address after the interface had it, as the kubelet does.
    Told,
    /// An agent before this one enforced the pod there, for certain.
    Remembered,
    /// Status and interface had the address when they were first looked at: which was first is not known.
    Unordered,
    /// The status had the address before the interface did: it may speak of another interface.
    Earlier,
    /// The interface shows the address, but was given others first.
    Shown,
}

impl Evidence {
    /// Whether nothing that other pods' statuses say later takes the interface away.
    pub(super) fn is_firm(self) -> bool {
        matches!(self, Self::HandedOver | Self::Told | Self::Remembered)
    }
}

/// What an interface was enforced for before the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The pod, if that is known.
    pub pod: Option<super::PodId>,
    /// The addresses.
    pub addresses: std::collections::BTreeSet<std::net::IpAddr>,
    /// Whether that was certain.
    pub firm: bool,
}
