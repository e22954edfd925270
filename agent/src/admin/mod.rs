//! The admin socket: one JSON object per line, request and response in turn, on a socket only the agent's user may open.
//!
//! A request is `{"version":1,"request":"status"}`; the response `{"version":1,"status":{…}}` or
//! `{"version":1,"error":"…"}`. The other requests are the CNI plugin's: `hand_over`, `check`, `alive`.

mod client;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::{ClientError, alive, check, fetch_status, hand_over};
pub(crate) use server::{Socket, remove_stale, serve};
