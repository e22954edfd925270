//! TCX links.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use podgate_common::Direction;

use super::{bpf, bpf_fd, object_info, raw};

const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `BPF_F_BEFORE`: without another program named, before all.
const F_BEFORE: u32 = 1 << 3;

/// The TCX hook at which a direction's packets are seen: what leaves the pod enters the host, and the other way round.
const fn tcx_hook(direction: Direction) -> u32 {
    match direction {
        // BPF_TCX_EGRESS
        Direction::Ingress => 47,
        // BPF_TCX_INGRESS
        Direction::Egress => 46,
    }
}

/// Hangs a program at an interface of this thread's network namespace, before all others.
pub(crate) fn tcx_link_first(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        pad: u32,
        expected_revision: u64,
    }
    let mut attr = Attr {
        program: raw(program),
        ifindex,
        attach_type: tcx_hook(direction),
        flags: F_BEFORE,
        relative: 0,
        pad: 0,
        expected_revision: 0,
    };
    bpf_fd(LINK_CREATE, &mut attr)
}

/// Replaces a link's program in one step, in its place.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    bpf(LINK_UPDATE, &mut Attr { link: raw(link), program: raw(program), flags: 0, old_program: 0 }).map(drop)
}

/// Detaches a link now, whoever else holds it.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut raw(link)).map(drop)
}

/// Ids of the programs at a TCX hook of an interface of this thread's network namespace, in the order in which they run.
pub(crate) fn tcx_programs(ifindex: u32, direction: Direction) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attr {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        pad: u32,
        program_attach_flags: u64,
        link_ids: u64,
        link_attach_flags: u64,
        revision: u64,
    }
    // The kernel allows 64 programs at a hook (BPF_MPROG_MAX).
    let mut ids = vec![0_u32; 64];
    let mut attr = Attr {
        ifindex,
        attach_type: tcx_hook(direction),
        query_flags: 0,
        attach_flags: 0,
        program_ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        pad: 0,
        program_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids.truncate(attr.count as usize);
    Ok(ids)
}

/// What the kernel tells of a TCX link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    /// Id of its program.
    pub(crate) program: u32,
    /// Its interface; 0 where that is gone.
    pub(crate) ifindex: u32,
}

/// What the kernel tells of a TCX link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // struct bpf_link_info: type, id, prog_id, padding, then for TCX ifindex and attach type.
    let mut info = [0_u32; 6];
    object_info(link, &mut info)?;
    Ok(LinkInfo { program: info[2], ifindex: info[4] })
}
