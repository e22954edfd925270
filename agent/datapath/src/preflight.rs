//! What must hold before anything is loaded, told in one line where it doesn't.

use std::ffi::CStr;
use std::io;

use crate::{Error, forbidden, sys};

/// The oldest kernel that was tested.
const OLDEST: (u32, u32) = (6, 1);
/// The first kernel with TCX.
const TCX: (u32, u32) = (6, 6);

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// CAP_SYS_ADMIN includes the first two, but not the last.
const NEEDED: [(u32, &str); 3] = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")];

/// Checks kernel and capabilities; returns whether the kernel has TCX.
pub(crate) fn check() -> Result<bool, Error> {
    let release = kernel_release();
    let version = parse_release(&release);
    if version < OLDEST {
        return Err(Error::KernelTooOld { found: release });
    }
    let capabilities = effective_capabilities().map_err(|error| Error::MissingCapabilities(error.to_string()))?;
    let missing = missing(capabilities);
    if !missing.is_empty() {
        return Err(Error::MissingCapabilities(missing.join(", ")));
    }
    try_bpf()?;
    Ok(version >= TCX)
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
fn kernel_release() -> String {
    // SAFETY: all bytes zero is a valid utsname.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which fills the struct with strings that end in a zero.
    let release = unsafe {
        libc::uname(&raw mut name);
        CStr::from_ptr(name.release.as_ptr())
    };
    release.to_string_lossy().into_owned()
}

/// Major and minor number of a release; what can't be read counts as 0.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
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
    fn releases_of_distributions_are_understood() {
        let releases = ["6.1.0-32-amd64", "6.18.44-fc-v669", "5.15.0", "6.6-rc1", "7", "weird"];
        assert_eq!(releases.map(parse_release), [(6, 1), (6, 18), (5, 15), (6, 6), (7, 0), (0, 0)]);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(missing(1 << CAP_BPF | 1 << CAP_NET_ADMIN), ["CAP_PERFMON"]);
        assert_eq!(missing(1 << CAP_SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert!(missing(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN).is_empty());
    }
}
