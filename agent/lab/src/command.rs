//! Running programs to their end.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::error::{During, Error, Result};

/// Runs the command with `input` on its standard input and returns what it wrote to its standard output.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String> {
    let output = feed(command, input)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(Error::Command {
        command: describe(command),
        status: output.status.to_string(),
        output: format!("{}{stdout}{input}", String::from_utf8_lossy(&output.stderr)),
    })
}

/// Runs the command with `input` on its standard input to its end, whatever that is.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .during(|| format!("start `{}`", describe(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early does not read its input; its exit status tells more than the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().during(|| format!("wait for `{}`", describe(command)))
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}
