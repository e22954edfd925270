//! TC programs of somebody else.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use podgate_common::Direction;

use super::sandbox::run;
use crate::{Hook, sys};

/// Loads a classifier that returns TC_ACT_OK, so that no program behind it sees the packet.
fn load() -> OwnedFd {
    // r0 = 0; exit
    sys::classifier_load(&[0xb7, 0x95]).unwrap()
}

/// A program at a hook, in front of all that are there.
pub(super) struct Foreign {
    program: OwnedFd,
    link: Option<OwnedFd>,
}

impl Foreign {
    /// Puts it in front.
    pub(super) fn in_front(hook: Hook, ifindex: u32, direction: Direction) -> Self {
        let program = load();
        let link = match hook {
            Hook::Auto | Hook::Tcx => Some(sys::tcx_link_first(program.as_fd(), ifindex, direction).unwrap()),
            Hook::Clsact => {
                add_filter(&program, ifindex, direction, "pref 1 protocol all");
                None
            }
        };
        Self { program, link }
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        sys::program_id(self.program.as_fd()).unwrap()
    }

    /// Whether it is attached by a link, which ends with this value.
    pub(super) const fn is_linked(&self) -> bool {
        self.link.is_some()
    }
}

/// Adds a filter that returns OK for the packets that `matching` says.
pub(super) fn add_ok_filter(ifindex: u32, direction: Direction, matching: &str) {
    add_filter(&load(), ifindex, direction, matching);
}

fn add_filter(program: &OwnedFd, ifindex: u32, direction: Direction, matching: &str) {
    let path = format!("/sys/fs/bpf/foreign-{}", program.as_raw_fd());
    if !Path::new(&path).exists() {
        sys::pin(program.as_fd(), Path::new(&path)).unwrap();
    }
    let hook = match direction {
        Direction::Ingress => "egress",
        Direction::Egress => "ingress",
    };
    let device = device(ifindex);
    run(&format!("tc qdisc replace dev {device} clsact"));
    run(&format!("tc filter add dev {device} {hook} {matching} bpf direct-action object-pinned {path}"));
}

/// The name of an interface.
pub(super) fn device(ifindex: u32) -> String {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function asks for.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr().cast()) };
    assert!(!found.is_null());
    CStr::from_bytes_until_nul(&name).unwrap().to_string_lossy().into_owned()
}
