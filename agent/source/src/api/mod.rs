//! The Kubernetes API as a source.
//!
//! ```text
//! watch of each kind ──► convert at once ──► Collector (state, problems) ──► Update, SourceStatus
//! ```
//!
//! NetworkPolicies, pods, namespaces and nodes are listed in pages and then watched, with bookmarks. An interrupted watch is
//! resumed; where the server no longer knows the place (410) everything is listed again and only the differences are handed on.
//! No error stops the source: it waits, each time longer up to half a minute, and tries again, and says so in the status.
//!
//! An object that can't be decoded concerns itself alone: the list it is in still counts.

mod collector;
mod connect;
mod received;
mod watch;

use std::path::PathBuf;
use std::time::SystemTime;

use kube::Client;
use tokio::sync::mpsc;

use self::collector::Collector;
pub use self::connect::ConnectError;
use self::watch::{Seen, Timing};
use crate::object::Kind;
use crate::publish::{Closed, Publisher};
use crate::source::Source;

/// The kinds that are watched.
const WATCHED: [Kind; 4] = [Kind::Namespace, Kind::Node, Kind::Pod, Kind::NetworkPolicy];
/// Events that may wait to be collected.
const QUEUE: usize = 1024;

/// How to reach the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The kubeconfig file. Without it: the pod's service account if there is one, else `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
}

/// Watches the Kubernetes API. Must be called in a tokio runtime.
///
/// # Errors
///
/// When there is no usable configuration. Once it runs, nothing stops it: errors show in the status.
pub async fn spawn(options: &Options) -> Result<Source, ConnectError> {
    let (client, server) = connect::client(options).await?;
    Ok(start(client, &server, Timing::default()))
}

fn start(client: Client, server: &str, timing: Timing) -> Source {
    let (publisher, updates, status) = Publisher::new(format!("Kubernetes API {server}"), WATCHED.map(Kind::as_str));
    let (events, inbox) = mpsc::channel(QUEUE);
    let watches = WATCHED.map(|kind| tokio::spawn(watch::run(client.clone(), kind, timing, events.clone())));
    let collecting = tokio::spawn(async {
        if let Err(Closed) = collect(inbox, publisher).await {
            tracing::debug!("nobody reads the objects any more");
        }
    });
    let tasks = watches.iter().chain([&collecting]).map(tokio::task::JoinHandle::abort_handle).collect();
    Source::new(updates, status, tasks)
}

/// Collects what the watches see. What has piled up meanwhile makes one update.
async fn collect(mut inbox: mpsc::Receiver<(Kind, Seen)>, publisher: Publisher) -> Result<(), Closed> {
    let mut collector = Collector::new(&WATCHED);
    let mut begun = false;
    let mut events = Vec::with_capacity(QUEUE);
    while inbox.recv_many(&mut events, QUEUE).await > 0 {
        for (kind, seen) in events.drain(..) {
            collector.observe(kind, seen, SystemTime::now());
        }
        if collector.is_synced() {
            let update = collector.take_update();
            if !begun || !update.is_empty() {
                publisher.update(update).await?;
                begun = true;
            }
        }
        publisher.status(|status| collector.show(status));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
