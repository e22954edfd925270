//! The commands that judge files, as a user runs them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod check;
mod check_formats;
mod check_halves;
mod cookbook;
mod diff;
mod example;
mod expectations;
mod fits;
mod groups;
mod incidents;
mod install;
mod pipes;
mod progress;
mod reading;
mod report;
mod sarif;
mod schema;
mod support;
mod validator;
