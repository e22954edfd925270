//! Debian's and Ubuntu's packages. The lists of a machine's image are months old, so they are brought up to date before
//! the first use of a day, and again where what they offer is too old.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use podgate_toolchain::Version;
use xshell::{Shell, cmd};

use super::{announce, is_root};
use crate::workspace::{find, shell};

/// Where apt-get keeps its lists.
const LISTS: &str = "/var/lib/apt/lists";
/// Younger lists are not brought up to date again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Installs packages, or brings those up to date that are there. Nothing is removed for them.
pub(super) fn install(names: &[&str]) -> Result<()> {
    let shell = shell()?;
    shell.set_var("DEBIAN_FRONTEND", "noninteractive");
    let list = names.join(" ");
    let updated = refresh(&shell)?;
    announce(&format!("installing {list}"));
    let try_once =
        || cmd!(shell, "apt-get install -y -q -o Dpkg::Use-Pty=0 --no-install-recommends --no-remove {names...}").run();
    let outcome = match try_once() {
        // Lists of yesterday may name packages that are gone today.
        Err(_) if !updated => update(&shell).and_then(|()| Ok(try_once()?)),
        outcome => outcome.map_err(Into::into),
    };
    outcome.with_context(|| format!("install {list}: see above; install by hand what they contain, and try again"))
}

/// What the installation of a package would do to the machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The packages that would be new, or newer: the package and what it needs.
    pub(super) installs: Vec<String>,
    /// Those that are in its way.
    pub(super) removes: Vec<String>,
}

/// Asks what would be installed and removed for a package.
pub(super) fn plan(name: &str) -> Result<Plan> {
    let shell = shell()?;
    refresh(&shell)?;
    let simulate = cmd!(shell, "apt-get install --simulate --no-install-recommends {name}").env("LC_ALL", "C").quiet();
    Ok(read_plan(&simulate.read().with_context(|| format!("ask apt-get what it takes to install {name}"))?))
}

fn read_plan(simulation: &str) -> Plan {
    let of = |step: &str| {
        let lines = simulation.lines().filter_map(|line| line.strip_prefix(step));
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    Plan { installs: of("Inst "), removes: of("Remv ") }
}

/// The version of a package that would be installed now. Lists that offer less than what is wanted are brought up to date,
/// however young they are: an update that was interrupted leaves young ones too.
pub(super) fn offered(name: &str, wanted: Version) -> Result<Option<Version>> {
    let shell = shell()?;
    let updated = refresh(&shell)?;
    let offered = policy(&shell, name);
    if !is_root() || !is_worth_another_update(updated, offered, wanted) {
        return Ok(offered);
    }
    update(&shell)?;
    Ok(policy(&shell, name))
}

/// Those of the packages that the distribution has.
pub(super) fn known<'a>(names: &[&'a str]) -> Result<Vec<&'a str>> {
    let shell = shell()?;
    refresh(&shell)?;
    Ok(names.iter().copied().filter(|name| policy(&shell, name).is_some()).collect())
}

/// Where the machine has Debian's packages from.
///
/// # Errors
/// They come from elsewhere.
pub(crate) fn mirror() -> Result<String> {
    let shell = shell()?;
    // Without lists apt-get does not know what its sources are.
    refresh(&shell)?;
    let format = "$(REPO_URI)";
    let origin = ["Identifier: Packages", "Origin: Debian", "Label: Debian"];
    let listed = cmd!(shell, "apt-get indextargets --format {format} {origin...}").quiet().read();
    let listed =
        listed.context("ask apt-get where packages come from: other kernels are those of Debian's packages")?;
    let mirror = listed.lines().next().map(str::trim).filter(|line| !line.is_empty());
    let mirror =
        mirror.context("this machine has no packages from Debian, whose kernels are tried: run it on Debian")?;
    Ok(mirror.to_owned())
}

/// Downloads packages and unpacks them into a directory, which installs nothing. `options`: those of apt-get.
pub(crate) fn unpack(packages: &[&str], directory: &Path, options: &[String]) -> Result<()> {
    let shell = shell()?;
    let downloads = directory.join("download");
    shell.create_dir(&downloads)?;
    shell.change_dir(&downloads);
    // `apt-get download` gives up root's rights, which a directory of root's does not welcome; the option keeps them.
    let download = cmd!(shell, "apt-get download -q -o APT::Sandbox::User=root {options...} {packages...}");
    let list = packages.join(" ");
    download.ignore_stdout().run().with_context(|| format!("download {list}"))?;
    for file in shell.read_dir(&downloads)? {
        cmd!(shell, "dpkg-deb --extract {file} {directory}").run().with_context(|| format!("unpack {list}"))?;
    }
    shell.remove_path(&downloads).with_context(|| format!("remove what was downloaded of {list}"))
}

