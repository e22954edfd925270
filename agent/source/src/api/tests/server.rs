//! A small API server: lists in pages, watches from a version on, bookmarks, and fails as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// So many objects are on a page, whatever the client asks for.
const PAGE: usize = 2;

/// The server. Every change of an object is one version.
#[derive(Clone)]
pub(super) struct Server {
    state: Arc<Mutex<State>>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By plural, then by namespace/name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Version, plural and event of every change.
    history: Vec<(u64, String, Value)>,
    /// Watches from before this version can't be served.
    oldest: u64,
    watches: Vec<(String, mpsc::UnboundedSender<io::Result<Frame<Bytes>>>)>,
    list_refusals: BTreeMap<String, VecDeque<u16>>,
    watch_refusals: BTreeMap<String, VecDeque<u16>>,
    /// Kinds that may not be listed.
    forbidden: Vec<String>,
    requests: Vec<String>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = Self { state: Arc::default(), address };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(connection));
            }
        });
        server
    }

    pub(super) fn client(&self) -> Client {
        let url = format!("http://{}", self.address).parse().expect("an URL");
        let mut config = Config::new(url);
        // The client's own retries would hide what is tested.
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Creates or changes an object.
    pub(super) fn apply(&self, plural: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let name = name(&object);
        let before = state.objects.entry(plural.to_owned()).or_default().insert(name, object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.publish(plural, json!({"type": kind, "object": object}));
    }

    pub(super) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.lock();
        let mut object = state.objects.get_mut(plural).and_then(|objects| objects.remove(name)).expect(name);
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.publish(plural, json!({"type": "DELETED", "object": object}));
    }

    /// Tells the watches of a kind the present version.
    pub(super) fn bookmark(&self, plural: &str) {
        let mut state = self.lock();
        state.version += 1;
        let metadata = json!({"resourceVersion": state.version.to_string()});
        let event = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}});
        state.send(plural, line(&event));
    }

    /// Forgets the past: watches can't be resumed from it.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        state.oldest = state.version;
        state.history.clear();
    }

    /// Ends the watches of a kind with 410, as the server does when it has forgotten their place.
    pub(super) fn expire_watches(&self, plural: &str) {
        let mut state = self.lock();
        state.send(plural, line(&json!({"type": "ERROR", "object": status(410, "too old resource version")})));
        state.close(plural);
    }

    /// Ends the watches of a kind, as the server does every few minutes.
    pub(super) fn end_watches(&self, plural: &str) {
        self.lock().close(plural);
    }

    /// Cuts the connections of the watches of a kind in the middle of a line.
    pub(super) fn cut_watches(&self, plural: &str) {
        let mut state = self.lock();
        state.send(plural, Bytes::from_static(br#"{"type":"ADD"#));
        for (watched, sender) in &state.watches {
            if watched == plural {
                let _ = sender.send(Err(io::Error::other("cut")));
            }
        }
        state.close(plural);
    }

    /// Answers the next lists of a kind with these codes.
    pub(super) fn refuse_lists(&self, plural: &str, codes: &[u16]) {
        self.lock().list_refusals.entry(plural.to_owned()).or_default().extend(codes);
    }

    /// Answers the next starts of a watch of a kind with these codes.
    pub(super) fn refuse_watches(&self, plural: &str, codes: &[u16]) {
        self.lock().watch_refusals.entry(plural.to_owned()).or_default().extend(codes);
    }

    /// Forbids to list a kind, or allows it again.
    pub(super) fn forbid(&self, plural: &str, forbidden: bool) {
        let mut state = self.lock();
        state.forbidden.retain(|known| known != plural);
        if forbidden {
            state.forbidden.push(plural.to_owned());
        }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(super) fn is_watched(&self, plural: &str) -> bool {
        self.lock().watches.iter().any(|(watched, sender)| watched == plural && !sender.is_closed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }

    async fn serve(self, connection: TcpStream) {
        let service = service_fn(move |request| {
            let answer = self.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        });
        // An error is how a cut connection ends.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let plural = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let mut state = self.lock();
        state.requests.push(request.uri().to_string());
        if parameter("watch").is_some() {
            let from = parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
            return state.watch(&plural, from);
        }
        let from = parameter("continue").and_then(|text| text.parse().ok()).unwrap_or_default();
        state.list(&plural, from)
    }
}

impl State {
    fn publish(&mut self, plural: &str, event: Value) {
        self.send(plural, line(&event));
        self.history.push((self.version, plural.to_owned(), event));
    }

    fn send(&mut self, plural: &str, line: Bytes) {
        for (watched, sender) in &self.watches {
            if watched == plural {
                let _ = sender.send(Ok(Frame::data(line.clone())));
            }
        }
    }

    fn close(&mut self, plural: &str) {
        self.watches.retain(|(watched, _)| watched != plural);
    }

    fn list(&mut self, plural: &str, from: usize) -> Response<Body> {
        if self.forbidden.iter().any(|forbidden| forbidden == plural) {
            return refuse(403, &format!("{plural} is forbidden"));
        }
        if let Some(code) = self.list_refusals.get_mut(plural).and_then(VecDeque::pop_front) {
            return refuse(code, "told to");
        }
        let all = self.objects.get(plural).map(|objects| objects.values().cloned().collect::<Vec<_>>());
        let all = all.unwrap_or_default();
        let page: Vec<_> = all.iter().skip(from).take(PAGE).cloned().collect();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if from + PAGE < all.len() {
            metadata["continue"] = (from + PAGE).to_string().into();
        }
        answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}))
    }

    fn watch(&mut self, plural: &str, from: u64) -> Response<Body> {
        if let Some(code) = self.watch_refusals.get_mut(plural).and_then(VecDeque::pop_front) {
            return refuse(code, "told to");
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        if from < self.oldest {
            let event = json!({"type": "ERROR", "object": status(410, "too old resource version")});
            let _ = sender.send(Ok(Frame::data(line(&event))));
        } else {
            for (version, changed, event) in &self.history {
                if changed == plural && *version > from {
                    let _ = sender.send(Ok(Frame::data(line(event))));
                }
            }
            self.watches.push((plural.to_owned(), sender));
        }
        let frames = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
    }
}

fn name(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str();
    match text("namespace") {
        Some(namespace) => format!("{namespace}/{}", text("name").unwrap_or_default()),
        None => text("name").unwrap_or_default().to_owned(),
    }
}

fn line(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        410 => "Expired",
        _ => "InternalError",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
           "message": message, "reason": reason, "code": code})
}

fn refuse(code: u16, message: &str) -> Response<Body> {
    answer(code, &status(code, message))
}

fn answer(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("a response")
}
