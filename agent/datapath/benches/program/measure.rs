//! Rounds: each runs every case and the empty program by turns, so that what disturbs the machine for a while disturbs all.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use podgate_common::{Direction, Tag, Verdict};
use podgate_datapath::{Calls, PortWalk, Tagged, TestContext, empty_program, test_run};
use serde_json::json;

use crate::cases::complete;
use crate::pick_up::Home;
use crate::rig::{ELSEWHERE, Ends, Rig};

/// The hook at which frames are run.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// The pod's, for a direction.
    Pod(Direction),
    /// That of a device that is no pod's, where packets leave the host with this tag, if any.
    Exit(Option<Tag>),
}

/// Which packets the repetitions of a run are. All are made in the kernel, without a system call between them.
#[derive(Clone, Copy)]
pub(crate) enum Packets {
    /// The frame, again and again.
    Same,
    /// The frame from ever other source ports.
    AnyPort,
    /// The same, so few that the pod's share has room for them. Behind each round they become connections, which makes
    /// room for the next.
    NewFlows(Ends),
    /// The same, so few that the pod has a socket for each in every round.
    PickUps,
}

/// One thing to measure.
pub(crate) struct Case {
    /// The table that shows it, and where.
    pub(crate) table: &'static str,
    pub(crate) row: String,
    pub(crate) column: String,
    pub(crate) rig: Rc<Rig>,
    /// Where the pod's sockets are, if they can be asked.
    pub(crate) home: Option<Rc<Home>>,
    pub(crate) at: At,
    pub(crate) frame: Vec<u8>,
    pub(crate) packets: Packets,
    pub(crate) expected: Verdict,
}

/// How much is measured.
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    /// Runs in each round.
    pub(crate) repeat: u32,
}

/// So many that an IPv6 pod's share has room for them.
const NEW_FLOWS: u32 = 500;

/// How many packets of a round the pod's sockets are asked about where each must have its own.
pub(crate) const PICK_UPS: u32 = 100;

impl Effort {
    /// As the environment says.
    pub(crate) fn wanted() -> Self {
        let setting = |name, usual| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual);
        Self { rounds: setting("PODGATE_BENCH_ROUNDS", 11), repeat: setting("PODGATE_BENCH_REPEAT", 1_000_000) }
    }
}

/// Measures all cases.
pub(crate) fn measure(cases: Vec<Case>, effort: &Effort) {
    let mut benches: Vec<Bench> = cases.into_iter().map(Bench::new).collect();
    for round in 0..effort.rounds {
        eprintln!("programs: round {} of {}", round + 1, effort.rounds);
        benches.iter_mut().for_each(|bench| bench.round(round, effort.repeat));
    }
    for Bench { case, samples, .. } in benches {
        let Case { table, row, column, .. } = case;
        println!("{}", json!({ "table": table, "row": row, "column": column, "unit": "ns", "samples": samples }));
    }
}

/// Says how many calls the programs make: they cost most where returns take a detour.
pub(crate) fn tell_calls(rig: &Rig) {
    let datapath = &rig.datapath;
    let programs = [Direction::Ingress, Direction::Egress].into_iter().flat_map(|direction| {
        let way = if direction == Direction::Ingress { "into the pod" } else { "out of the pod" };
        let small = (format!("the small program, {way}"), datapath.program(direction));
        [small, (format!("the whole program, {way}"), datapath.whole_program(direction))]
    });
    for (row, program) in programs.chain([("the exit hook's program".to_owned(), datapath.exit_program())]) {
        let Calls { helpers, functions, path } = Calls::of(program).expect("root");
        let path = path.map(|(fewest, most)| [("fewest on a path", fewest), ("most on a path", most)]);
        let columns = [("of the kernel, in its code", helpers), ("of its own functions, in its code", functions)];
        for (column, count) in columns.into_iter().chain(path.into_iter().flatten()) {
            let (table, unit) = ("Calls", "count");
            println!("{}", json!({ "table": table, "row": row, "column": column, "unit": unit, "samples": [count] }));
        }
    }
}