/// Brings the lists up to date, whatever their age.
pub(super) fn update_now() -> Result<()> {
    update(&shell()?)
}

fn policy(shell: &Shell, name: &str) -> Option<Version> {
    let apt_cache = find("apt-cache")?;
    let policy = cmd!(shell, "{apt_cache} policy {name}").env("LC_ALL", "C").quiet().ignore_stderr().read();
    candidate(&policy.unwrap_or_default())
}

fn is_worth_another_update(updated: bool, offered: Option<Version>, wanted: Version) -> bool {
    !updated && offered.is_none_or(|offered| offered < wanted)
}

/// The candidate that `apt-cache policy` prints.
fn candidate(policy: &str) -> Option<Version> {
    policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).and_then(Version::parse)
}

/// Brings old lists up to date, which root may; whether it did.
fn refresh(shell: &Shell) -> Result<bool> {
    let lists = Path::new(LISTS);
    let old = is_root() && (!has_lists(lists) || is_old(updated(lists), SystemTime::now()));
    if old {
        update(shell)?;
    }
    Ok(old)
}

fn update(shell: &Shell) -> Result<()> {
    announce("updating the package lists");
    if cmd!(shell, "apt-get update -q").run().is_err() {
        announce("some package lists could not be updated; going on with what there is");
    }
    Ok(())
}

/// When apt-get last updated its lists: each time it works in this directory, also if nothing is new.
fn updated(lists: &Path) -> Option<SystemTime> {
    fs::metadata(lists.join("partial")).and_then(|partial| partial.modified()).ok()
}

fn has_lists(lists: &Path) -> bool {
    let entries = fs::read_dir(lists).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("_Packages"))
}

/// Times in the future are those of a machine whose clock was wrong.
fn is_old(updated: Option<SystemTime>, now: SystemTime) -> bool {
    let age = updated.and_then(|updated| now.duration_since(updated).ok());
    age.is_none_or(|age| age > FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_brought_up_to_date_once_a_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let cases = [
            (None, true),
            (Some(now), false),
            (Some(now - hours(23)), false),
            (Some(now - hours(25)), true),
            (Some(now - hours(24 * 90)), true),
            (Some(now + hours(1)), true),
        ];
        assert_eq!(cases.map(|(updated, _)| is_old(updated, now)), cases.map(|(_, old)| old));
    }

    #[test]
    fn young_lists_that_offer_too_little_are_brought_up_to_date_but_once() {
        let wanted = Version::new(1, 95, 0);
        let [old, new] = [85, 96].map(|minor| Some(Version::new(1, minor, 0)));
        let cases = [
            ((false, None), true),
            ((false, old), true),
            ((false, Some(wanted)), false),
            ((false, new), false),
            ((true, None), false),
            ((true, old), false),
        ];
        let worth = cases.map(|((updated, offered), _)| is_worth_another_update(updated, offered, wanted));
        assert_eq!(worth, cases.map(|(_, worth)| worth));
    }

    #[test]
    fn an_image_without_lists_has_none() {
        let directory = std::env::temp_dir().join(format!("podgate-lists-{}", std::process::id()));
        fs::create_dir_all(directory.join("partial")).unwrap();
        fs::write(directory.join("lock"), "").unwrap();
        let empty = has_lists(&directory);
        fs::write(directory.join("mirror_dists_stable_main_binary-amd64_Packages.lz4"), "").unwrap();
        let filled = has_lists(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((empty, filled), (false, true));
    }

    #[test]
    fn a_simulation_tells_what_is_in_the_way() {
        let simulation = "Remv qemu-utils [1:10.0.2+ds-2~bpo12+1]
Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])
Inst qemu-system-x86 [1:7.2-1] (1:7.2+dfsg-7 Debian:12.15/oldstable [amd64])
Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])
";
        let plan = Plan {
            installs: vec!["libfdt1".to_owned(), "qemu-system-x86".to_owned()],
            removes: vec!["qemu-utils".to_owned()],
        };
        assert_eq!(read_plan(simulation), plan);
    }

    #[test]
    fn the_candidate_is_read_and_not_what_is_installed() {
        let policy =
            "rustc-web:\n  Installed: 1.85.0+dfsg3-1~deb12u3\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate(policy), Some(Version::new(1, 96, 0)));
        assert_eq!(candidate("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }
}
