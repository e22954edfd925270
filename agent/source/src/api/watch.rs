//! The watch of one resource.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod as ApiPod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, ApiResource, GroupVersionKind};
use kube::runtime::watcher::{Config, DefaultBackoff, Error, Event, watcher};
use podgate_policy::model::Pod;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::Failure;
use super::received::{Read, Received, Whole};
use super::served;
use crate::convert::{self, Converted, Origin, Outcome, Raw, Strings};
use crate::object::{Kind, Object, ObjectRef};

/// What a watch sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A complete list begins.
    Listing,
    /// An object of that list.
    Listed(ObjectRef, Converted),
    /// The list is complete: what is not in it doesn't exist.
    ListedAll,
    /// An object is new or changed.
    Applied(ObjectRef, Converted),
    /// An object is gone.
    Deleted(ObjectRef),
    /// The server can't be reached or refuses.
    Failed(Failure),
    /// It hasn't failed again for a while.
    Recovered,
    /// The server has the kind, which it need not have; what it has of it is read next.
    Served,
    /// The server does not have the kind: all objects of it are gone.
    Absent,
    /// The server says that it does not serve the kind, and whether that is because the kind is gone is not known.
    Unserved(Failure),
    /// The kind can't be read, and waiting alone doesn't help.
    Unreadable(Failure),
    /// So many objects there are, which are not read.
    Counted(usize),
}

/// What a watch notices.
#[derive(Debug)]
pub(super) enum Notice<O> {
    /// What the server tells.
    Event(Event<O>),
    /// An error; none: the watch ended without one.
    Failed(Option<Error>),
    /// It hasn't failed again for a while.
    Recovered,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Every wait after an error is multiplied by this; tests hurry.
    pub(super) patience: f64,
    /// So long after an error without another one, the watch counts as working though nothing has happened. A server that can't be
    /// reached is noticed earlier.
    pub(super) recovery: Duration,
    /// After so long without any event everything is listed again: a watch may stand at a version that the server, restored from
    /// a backup, has still to reach, and hear nothing meanwhile.
    pub(super) silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { patience: 1.0, recovery: Duration::from_secs(60), silence: Duration::from_secs(600) }
    }
}

impl Timing {
    /// About a minute, of each node another one: how often to ask what the server does not tell by itself.
    pub(super) fn poll(&self) -> Duration {
        // The keys of each of these are random.
        let random = RandomState::new().build_hasher().finish();
        Duration::from_millis(30_000 + random % 60_000).mul_f64(self.patience)
    }
}

/// The longest wait after an error, before it is multiplied.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Which objects of a kind to ask for: of pods those that have not ended, which are neither subjects nor peers any more;
/// of nodes the agent's own.
pub(super) fn selection(kind: Kind, node: &str) -> Config {
    match kind {
        Kind::Pod => Config::default().fields("status.phase!=Succeeded,status.phase!=Failed"),
        Kind::Node => Config::default().fields(&format!("metadata.name={node}")),
        Kind::Namespace | Kind::NetworkPolicy | Kind::ClusterNetworkPolicy | Kind::Service | Kind::EndpointSlice => {
            Config::default()
        }
    }
}

/// Watches the selected objects of a kind until nobody listens.
pub(super) async fn run(
    client: Client,
    kind: Kind,
    node: Arc<str>,
    timing: Timing,
    events: mpsc::Sender<(Kind, Seen)>,
) {
    let watch = Watch::new(timing, events);
    let selection = selection(kind, &node);
    let eyes = Eyes { kind, node, strings: Strings::default() };
    match kind {
        Kind::NetworkPolicy | Kind::ClusterNetworkPolicy => {
            let api = Api::<Received<Whole>>::all_with(client, &resource(kind));
            watch.run(|| watcher(api.clone(), selection.clone()), eyes.see()).await;
        }
        Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service | Kind::EndpointSlice => {
            let api = Api::<Received<Read>>::all_with(client, &resource(kind));
            watch.run(|| watcher(api.clone(), selection.clone()), eyes.see()).await;
        }
    }
}

/// Lists and watches, and tells what it notices as messages of some sort.
pub(super) struct Watch<M> {
    timing: Timing,
    messages: mpsc::Sender<M>,
    backoff: DefaultBackoff,
    /// When it counts as working after an error, if there is no other one.
    recovery: Option<Instant>,
    /// Whether to wait long after an answer that the next one will hardly differ from (403, 404).
    takes_no: bool,
}

/// Whether to go on with the same stream.
enum Next {
    Continue,
    ListAgain,
    Stop,
}

impl<M> Watch<M> {
    pub(super) fn new(timing: Timing, messages: mpsc::Sender<M>) -> Self {
        Self { timing, messages, backoff: DefaultBackoff::default(), recovery: None, takes_no: false }
    }

    /// The same, for what may well be forbidden: that is asked for again each minute or so.
    pub(super) fn that_takes_no(self) -> Self {
        Self { takes_no: true, ..self }
    }

    /// Lists and watches until nobody listens.
    pub(super) async fn run<O, S>(mut self, stream: impl Fn() -> S, mut message: impl FnMut(Notice<O>) -> M)
    where
        S: Stream<Item = Result<Event<O>, Error>>,
    {
        while let Next::ListAgain = self.follow(stream(), &mut message).await {}
    }

