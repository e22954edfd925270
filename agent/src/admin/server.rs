//! The agent's side of the admin socket.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Command, MAX_REQUEST, Response, parse_request};
use crate::engine::{HandedOverOutcome, Handle};

/// Connections served at once; more wait for one to end.
const CONNECTIONS: usize = 64;

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
    /// Binds the socket, with its directory where that is missing, and replaces the file of an agent that is gone.
    ///
    /// # Errors
    /// When an agent listens there already, when the path is something else than a socket, or when it can't be made.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("--socket: cannot listen on {} (run as root, or choose another path)", path.display());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(context)?;
        }
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
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, engine.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin socket");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_connection(stream: UnixStream, engine: Handle, _permit: OwnedSemaphorePermit) {
    if let Err(error) = converse(stream, &engine).await {
        tracing::debug!(%error, "connection on the admin socket ended early");
    }
}

/// Answers requests until the client ends, is silent for too long, or sends what is no request.
async fn converse(stream: UnixStream, engine: &Handle) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        timeout(CLIENT_TIMEOUT, (&mut read).take(MAX_REQUEST).read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let (response, goes_on) = answer(&line, engine).await;
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        timeout(CLIENT_TIMEOUT, write.write_all(&bytes)).await??;
        if !goes_on {
            return Ok(());
        }
    }
}

/// The response to a line, and whether the next line may be a request.
async fn answer(line: &[u8], engine: &Handle) -> (Response, bool) {
    if line.last() != Some(&b'\n') {
        return (Response::error(format!("a request is one line of at most {MAX_REQUEST} bytes")), false);
    }
    match parse_request(line) {
        Err(message) => (Response::error(message), false),
        Ok(command) => {
            let answer = carry_out(command, engine).await;
            (Response::new(answer.unwrap_or_else(|| Answer::Error("the engine is busy; try again".to_owned()))), true)
        }
    }
}

/// The answer to a command; `None`: the engine gives none.
async fn carry_out(command: Command, engine: &Handle) -> Option<Answer> {
    Some(match command {
        Command::Status => Answer::Status(Box::new(engine.status().await?)),
        Command::HandOver(handed) => enforced(engine.hand_over((&handed).into()).await?),
        Command::Check(ifindex) => enforced(engine.check(ifindex).await?),
        Command::Alive => engine.pulse.is_alive().then_some(Answer::Alive)?,
    })
}

fn enforced(outcome: HandedOverOutcome) -> Answer {
    match outcome {
        HandedOverOutcome::Enforced => Answer::Enforced { known: true },
        HandedOverOutcome::Isolated => Answer::Enforced { known: false },
        HandedOverOutcome::Failed(reason) => Answer::Error(reason),
    }
}
