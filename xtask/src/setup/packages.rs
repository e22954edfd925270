//! Debian and Ubuntu packages.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use super::{announce, need_root};
use crate::workspace::{find, shell};

/// A package, and a program or file by which its presence is seen.
pub(crate) struct Package {
    name: &'static str,
    shown_by: &'static str,
}

const fn package(name: &'static str, shown_by: &'static str) -> Package {
    Package { name, shown_by }
}

/// For building.
pub(crate) const BUILD: &[Package] = &[package("gcc", "cc"), package("libc6-dev", "/usr/include/stdlib.h")];

/// A toolchain with library sources, of Debian.
pub(crate) const DISTRO_RUST: &[Package] = &[
    package("rustc-web", "/usr/bin/rustc"),
    package("cargo-web", "/usr/bin/cargo"),
    package("rust-web-src", "/usr/lib/rustlib/src/rust/library/core/Cargo.toml"),
    package("rust-web-clippy", "/usr/bin/clippy-driver"),
];

/// For labs and the demo, and for looking around in them.
pub(crate) const LAB: &[Package] = &[
    package("iproute2", "ip"),
    package("containernetworking-plugins", "/usr/lib/cni/ptp"),
    package("dnsmasq-base", "dnsmasq"),
    package("iputils-ping", "ping"),
    package("nftables", "nft"),
    package("iptables", "iptables"),
    package("conntrack", "conntrack"),
    package("runc", "runc"),
    package("golang-github-containers-common", "/usr/share/containers/seccomp.json"),
];

/// For looking at the manifests as they are applied.
pub(crate) const MANIFESTS: &[Package] = &[package("kubernetes-client", "kubectl")];

/// For comparing what the commands print with its schema.
pub(crate) const SCHEMA: &[Package] =
    &[package("python3-jsonschema", "/usr/lib/python3/dist-packages/jsonschema/__init__.py")];

/// For building the image: C for musl, and for the other processor.
pub(crate) const IMAGE: &[Package] = &[
    package("musl-tools", "musl-gcc"),
    package("runc", "runc"),
    package("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    package("libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/include/stdlib.h"),
];

/// For booting other kernels.
pub(crate) const KERNELS: &[Package] = &[
    package("qemu-system-x86", "qemu-system-x86_64"),
    package("kmod", "modprobe"),
    package("xz-utils", "xz"),
    package("binutils", "strip"),
];

impl Package {
    fn is_missing(&self) -> bool {
        if self.shown_by.starts_with('/') { !Path::new(self.shown_by).exists() } else { find(self.shown_by).is_none() }
    }
}

/// Installs those that are missing.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| package.is_missing()).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install_by_name(&missing)
}

/// Installs packages, with lists of packages that may be old, or may have to be fetched first.
fn install_by_name(names: &[&str]) -> Result<()> {
    let list = names.join(" ");
    if find("apt-get").is_none() {
        bail!("install what these Debian packages contain, and try again: {list}");
    }
    need_root(&format!("these packages are missing: {list}"))?;
    announce(&format!("installing {list}"));
    let shell = shell()?;
    shell.set_var("DEBIAN_FRONTEND", "noninteractive");
    if apt_install(&shell, names) {
        return Ok(());
    }
    update(&shell)?;
    if apt_install(&shell, names) {
        return Ok(());
    }
    bail!("apt-get can't install {list}: see above; install by hand what they contain, and try again")
}

fn apt_install(shell: &Shell, names: &[&str]) -> bool {
    cmd!(shell, "apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends {names...}").run().is_ok()
}

fn update(shell: &Shell) -> Result<()> {
    announce("updating the package lists");
    if cmd!(shell, "apt-get update -qq").run().is_err() {
        announce("some package lists could not be updated; going on with what there is");
    }
    Ok(())
}

/// Whether the distribution has a package.
pub(crate) fn is_offered(name: &str) -> Result<bool> {
    let Some(apt_cache) = find("apt-cache") else { return Ok(false) };
    let shell = shell()?;
    let offered = || cmd!(shell, "{apt_cache} show {name}").quiet().ignore_stderr().read().is_ok();
    if offered() {
        return Ok(true);
    }
    if nix::unistd::Uid::effective().is_root() {
        update(&shell)?;
    }
    Ok(offered())
}
