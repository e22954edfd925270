//! `cargo xtask test-kernels`: the core cases, and those of the lab that use what the core does not, on the distribution's
//! other kernels, booted in an emulator.

mod archive;
mod boot;
mod contents;
pub(crate) mod guest;
mod image;

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};

use self::boot::Outcome;
use self::image::Image;
use crate::setup;
use crate::tests::{self, Built, Program};

/// A kernel series, as podgate's documentation names it, and where Debian has it.
struct Series {
    name: &'static str,
    kernel: Kernel,
    /// The release of Debian.
    suite: &'static str,
    /// How the names of the packages with kernel and modules begin.
    packages: &'static [&'static str],
    /// How the releases of the series begin, which follow in their names.
    release: &'static str,
}

/// From the oldest that podgate claims to run on to the newest that Debian has. The first two have no TCX. Linux 5.15,
/// of Ubuntu 22.04, and 5.14, of RHEL 9, lie between two that are tried.
const SERIES: [Series; 4] = [
    Series { name: "5.10", kernel: Kernel::Oldest, suite: "bullseye", packages: &["linux-image-"], release: "5.10." },
    Series { name: "6.1", kernel: Kernel::V6_1, suite: "bookworm", packages: &["linux-image-"], release: "6.1." },
    Series { name: "6.12", kernel: Kernel::V6_12, suite: "trixie", packages: &["linux-image-"], release: "6.12." },
    Series {
        name: "newest",
        kernel: Kernel::Newest,
        suite: "sid",
        packages: &["linux-binary-", "linux-modules-"],
        release: "",
    },
];

/// Which kernels to boot.
#[derive(clap::Args, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// All of them, instead of the oldest and 6.12
    #[arg(long, conflicts_with = "kernel")]
    all: bool,
    /// This one alone
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<Kernel>,
}

/// A kernel to boot.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// The oldest that podgate runs on, without TCX
    #[value(name = "5.10")]
    Oldest,
    /// Debian 12's, without TCX
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's, with TCX
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian has, of its unstable release
    Newest,
}

impl Options {
    /// What is run with all other checks.
    pub(crate) const SHORT: Self = Self { all: false, kernel: None };

    fn tests(self) -> &'static [Chosen] {
        if self == Self::SHORT { SHORT } else { LONG }
    }

    fn choose(self) -> impl Iterator<Item = &'static Series> {
        let is_chosen = move |series: &&Series| match self.kernel {
            Some(kernel) => series.kernel == kernel,
            None => self.all || matches!(series.kernel, Kernel::Oldest | Kernel::V6_12),
        };
        SERIES.iter().filter(is_chosen)
    }
}

/// Tests of one program, by package and target: all, or those with one of these in their names. They use nothing but the
/// podgate binary and what `contents` puts beside it.
type Chosen = (&'static str, &'static str, &'static [&'static str]);

/// What is run with all other checks: in a guest the verifier takes a minute for each start of an agent.
const SHORT: &[Chosen] = &[("agent", "core", &["a_rule_allows_its_peers_and_ports_and_nothing_else"])];

/// What is run where kernels are asked for.
const LONG: &[Chosen] = &[("agent/lab", "routed", &[]), ("agent", "core", &[]), ("agent", "lab", LAB)];

/// The fewest cases of the lab that together use every helper, map, hook and netlink message that the core leaves out: the exits
/// of Services and connection tracking, the take-over by another start, events, fragments, bridges, lookup of sockets, and the CNI
/// plugin. `iptables`, tunnels and TCX, which the oldest kernels do not have, are left to the lab.
const LAB: &[&str] = &[
    "services::verdict::a_rule_speaks_of_the_backends_port_and_not_of_the_services",
    "life::restart::with_clsact_the_agent_may_die_and_return_without_a_denied_packet_passing_or_an_allowed_one_lost",
    "flows::counters_policies_rules_and_flows_agree_with_what_was_sent",
    "packets::fragments::an_allowed_datagram_larger_than_the_mtu_arrives_and_so_does_its_answer",
    "packets::fragments::of_a_denied_datagram_larger_than_the_mtu_no_fragment_enters",
    "packets::discovery::no_pod_is_a_router_for_another",
    "evidence::checksums::no_checksum_is_written_over_what_a_packet_was_judged_by",
    "evidence::translated::what_any_rule_gives_another_destination_is_judged_by_that",
    "pick_up::a_connection_older_than_its_pods_isolation_goes_on_whichever_end_speaks_first",
    "cni::waits::a_pod_starts_when_it_is_known_and_enforced_and_the_result_is_the_one_before",
];

/// Whether the machine has packages from Debian, whose kernels these are.
pub(crate) fn are_offered() -> bool {
    setup::mirror().is_ok()
}

/// Boots kernels and runs the tests there, two kernels at a time: a guest keeps a processor busy.
pub(crate) fn run(options: Options) -> Result<()> {
    let programs = Programs::choose(&tests::build()?, options.tests())?;
    let images: Vec<(&str, Image)> =
        options.choose().map(|series| Ok((series.name, Image::find(series)?))).collect::<Result<_>>()?;
    for pair in images.chunks(2) {
        let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
            let booted: Vec<_> = pair.iter().map(|(_, image)| scope.spawn(|| boot::run(image, &programs))).collect();
            booted.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("the boot panicked"))).collect()
        });
        for ((name, _), outcome) in pair.iter().zip(outcomes) {
            outcome.with_context(|| format!("kernel {name}"))?.print(name);
        }
    }
    Ok(())
}

/// What goes into the guest, at the path where cargo built it.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) tests: Vec<Tests>,
    pub(crate) podgate: PathBuf,
}

/// A test program, and the names of what is run of it; none: all.
#[derive(Clone, Debug)]
pub(crate) struct Tests {
    pub(crate) program: PathBuf,
    pub(crate) names: &'static [&'static str],
}

impl Programs {
    fn choose(built: &Built, tests: &[Chosen]) -> Result<Self> {
        let choose = |&(package, target, names): &Chosen| {
            let is_it = |program: &&Program| (program.package.as_str(), program.target.as_str()) == (package, target);
            let program = built.programs.iter().find(is_it).map(|program| program.executable.clone());
            Ok(Tests { program: program.with_context(|| format!("cargo did not build {target} of {package}"))?, names })
        };
        Ok(Self { tests: tests.iter().map(choose).collect::<Result<_>>()?, podgate: built.podgate.clone() })
    }
}
