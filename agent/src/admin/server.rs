//! The agent's side of the admin socket.

use std::fs;
use std::io::{self, ErrorKind};
use std::iter;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Command, FlowsQuery, MAX_REQUEST, Response, parse_request};
use crate::private;
use podgate_engine::flows::Line;
use podgate_engine::{HandedOverOutcome, Handle, now};

/// Connections served at once; more wait for one to end.
const CONNECTIONS: usize = 64;

/// Of these, so many may follow flows, which has no end: the others are for status and the CNI plugin.
const FOLLOWERS: usize = 32;

/// A client has this long to send a request, and to take the response.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A bound admin socket. Its file goes away with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    _file: SocketFile,
}

/// A socket's file, removed on drop unless it is another's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // Nothing is lost when it stays: the next agent replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Socket {
    /// Binds the socket, with its directory where that is missing, for the agent's user alone, and replaces the file of an agent that is gone.
    ///
    /// # Errors
    /// When an agent listens there already, when the path is something else than a socket, or when it can't be made.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("--socket: cannot listen on {} (run as root, or choose another path)", path.display());
        private::directory_of(path).with_context(context)?;
        remove_stale(path)?;
        let socket = UnixSocket::new_stream().with_context(context)?;
        socket.bind(path).with_context(context)?;
        // Nobody can connect between these two, whatever the umask: the socket does not listen yet.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(context)?;
        let inode = fs::symlink_metadata(path).with_context(context)?.ino();
        let file = SocketFile { path: path.to_owned(), inode };
        Ok(Self { listener: socket.listen(256).with_context(context)?, _file: file })
    }
}

/// Removes the socket file of an agent that is gone.
///
/// # Errors
/// When an agent listens there, or when the path is something else than a socket.
pub(crate) fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--socket: cannot look at {}", path.display())),
        Ok(file) if !file.file_type().is_socket() => bail!("--socket: {} exists and is no socket", path.display()),
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("--socket: cannot replace {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("--socket: cannot tell whether {} is in use", path.display())),
        Ok(_) => bail!("another agent listens on {}: stop it, or choose another --socket", path.display()),
    }
}

/// Serves until the task is dropped.
pub(crate) async fn serve(socket: Socket, engine: Handle) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let followers = Arc::new(Semaphore::new(FOLLOWERS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, engine.clone(), Arc::clone(&followers), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin socket");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_connection(
    stream: UnixStream,
    engine: Handle,
    followers: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
) {
    if let Err(error) = converse(stream, &engine, &followers).await {
        tracing::debug!(%error, "connection on the admin socket ended early");
    }
}

/// Answers requests until the client ends, is silent for too long, or sends what is no request.
async fn converse(stream: UnixStream, engine: &Handle, followers: &Semaphore) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        timeout(CLIENT_TIMEOUT, (&mut read).take(MAX_REQUEST).read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let (response, goes_on) = match parse(&line) {
            Ok(Command::Flows(query)) => match may_follow(&query, followers) {
                Ok(_permit) => (tell_flows(query, engine, &mut read, &mut write).await?, true),
                Err(message) => (Answer::Error(message), true),
            },
            Ok(command) => (carry_out(command, engine).await, true),
            Err(message) => (Answer::Error(message), false),
        };
        send(&mut write, response).await?;
        if !goes_on {
            return Ok(());
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, answer: Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Response::new(answer))?;
    bytes.push(b'\n');
    timeout(CLIENT_TIMEOUT, write.write_all(&bytes)).await?
}

/// Lets one more follow flows, where that is what is asked for.
///
/// # Errors
/// Too many do.
fn may_follow<'f>(query: &FlowsQuery, followers: &'f Semaphore) -> Result<Option<SemaphorePermit<'f>>, String> {
    if !query.follow {
        return Ok(None);
    }
    followers.try_acquire().map(Some).map_err(|_| format!("{FOLLOWERS} others follow flows already: end one of them"))
}

/// Sends flows; returns what is to be sent behind them. One who follows them is told until they end or he hangs up, or says
/// something.
async fn tell_flows(
    query: FlowsQuery,
    engine: &Handle,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<Answer> {
    let mut flows = engine.flows.subscribe();
    let kept: Vec<_> = iter::from_fn(|| flows.kept()).filter(|line| query.filter.takes(line)).collect();
    let skipped = query.last.map_or(0, |last| kept.len().saturating_sub(last));
    for line in &kept[skipped..] {
        send(write, Answer::Line(Box::new(Line::clone(line)))).await?;
    }
    if !query.follow {
        return Ok(Answer::End);
    }
    loop {
        let next = tokio::select! {
            next = flows.next(now) => next,
            _ = read.fill_buf() => return Ok(Answer::End),
        };
        let Some(line) = next else { return Ok(Answer::End) };
        if query.filter.takes(&line) {
            send(write, Answer::Line(Box::new(Line::clone(&line)))).await?;
        }
    }
}

/// The command in a line.
///
/// # Errors
/// What to tell the client, who is not listened to any longer.
fn parse(line: &[u8]) -> Result<Command, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!("a request is one line of at most {MAX_REQUEST} bytes"));
    }
    parse_request(line)
}

/// The answer to a command.
async fn carry_out(command: Command, engine: &Handle) -> Answer {
    let answer = match command {
        Command::Status => engine.status().await.map(|status| Answer::Status(Box::new(status))),
        Command::HandOver(handed) => engine.hand_over((&handed).into()).await.map(enforced),
        Command::Check(ifindex) => engine.check(ifindex).await.map(enforced),
        Command::Alive => engine.pulse.is_alive().then_some(Answer::Alive),
        Command::Flows(_) => Some(Answer::End),
    };
    answer.unwrap_or_else(|| Answer::Error("the engine is busy; try again".to_owned()))
}

fn enforced(outcome: HandedOverOutcome) -> Answer {
    match outcome {
        HandedOverOutcome::Enforced => Answer::Enforced { known: true },
        HandedOverOutcome::Isolated => Answer::Enforced { known: false },
        HandedOverOutcome::Failed(reason) => Answer::Error(reason),
    }
}
