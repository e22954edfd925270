//! The commands of bpf(2) that aya doesn't offer: batches, TCX links and queries by interface index, pins.
//!
//! Each attribute struct is the prefix of the kernel's `union bpf_attr` that the command reads; the kernel takes the
//! rest as zero. None of these commands looks an object up by id, which would need CAP_SYS_ADMIN.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::Pod;
use podgate_common::Direction;

const MAP_CREATE: u32 = 0;
#[cfg(test)]
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: u32 = 25;
const MAP_UPDATE_BATCH: u32 = 26;
const MAP_DELETE_BATCH: u32 = 27;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `BPF_MAP_TYPE_ARRAY`
pub(crate) const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
pub(crate) const MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// `BPF_F_BEFORE`: without another program named, before all.
const F_BEFORE: u32 = 1 << 3;

/// One call of bpf(2).
fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: every caller passes the attribute struct of its command, whose pointers are valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// One call of bpf(2) that makes a file descriptor.
fn bpf_fd<T>(command: u32, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the command returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Makes a map with 4-byte keys and values.
pub(crate) fn map_create(map_type: u32, entries: u32, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner_fd: u32,
    }
    let inner_fd = inner.map_or(0, raw);
    bpf_fd(MAP_CREATE, &mut Attr { map_type, key_size: 4, value_size: 4, max_entries: entries, flags: 0, inner_fd })
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[cfg(test)]
/// Reads one entry of a map whose values are `V`; `None` where it has no such key.
pub(crate) fn map_lookup<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = ElementAttr {
        map_fd: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes one entry.
pub(crate) fn map_update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_ref(value) as u64,
        flags: 0,
    };
    bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A batch that ended early: how many entries it dealt with, and why it went no further.
pub(crate) type BatchError = (usize, io::Error);

fn batch(command: u32, attr: &mut BatchAttr) -> Result<(), BatchError> {
    let asked = attr.count;
    bpf(command, attr).map(drop).map_err(|error| {
        // Kernels before 6.8 leave the field alone where they fail before the first entry.
        let done = if attr.count >= asked { 0 } else { attr.count };
        (done as usize, error)
    })
}

/// Writes many entries in order. A map with a value per CPU takes as many values per key.
pub(crate) fn map_update_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> Result<(), BatchError> {
    debug_assert!(values.len().is_multiple_of(keys.len()), "every key has its values");
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map_fd: raw(map),
        ..BatchAttr::default()
    };
    batch(MAP_UPDATE_BATCH, &mut attr)
}

/// Removes many entries in order; ends early, with ENOENT, at one that is not there.
pub(crate) fn map_delete_batch<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> Result<(), BatchError> {
    let mut attr =
        BatchAttr { keys: keys.as_ptr() as u64, count: keys.len() as u32, map_fd: raw(map), ..BatchAttr::default() };
    batch(MAP_DELETE_BATCH, &mut attr)
}

/// Reads entries of an array, of one value per CPU or not, that follow one another. `values` has room for `count`.
pub(crate) fn array_lookup_batch<V: Pod>(
    map: BorrowedFd<'_>,
    first: u32,
    count: u32,
    values: &mut [V],
) -> io::Result<()> {
    let mut keys = vec![0_u32; count as usize];
    // The kernel begins behind the key it is given.
    let before = first.wrapping_sub(1);
    let mut out = 0_u32;
    let mut attr = BatchAttr {
        in_batch: if first == 0 { 0 } else { std::ptr::from_ref(&before) as u64 },
        out_batch: std::ptr::from_mut(&mut out) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: raw(map),
        ..BatchAttr::default()
    };
    match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        // ENOENT: the array ended with, or before, the last entry asked for.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && attr.count == count => Ok(()),
        other => other.map(drop),
    }
}

/// What to do with the entries of a hash that are walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Walk {
    /// Count them.
    Count = MAP_LOOKUP_BATCH,
    /// Count and remove them.
    Remove = MAP_LOOKUP_AND_DELETE_BATCH,
}

/// Walks over the entries of a hash whose keys and values have these sizes, and counts them.
pub(crate) fn hash_walk(map: BorrowedFd<'_>, walk: Walk, key_size: usize, value_size: usize) -> io::Result<u64> {
    const CHUNK: usize = 4096;
    let mut keys = vec![0_u8; key_size * CHUNK];
    let mut values = vec![0_u8; value_size * CHUNK];
    // The kernel's cursor is a bucket's number.
    let mut cursor = 0_u32;
    let cursor = &raw mut cursor as u64;
    let (mut begun, mut total) = (false, 0);
    loop {
        let mut attr = BatchAttr {
            in_batch: if begun { cursor } else { 0 },
            out_batch: cursor,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: CHUNK as u32,
            map_fd: raw(map),
            ..BatchAttr::default()
        };
        match bpf(walk as u32, &mut attr) {
            Ok(_) => total += u64::from(attr.count),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(total + u64::from(attr.count)),
            Err(error) => return Err(error),
        }
        begun = true;
    }
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Pins an object.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(OBJ_PIN, &mut ObjectAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 }).map(drop)
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf_fd(OBJ_GET, &mut ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 })
}

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

/// The id of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_prog_info begins with type and id.
    let mut info = [0_u32; 2];
    object_info(program, &mut info)?;
    Ok(info[1])
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

fn object_info<const N: usize>(object: BorrowedFd<'_>, info: &mut [u32; N]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut attr = Attr { fd: raw(object), length: size_of_val(info) as u32, info: info.as_mut_ptr() as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Input and outcome of a test run.
pub(crate) struct TestRunBuffers<'a> {
    /// The frame.
    pub(crate) packet: &'a [u8],
    /// `struct __sk_buff` before and after.
    pub(crate) context: &'a mut [u8],
    /// Room for the frame after the run.
    pub(crate) output: &'a mut Vec<u8>,
}

/// Runs a classifier on a frame so many times; its last verdict, and how many nanoseconds a run took.
pub(crate) fn test_run(program: BorrowedFd<'_>, buffers: TestRunBuffers<'_>, repeat: u32) -> io::Result<(u32, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        program: u32,
        verdict: u32,
        packet_size: u32,
        output_size: u32,
        packet: u64,
        output: u64,
        repeat: u32,
        duration: u32,
        context_in_size: u32,
        context_out_size: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        pad: u32,
    }
    let TestRunBuffers { packet, context, output } = buffers;
    let context_pointer = context.as_mut_ptr() as u64;
    let mut attr = Attr {
        program: raw(program),
        packet_size: packet.len() as u32,
        output_size: output.len() as u32,
        packet: packet.as_ptr() as u64,
        output: output.as_mut_ptr() as u64,
        repeat,
        context_in_size: context.len() as u32,
        context_out_size: context.len() as u32,
        context_in: context_pointer,
        context_out: context_pointer,
        ..Attr::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    output.truncate(attr.output_size as usize);
    Ok((attr.verdict, attr.duration))
}
