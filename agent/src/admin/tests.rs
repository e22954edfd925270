use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::task::{AbortHandle, spawn_blocking};

use super::*;
use podgate_engine::flows::{Line, Lost};
use podgate_engine::handover::{HandedOver, PodRecord};
use podgate_engine::status::Status;
use podgate_engine::testing::engine_with;

/// An admin socket that is served until it is dropped.
struct Server {
    path: PathBuf,
    task: AbortHandle,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(status: Status) -> Server {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run/podgate.sock");
    let socket = Socket::bind(&path).unwrap();
    let task = tokio::spawn(serve(socket, engine_with(status))).abort_handle();
    Server { path, task, _directory: directory }
}

/// What a raw client that sends these bytes gets back until the agent hangs up or `lines` have come.
fn raw(path: &Path, bytes: &[u8], lines: usize) -> Vec<String> {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(bytes).unwrap();
    BufReader::new(stream).lines().take(lines).map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_status_comes_through_the_socket() {
    let status = Status { node: "node-a".to_owned(), policies: 3, ..Status::default() };
    let server = start(status.clone());
    let path = server.path.clone();
    assert_eq!(spawn_blocking(move || fetch_status(&path)).await.unwrap().unwrap(), status);
}

fn lost(denied: u64) -> Line {
    Line::Lost(Lost { time: String::new(), node: String::new(), denied, allowed: 0, unread: 0 })
}

#[tokio::test]
async fn flows_that_are_kept_are_told_and_then_those_that_come() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("podgate.sock");
    let engine = engine_with(Status::default());
    let feed = engine.flows.clone();
    let served = tokio::spawn(serve(Socket::bind(&path).unwrap(), engine));
    (1..=3).for_each(|number| feed.push(lost(number)));
    let told = spawn_blocking(move || {
        let mut told = Vec::new();
        let query = FlowsQuery { last: Some(2), follow: true, ..FlowsQuery::default() };
        flows(&path, query, |line| {
            told.push(line);
            if told.len() == 2 {
                feed.push(lost(4));
            }
            Ok(if told.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        flows(&path, FlowsQuery { last: Some(1), ..FlowsQuery::default() }, |line| {
            told.push(line);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok::<_, ClientError>(told)
    });
    assert_eq!(told.await.unwrap().unwrap(), [2, 3, 4, 4].map(lost));
    served.abort();
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let server = start(Status::default());
    let path = server.path.clone();
    let request = b"{\"version\":1,\"request\":\"status\"}\n".repeat(2);
    let answers = spawn_blocking(move || raw(&path, &request, 2)).await.unwrap();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer.starts_with(r#"{"version":1,"status":{"#)), "{answers:?}");
}

#[tokio::test]
async fn an_endless_request_is_refused_and_the_connection_closed() {
    let server = start(Status::default());
    let path = server.path.clone();
    let answers = spawn_blocking(move || raw(&path, &[b'x'; 4096], 2)).await.unwrap();
    assert_eq!(answers, [r#"{"version":1,"error":"a request is one line of at most 4096 bytes"}"#]);
}

#[tokio::test]
async fn only_the_user_of_the_agent_may_open_the_socket() {
    let server = start(Status::default());
    assert_eq!(fs::metadata(&server.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_live_socket_is_not_taken_over() {
    let server = start(Status::default());
    let error = Socket::bind(&server.path).unwrap_err().to_string();
    let expected = format!("another agent listens on {}: stop it, or choose another --socket", server.path.display());
    assert_eq!(error, expected);
}

#[tokio::test]
async fn the_socket_of_a_dead_agent_is_replaced_and_a_file_is_not() {
    let directory = TempDir::new().unwrap();
    let stale = directory.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(Socket::bind(&stale).is_ok());
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let error = Socket::bind(&file).unwrap_err().to_string();
    assert_eq!(error, format!("--socket: {} exists and is no socket", file.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn the_file_goes_with_the_agent_but_not_the_file_of_its_successor() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("podgate.sock");
    drop(Socket::bind(&path).unwrap());
    assert!(!path.exists());
    let old = Socket::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _new = Socket::bind(&path).unwrap();
    drop(old);
    assert!(path.exists());
}

#[test]
fn without_an_agent_the_client_says_so() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("none.sock");
    let error = fetch_status(&path).unwrap_err().to_string();
    assert_eq!(error, format!("no agent listens on {}: is `podgate agent` running?", path.display()));
}

#[test]
fn an_agent_that_hangs_up_gives_no_status() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("odd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 16];
        stream.read_exact(&mut request).unwrap();
    });
    let error = fetch_status(&path).unwrap_err().to_string();
    server.join().unwrap();
    // It may end before it has read the whole request, which resets the connection.
    assert!(error.contains(path.to_str().unwrap()) || error == "the agent has ended", "{error}");
}

#[tokio::test]
async fn a_pod_is_handed_over_through_the_socket() {
    let server = start(Status::default());
    let path = server.path.clone();
    let pod = PodRecord { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "u-1".to_owned() };
    let handed = HandedOver { pod, ifindex: 7, addresses: ["10.0.0.1".parse().unwrap()].into(), mac: None };
    let asked = spawn_blocking(move || (hand_over(&path, handed), check(&path, 7), alive(&path)));
    let (enforced, checked, alive) = asked.await.unwrap();
    assert!(enforced.unwrap() && checked.unwrap());
    alive.unwrap();
}
