//! What the real programs do with crafted frames, by BPF_PROG_TEST_RUN. Runs as root.
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod at_source;
mod audit;
mod connections;
mod discovery;
mod exits;
mod fast;
mod floods;
mod frames;
mod inside;
mod packets;
mod reports;
mod rig;
mod sockets;
mod words;
