//! Nothing of a lab is left when it ends, however it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use podgate_lab::{Lab, Result, Wiring};

/// What exists in the system of labs whose id begins so: namespaces, state directories, mounts.
fn traces(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["/run/netns", "/run/podgate-lab"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| file_name(path).starts_with(prefix)));
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(prefix)).map(PathBuf::from));
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[expect(clippy::zombie_processes, reason = "the lab is to end it")]
/// Uses everything that leaves something behind, and returns the lab's id and a process in it.
fn fill(lab: &Lab) -> Result<(String, u32)> {
    let node = lab.node("node")?;
    for wiring in Wiring::ALL {
        let pod = node.pod(&format!("pod-{wiring}"), wiring)?;
        pod.serve_tcp(80)?.detach();
        pod.serve_udp(80)?.detach();
    }
    fs::create_dir(lab.bpffs()?.join("pins")).unwrap();
    let sleeper = node.command("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Ok((lab.id().to_owned(), sleeper.id()))
}

fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(sleep)") && !stat.contains(") Z ")
}

#[test]
fn nothing_is_left_of_a_dropped_lab() -> Result<()> {
    let lab = Lab::new("dropped")?;
    let (id, sleeper) = fill(&lab)?;
    assert!(traces(&id).len() >= 7, "the lab leaves traces while it exists: {:?}", traces(&id));
    drop(lab);
    assert_eq!((traces(&id), is_running(sleeper)), (vec![], false));
    Ok(())
}

#[test]
fn nothing_is_left_of_a_panicking_test() {
    let mut seen = None;
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new("panicking").unwrap();
        seen = Some(fill(&lab).unwrap());
        panic!("a failing test");
    }));
    let (id, sleeper) = seen.unwrap();
    assert!(panicked.is_err());
    assert_eq!((traces(&id), is_running(sleeper)), (vec![], false));
}

const VICTIM: &str = "PODGATE_LAB_VICTIM";

/// Makes a lab and never comes to drop it.
#[test]
#[ignore = "aborts: run by the test below in a process of its own"]
fn victim() -> Result<()> {
    let report = env::var(VICTIM).expect("the file to report to");
    let lab = Lab::new("killed")?;
    let (id, sleeper) = fill(&lab)?;
    fs::write(report, format!("{id} {sleeper}")).unwrap();
    process::abort();
}

/// A lab of a process that was killed: its id, and a process in it.
fn killed(survivor: &Lab) -> (String, u32) {
    let report = survivor.directory().join("report");
    let victim = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim"])
        .env(VICTIM, &report)
        .output();
    assert!(!victim.unwrap().status.success(), "the victim aborts");
    let report = fs::read_to_string(report).unwrap();
    let (id, sleeper) = report.split_once(' ').unwrap();
    (id.to_owned(), sleeper.parse().unwrap())
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_lab() -> Result<()> {
    let survivor = Lab::new("survivor")?;
    let (id, sleeper) = killed(&survivor);
    let next = Lab::new("next")?;
    assert_eq!((traces(&id), is_running(sleeper)), (vec![], false));
    for living in [&survivor, &next] {
        assert_ne!(traces(living.id()), Vec::<PathBuf>::new(), "living labs are left alone");
    }
    Ok(())
}

#[test]
fn what_a_killed_process_left_can_be_removed_without_another_lab() -> Result<()> {
    let survivor = Lab::new("survivor")?;
    let (id, sleeper) = killed(&survivor);
    podgate_lab::sweep()?;
    assert_eq!((traces(&id), is_running(sleeper)), (vec![], false));
    assert_ne!(traces(survivor.id()), Vec::<PathBuf>::new(), "living labs are left alone");
    Ok(())
}

#[test]
fn kept_labs_are_told_apart_by_their_names() -> Result<()> {
    let mut labs = [Lab::new("told-apart")?, Lab::new("told-apart-too")?];
    labs.iter_mut().try_for_each(Lab::keep)?;
    let ids = labs.each_ref().map(|lab| lab.id().to_owned());
    drop(labs);
    assert_eq!(podgate_lab::kept_under("told-apart"), [ids[0].clone()]);
    podgate_lab::remove(&ids[0])?;
    assert_eq!(podgate_lab::kept_under("told-apart"), Vec::<String>::new());
    assert!(podgate_lab::kept().contains(&ids[1]), "the other one is left alone");
    podgate_lab::remove(&ids[1])
}

#[test]
fn what_cannot_be_removed_is_named() -> Result<()> {
    let mut lab = Lab::new("held")?;
    let (id, held) = (lab.id().to_owned(), lab.directory().join("held"));
    fs::create_dir(&held).unwrap();
    let mount = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).arg(&held).status().unwrap().success());
    };
    mount("mount", &["-t", "tmpfs", "held"]);
    lab.keep()?;
    drop(lab);
    let error = podgate_lab::remove(&id).expect_err("its directory is held").to_string();
    assert_eq!(error, format!("of lab {id} these could not be removed: /run/podgate-lab/{id}"));
    mount("umount", &[]);
    podgate_lab::remove(&id)?;
    assert_eq!(traces(&id), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_kept_lab_stays_until_it_is_removed() -> Result<()> {
    let mut lab = Lab::new("kept")?;
    let (_, sleeper) = fill(&lab)?;
    let id = lab.id().to_owned();
    lab.keep()?;
    drop(lab);
    let _next = Lab::new("next")?;
    assert!(podgate_lab::kept().contains(&id));
    assert!(is_running(sleeper));
    podgate_lab::remove(&id)?;
    assert_eq!((traces(&id), is_running(sleeper)), (vec![], false));
    podgate_lab::remove(&id).expect_err("it is gone");
    Ok(())
}