/// A program with what is before it in a test run.
enum Runnable {
    Plain(OwnedFd),
    Behind(Tagged),
}

impl Runnable {
    fn program(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(program) => program.as_fd(),
            Self::Behind(tagged) => tagged.program(),
        }
    }
}

/// A case at work: both programs, the frame where the last run has left it, and nanoseconds over the empty program.
struct Bench {
    case: Case,
    program: Runnable,
    empty: Runnable,
    frame: Vec<u8>,
    samples: Vec<f64>,
}

impl Bench {
    fn new(case: Case) -> Self {
        let empty = empty_program().expect("root");
        let datapath = &case.rig.datapath;
        let judge = match case.at {
            At::Pod(direction) => datapath.program(direction),
            At::Exit(_) => datapath.exit_program(),
        };
        let (program, empty) = (case.runnable(judge), case.runnable(empty.as_fd()));
        let frame = case.frame.clone();
        Self { case, program, empty, frame, samples: Vec::new() }
    }

    /// Runs both, the first of them by turns too.
    fn round(&mut self, round: u32, repeat: u32) {
        let repeat = match self.case.packets {
            Packets::Same | Packets::AnyPort => repeat,
            Packets::NewFlows(_) => NEW_FLOWS,
            Packets::PickUps => PICK_UPS,
        };
        if let Some(home) = &self.case.home {
            // The kernel looks for the pod's namespace by the id that it has in the one of the test run.
            home.inside.enter_host();
        }
        let [program, empty] = if round.is_multiple_of(2) {
            let program = self.judge(repeat);
            [program, self.nothing(repeat)]
        } else {
            let empty = self.nothing(repeat);
            [self.judge(repeat), empty]
        };
        self.samples.push(program - empty);
    }

    fn judge(&mut self, repeat: u32) -> f64 {
        let run = run(&self.program, &self.frame, repeat);
        let passes = self.case.expected != Verdict::Denied;
        assert_eq!(run.verdict == -1, passes, "{}, {}", self.case.row, self.case.column);
        if let Packets::NewFlows(ends) = self.case.packets {
            complete(&self.case.rig, ends, self.case.source_port(&self.frame), repeat);
        }
        self.frame = run.packet;
        run.duration.as_nanos() as f64
    }

    fn nothing(&self, repeat: u32) -> f64 {
        run(&self.empty, &self.frame, repeat).duration.as_nanos() as f64
    }
}

fn run(runnable: &Runnable, frame: &[u8], repeat: u32) -> podgate_datapath::TestRun {
    let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
    test_run(runnable.program(), frame, &context, repeat).expect("a test run")
}

impl Case {
    /// A program behind what makes the packets: the same for the real one as for the empty one.
    fn runnable(&self, program: BorrowedFd<'_>) -> Runnable {
        let tag = match self.at {
            At::Pod(Direction::Ingress) => Some(Tag::FOREIGN),
            At::Pod(Direction::Egress) => None,
            At::Exit(tag) => tag,
        };
        let tagged = match (self.packets, tag) {
            (Packets::Same, None) => {
                return Runnable::Plain(program.try_clone_to_owned().expect("a free descriptor"));
            }
            (Packets::Same, Some(tag)) => Tagged::new(program, tag),
            (_, tag) => Tagged::walking(program, tag.unwrap_or(Tag::from_raw(0)), PortWalk { at: self.port_at() }),
        };
        Runnable::Behind(tagged.expect("the kernel takes a small program"))
    }

    /// Where the frame has its source port.
    fn port_at(&self) -> u16 {
        const ETHERNET: u16 = 14;
        let is_v6 = self.frame[12..14] == [0x86, 0xdd];
        ETHERNET + if is_v6 { 40 } else { 20 }
    }

    fn source_port(&self, frame: &[u8]) -> u16 {
        let at = usize::from(self.port_at());
        u16::from_be_bytes([frame[at], frame[at + 1]])
    }
}
