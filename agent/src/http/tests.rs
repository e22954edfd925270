use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use podgate_engine::status::Status;
use podgate_engine::testing::engine_with;

/// A door that is served, and its address. Dropped, it is closed.
struct Served {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    fn new(door: Door, status: Status) -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, task: tokio::spawn(serve(listener, door, engine_with(status))) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Status line, headers and body of one request's answer.
    async fn ask(&self, request_line: &str) -> (String, String, String) {
        let mut stream = self.connect().await;
        let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        (first.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
    }

    async fn first(&self, request_line: &str) -> String {
        self.ask(request_line).await.0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn metrics_door() -> Door {
    Door::Metrics(Readers::Node)
}

/// Whether the other end has closed a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(timeout(Duration::from_secs(2), stream.read(&mut byte)).await, Ok(Ok(1..)) | Err(_))
}

#[tokio::test]
async fn readiness_says_why_not_behind_both_doors() {
    let not_ready = vec!["Pod: not read yet".to_owned(), "2 pods without interface".to_owned()];
    for door in [Door::Health, metrics_door()] {
        let served = Served::new(door.clone(), Status { not_ready: not_ready.clone(), ..Status::default() });
        let (first, _, body) = served.ask("GET /readyz").await;
        assert_eq!(
            (first.as_str(), body.as_str()),
            ("HTTP/1.1 503 Service Unavailable", "Pod: not read yet\n2 pods without interface\n")
        );
        let (first, _, body) = Served::new(door, Status::default()).ask("GET /readyz").await;
        assert_eq!((first.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));
    }
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let (first, headers, body) = Served::new(metrics_door(), Status::default()).ask("GET /metrics").await;
    assert_eq!(first, "HTTP/1.1 200 OK");
    assert!(headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{headers}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn health_does_not_depend_on_readiness() {
    let not_ready = vec!["starting".to_owned()];
    let served = Served::new(Door::Health, Status { not_ready, ..Status::default() });
    assert_eq!(served.first("GET /healthz").await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let served = Served::new(metrics_door(), Status::default());
    assert_eq!(served.first("GET /").await, "HTTP/1.1 404 Not Found");
    assert_eq!(served.first("POST /metrics").await, "HTTP/1.1 405 Method Not Allowed");
    let health = Served::new(Door::Health, Status::default());
    assert_eq!(health.first("GET /metrics").await, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn who_may_not_read_learns_nothing() {
    let directory = tempfile::TempDir::new().unwrap();
    let readers = Readers::Token(directory.path().join("none"));
    let not_ready = vec!["shop/secret".to_owned()];
    let served = Served::new(Door::Metrics(readers), Status { not_ready, ..Status::default() });
    for path in ["/metrics", "/readyz", "/healthz", "/"] {
        let (first, headers, body) = served.ask(&format!("GET {path}")).await;
        assert_eq!(first, "HTTP/1.1 401 Unauthorized", "{path}");
        assert!(headers.contains("www-authenticate: bearer") && !body.contains("secret"), "{headers} {body}");
    }
}

#[tokio::test]
async fn idle_connections_half_requests_and_slow_readers_keep_nobody_out() {
    let served = Served::new(metrics_door(), Status::default());
    let mut held = Vec::new();
    for kind in 0..100 {
        let mut stream = served.connect().await;
        let said: &[u8] = match kind % 3 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nX-Slow: ",
            _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        // One that was closed already may refuse what is written.
        drop(stream.write_all(said).await);
        held.push(stream);
    }
    let start = std::time::Instant::now();
    assert_eq!(served.first("GET /healthz").await, "HTTP/1.1 200 OK");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // The oldest one went first.
    assert!(is_closed(&mut held[0]).await);
}

#[tokio::test]
async fn a_connection_serves_one_request() {
    let served = Served::new(Door::Health, Status::default());
    let mut stream = served.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(2), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn the_address_of_all_takes_both_families() {
    let listener = listen("[::]:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(serve(listener, Door::Health, engine_with(Status::default())));
    for host in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        assert!(TcpStream::connect(address).await.is_ok(), "{address}");
    }
    task.abort();
}
