//! What tasks use of the distribution: looked for by what it provides, installed where apt-get does it, else listed with
//! the names that the distribution has for it.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::cmd;

use super::{apt, is_root};
use crate::workspace::{find, shell};

/// Something that a task uses, and the packages that provide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    provides: Provides,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

/// By which it is seen whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provides {
    /// A program in the path of root.
    Program(&'static str),
    /// A file, in the first of these places that has it.
    File(&'static [&'static str]),
    /// A header that the C compiler finds.
    Header(&'static str),
    /// A module of the distribution's Python.
    Python(&'static str),
}

use Provides::{File, Header, Program, Python};

const fn package(provides: Provides, [debian, fedora, arch]: [&'static str; 3]) -> Package {
    Package { provides, debian, fedora, arch }
}

/// For building.
pub(crate) const BUILD: &[Package] = &[
    package(Program("cc"), ["gcc", "gcc", "gcc"]),
    package(Header("stdlib.h"), ["libc6-dev", "glibc-devel", "glibc"]),
];

/// For the demo, and for looking around in it.
pub(crate) const DEMO: &[Package] = &[
    package(Program("ip"), ["iproute2", "iproute", "iproute2"]),
    package(Program("tc"), ["iproute2", "iproute-tc", "iproute2"]),
    package(
        File(&["/usr/lib/cni/ptp", "/opt/cni/bin/ptp", "/usr/libexec/cni/ptp"]),
        ["containernetworking-plugins", "containernetworking-plugins", "cni-plugins"],
    ),
    package(Program("dnsmasq"), ["dnsmasq-base", "dnsmasq", "dnsmasq"]),
    package(Program("ping"), ["iputils-ping", "iputils", "iputils"]),
    package(Program("nft"), ["nftables", "nftables", "nftables"]),
    package(Program("conntrack"), ["conntrack", "conntrack-tools", "conntrack-tools"]),
];

/// For the other labs.
pub(crate) const LAB: &[Package] = &[
    package(Program("iptables"), ["iptables", "iptables-nft", "iptables"]),
    package(Program("runc"), ["runc", "runc", "runc"]),
    package(
        File(&["/usr/share/containers/seccomp.json"]),
        ["golang-github-containers-common", "containers-common", "containers-common"],
    ),
];

/// For comparing with other ways to enforce, each of which can be missing.
pub(crate) const BENCH: &[Package] = &[package(Program("ipset"), ["ipset", "ipset", "ipset"])];

/// For looking at the manifests as they are applied.
pub(crate) const MANIFESTS: &[Package] =
    &[package(Program("kubectl"), ["kubernetes-client", "kubernetes-client", "kubectl"])];

/// For comparing what the commands print with its schema.
pub(crate) const SCHEMA: &[Package] =
    &[package(Python("jsonschema"), ["python3-jsonschema", "python3-jsonschema", "python-jsonschema"])];

/// For getting Helm from the npm registry.
pub(crate) const NPM: &[Package] = &[
    package(Program("npm"), ["npm", "nodejs-npm", "npm"]),
    package(File(&["/usr/bin/python3"]), ["python3", "python3", "python"]),
    package(Program("tar"), ["tar", "tar", "tar"]),
];

/// For building the image: what puts it together and looks at executables, C for musl, and C for the other processor.
pub(crate) const IMAGE: &[Package] = &[
    package(Program("buildah"), ["buildah", "buildah", "buildah"]),
    package(Program("runc"), ["runc", "runc", "runc"]),
    package(Program("readelf"), ["binutils", "binutils", "binutils"]),
    package(Program("make"), ["make", "make", "make"]),
    package(Program("musl-gcc"), ["musl-tools", "musl-gcc", "musl"]),
    package(
        Program("aarch64-linux-gnu-gcc"),
        ["gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"],
    ),
    package(
        File(&["/usr/aarch64-linux-gnu/include/stdlib.h"]),
        ["libc6-dev-arm64-cross", "glibc-devel-aarch64", "aarch64-linux-gnu-glibc"],
    ),
];

/// What other kernels run in.
pub(crate) const EMULATOR: Package =
    package(Program("qemu-system-x86_64"), ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"]);

/// For putting together what is booted.
pub(crate) const KERNELS: &[Package] = &[
    package(Program("modprobe"), ["kmod", "kmod", "kmod"]),
    package(Program("xz"), ["xz-utils", "xz", "xz"]),
    package(Program("strip"), ["binutils", "binutils", "binutils"]),
];

/// For making the roots of fresh machines.
pub(crate) const FRESH: &[Package] = &[
    package(Program("debootstrap"), ["debootstrap", "debootstrap", "debootstrap"]),
    package(Program("unshare"), ["util-linux", "util-linux", "util-linux"]),
];

/// A toolchain with library sources, in Debian's packages.
pub(crate) const RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// Clippy of the same.
pub(crate) const CLIPPY: &str = "rust-web-clippy";

impl Package {
    /// What Debian calls it.
    pub(super) fn debian(&self) -> &'static str {
        self.debian
    }
}

impl Provides {
    fn is_there(self) -> bool {
        match self {
            Program(name) => find(name).is_some(),
            File(places) => places.iter().any(|place| Path::new(place).exists()),
            Header(name) => runs("cc", &["-E", "-include", name, "-x", "c", "/dev/null"]),
            Python(module) => runs("/usr/bin/python3", &["-c", &format!("import {module}")]),
        }
    }

    /// How it is called where no package is known.
    fn name(self) -> &'static str {
        match self {
            Program(name) | Header(name) | Python(name) => name,
            File(places) => places[0],
        }
    }
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    shell().is_ok_and(|shell| {
        cmd!(shell, "{program} {arguments...}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    })
}

/// What installs packages here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    /// Debian's and Ubuntu's.
    Apt,
    /// Fedora's.
    Dnf,
    /// Arch's.
    Pacman,
    /// One that is not known.
    Other,
}

impl Manager {
    fn here() -> Self {
        let known = [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("pacman", Self::Pacman)];
        known.into_iter().find(|(program, _)| find(program).is_some()).map_or(Self::Other, |(_, manager)| manager)
    }

    /// The names of what is missing, each once.
    fn names(self, missing: &[Package]) -> Vec<&'static str> {
        let mut names = Vec::new();
        for package in missing {
            let name = match self {
                Self::Apt => package.debian,
                Self::Dnf => package.fedora,
                Self::Pacman => package.arch,
                Self::Other => package.provides.name(),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What to do about what is missing, in one line, where this program does not do it.
    fn advice(self, missing: &[Package]) -> String {
        let names = self.names(missing).join(" ");
        let things: Vec<&str> = missing.iter().map(|package| package.provides.name()).collect();
        let things = things.join(", ");
        match self {
            Self::Apt => format!("missing: {things}; as root `apt-get install {names}`, and try again"),
            Self::Dnf => format!("missing: {things}; as root `dnf install {names}`, and try again"),
            Self::Pacman => format!("missing: {things}; as root `pacman -S {names}`, and try again"),
            Self::Other => format!("missing: {things}; install what provides them, and try again"),
        }
    }
}

/// Installs what is missing.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<Package> = packages.iter().filter(|package| !package.provides.is_there()).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let manager = Manager::here();
    if manager != Manager::Apt || !is_root() {
        bail!(manager.advice(&missing));
    }
    apt::install(&manager.names(&missing))?;
    match missing.iter().find(|package| !package.provides.is_there()) {
        Some(package) => bail!("{} is installed, but {} is not there", package.debian, package.provides.name()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_is_told_its_own_packages_once_each() {
        let missing = [DEMO[0], DEMO[1], DEMO[2], SCHEMA[0]];
        let things = "missing: ip, tc, /usr/lib/cni/ptp, jsonschema";
        let cases = [
            (
                Manager::Apt,
                "as root `apt-get install iproute2 containernetworking-plugins python3-jsonschema`, and try again",
            ),
            (
                Manager::Dnf,
                "as root `dnf install iproute iproute-tc containernetworking-plugins python3-jsonschema`, and try again",
            ),
            (Manager::Pacman, "as root `pacman -S iproute2 cni-plugins python-jsonschema`, and try again"),
            (Manager::Other, "install what provides them, and try again"),
        ];
        for (manager, advice) in cases {
            assert_eq!(manager.advice(&missing), format!("{things}; {advice}"));
        }
    }

    #[test]
    fn things_are_looked_for_by_what_they_provide() {
        let cases = [
            (Program("sh"), true),
            (Program("no-such-program"), false),
            (File(&["/no/such/file", "/proc/self/status"]), true),
            (File(&["/no/such/file"]), false),
            (Header("stdlib.h"), true),
            (Header("no-such-header.h"), false),
            (Python("no_such_module"), false),
        ];
        assert_eq!(cases.map(|(provides, _)| provides.is_there()), cases.map(|(_, there)| there));
    }

    #[test]
    fn the_demo_needs_nothing_that_only_tests_need() {
        let only_tests = [SCHEMA, MANIFESTS, KERNELS, FRESH, &[EMULATOR]].concat();
        assert!([BUILD, DEMO].concat().iter().all(|package| !only_tests.contains(package)));
        assert!(BUILD.iter().all(|package| ["cc", "stdlib.h"].contains(&package.provides.name())));
    }
}
