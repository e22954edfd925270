//! ClusterNetworkPolicies: a kind that the server may have, get or lose while the agent runs.
//!
//! ```text
//! watch of the CustomResourceDefinition ──► absent: no objects, and nothing else is asked
//!                                       └─► there: which versions are served? ──► the watch of the kind, or a count
//! ```
//!
//! Only the watch of the CustomResourceDefinition says that the kind is gone. That a list is not found may as well be a
//! server that has just started, so what was known stays. Who may not watch it asks each minute or so what is served.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, DefaultBackoff, Error, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::failure::Failure;
use super::received::{Read, Received};
use super::served::{DEFINITION, GROUP, Served, definitions, unread};
use super::watch::{self, Notice, Seen, Timing, Watch, resource};
use crate::cluster_policies::ClusterPolicies;
use crate::object::Kind;
use crate::status::ErrorClass;

const KIND: Kind = Kind::ClusterNetworkPolicy;

/// Notices of the CustomResourceDefinition that may wait.
const QUEUE: usize = 16;

/// So long the server may take to say what it serves.
const ANSWER: Duration = Duration::from_secs(30);

/// So often the server may say that it serves none of what the CustomResourceDefinition defines before that counts as its
/// last word. It learns of a new one a moment later than who watches it, and of all of them while it starts.
const TRIES: u32 = 5;

type Definition = PartialObjectMeta<Received<Read>>;

/// Nobody listens any more.
struct Closed;

/// Follows the ClusterNetworkPolicies of a server that need not have them, until nobody listens.
pub(super) async fn run(
    client: Client,
    setting: ClusterPolicies,
    node: Arc<str>,
    timing: Timing,
    events: mpsc::Sender<(Kind, Seen)>,
) {
    let (notices, mut inbox) = mpsc::channel(QUEUE);
    // It ends with this.
    let mut watching = JoinSet::new();
    watching.spawn(watch_definition(client.clone(), timing, notices));
    let mut kind = Optional {
        client,
        setting,
        node,
        timing,
        events,
        listed: None,
        definition: None,
        is_watched: true,
        state: State::Unknown,
        backoff: DefaultBackoff::default(),
        tries: 0,
        again: None,
    };
    loop {
        let again = kind.again;
        let taken = tokio::select! {
            notice = inbox.recv() => match notice {
                Some(notice) => kind.take(notice).await,
                None => return,
            },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => kind.look().await,
        };
        if let Err(Closed) = taken {
            return;
        }
    }
}

async fn watch_definition(client: Client, timing: Timing, notices: mpsc::Sender<Notice<Definition>>) {
    let api: Api<Definition> = Api::all_with(client, &definitions());
    let only = Config::default().fields(&format!("metadata.name={DEFINITION}"));
    let watch = Watch::new(timing, notices).that_takes_no();
    watch.run(|| watcher(api.clone(), only.clone()), |notice| notice).await;
}

/// Which version of which CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    version: Option<String>,
}

impl Version {
    fn of(definition: Definition) -> Self {
        let metadata = definition.metadata;
        Self { uid: metadata.uid, version: metadata.resource_version }
    }
}

/// How far the kind is known.
enum State {
    /// Nobody has said whether the server has it.
    Unknown,
    /// The server does not have it.
    Absent,
    /// The server should have it, and does not serve it so that it could be read.
    Unserved,
    /// It is read, or counted. The task ends with this.
    Read(JoinSet<()>),
}

struct Optional {
    client: Client,
    setting: ClusterPolicies,
    /// The agent's own.
    node: Arc<str>,
    timing: Timing,
    events: mpsc::Sender<(Kind, Seen)>,
    /// What is in a list of CustomResourceDefinitions that is not complete.
    listed: Option<Version>,
    /// The CustomResourceDefinition, if it is there.
    definition: Option<Version>,
    /// Whether the CustomResourceDefinition may be watched.
    is_watched: bool,
    state: State,
    /// How long to wait before the next question after one that was in vain.
    backoff: DefaultBackoff,
    /// How often the server has said that it doesn't serve what is defined.
    tries: u32,
    /// When to ask again what is served.
    again: Option<Instant>,
}

impl Optional {
    async fn take(&mut self, notice: Notice<Definition>) -> Result<(), Closed> {
        match notice {
            Notice::Event(Event::Init) => {
                self.listed = None;
                Ok(())
            }
            Notice::Event(Event::InitApply(definition)) => {
                self.listed = Some(Version::of(definition));
                Ok(())
            }
            Notice::Event(Event::InitDone) => {
                self.is_watched = true;
                match self.listed.take() {
                    Some(version) => self.defined(version).await,
                    None => self.absent().await,
                }
            }
            Notice::Event(Event::Apply(definition)) => self.defined(Version::of(definition)).await,
            Notice::Event(Event::Delete(_)) => self.absent().await,
            Notice::Failed(Some(error)) if watch::is_no(&error) => self.unwatched(&error).await,
            Notice::Failed(error) => self.trouble(Failure::of_watch(&definitions(), error.as_ref())).await,
            // Of what is read its own watch tells, and of what is not served the next answer.
            Notice::Recovered if matches!(self.state, State::Unknown | State::Absent) => {
                self.send(Seen::Recovered).await
            }
            Notice::Recovered => Ok(()),
        }
    }

