//! Doing without a capability.

/// CAP_NET_BROADCAST and CAP_NET_ADMIN of linux/capability.h.
#[derive(Clone, Copy)]
pub(crate) enum Capability {
    NetBroadcast = 11,
    NetAdmin = 12,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Takes a capability from the calling thread, for good.
pub(crate) fn drop_capability(capability: Capability) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Set::default(); 2];
    // SAFETY: version 3 reads a header and writes two sets, laid out as in linux/capability.h.
    let read = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    sets[0].effective &= !(1 << capability as u32);
    sets[0].permitted &= !(1 << capability as u32);
    // SAFETY: as above, and both are only read. It changes nothing but the calling thread's capabilities.
    let written = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    assert_eq!((read, written), (0, 0), "capabilities of the own thread can be dropped");
}
