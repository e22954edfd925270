//! How many jiffies a second has: the unit of the programs' timeouts.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::Error;
use crate::test_run::{TestContext, test_run};
use podgate_common::map::program;

/// Jiffies per second of the running kernel: the resolution of the coarse clocks is one jiffy
/// (`KTIME_LOW_RES`, kernel/time/posix-timers.c).
pub(crate) fn of_this_kernel() -> u32 {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call. The clock exists since Linux 2.6.32, so it can't fail.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    hz(tick.tv_nsec)
}

/// Nanoseconds since the machine was booted, the time of events.
#[must_use]
pub fn boot_time() -> u64 {
    let now = time_of(libc::CLOCK_BOOTTIME);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Jiffies of about a minute ago, as the programs read them: a jiffy is a tick of the monotonic clock, and the
/// first is 300 seconds before 32 bits overflow (`INITIAL_JIFFIES`, include/linux/jiffies.h).
pub(crate) fn jiffies_a_while_ago() -> u64 {
    const MARGIN: u64 = 60;
    let (now, hz) = (time_of(libc::CLOCK_MONOTONIC), u64::from(of_this_kernel()));
    (1_u64 << 32) - 300 * hz + now.tv_sec.cast_unsigned().saturating_sub(MARGIN) * hz
}

/// What a clock says that every kernel has: both that are asked for do since Linux 2.6.39.
fn time_of(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call. The clock is there, so it can't fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

/// Jiffies per second where one takes so many nanoseconds.
fn hz(nanoseconds: libc::c_long) -> u32 {
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0).max(1);
    (1_000_000_000 + nanoseconds / 2) / nanoseconds
}

/// Confirms, by test runs of the program that returns jiffies, that the programs' time runs as fast as that clock says.
///
/// # Errors
/// It doesn't, in several attempts: a measurement may be off where the machine is overloaded.
pub(crate) fn confirm(jiffies: BorrowedFd<'_>, expected: u32) -> Result<(), Error> {
    let mut measured = 0;
    for span in [20, 40, 80, 160, 320] {
        measured = measure(jiffies, Duration::from_millis(span))?;
        if agrees(expected, measured) {
            return Ok(());
        }
    }
    Err(Error::Hz { expected, measured })
}

/// Whether a measurement is within a quarter of what is expected.
fn agrees(expected: u32, measured: u32) -> bool {
    expected.abs_diff(measured) <= expected / 4
}

/// Jiffies per second, from two changes of jiffies at least so far apart.
fn measure(jiffies: BorrowedFd<'_>, span: Duration) -> Result<u32, Error> {
    let (first, start) = next_change(jiffies)?;
    std::thread::sleep(span);
    let (last, end) = next_change(jiffies)?;
    let passed = f64::from(last.wrapping_sub(first)) / end.duration_since(start).as_secs_f64();
    Ok(passed.round() as u32)
}

/// Waits until jiffies change. They advance at least every 10 ms, so this ends.
fn next_change(jiffies: BorrowedFd<'_>) -> Result<(u32, Instant), Error> {
    let before = read(jiffies)?;
    loop {
        let now = read(jiffies)?;
        if now != before {
            return Ok((now, Instant::now()));
        }
    }
}

fn read(jiffies: BorrowedFd<'_>) -> Result<u32, Error> {
    let frame = [0; 64];
    test_run(jiffies, &frame, &TestContext::default(), 1)
        .map(|run| run.verdict.cast_unsigned())
        .map_err(|source| Error::TestRun { program: program::JIFFIES, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_the_inverse_of_hz() {
        assert_eq!([10_000_000, 4_000_000, 3_333_333, 1_000_000, 0].map(hz), [100, 250, 300, 1000, 1_000_000_000]);
    }

    #[test]
    fn measurements_may_be_a_quarter_off() {
        assert_eq!([200, 187, 312, 313, 0].map(|measured| agrees(250, measured)), [true, false, true, false, false]);
    }
}
