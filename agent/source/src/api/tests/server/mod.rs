//! A small API server: lists in pages, selects by fields, watches from a version on, bookmarks, and fails, lies and dawdles
//! as it is told.

mod discovery;
mod selector;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use self::selector::Selector;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A code, a content type and what else there is.
type Answer = (u16, &'static str, Bytes);

const JSON: &str = "application/json";

/// So many objects are on a page at most, whatever the client asks for, unless a test says otherwise.
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
    history: Vec<Changed>,
    /// Watches from before this version can't be served.
    oldest: u64,
    watches: Vec<Watching>,
    /// What the next requests for a list of a kind are answered with.
    lies: BTreeMap<String, VecDeque<Lie>>,
    /// So many objects are on a page; 0: [`PAGE`].
    page: usize,
    /// Answers come a byte at a time, each after this.
    pause: Duration,
    list_refusals: BTreeMap<String, VecDeque<u16>>,
    watch_refusals: BTreeMap<String, VecDeque<u16>>,
    /// Kinds whose watches are told of no change.
    muted: Vec<String>,
    /// Kinds that may not be listed.
    forbidden: Vec<String>,
    requests: Vec<String>,
    /// Versions in which ClusterNetworkPolicies are served, which no CustomResourceDefinition need have defined.
    served: Vec<String>,
    /// Whether lists are compressed for those who take that, as the API server does with those above 128 KiB.
    compresses: bool,
    /// How many lists were.
    compressed: usize,
}

/// A change of an object: what it was and what it is.
#[derive(Clone)]
struct Changed {
    version: u64,
    plural: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// Somebody who watches a kind.
struct Watching {
    plural: String,
    selector: Selector,
    lines: mpsc::UnboundedSender<io::Result<Frame<Bytes>>>,
}

/// An answer that no API server should give.
#[derive(Clone)]
pub(super) struct Lie {
    pub(super) content_type: &'static str,
    pub(super) body: String,
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
        let mut config = Config::new(self.url().parse().expect("an URL"));
        // The client's own retries would hide what is tested.
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates or changes an object.
    pub(super) fn apply(&self, plural: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let before = state.objects.entry(plural.to_owned()).or_default().insert(name(&object), object.clone());
        state.publish(plural, before, Some(object));
    }

    pub(super) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.lock();
        let object = state.objects.get_mut(plural).and_then(|objects| objects.remove(name)).expect(name);
        state.version += 1;
        state.publish(plural, Some(object), None);
    }

    /// Sends this to those who watch a kind.
    pub(super) fn tell(&self, plural: &str, text: &str) {
        self.lock().send(plural, &Bytes::copy_from_slice(text.as_bytes()));
    }

    /// Answers the next lists of a kind with these.
    pub(super) fn lie(&self, plural: &str, lies: impl IntoIterator<Item = Lie>) {
        self.lock().lies.entry(plural.to_owned()).or_default().extend(lies);
    }

    /// Puts as many objects on a page as the client asks for.
    pub(super) fn full_pages(&self) {
        self.lock().page = usize::MAX;
    }

    /// Compresses lists for those who take that.
    pub(super) fn compress(&self) {
        self.lock().compresses = true;
    }

    /// How many lists were compressed.
    pub(super) fn compressed(&self) -> usize {
        self.lock().compressed
    }

    /// Answers a byte at a time, each after this.
    pub(super) fn dawdle(&self, pause: Duration) {
        self.lock().pause = pause;
    }

