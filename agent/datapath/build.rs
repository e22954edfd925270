//! Builds the eBPF programs for the BPF target and leaves the object in OUT_DIR, where `src/object.rs` embeds it.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Upper-case suffixes of profile settings that the outer build's must not leak into the object.
const PROFILE: [(&str, &str); 7] = [
    ("OPT_LEVEL", "3"),
    ("DEBUG", "2"),
    ("LTO", "off"),
    ("STRIP", "none"),
    ("PANIC", "abort"),
    ("CODEGEN_UNITS", "1"),
    ("OVERFLOW_CHECKS", "false"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = workspace_root()?;
    let Some(tools) = Tools::find() else {
        println!(
            "cargo::error=building the eBPF programs needs bpf-linker and a Rust toolchain with library sources \
             (`rustup component add rust-src`, or Debian's rustc-web, cargo-web and rust-web-src): run `cargo xtask \
             setup`"
        );
        return Ok(());
    };
    for path in ["ebpf/src", "ebpf/Cargo.toml", "common/src", "common/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    tools.build(&root)
}

/// The workspace that this crate and the eBPF crate are members of.
fn workspace_root() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run by cargo only")?);
    Ok(manifest.join("../..").canonicalize()?)
}

/// What compiles to BPF.
struct Tools {
    /// The directory with `bin/cargo` and `bin/rustc` of a toolchain that has the sources of `core`.
    sysroot: PathBuf,
    /// bpf-linker.
    linker: PathBuf,
}

impl Tools {
    /// The first toolchain that has library sources: the one in use, rustup's `distro`, the distribution's.
    fn find() -> Option<Self> {
        let linker = find_in_path("bpf-linker")?;
        let active = env::var_os("RUSTC").map(PathBuf::from).and_then(|rustc| sysroot(Command::new(rustc)));
        let distro = || {
            let mut rustc = Command::new("rustup");
            rustc.args(["run", "distro", "rustc"]);
            sysroot(rustc)
        };
        let system = || sysroot(Command::new("/usr/bin/rustc"));
        let sysroot = active
            .filter(|root| is_complete(root))
            .or_else(|| distro().filter(|root| is_complete(root)))
            .or_else(|| system().filter(|root| is_complete(root)))?;
        Some(Self { sysroot, linker })
    }

    /// Compiles the programs and copies the object to OUT_DIR.
    fn build(&self, root: &Path) -> Result<(), Box<dyn Error>> {
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run by cargo only")?);
        let target = out.join("ebpf");
        let status = self.cargo(root, &target).status()?;
        if !status.success() {
            return Err("the eBPF programs don't compile, see above".into());
        }
        fs::copy(target.join("bpfel-unknown-none/release/podgate"), out.join("podgate.o"))?;
        Ok(())
    }

    /// The call of cargo that compiles the programs, with nothing of the outer build's settings in its environment.
    fn cargo(&self, root: &Path, target: &Path) -> Command {
        let mut cargo = Command::new(self.sysroot.join("bin/cargo"));
        cargo.current_dir(root.join("ebpf"));
        for (name, _) in env::vars_os().filter(|(name, _)| leaks(name)) {
            cargo.env_remove(name);
        }
        for (setting, value) in PROFILE {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        cargo
            .args(["build", "--package", "podgate-ebpf", "--bin", "podgate", "--release"])
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
            .arg(target)
            .args(env::var_os("CARGO_FEATURE_OTHER_ABI").map(|_| "--features=podgate-common/other-abi"))
            .env("RUSTC", self.sysroot.join("bin/rustc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags())
            .env("LD_LIBRARY_PATH", self.library_path());
        cargo
    }

    /// v3 has 32-bit jumps and all kernels that podgate runs on know it; unaligned access is for packet headers, which
    /// are aligned to two bytes and which the kernel lets programs read by words.
    fn rustflags(&self) -> OsString {
        let mut flags = OsString::from("-Clinker=");
        flags.push(&self.linker);
        for flag in ["-Ctarget-cpu=v3", "-Clink-arg=--btf", "-Cdebuginfo=2"] {
            flags.push("\u{1f}");
            flags.push(flag);
        }
        flags
    }

    /// Where bpf-linker looks for libLLVM: the toolchain's own, then the distribution's.
    fn library_path(&self) -> OsString {
        let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
        env::join_paths([self.sysroot.join("lib"), PathBuf::from(multiarch)])
            .expect("neither a sysroot nor the directory above contains a colon")
    }
}

/// The sysroot of a compiler.
fn sysroot(mut rustc: Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Whether a toolchain can build `core`.
fn is_complete(sysroot: &Path) -> bool {
    ["lib/rustlib/src/rust/library/core/Cargo.toml", "bin/cargo", "bin/rustc"]
        .iter()
        .all(|file| sysroot.join(file).exists())
}

/// An executable's path.
fn find_in_path(name: &str) -> Option<PathBuf> {
    let cargo_bin = env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    env::split_paths(&env::var_os("PATH")?)
        .chain(cargo_bin)
        .map(|directory| directory.join(name))
        .find(|file| file.exists())
}

/// Whether a variable of the outer build would change the inner one. Where cargo keeps its registry and how it reaches
/// the network stays.
fn leaks(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    let cargo = name.starts_with("CARGO") && !kept.iter().any(|prefix| name.starts_with(prefix));
    let rust = ["RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"].iter().any(|prefix| name.starts_with(prefix));
    cargo || rust || ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "OUT_DIR", "LD_LIBRARY_PATH"].contains(&&*name)
}