    /// The CustomResourceDefinition may not be watched: what is served has to do.
    async fn unwatched(&mut self, error: &Error) -> Result<(), Closed> {
        if std::mem::replace(&mut self.is_watched, false) {
            let message = Failure::new(&definitions(), error).message;
            tracing::warn!(message, "whether there are ClusterNetworkPolicies is asked once a minute");
        }
        self.definition = None;
        self.look().await
    }

    /// There is a CustomResourceDefinition, perhaps the one that was there.
    async fn defined(&mut self, version: Version) -> Result<(), Closed> {
        let former = self.definition.replace(version.clone());
        let is_same = former.as_ref() == Some(&version);
        if is_same && matches!(self.state, State::Read(_)) {
            return Ok(());
        }
        if former.is_some_and(|former| former.uid != version.uid) {
            self.stop().await;
        }
        self.tries = 0;
        self.look().await
    }

    /// There is no CustomResourceDefinition.
    async fn absent(&mut self) -> Result<(), Closed> {
        self.stop().await;
        (self.definition, self.again, self.state) = (None, None, State::Absent);
        self.send(Seen::Absent).await
    }

    /// Asks what is served.
    async fn look(&mut self) -> Result<(), Closed> {
        self.again = None;
        let served = match timeout(ANSWER, Served::ask(&self.client)).await {
            Ok(Ok(served)) => served,
            Ok(Err(error)) => {
                self.soon();
                return self.trouble(Failure::of_request(&resource(KIND), "discover", &error)).await;
            }
            Err(_) => {
                self.soon();
                let message = format!("the server does not say what it serves of {GROUP}");
                return self.trouble(Failure { class: ErrorClass::Timeout, message }).await;
            }
        };
        match served {
            Served::Read => self.read().await,
            Served::Others(versions) => {
                self.later();
                self.unserved().await;
                self.send(Seen::Unreadable(unread(&versions))).await
            }
            Served::Not if !self.is_watched => {
                self.unserved().await;
                let message = format!("the server serves no clusternetworkpolicies.{GROUP} any more");
                self.send(Seen::Unserved(Failure { class: ErrorClass::Missing, message })).await
            }
            // It has just started, or has not yet heard of the change; if it is neither, the watch says so.
            Served::Not if matches!(self.state, State::Read(_)) => {
                self.later();
                Ok(())
            }
            Served::Not => {
                self.unserved().await;
                self.tries += 1;
                let message = format!(
                    "there is a CustomResourceDefinition {DEFINITION}, and the server serves nothing of it: look at its \
                     conditions"
                );
                let failure = Failure { class: ErrorClass::Missing, message };
                if self.tries < TRIES {
                    self.soon();
                    return self.send(Seen::Failed(failure)).await;
                }
                self.later();
                self.send(Seen::Unreadable(failure)).await
            }
        }
    }

    /// Asks again soon, each time a bit later.
    fn soon(&mut self) {
        let wait = self.backoff.next().unwrap_or_default().mul_f64(self.timing.patience);
        self.again = Some(Instant::now() + wait);
    }

    /// Asks again in about a minute. Where the CustomResourceDefinition may not be watched its watch does, by failing.
    fn later(&mut self) {
        self.again = self.is_watched.then(|| Instant::now() + self.timing.poll());
    }

    /// Reads or counts what there is, if that isn't done already.
    async fn read(&mut self) -> Result<(), Closed> {
        self.tries = 0;
        if matches!(self.state, State::Read(_)) {
            return Ok(());
        }
        self.send(Seen::Served).await?;
        let mut reading = JoinSet::new();
        let (client, timing, events) = (self.client.clone(), self.timing, self.events.clone());
        match self.setting {
            ClusterPolicies::Auto => reading.spawn(watch::run(client, KIND, self.node.clone(), timing, events)),
            ClusterPolicies::Off => reading.spawn(count(client, timing, events)),
        };
        self.state = State::Read(reading);
        Ok(())
    }

    async fn unserved(&mut self) {
        self.stop().await;
        self.state = State::Unserved;
    }

    /// Ends reading. When this returns, nothing more comes of it.
    async fn stop(&mut self) {
        if let State::Read(reading) = &mut self.state {
            reading.shutdown().await;
            self.state = State::Unserved;
        }
    }

    /// Whether the kind is there can't be told now. Where it is read its own watch tells how that goes.
    async fn trouble(&self, failure: Failure) -> Result<(), Closed> {
        if let State::Read(_) = self.state {
            tracing::warn!(class = failure.class.as_str(), message = failure.message, "Kubernetes API");
            return Ok(());
        }
        self.send(Seen::Failed(failure)).await
    }

    async fn send(&self, seen: Seen) -> Result<(), Closed> {
        self.events.send((KIND, seen)).await.map_err(|_| Closed)
    }
}

/// Counts the objects now and then, until nobody listens: a list of one of them says how many more there are.
async fn count(client: Client, timing: Timing, events: mpsc::Sender<(Kind, Seen)>) {
    let resource = resource(KIND);
    let api: Api<Received<Read>> = Api::all_with(client, &resource);
    loop {
        let (seen, wait) = match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(list) => {
                let more = list.metadata.remaining_item_count.and_then(|count| usize::try_from(count).ok());
                (Seen::Counted(list.items.len() + more.unwrap_or_default()), timing.silence)
            }
            Err(error) => (Seen::Failed(Failure::of_request(&resource, "list", &error)), timing.poll()),
        };
        if events.send((KIND, seen)).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}