    /// Tells the watches of a kind the present version.
    pub(super) fn bookmark(&self, plural: &str) {
        let mut state = self.lock();
        state.version += 1;
        let metadata = json!({"resourceVersion": state.version.to_string()});
        let event = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}});
        state.send(plural, &line(&event));
    }

    /// Forgets the past: watches can't be resumed from it.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        state.oldest = state.version;
        state.history.clear();
    }

    /// Ends the watches of a kind with 410, as the server does when it has forgotten their place.
    pub(super) fn expire_watches(&self, plural: &str) {
        self.fail_watches(plural, 410, "too old resource version");
    }

    /// Ends the watches of a kind with an error.
    pub(super) fn fail_watches(&self, plural: &str, code: u16, message: &str) {
        let mut state = self.lock();
        state.send(plural, &line(&json!({"type": "ERROR", "object": status(code, message)})));
        state.close(plural);
    }

    /// Tells watches of a kind of no change any more, and keeps them open.
    pub(super) fn mute(&self, plural: &str) {
        self.lock().muted.push(plural.to_owned());
    }

    /// Ends the watches of a kind, as the server does every few minutes.
    pub(super) fn end_watches(&self, plural: &str) {
        self.lock().close(plural);
    }

    /// Cuts the connections of the watches of a kind in the middle of a line.
    pub(super) fn cut_watches(&self, plural: &str) {
        let mut state = self.lock();
        state.send(plural, &Bytes::from_static(br#"{"type":"ADD"#));
        for watch in state.watches.iter().filter(|watch| watch.plural == plural) {
            let _ = watch.lines.send(Err(io::Error::other("cut")));
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

    /// Refuses no further starts of a watch of a kind.
    pub(super) fn serve_watches(&self, plural: &str) {
        self.lock().watch_refusals.remove(plural);
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
        self.lock().watches.iter().any(|watch| watch.plural == plural && !watch.lines.is_closed())
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
            let decoded = |(key, value): (_, std::borrow::Cow<'_, str>)| (key == name).then(|| value.into_owned());
            form_urlencoded::parse(query.as_bytes()).find_map(decoded)
        };
        let number = |name: &str| parameter(name).and_then(|text| text.parse().ok());
        let selector = Selector::new(&parameter("fieldSelector").unwrap_or_default());
        let mut state = self.lock();
        state.requests.push(request.uri().to_string());
        // Who may not read what is not there is told that he may not.
        let is_hidden = state.forbidden.contains(&plural);
        if plural == discovery::POLICIES && !is_hidden && !state.serves(request.uri().path()) {
            let message = "the server could not find the requested resource";
            return in_pieces((404, JSON, status(404, message).to_string().into()), state.pause);
        }
        if parameter("watch").is_some() {
            return state.watch(&plural, selector, number("resourceVersion").unwrap_or_default());
        }
        let page = if state.page == 0 { PAGE } else { number("limit").map_or(PAGE, |limit| limit as usize) };
        let answer = match state.discovery(request.uri().path()) {
            Some(answer) => answer,
            None => state.list(&plural, &selector, number("continue").unwrap_or_default() as usize, page),
        };
        let encodings = request.headers().get("accept-encoding").and_then(|value| value.to_str().ok());
        if state.compresses && encodings.is_some_and(|encodings| encodings.contains("gzip")) {
            state.compressed += 1;
            return compressed(answer);
        }
        in_pieces(answer, state.pause)
    }
}

impl State {
    fn publish(&mut self, plural: &str, before: Option<Value>, after: Option<Value>) {
        let changed = Changed { version: self.version, plural: plural.to_owned(), before, after };
        let heard = !self.muted.iter().any(|muted| muted == plural);
        for watch in self.watches.iter().filter(|_| heard) {
            if let Some(event) = watch.selector.event(&changed).filter(|_| watch.plural == plural) {
                let _ = watch.lines.send(Ok(Frame::data(line(&event))));
            }
        }
        self.history.push(changed);
    }

    fn send(&mut self, plural: &str, text: &Bytes) {
        for watch in self.watches.iter().filter(|watch| watch.plural == plural) {
            let _ = watch.lines.send(Ok(Frame::data(text.clone())));
        }
    }

    fn close(&mut self, plural: &str) {
        self.watches.retain(|watch| watch.plural != plural);
    }

    fn list(&mut self, plural: &str, selector: &Selector, from: usize, page: usize) -> Answer {
        let refuse = |code, message: &str| (code, JSON, status(code, message).to_string().into());
        if self.forbidden.iter().any(|forbidden| forbidden == plural) {
            return refuse(403, &format!("{plural} is forbidden"));
        }
        if let Some(code) = self.list_refusals.get_mut(plural).and_then(VecDeque::pop_front) {
            return refuse(code, "told to");
        }
        if let Some(lie) = self.lies.get_mut(plural).and_then(VecDeque::pop_front) {
            return (200, lie.content_type, lie.body.into());
        }
        let all = self.objects.get(plural).into_iter().flat_map(BTreeMap::values);
        let all: Vec<_> = all.filter(|object| selector.takes(object)).collect();
        let items: Vec<_> = all.iter().skip(from).take(page).collect();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if from + page < all.len() {
            metadata["continue"] = (from + page).to_string().into();
            metadata["remainingItemCount"] = (all.len() - from - page).into();
        }
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
        (200, JSON, list.to_string().into())
    }

    fn watch(&mut self, plural: &str, selector: Selector, from: u64) -> Response<Body> {
        if let Some(code) = self.watch_refusals.get_mut(plural).and_then(VecDeque::pop_front) {
            return response(code, "application/json", whole(status(code, "told to").to_string().into()));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        if from < self.oldest {
            let event = json!({"type": "ERROR", "object": status(410, "too old resource version")});
            let _ = sender.send(Ok(Frame::data(line(&event))));
        } else {
            let since = self.history.iter().filter(|changed| changed.plural == plural && changed.version > from);
            for event in since.filter_map(|changed| selector.event(changed)) {
                let _ = sender.send(Ok(Frame::data(line(&event))));
            }
            self.watches.push(Watching { plural: plural.to_owned(), selector, lines: sender });
        }
        let frames = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        response(200, "application/json", StreamBody::new(frames.boxed()).boxed_unsync())
    }
}

/// A response, whole or a byte at a time.
fn in_pieces((code, content_type, text): Answer, pause: Duration) -> Response<Body> {
    if pause.is_zero() {
        return response(code, content_type, whole(text));
    }
    let bytes = futures::stream::iter(text).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::copy_from_slice(&[byte])))
    });
    response(code, content_type, StreamBody::new(bytes.boxed()).boxed_unsync())
}

/// A response in the encoding `gzip`.
fn compressed((code, content_type, text): Answer) -> Response<Body> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(&text).expect("memory takes all");
    let text = encoder.finish().expect("memory takes all");
    let mut response = response(code, content_type, whole(text.into()));
    response.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    response
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

fn whole(text: Bytes) -> Body {
    Full::new(text).map_err(|never| match never {}).boxed_unsync()
}

fn response(code: u16, content_type: &str, body: Body) -> Response<Body> {
    Response::builder().status(code).header("content-type", content_type).body(body).expect("a response")
}
