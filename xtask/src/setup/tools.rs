//! Programs that are unpacked beside the build and not installed, since to install them would start a service.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use super::{announce, apt};
use crate::workspace::{find, target};

/// Where packages are unpacked.
fn directory() -> PathBuf {
    target().join("tools")
}

/// Prometheus and promtool, by which rules and metrics are tried: those of the machine, else the distribution's package.
pub(super) fn prometheus() -> Result<()> {
    let directory = directory();
    if find("promtool").is_some() || directory.join("usr/bin/promtool").is_file() || find("apt-get").is_none() {
        return Ok(());
    }
    // From Debian 13 on promtool is a package of its own.
    let packages = apt::known(&["prometheus", "promtool"])?;
    announce("unpacking prometheus");
    let unpack = || apt::unpack(&packages, &directory, &[]);
    // Lists of yesterday may name packages that are gone today.
    unpack().or_else(|_| apt::update_now().and_then(|()| unpack()))
}

/// The search path with these programs at its end.
pub(crate) fn path_with_tools() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = env::split_paths(&path).chain([directory().join("usr/bin")]).collect();
    env::join_paths(all).unwrap_or(path)
}
