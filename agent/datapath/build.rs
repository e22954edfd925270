//! Builds the eBPF programs for the BPF target and leaves the object in OUT_DIR, where `src/load.rs` embeds it. Which
//! compiler, LLVM and linker do it, podgate-toolchain says.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_toolchain::Toolchain;

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
    for path in ["ebpf/src", "ebpf/Cargo.toml", "common/src", "common/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let rustc = env::var_os("RUSTC").ok_or("run by cargo only")?;
    match Toolchain::find(Path::new(&rustc), &root) {
        Ok(toolchain) => build(&toolchain, &root),
        Err(missing) => {
            println!("cargo::error={missing}");
            Ok(())
        }
    }
}

/// The workspace that this crate and the eBPF crate are members of.
fn workspace_root() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run by cargo only")?);
    Ok(manifest.join("../..").canonicalize()?)
}

/// Compiles the programs and copies the object to OUT_DIR.
fn build(toolchain: &Toolchain, root: &Path) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run by cargo only")?);
    let (target, llvm) = (out.join("ebpf"), out.join("llvm"));
    toolchain.link_llvm(&llvm)?;
    let status = cargo(toolchain, root, &target, &llvm).status()?;
    if !status.success() {
        return Err("the eBPF programs don't compile, see above".into());
    }
    fs::copy(target.join("bpfel-unknown-none/release/podgate"), out.join("podgate.o"))?;
    Ok(())
}

/// The call of cargo that compiles the programs, with nothing of the outer build's settings in its environment. bpf-linker
/// finds its LLVM in the directory `llvm`.
fn cargo(toolchain: &Toolchain, root: &Path, target: &Path, llvm: &Path) -> Command {
    let sysroot = &toolchain.compiler.sysroot;
    let mut cargo = Command::new(sysroot.join("bin/cargo"));
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
        .env("RUSTC", sysroot.join("bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&toolchain.linker.path))
        .env("LD_LIBRARY_PATH", llvm);
    cargo
}

/// v3 has 32-bit jumps and all kernels that podgate runs on know it; unaligned access is for packet headers, which are
/// aligned to two bytes and which the kernel lets programs read by words.
fn rustflags(linker: &Path) -> OsString {
    let mut flags = OsString::from("-Clinker=");
    flags.push(linker);
    for flag in ["-Ctarget-cpu=v3", "-Clink-arg=--btf", "-Cdebuginfo=2"] {
        flags.push("\u{1f}");
        flags.push(flag);
    }
    flags
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
