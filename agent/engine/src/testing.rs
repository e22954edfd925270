//! An engine for the tests of those who ask it.

use tokio::sync::{mpsc, watch};

use crate::durations::Durations;
use crate::flows::Feed;
use crate::status::Status;
use crate::{HandedOverOutcome, Handle, Pulse, Request};

/// A handle to a task that answers every request with `status`, and that every pod is enforced. Must be called in a tokio runtime.
pub fn engine_with(status: Status) -> Handle {
    let (requests, mut received) = mpsc::channel::<Request>(1);
    let (_, not_ready) = watch::channel(status.not_ready.clone());
    tokio::spawn(async move {
        while let Some(request) = received.recv().await {
            match request {
                Request::Status(reply) => drop(reply.send(status.clone())),
                Request::HandOver(_, reply) | Request::Check(_, reply) => drop(reply.send(HandedOverOutcome::Enforced)),
            }
        }
    });
    Handle {
        requests,
        not_ready,
        pulse: Pulse::default(),
        durations: Durations::default(),
        flows: Feed::new("node-a", 16),
    }
}