    /// Lists and watches until everything has to be listed again, or nobody listens.
    async fn follow<O>(
        &mut self,
        stream: impl Stream<Item = Result<Event<O>, Error>>,
        message: &mut impl FnMut(Notice<O>) -> M,
    ) -> Next {
        let mut stream = pin!(stream);
        let mut heard = Instant::now();
        loop {
            let quiet_until = self.recovery.unwrap_or_else(Instant::now);
            let event = tokio::select! {
                event = stream.next() => event,
                () = sleep_until(heard + self.timing.silence) => return Next::ListAgain,
                () = sleep_until(quiet_until), if self.recovery.is_some() => {
                    self.recovery = None;
                    if self.messages.send(message(Notice::Recovered)).await.is_err() {
                        return Next::Stop;
                    }
                    continue;
                }
            };
            let failed = matches!(event, Some(Err(_)));
            heard = Instant::now();
            let next = self.handle(event, message).await;
            if failed {
                self.recovery = Some(Instant::now() + self.timing.recovery);
            }
            match next {
                Next::Continue => {}
                end => return end,
            }
        }
    }

    async fn handle<O>(
        &mut self,
        event: Option<Result<Event<O>, Error>>,
        message: &mut impl FnMut(Notice<O>) -> M,
    ) -> Next {
        let (notice, wait, next) = match event {
            Some(Ok(event)) => (Notice::Event(event), None, Next::Continue),
            Some(Err(error)) => {
                let next = if needs_list(&error) { Next::ListAgain } else { Next::Continue };
                let wait = self.wait(self.takes_no && is_no(&error));
                (Notice::Failed(Some(error)), Some(wait), next)
            }
            // The stream of a watcher has no end; begin again if that ever changes.
            None => (Notice::Failed(None), Some(self.wait(false)), Next::ListAgain),
        };
        if self.messages.send(message(notice)).await.is_err() {
            return Next::Stop;
        }
        if let Some(wait) = wait {
            sleep(wait).await;
        }
        next
    }

    /// How long to wait after an error, or after an answer that will hardly change.
    fn wait(&mut self, no: bool) -> Duration {
        if no {
            return self.timing.poll();
        }
        self.backoff.next().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT).mul_f64(self.timing.patience)
    }
}

/// What makes of a kind's objects what podgate uses of them.
struct Eyes {
    kind: Kind,
    /// The agent's own.
    node: Arc<str>,
    strings: Strings,
}

impl Eyes {
    /// What is seen in what a watch notices.
    fn see<K>(mut self) -> impl FnMut(Notice<Received<K>>) -> (Kind, Seen) {
        let resource = resource(self.kind);
        move |notice| {
            let seen = match notice {
                Notice::Event(event) => self.seen(event),
                Notice::Failed(error) => Seen::Failed(Failure::of_watch(&resource, error.as_ref())),
                Notice::Recovered => Seen::Recovered,
            };
            (self.kind, seen)
        }
    }

    fn seen<K>(&mut self, event: Event<Received<K>>) -> Seen {
        match event {
            Event::Init => Seen::Listing,
            Event::InitApply(object) => {
                let (reference, converted) = self.convert(&object);
                Seen::Listed(reference, converted)
            }
            Event::InitDone => Seen::ListedAll,
            Event::Apply(object) => {
                let (reference, converted) = self.convert(&object);
                Seen::Applied(reference, converted)
            }
            Event::Delete(object) => Seen::Deleted(object.reference(self.kind)),
        }
    }

    fn convert<K>(&mut self, object: &Received<K>) -> (ObjectRef, Converted) {
        let (reference, mut converted) = converted(self.kind, object, &mut self.strings);
        if let Outcome::Good(Object::Pod(pod)) = &mut converted.outcome {
            self.forget_uid(pod);
        }
        (reference, converted)
    }

    /// Nobody asks for the UIDs of pods of other nodes, of which there are very many.
    fn forget_uid(&mut self, pod: &mut Arc<Pod>) {
        if pod.node.as_ref().is_some_and(|node| *node != self.node)
            && let Some(pod) = Arc::get_mut(pod)
        {
            pod.uid = self.strings.share("");
        }
    }
}

/// An object of a kind, as far as it can be used.
pub(super) fn converted<K>(kind: Kind, object: &Received<K>, strings: &mut Strings) -> (ObjectRef, Converted) {
    let converted = convert::object(kind, Raw::new(&object.value), Origin::Api, "(unnamed)", strings);
    (object.reference(kind), converted)
}

pub(super) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Namespace => ApiResource::erase::<Namespace>(&()),
        Kind::Node => ApiResource::erase::<Node>(&()),
        Kind::Pod => ApiResource::erase::<ApiPod>(&()),
        Kind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        Kind::ClusterNetworkPolicy => {
            ApiResource::from_gvk(&GroupVersionKind::gvk(served::GROUP, served::VERSION, kind.as_str()))
        }
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
    }
}

/// Whether the server says that somebody may not read a resource, or that there is none.
pub(super) fn is_no(error: &Error) -> bool {
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error)) = error else { return false };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

/// Whether the watcher would go on from a place that is lost: it starts the same watch again when the server refuses the
/// version (410: too old; 504: too large, as after a restore from a backup), or tells of an error within it, and passes over an event
/// that it can't read. client-go's reflector lists again after any error within a watch, too.
fn needs_list(error: &Error) -> bool {
    match error {
        Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 410 | 504),
        Error::WatchError(_) => true,
        Error::WatchFailed(error) => {
            matches!(error, kube::Error::SerdeError(_) | kube::Error::LinesCodecMaxLineLengthExceeded)
        }
        _ => false,
    }
}
