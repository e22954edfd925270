//! What can go wrong, in one line that says what to do.

use std::io;
use std::path::PathBuf;

use podgate_policy::op::Op;

/// A failure of the datapath.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks what podgate cannot do without.
    #[error(
        "the kernel, {found}, has no BPF ring buffers; podgate is tested on Linux 5.10 and later: boot a newer kernel"
    )]
    KernelTooOld {
        /// The running kernel's release.
        found: String,
    },
    /// The kernel has no bpf(2).
    #[error("the kernel was built without BPF: boot one with CONFIG_BPF_SYSCALL=y")]
    NoBpf,
    /// The process lacks a capability.
    #[error("the process lacks {0}: run podgate as root, or add these to the container's securityContext.capabilities")]
    MissingCapabilities(String),
    /// The kernel refuses bpf(2) although the capabilities are there.
    #[error("the kernel forbids bpf(2), although the process has the capabilities: {0}")]
    Forbidden(String),
    /// The directory for pins is not on a bpffs, and none could be mounted.
    #[error("{} is on no BPF file system ({reason}): run `mount -t bpf bpf {}`, or mount the host's into the container",
        directory.display(), mount_point.display())]
    NoBpffs {
        /// The directory for pins.
        directory: PathBuf,
        /// Where a bpffs should be mounted.
        mount_point: PathBuf,
        /// Why that could not be done.
        reason: String,
    },
    /// A map or program was refused by the kernel.
    #[error("the kernel refused {object}: {reason}")]
    Refused {
        /// The map or program.
        object: String,
        /// The kernel's reason.
        reason: String,
    },
    /// The embedded object is not what this agent was built for.
    #[error("the embedded eBPF object is unusable ({0}): rebuild podgate")]
    BadObject(String),
    /// A map name in [`crate::Options::capacities`] that no map has, or a capacity it can't have.
    #[error("{map} can't have {entries} entries: {reason}")]
    BadCapacity {
        /// The map.
        map: String,
        /// The entries asked for.
        entries: u32,
        /// Why not.
        reason: &'static str,
    },
    /// The programs' clock contradicts the system's.
    #[error(
        "the kernel's jiffies advance {measured} times a second, but its coarse clock says {expected}: timeouts would be \
         wrong; report this kernel"
    )]
    Hz {
        /// What the kernel says.
        expected: u32,
        /// What was measured.
        measured: u32,
    },
    /// A file or directory below the pin directory.
    #[error("can't {action} {}: {source}", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others may change a file or directory that pins depend on.
    #[error(
        "{} {reason}: whoever may change what is pinned decides what is enforced; remove it, or give it to root alone",
        path.display()
    )]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// Who may, and why.
        reason: String,
    },
    /// Reading or writing a table.
    #[error("can't {action} table {table}: {source}")]
    Table {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        table: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The slot is out of range.
    #[error("slot {slot} is not between 1 and {last}")]
    NoSuchSlot {
        /// The slot.
        slot: u32,
        /// The last slot.
        last: u32,
    },
    /// The slot belongs to another interface.
    #[error("slot {slot} belongs to the interface with index {ifindex}: release it first")]
    SlotTaken {
        /// The slot.
        slot: u32,
        /// Its interface.
        ifindex: u32,
    },
    /// The slot has no identity.
    #[error("slot {0} has no identity: identify it first")]
    Unidentified(u32),
    /// An interface that is gone.
    #[error("can't attach to the interface with index {ifindex}: the interface is gone")]
    Gone {
        /// The interface.
        ifindex: u32,
    },
    /// An interface that the programs can't be attached to.
    #[error("can't attach to the interface with index {ifindex}: {reason}")]
    Attach {
        /// The interface.
        ifindex: u32,
        /// Why not, and what to do.
        reason: String,
    },
    /// A test run.
    #[error("BPF_PROG_TEST_RUN of {program}: {source}")]
    TestRun {
        /// The program.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// An operation that failed. Those before it are in force, those after it were not tried.
#[derive(Debug, thiserror::Error)]
#[error("operation {applied}, {op:?}: {source}")]
pub struct ApplyError {
    /// How many operations are in force. The caller goes on from here.
    pub applied: usize,
    /// The one that failed; it names table and key.
    pub op: Op,
    /// Why.
    pub source: Error,
}
