//! Installing what is missing. Nothing is missing most of the time, so looking is quick.

mod packages;
mod rust;
mod tools;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::workspace::{self, shell};

pub(crate) use tools::path_with_tools;

/// Everything.
pub(crate) fn all() -> Result<()> {
    for_kernels()
}

/// What building podgate needs.
pub(crate) fn for_build() -> Result<()> {
    packages::install(packages::BUILD)?;
    rust::library_sources()?;
    rust::bpf_linker()
}

/// What building the image needs beside Rust's standard library for its targets.
pub(crate) fn for_image() -> Result<()> {
    for_build()?;
    packages::install(packages::IMAGE)
}

/// What speaking to a cluster needs.
pub(crate) fn for_cluster() -> Result<()> {
    packages::install(packages::MANIFESTS)
}

/// What building podgate and the tests that need no special kernel need.
pub(crate) fn for_unit() -> Result<()> {
    for_build()?;
    packages::install(packages::MANIFESTS)?;
    packages::install(packages::SCHEMA)?;
    tools::prometheus()
}

/// What building podgate and running labs need.
pub(crate) fn for_lab() -> Result<()> {
    for_unit()?;
    packages::install(packages::LAB)?;
    need_root("labs are made of network namespaces")?;
    mount_bpffs()?;
    load_bridge_filter()
}

/// What building podgate and booting other kernels need.
pub(crate) fn for_kernels() -> Result<()> {
    for_lab()?;
    packages::install(packages::KERNELS)
}

/// Says what is being done, as installing takes a while.
fn announce(what: &str) {
    println!("setup: {what}");
}

/// Fails for anybody else.
pub(crate) fn need_root(why: &str) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("run this as root: {why}");
    }
    Ok(())
}

fn mount_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    if mounts.lines().any(|line| line.contains(" /sys/fs/bpf bpf ")) {
        return Ok(());
    }
    announce("mounting the BPF file system at /sys/fs/bpf");
    let shell = shell()?;
    cmd!(shell, "mount -t bpf bpf /sys/fs/bpf").run().context("mount the BPF file system")
}

/// Bridged traffic goes through the IP hooks on Kubernetes nodes, so it does in labs where the kernel can.
fn load_bridge_filter() -> Result<()> {
    if Path::new("/proc/sys/net/bridge").exists() || workspace::find("modprobe").is_none() {
        return Ok(());
    }
    announce("loading br_netfilter");
    let shell = shell()?;
    let loaded = cmd!(shell, "modprobe br_netfilter").ignore_status().run();
    loaded.context("run modprobe")
}
