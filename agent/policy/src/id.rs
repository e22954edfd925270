//! Ids: numbers that name things. Each kind is a type of its own, so that one can't be taken for another.

use std::marker::PhantomData;
use std::num::NonZeroU32;

/// A kind of ids.
pub(crate) trait Id: Copy + Ord {
    /// The id with this number, counted from 1; `None`: there are not so many.
    fn numbered(number: u32) -> Option<Self>;

    /// Its number.
    fn number(self) -> u32;
}

/// Defines a kind of ids. Debugged they are their numbers: the names of fields say what these are.
macro_rules! id {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident($inner:ty);) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility struct $name($inner);

        impl $crate::id::Id for $name {
            fn numbered(number: u32) -> Option<Self> {
                <$inner>::try_from(number).ok().map(Self)
            }

            fn number(self) -> u32 {
                self.0.into()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use id;

/// Defines a kind of ids that the kernel's tables hold.
macro_rules! kernel_id {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        id! {
            $(#[$doc])*
            pub struct $name($raw);
        }

        impl $name {
            /// The id that is this number in the kernel's tables.
            #[must_use]
            pub const fn from_raw(raw: $raw) -> Self {
                Self(raw)
            }

            /// The number that it is in the kernel's tables.
            #[must_use]
            pub const fn raw(self) -> $raw {
                self.0
            }
        }
    };
}

kernel_id! {
    /// Names what isolated endpoints are allowed in one direction by all policies that select them. Never 0. Given
    /// out by the compiler, never again.
    PolicyId(u32)
}

impl PolicyId {
    /// Allows nothing. It is always there and has no rows.
    pub const NOTHING: Self = Self(1);
}

kernel_id! {
    /// Names a class: the addresses that fulfil the same of what rules ask. Given out by the tables,
    /// never again.
    ClassId(u32)
}

impl ClassId {
    /// Fulfils nothing that a rule asks.
    pub const NONE: Self = Self(0);
}

kernel_id! {
    /// Names a group: addresses of pods that no rule tells apart. Never 0. The group's index in the kernel's array:
    /// given out by the tables, and again after a grace period.
    GroupId(u32)
}

kernel_id! {
    /// Names a row: what a policy allows to a class. The row's index in the kernel's array: given out by the tables,
    /// and again after a grace period.
    RowId(u32)
}

impl RowId {
    /// Allows nothing.
    pub const NONE: Self = Self(0);
}

kernel_id! {
    /// Names a port class among those of one protocol: the ports that are in the same ranges of rules. Given out by the
    /// tables, and again after a grace period.
    PortClassId(u16)
}

impl PortClassId {
    /// In no range of a rule.
    pub const NONE: Self = Self(0);
}

id! {
    /// Names a rule: leads back to policy, direction and index in user space. Given out by the compiler, never again.
    pub struct RuleId(NonZeroU32);
}

impl RuleId {
    /// The id that is this number in the kernel's tables; `None`: it is 0, which says that there is no rule.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The number that it is in the kernel's tables.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0.get()
    }
}

/// Gives out ids, each once.
#[derive(Debug)]
pub(crate) struct Sequence<I> {
    last: u32,
    kind: PhantomData<I>,
}

impl<I> Default for Sequence<I> {
    fn default() -> Self {
        Self { last: 0, kind: PhantomData }
    }
}

impl<I: Id> Sequence<I> {
    /// Gives out the ids behind this one.
    pub(crate) fn after(last: I) -> Self {
        Self { last: last.number(), kind: PhantomData }
    }

    /// A new id.
    pub(crate) fn take(&mut self) -> I {
        self.last += 1;
        I::numbered(self.last).expect("what lives as long as a process needs fewer ids")
    }
}
