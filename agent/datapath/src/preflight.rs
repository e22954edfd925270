//! What must hold before anything is loaded, told in one line where it doesn't.

use std::ffi::CStr;
use std::io;

use podgate_common::Direction;

use crate::examine::Features;
use crate::{Error, forbidden, sys};

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// CAP_SYS_ADMIN includes the first two, but not the last.
const NEEDED: [(u32, &str); 3] = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")];

/// Checks kernel and capabilities; returns whether the kernel has TCX. Nothing is derived from the kernel's version:
/// distributions carry features of newer kernels into older ones.
pub(crate) fn check() -> Result<bool, Error> {
    let capabilities = effective_capabilities().map_err(|error| Error::MissingCapabilities(error.to_string()))?;
    let missing = missing(capabilities);
    if !missing.is_empty() {
        return Err(Error::MissingCapabilities(missing.join(", ")));
    }
    use_bpf()?;
    if !has_ring_buffers() {
        return Err(Error::KernelTooOld { found: kernel_release() });
    }
    Ok(has_tcx())
}

/// The capabilities that are needed and missing.
pub(crate) fn missing_capabilities() -> Vec<&'static str> {
    missing(effective_capabilities().unwrap_or_default())
}

/// Lifts the limit of locked memory of this process where it counts, and tries bpf(2).
pub(crate) fn use_bpf() -> Result<(), Error> {
    if charges_memory_to_memlock() {
        raise_memlock();
    }
    try_bpf()
}

/// What the kernel has of what podgate uses.
pub(crate) fn features() -> Features {
    Features::probe(has_ring_buffers(), has_tcx())
}

/// Whether the kernel knows the hook, at the loopback interface, which every network namespace has.
fn has_tcx() -> bool {
    const LOOPBACK: u32 = 1;
    sys::tcx_programs(LOOPBACK, Direction::Ingress).is_ok()
}

/// The newest thing that podgate cannot do without: since Linux 5.8. A map of another size than a power of two of pages
/// would be refused everywhere.
fn has_ring_buffers() -> bool {
    const ENTRIES: u32 = 1 << 16;
    let made = sys::map_create_sized(sys::MAP_TYPE_RINGBUF, sys::MapSize { key: 0, value: 0, entries: ENTRIES }, None);
    made.err().and_then(|error| error.raw_os_error()) != Some(libc::EINVAL)
}

/// Whether maps and programs count against RLIMIT_MEMLOCK, as before Linux 5.11; later ones charge a memory cgroup. That
/// release also brought the helper `bpf_ktime_get_coarse_ns`, by which it is told, as libbpf does
/// (`probe_memcg_account`).
fn charges_memory_to_memlock() -> bool {
    /// `call bpf_ktime_get_coarse_ns`; `exit`
    const ASKING: [u64; 2] = [0x0000_00a0_0000_0085, 0x95];
    sys::classifier_load(&ASKING).is_err()
}

/// Lifts the limit, which takes CAP_SYS_RESOURCE, or else goes as far as is allowed. Where that is too little, the first map
/// beyond it is refused, and [`memlock`] tells why.
fn raise_memlock() {
    let allowed = memlock_limit().rlim_max;
    for most in [libc::RLIM_INFINITY, allowed] {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the pointer is valid for the call, which only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } == 0 {
            return;
        }
    }
}

fn memlock_limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for the call, which fills the struct.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit
}

/// The limit of locked memory in bytes, where there is one and maps count against it: one reason for the kernel to refuse
/// a map with EPERM.
pub(crate) fn memlock() -> Option<u64> {
    let limit = memlock_limit().rlim_cur;
    (limit != libc::RLIM_INFINITY && charges_memory_to_memlock()).then_some(limit)
}

/// Makes the smallest of maps: what keeps the process from bpf(2) is told here, and not as an odd failure of whatever comes first.
/// Any other error is left to that.
fn try_bpf() -> Result<(), Error> {
    match sys::map_create(sys::MAP_TYPE_ARRAY, 1, None).map_err(|error| error.raw_os_error()) {
        Err(Some(libc::ENOSYS)) if !forbidden::is_filtered() => Err(Error::NoBpf),
        Err(Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => Err(Error::Forbidden(forbidden::causes())),
        _ => Ok(()),
    }
}

/// The release of the running kernel, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    // SAFETY: all bytes zero is a valid utsname.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which fills the struct with strings that end in a zero.
    let release = unsafe {
        libc::uname(&raw mut name);
        CStr::from_ptr(name.release.as_ptr())
    };
    release.to_string_lossy().into_owned()
}

/// The thread's effective capabilities, bit by number.
fn effective_capabilities() -> io::Result<u64> {
    // struct __user_cap_header_struct of version 3: 64 bits in two elements of effective, permitted, inheritable.
    let mut header = [0x2008_0522_u32, 0];
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: both pointers are valid for the call and sized as version 3 asks.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(data[0][0]) | u64::from(data[1][0]) << 32)
}

/// The names of the capabilities that are needed and not there.
fn missing(capabilities: u64) -> Vec<&'static str> {
    let has = |capability: u32| capabilities & 1 << capability != 0;
    NEEDED
        .into_iter()
        .filter(|&(capability, _)| !has(capability) && (capability == CAP_NET_ADMIN || !has(CAP_SYS_ADMIN)))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(missing(1 << CAP_BPF | 1 << CAP_NET_ADMIN), ["CAP_PERFMON"]);
        assert_eq!(missing(1 << CAP_SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert!(missing(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN).is_empty());
    }
}
