//! What commands tell while one waits: nothing but at a terminal, nothing on standard output, and nothing of it stays.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use tempfile::TempDir;

use crate::support::directory;

/// Longer than any command stays silent at a terminal.
const SLOW: Duration = Duration::from_millis(1500);
const DEADLINE: Duration = Duration::from_secs(60);

/// A cluster without any object, whose server answers once it is told to. Returns where its kubeconfig is.
fn slow_cluster(begin: Receiver<()>) -> TempDir {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            if number == 0 {
                let _ = begin.recv_timeout(DEADLINE);
            }
            answer(stream.unwrap());
        }
    });
    let config = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
         clusters: [{{name: k, cluster: {{server: '{url}'}}}}], users: [{{name: u, user: {{token: t}}}}]}}"
    );
    directory(&[("config", &config)])
}

/// Answers a request for a list with an empty one.
fn answer(mut stream: TcpStream) {
    for line in BufReader::new(&stream).lines() {
        if line.unwrap().is_empty() {
            break;
        }
    }
    let body = r#"{"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

/// What is said of a matrix of no pods.
const NOTHING: &str = "warning: nothing was judged: there are no two pods, or no ports; add pods, or give --port\n";

/// `podgate matrix -o json` of a cluster.
fn matrix(kubeconfig: &Path, stderr: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.args(["matrix", "-o", "json", "--kubeconfig"]).arg(kubeconfig).env("TERM", "xterm");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

#[test]
fn at_a_terminal_it_is_told_what_takes_so_long_and_the_result_is_the_same() {
    let (begin, begun) = mpsc::channel();
    let cluster = slow_cluster(begun);
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let child = matrix(&cluster.path().join("config"), Stdio::from(terminal.slave));
    let (sender, shown) = mpsc::channel();
    thread::spawn(move || {
        let (mut master, mut chunk) = (File::from(terminal.master), [0; 4096]);
        // A terminal that nobody writes to any more answers with an error.
        while let Ok(length @ 1..) = master.read(&mut chunk) {
            sender.send(String::from_utf8_lossy(&chunk[..length]).into_owned()).unwrap();
        }
    });
    let start = Instant::now();
    let mut text = String::new();
    while !text.contains("reading the cluster") {
        text += &shown.recv_timeout(DEADLINE.saturating_sub(start.elapsed())).unwrap();
    }
    begin.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    text.extend(shown.iter());
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(3), "[]\n".to_owned()));
    let told = NOTHING.replace('\n', "\r\n");
    assert!(text.ends_with(&format!("\r\u{1b}[2K{told}")), "the line is taken away: {text:?}");
}

#[test]
fn elsewhere_nothing_is_told_however_long_it_takes() {
    let (begin, begun) = mpsc::channel();
    let cluster = slow_cluster(begun);
    let child = matrix(&cluster.path().join("config"), Stdio::piped());
    thread::sleep(SLOW);
    begin.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(
        (output.status.code(), text(output.stdout), text(output.stderr)),
        (Some(3), "[]\n".into(), NOTHING.to_owned())
    );
}
