//! `/metrics`, `/healthz` and `/readyz`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::engine::Handle;
use crate::metrics;

/// Connections served at once; more wait for one to end.
const CONNECTIONS: usize = 32;

/// A client has this long to send its request, and an idle connection this long to send the next.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Serves until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, engine: Handle) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, engine.clone(), permit));
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, engine: Handle, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let engine = engine.clone();
        async move { Ok::<_, Infallible>(answer(&request, &engine).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection for metrics ended early");
    }
}

async fn answer(request: &Request<Incoming>, engine: &Handle) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/metrics" => scrape(engine).await,
        "/healthz" => health(engine),
        "/readyz" => readiness(engine),
        _ => plain(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
    }
}

async fn scrape(engine: &Handle) -> Response<Full<Bytes>> {
    let Some(status) = engine.status().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the engine is busy\n");
    };
    match metrics::encode(status, engine.durations.clone()) {
        Ok(text) => respond(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be encoded\n"),
    }
}

fn health(engine: &Handle) -> Response<Full<Bytes>> {
    if engine.pulse.is_alive() {
        plain(StatusCode::OK, "ok\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "the engine hangs\n")
    }
}

fn readiness(engine: &Handle) -> Response<Full<Bytes>> {
    let reasons = engine.not_ready.borrow().clone();
    if reasons.is_empty() {
        return plain(StatusCode::OK, "ok\n");
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, PLAIN_TEXT, text)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::engine::testing::engine_with;
    use crate::status::Status;

    /// Status line, headers and body of one request's answer.
    async fn ask(request_line: &str, status: Status) -> (String, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, engine_with(status)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        (first.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn readiness_says_why_not() {
        let not_ready = vec!["Pod: not read yet".to_owned(), "2 pods without interface".to_owned()];
        let (first, _, body) = ask("GET /readyz", Status { not_ready, ..Status::default() }).await;
        assert_eq!(
            (first.as_str(), body.as_str()),
            ("HTTP/1.1 503 Service Unavailable", "Pod: not read yet\n2 pods without interface\n")
        );
        let (first, _, body) = ask("GET /readyz", Status::default()).await;
        assert_eq!((first.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let (first, headers, body) = ask("GET /metrics", Status::default()).await;
        assert_eq!(first, "HTTP/1.1 200 OK");
        assert!(headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{headers}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn health_does_not_depend_on_readiness() {
        let not_ready = vec!["starting".to_owned()];
        let (first, ..) = ask("GET /healthz", Status { not_ready, ..Status::default() }).await;
        assert_eq!(first, "HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let first = async |line| ask(line, Status::default()).await.0;
        assert_eq!(first("GET /").await, "HTTP/1.1 404 Not Found");
        assert_eq!(first("POST /metrics").await, "HTTP/1.1 405 Method Not Allowed");
    }
}
