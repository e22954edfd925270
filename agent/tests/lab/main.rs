//! The agent on nodes of the lab: real CNI plugins, real sockets, YAML in a directory. Needs root.

mod audit;
mod cluster_policies;
mod cni;
mod connections;
#[expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
mod deployed;
mod evidence;
#[path = "../offline/fits.rs"]
mod fits;
mod floods;
mod flows;
mod foreign;
mod life;
#[expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
mod monitored;
mod node;
mod packets;
mod pick_up;
#[expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#[path = "../deploy/render.rs"]
mod render;
mod services;
mod support;
#[expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
mod tested;
#[expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#[path = "../offline/validator.rs"]
mod validator;
mod wirings;
