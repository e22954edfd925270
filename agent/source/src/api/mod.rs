//! The Kubernetes API as a source.
//!
//! ```text
//! watch of each kind ──► convert at once ──► Collector (state, problems) ──► Update, SourceStatus
//! ```
//!
//! NetworkPolicies, namespaces, Services, pods that have not ended, the agent's own node and, on demand, EndpointSlices are listed in pages and then
//! watched, with bookmarks. Other nodes are left out: their objects are large and change all the time, and their addresses are those of their
//! pods on the host's network. An interrupted watch is resumed; where the server does not serve the place, whatever it says, everything is listed again and only the differences are handed on.
//! ClusterNetworkPolicies are a kind that the server need not have: a watch of its CustomResourceDefinition says whether it does.
//! A watch that says nothing at all for long is not believed either: a server may be at an older version than the watch.
//! No error stops the source: it waits, each time longer up to half a minute, and tries again, and says so in the status.
//!
//! An object that can't be decoded concerns itself alone: the list it is in still counts. Of objects that are no
//! policies only the fields that podgate uses are looked at.

mod collector;
mod connect;
mod failure;
mod fields;
#[cfg(fuzzing)]
pub mod fuzzing;
mod optional;
mod received;
mod served;
mod snapshot;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kube::Client;
use kube::api::ApiResource;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use self::collector::Collector;
pub use self::connect::ConnectError;
pub use self::snapshot::{Access, SnapshotError, snapshot};
use self::watch::{Seen, Timing};
use crate::cluster_policies::ClusterPolicies;
use crate::object::Kind;
use crate::publish::{Closed, Publisher};
use crate::source::Source;
use crate::status::Location;

/// The kinds that every server has, and that are always watched.
const WATCHED: [Kind; 5] = [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::NetworkPolicy];
/// Events that may wait to be collected.
const QUEUE: usize = 1024;
/// So long after an update changes of other nodes' pods wait for more of them: a cluster of many pods changes all the
/// time, and an update costs more than what is in it.
const PAUSE: Duration = Duration::from_millis(10);

/// How to reach the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The kubeconfig file. Without it: the pod's service account if there is one, else `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The name of the agent's own node.
    pub node: String,
    /// What to do about ClusterNetworkPolicies.
    pub cluster_policies: ClusterPolicies,
    /// Whether to watch EndpointSlices, the most restless of all: they are needed where egress to Services is judged by
    /// their backends before it is known which one a connection goes to.
    pub endpoint_slices: bool,
}

/// What is listed and watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// The API group; empty: the core group.
    pub group: String,
    /// The resource, in the plural.
    pub plural: String,
    /// The one object that is meant; none: all of them.
    pub name: Option<String>,
}

/// Everything that is listed and watched, with EndpointSlices or without: what the agent's account must be allowed to
/// read. Nothing else is, whatever is done about ClusterNetworkPolicies.
#[must_use]
pub fn watched(endpoint_slices: bool) -> Vec<Watched> {
    let all = |kind| (watch::resource(kind), None);
    let definition = (served::definitions(), Some(served::DEFINITION.to_owned()));
    let watched = kinds(endpoint_slices).map(all).chain([definition]);
    watched.map(|(ApiResource { group, plural, .. }, name)| Watched { group, plural, name }).collect()
}

fn kinds(endpoint_slices: bool) -> impl Iterator<Item = Kind> {
    let slices = endpoint_slices.then_some(Kind::EndpointSlice);
    WATCHED.into_iter().chain([Kind::ClusterNetworkPolicy]).chain(slices)
}

/// Watches the Kubernetes API. Must be called in a tokio runtime.
///
/// # Errors
///
/// When there is no usable configuration. Once it runs, nothing stops it: errors show in the status.
pub async fn spawn(options: &Options) -> Result<Source, ConnectError> {
    let (client, location) = connect::client(options.kubeconfig.as_deref(), None).await?;
    let kinds = kinds(options.endpoint_slices).collect();
    Ok(start(client, location, &options.node, Timing::default(), kinds, options.cluster_policies))
}

fn start(
    client: Client,
    location: Location,
    node: &str,
    timing: Timing,
    kinds: Vec<Kind>,
    cluster_policies: ClusterPolicies,
) -> Source {
    let collector = Collector::new(&kinds, node, cluster_policies);
    let (publisher, updates, status) = Publisher::new(location, cluster_policies, collector.kinds().map(Kind::as_str));
    let (events, inbox) = mpsc::channel(QUEUE);
    let watch = |&kind: &Kind| {
        let (client, node, events) = (client.clone(), node.into(), events.clone());
        match kind {
            Kind::ClusterNetworkPolicy => tokio::spawn(optional::run(client, cluster_policies, node, timing, events)),
            kind => tokio::spawn(watch::run(client, kind, node, timing, events)),
        }
    };
    let watches: Vec<_> = kinds.iter().map(watch).collect();
    drop(events);
    let collecting = tokio::spawn(async move {
        if let Err(Closed) = collect(collector, inbox, publisher).await {
            tracing::debug!("nobody reads the objects any more");
        }
    });
    let tasks = watches.iter().chain([&collecting]).map(tokio::task::JoinHandle::abort_handle).collect();
    Source::new(updates, status, tasks)
}

/// Collects what the watches see. What has piled up meanwhile makes one update.
async fn collect(
    mut collector: Collector,
    mut inbox: mpsc::Receiver<(Kind, Seen)>,
    publisher: Publisher,
) -> Result<(), Closed> {
    let mut begun = false;
    let mut events = Vec::with_capacity(QUEUE);
    let mut paused_until = Instant::now();
    let mut waits = false;
    loop {
        let received = inbox.recv_many(&mut events, QUEUE);
        let received = if waits { timeout_at(paused_until, received).await.ok() } else { Some(received.await) };
        if received == Some(0) {
            return Ok(());
        }
        let mut urgent = received.is_none();
        for (kind, seen) in events.drain(..) {
            urgent |= collector.observe(kind, seen, SystemTime::now());
        }
        waits = !urgent && Instant::now() < paused_until;
        if waits {
            continue;
        }
        if collector.is_synced() {
            let update = collector.take_update();
            if !begun || !update.is_empty() {
                publisher.update(update).await?;
                begun = true;
                paused_until = Instant::now() + PAUSE;
            }
        }
        publisher.status_if(|status| collector.show(status));
    }
}

#[cfg(test)]
mod tests;
