//! Hooking an interface with programs that are pinned.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::{clsact, failed, tcx};
use crate::load::Classifier;
use crate::pins::Pins;
use crate::{Error, sys};

/// Makes a pinned program the first at its hook of an interface, the way the agent that pinned it does: by links if it has
/// pinned some, by filters if it has made some, else by what the kernel has. An agent finds it there.
pub(crate) fn attach_pinned(
    pins: &Pins,
    program: BorrowedFd<'_>,
    classifier: Classifier,
    ifindex: u32,
    kernel_has_tcx: bool,
) -> Result<(), Error> {
    let links = !pins.linked_interfaces()?.is_empty();
    let filters = !pins.filtered_interfaces()?.is_empty();
    if links || (!filters && kernel_has_tcx) {
        return link(pins, program, classifier, ifindex);
    }
    pins.mark_filtered(ifindex)?;
    clsact::attach_first(program, classifier, ifindex).map(drop)
}

/// Puts the program into the link that is pinned for the interface, as that of a device that is no pod's may be; else makes
/// one.
fn link(pins: &Pins, program: BorrowedFd<'_>, classifier: Classifier, ifindex: u32) -> Result<(), Error> {
    let direction = classifier.direction();
    let is_there = |link: &OwnedFd| sys::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == ifindex);
    match pins.open_link(ifindex, direction).filter(is_there) {
        Some(link) => sys::link_update(link.as_fd(), program)
            .map_err(|error| failed(ifindex, direction, "replacing the program", &error)),
        None => pins.pin_link(ifindex, direction, tcx::link_first(program, ifindex, direction)?.as_fd()),
    }
}
