//! What `cargo xtask` runs: it is built in a second, asks for what the task cannot do without, builds the tasks with cargo's
//! own progress, and starts the one that was asked for.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Tasks that are refused to anybody but root, and would else be after minutes of building.
const ROOTS: [&str; 8] = ["test", "demo", "kernel", "lab", "test-kernels", "test-fresh", "soak", "bench"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match launch(&arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn launch(arguments: &[String]) -> Result<ExitCode, String> {
    if !cfg!(target_os = "linux") {
        return Err(format!(
            "podgate is a Linux program, and so is what builds it: run this on a Linux machine, x86-64 or arm64, or in a \
             virtual one on this {}",
            env::consts::OS
        ));
    }
    if needs_root(arguments) && !is_root(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        return Err(format!(
            "run this as root, with cargo in its path: sudo -E env \"PATH=$PATH\" cargo xtask {}",
            arguments.join(" ")
        ));
    }
    let task = env::current_exe().map_err(|error| format!("find the path of this program: {error}"))?;
    let task = task.with_file_name("xtask");
    if !task.exists() {
        eprintln!("xtask: building the tasks first, about a minute on two cores");
    }
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let build = clean(&mut Command::new(cargo)).args(["build", "--package", "xtask"]).current_dir(root).status();
    match build {
        Ok(status) if status.success() => Err(start(&task, arguments).to_string()),
        // Cargo has said why.
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(error) => Err(format!("run cargo: {error}")),
    }
}

/// Becomes the task. Returns only if that fails.
fn start(task: &Path, arguments: &[String]) -> io::Error {
    clean(&mut Command::new(task)).args(arguments).env("PATH", path_of_root(env::var_os("PATH"))).exec()
}

/// A search path with the directories of root's programs at its end, which the path of the user lacks who calls this by `sudo`.
fn path_of_root(path: Option<OsString>) -> OsString {
    let mut path = path.unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Without what cargo told this program about its own package: build scripts of some crates take it for a change of theirs.
fn clean(command: &mut Command) -> &mut Command {
    const TOLD: [&str; 5] =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    let told = |name: &str| TOLD.iter().any(|prefix| name.starts_with(prefix));
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| told(name));
    names.fold(command, |command, name| command.env_remove(name))
}

/// Help is for everybody.
fn needs_root(arguments: &[String]) -> bool {
    let asks_for_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    arguments.first().is_some_and(|task| ROOTS.contains(&task.as_str())) && !asks_for_help
}

/// Whether the effective user id in `/proc/self/status` is 0.
fn is_root(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_make_namespaces_are_for_root() {
        let needs = |line: &str| needs_root(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let cases = [
            ("demo", true),
            ("demo --keep", true),
            ("test", true),
            ("demo --help", false),
            ("unit", false),
            ("fmt", false),
            ("setup", false),
            ("help demo", false),
            ("", false),
        ];
        assert_eq!(cases.map(|(line, _)| needs(line)), cases.map(|(_, needs)| needs));
    }

    #[test]
    fn root_is_who_has_the_effective_id_0() {
        let status = |ids: &str| format!("Name:\txtask\nUmask:\t0022\nUid:\t{ids}\nGid:\t0\t0\t0\t0\n");
        assert!(is_root(&status("1000\t0\t0\t0")));
        assert!(!is_root(&status("0\t1000\t0\t0")));
        assert!(!is_root(""));
    }
}
