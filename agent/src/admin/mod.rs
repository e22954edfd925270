//! The admin socket: one JSON object per line, request and response in turn, on a socket only the agent's user may open.
//!
//! A request is `{"version":1,"request":"status"}`; the response `{"version":1,"status":{…}}` or
//! `{"version":1,"error":"…"}`. To `{"flows":{…}}` there is a response for each flow, `{"version":1,"line":{…}}`, and `"end"`
//! behind the last, unless they are followed. The other requests are the CNI plugin's: `hand_over`, `check`, `alive`.

mod client;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::{ClientError, alive, check, fetch_status, flows, hand_over};
pub(crate) use protocol::FlowsQuery;
pub(crate) use server::{Socket, remove_stale, serve};
