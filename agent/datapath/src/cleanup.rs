//! The removal of everything that podgate has left in the kernel.

use std::path::Path;

use crate::attach::Hooks;
use crate::pins::Pins;
use crate::{Error, Hook};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The interfaces, by index, whose hooks had programs of podgate.
    pub interfaces: Vec<u32>,
    /// Whether tables and programs were pinned.
    pub pins: bool,
}

/// Takes podgate's programs off every interface of the calling thread's network namespace, removes the clsact qdiscs
/// that nobody else has filters at, and then all pins below a directory. Nothing is enforced any more. No agent may be at
/// work; doing it again, or where podgate never was, does nothing.
///
/// # Errors
/// The kernel refused something; what was removed stays removed, and calling again goes on.
pub fn remove_everything(bpffs: &Path) -> Result<Removed, Error> {
    let Some(pins) = Pins::existing(bpffs)? else { return Ok(Removed::default()) };
    let (interfaces, pins) = Hooks::new(Hook::Auto, false, Some(pins)).remove_all()?;
    Ok(Removed { interfaces, pins })
}
