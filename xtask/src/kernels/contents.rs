//! What is in the guest: this program as init, the tests, what they need, and the libraries of all of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::archive::Archive;
use super::guest;
use super::image::Image;
use super::{Programs, Tests};
use crate::workspace::{find, shell};

/// Programs that labs run.
const TOOLS: [&str; 3] = ["ip", "nft", "conntrack"];
/// CNI plugins that labs run, where they find them.
const PLUGINS: [&str; 3] = ["ptp", "bridge", "host-local"];

/// The initramfs for a kernel.
pub(crate) fn initramfs(image: &Image, programs: &Programs) -> Result<Vec<u8>> {
    let shell = shell()?;
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "run", "tmp"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    for (number, module) in image.modules()?.iter().enumerate() {
        archive.file(&format!("{}/{number:03}.ko", guest::MODULES), module);
    }
    let init = std::env::current_exe().context("find the path of this program")?;
    archive.file("init", &stripped(&shell, &init)?);
    add_libraries(&shell, &mut archive, &init)?;
    for program in programs.tests.iter().map(|tests| &tests.program).chain([&programs.podgate]) {
        archive.file(&program.to_string_lossy(), &stripped(&shell, program)?);
        add_libraries(&shell, &mut archive, program)?;
    }
    for tool in TOOLS {
        let path = find(tool).with_context(|| format!("{tool} is missing: run `cargo xtask setup`"))?;
        archive.file(&format!("bin/{tool}"), &read(&path)?);
        add_libraries(&shell, &mut archive, &path)?;
    }
    for path in PLUGINS.map(|plugin| podgate_lab::plugins().join(plugin)) {
        archive.file(&path.to_string_lossy(), &read(&path)?);
        add_libraries(&shell, &mut archive, &path)?;
    }
    let line = |tests: &Tests| format!("{} {}", tests.program.display(), tests.names.join(" "));
    let tests: Vec<String> = programs.tests.iter().map(line).collect();
    archive.file(guest::TESTS, tests.join("\n").as_bytes());
    Ok(archive.finish())
}

/// Debug information would be most of the archive.
fn stripped(shell: &Shell, program: &Path) -> Result<Vec<u8>> {
    let directory = shell.create_temp_dir().context("make a temporary directory")?;
    let copy = directory.path().join("stripped");
    let strip = cmd!(shell, "strip --strip-all -o {copy} {program}");
    strip.quiet().run().with_context(|| format!("strip {}", program.display()))?;
    read(&copy)
}

/// Adds the libraries and the loader that a program needs, where it looks for them: none for one that is linked statically,
/// as CNI plugins are in some distributions.
fn add_libraries(shell: &Shell, archive: &mut Archive, program: &Path) -> Result<()> {
    let failed = || format!("list the libraries of {}", program.display());
    let listed = cmd!(shell, "ldd {program}").env("LC_ALL", "C").quiet().ignore_status().output();
    let listed = listed.with_context(failed)?;
    let complaint = String::from_utf8_lossy(&listed.stderr);
    ensure!(listed.status.success() || complaint.contains("not a dynamic executable"), "{}: {complaint}", failed());
    let listed = String::from_utf8_lossy(&listed.stdout);
    for path in listed.lines().flat_map(str::split_whitespace).filter(|word| word.starts_with('/')) {
        archive.file(path, &read(Path::new(path))?);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
