//! Stamps release builds with the commit that they are made from: `podgate --version` prints it. `PODGATE_BUILD`, as
//! `cargo xtask image` sets it, wins over what git says. Where there is no git, or the sources are no checkout, the version
//! stands alone. Debug builds, which the tests run, are never stamped: each commit would compile the agent anew.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PODGATE_BUILD");
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let stamp = match env::var("PODGATE_BUILD") {
        Ok(said) => Some(said),
        Err(_) if env::var("PROFILE").is_ok_and(|profile| profile == "release") => of_checkout(),
        Err(_) => None,
    };
    let stamp = stamp.filter(|stamp| !stamp.is_empty()).map(|stamp| format!(" ({stamp})")).unwrap_or_default();
    println!("cargo::rustc-env=PODGATE_VERSION={version}{stamp}");
}

/// The commit and its date, if these sources are the checkout and not a part of somebody else's.
fn of_checkout() -> Option<String> {
    let root = Path::new("..").canonicalize().ok()?;
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root {
        return None;
    }
    // What a commit or a checkout writes to. A file that is missing would build the agent anew each time.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
