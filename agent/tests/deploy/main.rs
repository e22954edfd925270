//! The manifests in deploy/, as `kubectl apply -k` and Helm would send them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod access;
mod chart;
mod help;
mod pod;
mod render;
mod schema;
mod server;
mod settings;
#[path = "../offline/validator.rs"]
mod validator;

/// The directories that people apply, and what they are made of.
const OVERLAYS: [&str; 3] = ["base", "overlays/kind", "overlays/production"];
