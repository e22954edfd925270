//! What may differ from what it was made of, until somebody looks.

/// Something that the engine makes of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Derived {
    /// Which pod is on which interface: of pods, the host's interfaces, and what CNI hands over.
    Bindings,
    /// What is kept for the next agent: of bindings, and of what policies know their pods by.
    Enforced,
    /// The hooks of devices that are no pod's: of the host's interfaces, and of which are pods'.
    Guards,
    /// The addresses that defer: of Services, and of the host's own addresses.
    Deferral,
    /// Where Services lead that are judged at the source: of their backends.
    Leads,
    /// Pods' link-local and Ethernet addresses: of the host's interfaces, CNI's word for them, and who has a slot.
    Neighbours,
    /// Which policies isolate which pod of this node, to which denials are put.
    Attribution,
}

/// The derived values that are stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale(u8);

impl Stale {
    /// A value may differ.
    pub(super) const fn mark(&mut self, derived: Derived) {
        self.0 |= 1 << derived as u8;
    }

    /// A value may differ if this is so.
    pub(super) const fn mark_if(&mut self, differs: bool, derived: Derived) {
        self.0 |= (differs as u8) << derived as u8;
    }

    /// Whether a value may differ.
    pub(super) const fn has(self, derived: Derived) -> bool {
        self.0 & 1 << derived as u8 != 0
    }

    /// Whether a value may differ; it is about to be made anew.
    pub(super) const fn take(&mut self, derived: Derived) -> bool {
        let had = self.has(derived);
        self.0 &= !(1 << derived as u8);
        had
    }
}
