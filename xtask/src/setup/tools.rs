//! Programs that are unpacked beside the build and not installed, since to install them would start a service.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::cmd;

use super::{announce, apt};
use crate::workspace::{find, shell, target};

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
    let shell = shell()?;
    shell.create_dir(&directory)?;
    shell.change_dir(&directory);
    // `apt-get download` gives up root's rights, which a directory of root's does not welcome; the option keeps them.
    let download = cmd!(shell, "apt-get download -q -o APT::Sandbox::User=root {packages...}");
    download.run().context("download prometheus")?;
    for file in shell.read_dir(&directory)?.into_iter().filter(|file| file.extension().is_some_and(|it| it == "deb")) {
        cmd!(shell, "dpkg-deb --extract {file} {directory}").run().context("unpack prometheus")?;
        shell.remove_path(file)?;
    }
    Ok(())
}

/// The search path with these programs at its end.
pub(crate) fn path_with_tools() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = env::split_paths(&path).chain([directory().join("usr/bin")]).collect();
    env::join_paths(all).unwrap_or(path)
}
