//! Random histories of clusters, played one after the other on one node.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::generate::history;
use crate::node::Node;
use crate::show;
use crate::world::World;

/// The generator binds pods to slots 1 to 3.
const SLOTS: u32 = 3;

/// Shrinking plays a history again and again; this is enough to get rid of most of what does not matter.
const SHRINK_ITERATIONS: u32 = 400;

/// Plays so many histories, each from an empty cluster through `changes` changes, and asks the history's checker after
/// every step what the programs do wrong.
pub(crate) fn play<C: FnMut(&Node) -> Vec<String>>(histories: u32, changes: usize, checker: impl Fn() -> C) {
    let node = RefCell::new(Node::new(SLOTS));
    let config = ProptestConfig {
        cases: histories,
        max_shrink_iters: SHRINK_ITERATIONS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&history(changes), |steps| {
        let (mut node, mut check) = (node.borrow_mut(), checker());
        node.enter(&World::default());
        for (last, edits) in steps.iter().enumerate() {
            let mut world = node.world().clone();
            world.apply(edits);
            node.enter(&world);
            let wrong = check(&node);
            prop_assert!(wrong.is_empty(), "{}", show::failure(&steps[..=last], &world, &wrong));
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, _) | TestError::Abort(reason)) = outcome {
        panic!("{reason}");
    }
}

/// Source ports and identifiers that come round only when the endpoints that used them are long gone.
pub(crate) struct Fresh(Cell<u16>);

impl Fresh {
    const FIRST: u16 = 20_000;
    const LAST: u16 = 60_000;

    pub(crate) fn next(&self) -> u16 {
        let next = self.0.get();
        self.0.set(if next == Self::LAST { Self::FIRST } else { next + 1 });
        next
    }
}

impl Default for Fresh {
    fn default() -> Self {
        Self(Cell::new(Self::FIRST))
    }
}

/// How many answers of each kind there were: a test that meets only one kind proves nothing.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: Cell<usize>,
    dropped: Cell<usize>,
}

impl Tally {
    pub(crate) fn count(&self, passes: bool) {
        let counter = if passes { &self.passed } else { &self.dropped };
        counter.set(counter.get() + 1);
    }

    pub(crate) fn assert_at_least_of_each_kind(&self, least: usize) {
        assert!(self.passed.get().min(self.dropped.get()) >= least, "{self:?}");
    }
}
