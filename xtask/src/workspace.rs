//! Where things are, and running commands there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Cmd, Shell, cmd};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo leaves what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A shell at the root of the repository.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new().context("start a shell")?;
    shell.change_dir(root());
    Ok(shell)
}

/// A call of cargo, with arguments separated by blanks, that builds the same as one by hand.
pub(crate) fn cargo<'a>(shell: &'a Shell, arguments: &str) -> Cmd<'a> {
    as_by_hand(cmd!(shell, "cargo").args(arguments.split(' ')))
}

/// Without what the outer cargo told this program about its own package, which build scripts of some crates take for a
/// change of theirs.
pub(crate) fn as_by_hand(command: Cmd<'_>) -> Cmd<'_> {
    let told = |name: &str| {
        let exact = [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_BIN_NAME",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
        ];
        name.starts_with("CARGO_PKG_") || exact.contains(&name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| told(name));
    names.fold(command, |command, name| command.env_remove(name))
}

/// The path of a program, looked for where root finds it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    let cargo = std::env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    let mut directories = std::env::split_paths(&path).chain(usual).chain(cargo);
    directories.find_map(|directory| Some(directory.join(program)).filter(|file| file.is_file()))
}
