//! The side of `podgate status` and of the CNI plugin.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Answer, Command, FlowsQuery, MAX_RESPONSE, Request, Response, VERSION};
use podgate_engine::flows::Line;
use podgate_engine::handover::HandedOver;
use podgate_engine::status::Status;

/// The agent has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The agent has this long to enforce a pod: longer than it takes to give up.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(75);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Nothing listens there.
    NoAgent(PathBuf),
    /// The socket may not be opened.
    Forbidden(PathBuf),
    /// The conversation broke off.
    Io(PathBuf, io::Error),
    /// The agent ended before it answered, or before all was said.
    Ended,
    /// The agent refused.
    Refused(String),
    /// The answer can't be read.
    Unreadable(String),
}

impl std::error::Error for ClientError {}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent(path) => write!(f, "no agent listens on {}: is `podgate agent` running?", path.display()),
            Self::Forbidden(path) => {
                write!(f, "{} may only be opened by the agent's user: try as root", path.display())
            }
            Self::Io(path, error) => write!(f, "talking to the agent on {} failed: {error}", path.display()),
            Self::Ended => write!(f, "the agent has ended"),
            Self::Refused(message) => write!(f, "the agent answered: {message}"),
            Self::Unreadable(message) => {
                write!(f, "the agent's answer can't be read (is it of another version?): {message}")
            }
        }
    }
}

/// Asks the agent behind a socket for its status.
///
/// # Errors
/// When there is no agent, it may not be asked, or it gives no status.
pub(crate) fn fetch_status(path: &Path) -> Result<Status, ClientError> {
    match ask(path, Command::Status, TIMEOUT)? {
        Answer::Status(status) => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

/// Hands over a pod and waits until it is enforced; whether the agent knows the pod.
///
/// # Errors
/// When there is no agent, it may not be asked, or it can't enforce the pod.
pub(crate) fn hand_over(path: &Path, handed: HandedOver) -> Result<bool, ClientError> {
    known(ask(path, Command::HandOver(handed), HAND_OVER_TIMEOUT)?)
}

/// Whether the pod on an interface is enforced; if so, whether the agent knows it.
///
/// # Errors
/// When there is no agent, it may not be asked, or the pod is not enforced.
pub(crate) fn check(path: &Path, ifindex: u32) -> Result<bool, ClientError> {
    known(ask(path, Command::Check(ifindex), TIMEOUT)?)
}

/// Asks whether the agent is at work.
///
/// # Errors
/// When it is not.
pub(crate) fn alive(path: &Path) -> Result<(), ClientError> {
    match ask(path, Command::Alive, TIMEOUT)? {
        Answer::Alive => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Hands over the flows that an agent keeps, and with `follow` those that come, until `handle` wants no more.
///
/// # Errors
/// When there is no agent, it may not be asked, it breaks off, or `handle` fails.
pub(crate) fn flows(
    path: &Path,
    query: FlowsQuery,
    mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
) -> Result<(), ClientError> {
    let told = |error| told(path, error);
    let limit = if query.follow { None } else { Some(TIMEOUT) };
    let mut stream = open(path, Command::Flows(query), limit).map_err(told)?;
    loop {
        match answer(&read_line(&mut stream).map_err(told)?)? {
            Answer::Line(line) => {
                if handle(*line).map_err(told)?.is_break() {
                    return Ok(());
                }
            }
            Answer::End => return Ok(()),
            other => return Err(unexpected(&other)),
        }
    }
}

fn known(answer: Answer) -> Result<bool, ClientError> {
    match answer {
        Answer::Enforced { known } => Ok(known),
        other => Err(unexpected(&other)),
    }
}

/// An answer to another question.
fn unexpected(answer: &Answer) -> ClientError {
    match answer {
        Answer::Error(message) => ClientError::Refused(message.clone()),
        other => ClientError::Unreadable(format!("it is the answer to another question: {other:?}")),
    }
}

fn ask(path: &Path, command: Command, limit: Duration) -> Result<Answer, ClientError> {
    let exchanged = open(path, command, Some(limit)).and_then(|mut stream| read_line(&mut stream));
    answer(&exchanged.map_err(|error| told(path, error))?)
}

fn told(path: &Path, error: io::Error) -> ClientError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoAgent(path.to_owned()),
        ErrorKind::PermissionDenied => ClientError::Forbidden(path.to_owned()),
        _ => ClientError::Io(path.to_owned(), error),
    }
}

fn answer(line: &[u8]) -> Result<Answer, ClientError> {
    if line.is_empty() {
        return Err(ClientError::Ended);
    }
    let response: Response = serde_json::from_slice(line).map_err(|e| ClientError::Unreadable(e.to_string()))?;
    Ok(response.answer)
}

/// Sends the request. Each line of the answer may take so long; `None`: as long as it likes.
fn open(path: &Path, command: Command, limit: Option<Duration>) -> io::Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut request = serde_json::to_vec(&Request { version: VERSION, request: command })?;
    request.push(b'\n');
    stream.write_all(&request)?;
    Ok(BufReader::new(stream))
}

fn read_line(stream: &mut BufReader<UnixStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(MAX_RESPONSE).read_until(b'\n', &mut line)?;
    Ok(line)
}
