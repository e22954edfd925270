//! Rounds, medians, quartiles.

use std::os::fd::{AsFd as _, BorrowedFd};

use podgate_common::{Direction, Tag, Verdict};
use podgate_datapath::{Tagged, TestContext, empty_program, test_run};

use crate::rig::Rig;

/// The hook at which frames are run.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// The pod's, for a direction.
    Pod(Direction),
    /// That of a device that is no pod's, where packets leave the host with this tag, if any.
    Exit(Option<Tag>),
}

/// One thing to measure: frames that are run in turn.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rig: std::rc::Rc<Rig>,
    pub(crate) at: At,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) expected: Verdict,
}

/// Nanoseconds per packet over the empty program.
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

/// The interface by which packets came.
const ELSEWHERE: u32 = 77;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

impl Case {
    /// Runs program and empty program by turns.
    pub(crate) fn measure(&self) -> Figure {
        let empty = empty_program().expect("root");
        match self.at {
            At::Pod(Direction::Egress) => self.compare(self.rig.datapath.program(Direction::Egress), empty.as_fd()),
            At::Pod(Direction::Ingress) => {
                let tagged = |program| Tagged::new(program, Tag::FOREIGN).expect("the kernel takes a small program");
                let (program, empty) = (tagged(self.rig.datapath.program(Direction::Ingress)), tagged(empty.as_fd()));
                self.compare(program.program(), empty.program())
            }
            At::Exit(None) => self.compare(self.rig.datapath.exit_program(), empty.as_fd()),
            At::Exit(Some(tag)) => {
                let tagged = |program| Tagged::new(program, tag).expect("the kernel takes a small program");
                let (program, empty) = (tagged(self.rig.datapath.exit_program()), tagged(empty.as_fd()));
                self.compare(program.program(), empty.program())
            }
        }
    }

    fn compare(&self, program: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Figure {
        let rounds = setting("PODGATE_BENCH_ROUNDS", 11);
        let mut differences: Vec<f64> =
            (0..rounds).map(|_| self.round(program, self.expected) - self.round(empty, Verdict::Allowed)).collect();
        differences.sort_by(f64::total_cmp);
        let at = |part: usize| differences[(differences.len() - 1) * part / 4];
        Figure { median: at(2), lower: at(1), upper: at(3) }
    }

    /// Nanoseconds per packet of one program. One frame is repeated in the kernel; many are run one by one, where the
    /// kernel's own clock readings cost the same for both programs.
    fn round(&self, program: BorrowedFd<'_>, expected: Verdict) -> f64 {
        let repeat = if self.frames.len() == 1 { setting("PODGATE_BENCH_REPEAT", 1_000_000) } else { 1 };
        let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
        let mut nanoseconds = 0;
        for frame in &self.frames {
            let run = test_run(program, frame, &context, repeat).expect("a test run");
            assert_eq!(run.verdict == -1, expected != Verdict::Denied, "{}", self.name);
            nanoseconds += run.duration.as_nanos();
        }
        nanoseconds as f64 / self.frames.len() as f64
    }
}
