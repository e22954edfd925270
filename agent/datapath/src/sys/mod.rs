//! The commands of bpf(2) that aya doesn't offer: batches, TCX links and queries by interface index, pins.
//!
//! Each attribute struct is the prefix of the kernel's `union bpf_attr` that the command reads; the kernel takes the
//! rest as zero. None of these commands looks an object up by id, which would need CAP_SYS_ADMIN.

mod map;
mod program;
mod tcx;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(crate) use map::{
    CHUNK, Cursor, MAP_TYPE_ARRAY, MAP_TYPE_ARRAY_OF_MAPS, MAP_TYPE_PROG_ARRAY, MAP_TYPE_RINGBUF, MapSize, Walk,
    all_hash_keys, array_lookup_batch, hash_copy, hash_keys, hash_walk, map_create, map_create_sized, map_delete_batch,
    map_lookup, map_size, map_update, map_update_batch, per_cpu_counts,
};
pub(crate) use program::{TestRunBuffers, classifier_load, program_id, program_instructions, test_run};
pub(crate) use tcx::{LinkInfo, link_detach, link_info, link_update, tcx_link_first, tcx_programs};

const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_GET_INFO_BY_FD: u32 = 15;

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
