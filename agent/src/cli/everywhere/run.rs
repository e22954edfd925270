//! A program that is given a time in which to end.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use podgate_engine::printable;

/// How often it is looked for a program's end.
const LOOK: Duration = Duration::from_millis(10);

/// What a program left when it ended.
#[derive(Debug)]
pub(in crate::cli) struct Ended {
    pub(in crate::cli) status: ExitStatus,
    pub(in crate::cli) stdout: Vec<u8>,
    /// The last lines of its error output, as one.
    pub(in crate::cli) complaint: String,
}

/// Runs a program, which is killed when its time is over.
///
/// # Errors
/// It can't be run, or its time was over.
pub(in crate::cli) fn run(mut command: Command, within: Duration) -> io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = thread::spawn(move || read(stdout));
    let stderr = thread::spawn(move || stderr.map(complaint).unwrap_or_default());
    let status = wait(&mut child, Instant::now() + within);
    if status.is_err() {
        // What it has started may hold the pipes, so nobody waits for these.
        drop(child.kill());
        drop(child.wait());
    }
    let status = status?;
    Ok(Ended { status, stdout: stdout.join().unwrap_or_default(), complaint: stderr.join().unwrap_or_default() })
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    }
}

fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut read = Vec::new();
    // What was read so far is kept.
    drop(pipe.map(|mut pipe| pipe.read_to_end(&mut read)));
    read
}

/// What is told on an error output, as one line of bounded length: first what the program in the pod says, then kubectl.
pub(in crate::cli) fn complaint(stderr: impl Read) -> String {
    const LONGEST: usize = 4;
    let lines = BufReader::new(stderr).lines().map_while(Result::ok).filter(|line| !line.trim().is_empty());
    let mut kept: Vec<String> = Vec::new();
    for line in lines {
        if kept.len() == LONGEST {
            kept.remove(0);
        }
        kept.push(printable(line.trim()));
    }
    kept.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, within: Duration) -> io::Result<Ended> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, within)
    }

    #[test]
    fn what_a_program_says_and_how_it_ends_is_told() {
        let ended = sh("echo out; for i in 1 2 3 4 5; do echo $i >&2; done; exit 3", Duration::from_secs(10)).unwrap();
        let told = (ended.status.code(), ended.stdout.as_slice(), ended.complaint.as_str());
        assert_eq!(told, (Some(3), b"out\n".as_slice(), "2; 3; 4; 5"));
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for() {
        let began = Instant::now();
        let error = sh("exec sleep 30", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
