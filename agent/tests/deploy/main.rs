//! The manifests in deploy/, as `kubectl apply -k` would send them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod access;
mod help;
mod pod;
mod render;
mod schema;
mod server;
mod settings;

/// The directories that people apply, and what they are made of.
const OVERLAYS: [&str; 3] = ["base", "overlays/kind", "overlays/production"];
