//! `/metrics`, `/healthz` and `/readyz`: on the listener for metrics, and the latter two on one of their own, which nothing but
//! the node reaches.

mod connections;
mod readers;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use self::connections::{Connections, Source};
pub(crate) use self::readers::Readers;
use self::readers::{Ends, Refusal};
use crate::metrics;
use podgate_engine::Handle;

/// A client has this long to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A client has this long to send its request and to take the answer: one request for each connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// The most that is kept of a request.
const REQUEST_BYTES: usize = 16 << 10;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What a listener serves.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// `/healthz` and `/readyz`, to anyone.
    Health,
    /// All, to these.
    Metrics(Readers),
}

/// Listens on an address; on all addresses of both families where that is `::`, as far as the kernel has them.
///
/// # Errors
/// Somebody else has it, or the host does not.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match bind(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // A kernel that was built without IPv6, or booted with ipv6.disable=1, says EAFNOSUPPORT.
    error.raw_os_error() == Some(97)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

/// Serves until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, door: Door, engine: Handle) {
    let door = Arc::new(door);
    let mut connections = Connections::<AbortHandle>::default();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = tasks.join_next() => {
                // One that was closed to make room is forgotten already.
                ended.ok().and_then(|number| connections.close(number));
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                let (number, source) = (connections.next(), Source::of(peer.ip()));
                let (door, engine) = (Arc::clone(&door), engine.clone());
                let task = tasks.spawn(async move {
                    serve_connection(stream, peer, &door, &engine).await;
                    number
                });
                if let Some(evicted) = connections.open(source, task) {
                    evicted.abort();
                }
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, door: &Door, engine: &Handle) {
    let Ok(local) = stream.local_addr() else { return };
    let ends = Ends::new(peer, local);
    if ends.are_martian() {
        tracing::debug!(%peer, %local, "connection to a loopback address from elsewhere refused");
        return;
    }
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, door, ends, engine).await) });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false).max_buf_size(REQUEST_BYTES);
    match timeout(CONNECTION_TIMEOUT, server.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection for metrics ended early"),
        Err(_) => tracing::debug!(%peer, "connection for metrics took too long"),
    }
}

async fn answer(request: &Request<Incoming>, door: &Door, ends: Ends, engine: &Handle) -> Response<Full<Bytes>> {
    if let Door::Metrics(readers) = door
        && let Err(refusal) = readers.admit(request.headers(), ends)
    {
        return refuse(refusal);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match (request.uri().path(), door) {
        ("/metrics", Door::Metrics(_)) => scrape(engine).await,
        ("/healthz", _) => health(engine),
        ("/readyz", _) => readiness(engine),
        (_, Door::Metrics(_)) => plain(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
        (_, Door::Health) => plain(StatusCode::NOT_FOUND, "try /healthz or /readyz; --metrics-listen has /metrics\n"),
    }
}

fn refuse(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::NotTheNode => plain(
            StatusCode::FORBIDDEN,
            "only the node itself may read this: see podgate's settings --metrics-token-file and --metrics-public\n",
        ),
        Refusal::NoToken => {
            let mut response = plain(StatusCode::UNAUTHORIZED, "the bearer token of --metrics-token-file is needed\n");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
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
mod tests;
