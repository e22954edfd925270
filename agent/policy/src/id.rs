//! Ids: numbers that name things. Each kind is a type of its own, so that one can't be taken for another.

use std::marker::PhantomData;

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
    /// A new id.
    pub(crate) fn take(&mut self) -> I {
        self.last += 1;
        I::numbered(self.last).expect("what lives as long as a process needs fewer ids")
    }
}
