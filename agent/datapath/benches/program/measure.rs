//! Rounds, medians, quartiles.

use std::os::fd::BorrowedFd;

use podgate_common::{Direction, Verdict};
use podgate_datapath::{TestContext, test_run};

use crate::empty::Empty;
use crate::rig::Rig;

/// One thing to measure: frames that are run in turn.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rig: std::rc::Rc<Rig>,
    pub(crate) direction: Direction,
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
        let empty = Empty::load().expect("root");
        let rounds = setting("PODGATE_BENCH_ROUNDS", 11);
        let program = self.rig.datapath.program(self.direction);
        let mut differences: Vec<f64> = (0..rounds)
            .map(|_| self.round(program, self.expected) - self.round(empty.fd(), Verdict::Allowed))
            .collect();
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
            assert_eq!(run.verdict == -1, expected == Verdict::Allowed, "{}", self.name);
            nanoseconds += run.duration.as_nanos();
        }
        nanoseconds as f64 / self.frames.len() as f64
    }
}
