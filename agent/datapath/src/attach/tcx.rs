//! TCX links: attached by index, first in their chain, replaced in place.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use podgate_common::Direction;

use super::{Standing, failed};
use crate::load::{Classifier, Programs};
use crate::{Error, sys};

/// Makes a new link before all others, and sees that it is.
pub(super) fn link_first(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> Result<OwnedFd, Error> {
    let attempt = || -> io::Result<(OwnedFd, Standing)> {
        let link = sys::tcx_link_first(program, ifindex, direction)?;
        let standing = standing(sys::link_info(link.as_fd())?, ifindex, direction)?;
        Ok((link, standing))
    };
    let (link, standing) = attempt().map_err(|error| failed(ifindex, direction, "linking", &error))?;
    standing.must_be_first(ifindex, direction, |hook| {
        format!(
            "another TCX program keeps putting itself before podgate's at the {hook} hook: order it after podgate's"
        )
    })?;
    Ok(link)
}

/// What came of a link that was there.
#[derive(Debug)]
pub(super) enum TakenOver {
    /// It is as it should be.
    Already,
    /// It has this start's program now.
    InPlace,
    /// It was not first any more, but this one is; the former is to be detached once the other can't be lost.
    By(OwnedFd),
}

impl TakenOver {
    /// Whether anything is other than before.
    pub(super) const fn is_change(&self) -> bool {
        !matches!(self, Self::Already)
    }
}

/// Puts this start's program into a link that is there, in place, or makes another before the others.
pub(super) fn take_over(
    former: &OwnedFd,
    programs: &Programs,
    ifindex: u32,
    classifier: Classifier,
) -> Result<TakenOver, Error> {
    let direction = classifier.direction();
    let look = || -> io::Result<(Standing, bool)> {
        let info = sys::link_info(former.as_fd())?;
        let ours = sys::program_id(programs.get(classifier))? == info.program;
        Ok((standing(info, ifindex, direction)?, ours))
    };
    match look().map_err(|error| failed(ifindex, direction, "looking", &error))? {
        (Standing::First, true) => Ok(TakenOver::Already),
        (Standing::First, false) => {
            let updated = sys::link_update(former.as_fd(), programs.get(classifier));
            updated
                .map(|()| TakenOver::InPlace)
                .map_err(|error| failed(ifindex, direction, "replacing the program", &error))
        }
        // A chain takes each program only once.
        (Standing::Behind, true) => {
            link_first(programs.another(classifier)?.as_fd(), ifindex, direction).map(TakenOver::By)
        }
        (Standing::Behind, false) | (Standing::Absent, _) => {
            link_first(programs.get(classifier), ifindex, direction).map(TakenOver::By)
        }
    }
}

fn standing(link: sys::LinkInfo, ifindex: u32, direction: Direction) -> io::Result<Standing> {
    if link.ifindex != ifindex {
        return Ok(Standing::Absent);
    }
    let programs = sys::tcx_programs(ifindex, direction)?;
    Ok(Standing::among(programs.into_iter().map(Some), link.program))
}

/// Takes a link's program off its hook at once, whoever else holds the link.
pub(super) fn detach(link: &OwnedFd) {
    // It fails where the interface is gone: then the program is off already.
    let _off_already = sys::link_detach(link.as_fd());
}
