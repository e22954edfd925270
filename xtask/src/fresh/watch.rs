//! Running a command, with an eye on when it says something.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// By then a command must have said what it does.
const SOON: Duration = Duration::from_secs(2);

/// What was seen of a command.
#[derive(Debug)]
pub(super) struct Watched {
    output: String,
    success: bool,
    took: Duration,
    first: Duration,
    silence: Duration,
}

impl Watched {
    /// Runs a command to its end, and shows what it says.
    pub(super) fn run(command: &mut Command) -> Result<Self> {
        let start = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the command")?;
        let mut said = child.stdout.take().context("the command has no output")?;
        let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
        let (mut first, mut last, mut silence) = (None, start, Duration::ZERO);
        loop {
            let length = said.read(&mut buffer).context("read what the command says")?;
            let now = Instant::now();
            silence = silence.max(now - last);
            last = now;
            if length == 0 {
                break;
            }
            first.get_or_insert(now - start);
            output.extend_from_slice(&buffer[..length]);
            // A closed output of this program's does not end the command.
            let _ = std::io::stdout().write_all(&buffer[..length]);
        }
        let success = child.wait().context("wait for the command")?.success();
        let took = start.elapsed();
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(Self { output, success, took, first: first.unwrap_or(took), silence })
    }

    /// What it said, errors among it.
    pub(super) fn output(&self) -> &str {
        &self.output
    }

    /// Whether it ended well.
    pub(super) fn succeeded(&self) -> bool {
        self.success
    }

    /// Whether it soon said something.
    pub(super) fn began_in_time(&self) -> bool {
        self.first <= SOON
    }

    /// A command that succeeded.
    #[cfg(test)]
    pub(super) fn of(output: &str, first: Duration) -> Self {
        Self { output: output.to_owned(), success: true, took: first, first, silence: first }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} after {:.0} s, first word after {:.1} s, longest silence {:.0} s",
            if self.success { "succeeded" } else { "failed" },
            self.took.as_secs_f32(),
            self.first.as_secs_f32(),
            self.silence.as_secs_f32()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_watched_to_its_end() {
        let watched =
            Watched::run(Command::new("sh").args(["-c", "echo first; sleep 0.3; echo last; exit 3"])).unwrap();
        assert_eq!((watched.output(), watched.succeeded(), watched.began_in_time()), ("first\nlast\n", false, true));
        assert!(watched.silence >= Duration::from_millis(300), "{watched}");
    }
}
