//! The first process of the guest: mounts, modules, tests, end.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// The directory of modules, named in the order of loading.
pub(crate) const MODULES: &str = "/modules";
/// The file that lists the test programs, each with the names of its tests that are run, if not all are.
pub(crate) const TESTS: &str = "/tests";
/// What the console shows last when all went well.
pub(crate) const ALL_PASSED: &str = "guest: all tests passed";

/// Kind and place of what labs expect to be mounted.
const MOUNTS: [(&str, &str); 4] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("bpf", "/sys/fs/bpf")];

/// Runs the tests and ends the guest.
pub(crate) fn run() -> Result<()> {
    match prepare().and_then(|()| test()) {
        Ok(()) => println!("{ALL_PASSED}"),
        Err(error) => println!("guest: {error:#}"),
    }
    // The emulator ends instead of booting anew.
    reboot(RebootMode::RB_AUTOBOOT).context("end the guest")?;
    Ok(())
}

fn prepare() -> Result<()> {
    ensure!(std::process::id() == 1, "this is for the first process of an emulated machine");
    for (kind, place) in MOUNTS {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {place}"))?;
    }
    let modules = fs::read_dir(MODULES).context("read the list of modules")?;
    let mut modules: Vec<PathBuf> = modules.flatten().map(|file| file.path()).collect();
    modules.sort();
    modules.iter().try_for_each(|module| load(module))
}

fn load(module: &Path) -> Result<()> {
    let file = File::open(module).with_context(|| format!("open {}", module.display()))?;
    let loaded = finit_module(&file, &CString::default(), ModuleInitFlags::empty());
    loaded.with_context(|| format!("load {}", module.display()))
}

fn test() -> Result<()> {
    let programs = fs::read_to_string(TESTS).context("read the list of tests")?;
    for line in programs.lines() {
        let mut words = line.split_whitespace();
        let program = words.next().context("the list of tests has an empty line")?;
        let status = Command::new(program).args(words).arg("--test-threads=2").env("PATH", "/bin").status();
        let status = status.with_context(|| format!("run {program}"))?;
        ensure!(status.success(), "{program}: {status}");
    }
    Ok(())
}
