//! Booting a kernel in QEMU and reading what its tests say.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::image::Image;
use super::{Programs, contents, guest};
use crate::setup::emulator_command;

/// Emulation without hardware support takes its time, on a busy machine many times as long. A guest that works says which
/// test it is done with; those that start the agent more than once, two at a time, take minutes. One whose console is silent
/// for so long hangs.
const SILENCE: Duration = Duration::from_secs(900);
/// The end of any guest's patience.
const LIMIT: Duration = Duration::from_secs(3600);
const MEGABYTES: &str = "1024";
/// One processor, and tables per CPU that have room for two. With more, the emulator sometimes runs what the kernel has just
/// patched in its own text on another one (static keys of hooks), and the guest dies of an int3.
const PROCESSORS: &str = "1,maxcpus=2";
const LAST_LINES: usize = 80;

/// Tests that passed on a kernel.
pub(crate) struct Outcome {
    release: String,
    passed: usize,
    took: Duration,
}

impl Outcome {
    /// Says so.
    pub(crate) fn print(&self, name: &str) {
        let seconds = self.took.as_secs();
        println!("kernel {name} ({}): {} tests passed in {seconds} s", self.release, self.passed);
    }
}

/// Boots the kernel and runs the tests.
pub(crate) fn run(image: &Image, programs: &Programs) -> Result<Outcome> {
    let initramfs = image.directory().join("initramfs");
    fs::write(&initramfs, contents::initramfs(image, programs)?).context("write the initramfs")?;
    let console = image.directory().join("console.log");
    let log = File::create(&console).context("create the console's log")?;
    let start = Instant::now();
    let mut emulator = emulator_command()?
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            MEGABYTES,
            "-smp",
            PROCESSORS,
            "-nographic",
            "-nic",
            "none",
            "-no-reboot",
        ])
        .args(["-append", "console=ttyS0 quiet panic=-1 -- guest"])
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(&initramfs)
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .context("start QEMU")?;
    let ended = wait(&mut emulator, || fs::metadata(&console).map_or(0, |file| file.len()));
    let console = String::from_utf8_lossy(&fs::read(&console).context("read the console's log")?).into_owned();
    if let Err(error) = ended {
        bail!("{error}; the console's last lines:\n{}", tail(&console));
    }
    if !console.contains(guest::ALL_PASSED) {
        bail!("a test failed; the console's last lines:\n{}", tail(&console));
    }
    if let Some(name) = programs.tests.iter().flat_map(|tests| tests.names).find(|name| !was_run(&console, name)) {
        bail!("no test of this name was run: {name}");
    }
    Ok(Outcome { release: image.release().to_owned(), passed: passed(&console), took: start.elapsed() })
}

/// Waits for the emulator's end; ends it where the console, of this length, no longer grows.
fn wait(emulator: &mut Child, console: impl Fn() -> u64) -> Result<()> {
    let start = Instant::now();
    let (mut length, mut grown) = (0, start);
    while emulator.try_wait().context("wait for QEMU")?.is_none() {
        let now = console();
        if now != length {
            (length, grown) = (now, Instant::now());
        }
        let hangs = grown.elapsed() > SILENCE;
        if hangs || start.elapsed() > LIMIT {
            emulator.kill().context("end QEMU")?;
            emulator.wait().context("wait for QEMU")?;
            let what = if hangs { "has said nothing for" } else { "was not done after" };
            bail!("the guest {what} {:?}", if hangs { SILENCE } else { LIMIT });
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// How many tests the test programs say have passed.
fn passed(console: &str) -> usize {
    let results = console.lines().filter_map(|line| line.trim().strip_prefix("test result: ok. "));
    results.filter_map(|result| result.split(' ').next()?.parse::<usize>().ok()).sum()
}

/// Whether a test with this in its name has passed.
fn was_run(console: &str, name: &str) -> bool {
    console.lines().any(|line| line.starts_with("test ") && line.contains(name) && line.trim().ends_with("ok"))
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_summed_over_programs() {
        let console =
            "test a ... ok\r\ntest result: ok. 3 passed; 0 failed\r\n\ntest result: ok. 12 passed; 0 failed\r\n";
        assert_eq!(passed(console), 15);
    }

    #[test]
    fn a_test_that_was_not_run_is_missed() {
        let console = "test shop::one ... ok\r\ntest shop::two ... FAILED\r\nthree\r\n";
        assert_eq!(["one", "shop::one", "two", "three"].map(|name| was_run(console, name)), [true, true, false, false]);
    }
}
