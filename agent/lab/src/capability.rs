//! Starting a process with few capabilities, as a container runtime does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A Linux capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Ignore file permissions.
    DacOverride = 1,
    /// Listen to broadcasts, among them netlink events of other namespaces.
    NetBroadcast = 11,
    /// Configure the network.
    NetAdmin = 12,
    /// Use raw and packet sockets.
    NetRaw = 13,
    /// Nearly everything.
    SysAdmin = 21,
    /// Exceed resource limits.
    SysResource = 24,
    /// Read kernel memory in eBPF programs.
    Perfmon = 38,
    /// Create eBPF maps and load programs.
    Bpf = 39,
}

/// No kernel has more.
const CAPABILITIES: u8 = 64;

/// Makes the command run with exactly these capabilities: what root gets by exec is what its bounding set allows.
pub(crate) fn restrict(command: &mut Command, kept: &[Capability]) {
    let bit = |capability: &Capability| 1u64 << *capability as u8;
    let kept = kept.iter().fold(0, |set, capability| set | bit(capability));
    // SAFETY: the closure makes system calls and nothing else.
    unsafe { command.pre_exec(move || drop_others(kept)) };
}

fn drop_others(kept: u64) -> io::Result<()> {
    for number in (0..CAPABILITIES).filter(|number| kept & (1 << number) == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
        let outcome = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        let error = io::Error::last_os_error();
        // A number that the kernel does not know needs no dropping.
        if outcome != 0 && error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Ok(())
}
