//! podgate's TC programs.
//!
//! ```text
//! fast ──► count                                                     most packets: one flow, as it was
//!   │ tail call
//!   ▼
//! program ──► neighbours ──► arrival (origin) ──► read (parse, checksum, fragments) ──► scene ──► flow ──► verdict
//!    └──► count, sample an event                               ICMP errors ──► related ───┘        └──► shares, sockets
//! ```
//!
//! The modules are floors: each uses only those below it. `cargo xtask architecture` knows their order, and checks it.
//!
//! What leaves a pod for an address that defers is judged at the exit hooks, which stand before every other pod and at
//! every other device: see `exit`.
//!
//! A packet's fate is one [`podgate_common::Reason`], which carries its verdict; only `program` and `fast` turn it into
//! an action. [`discovery`], [`parse`] and [`rules`] are plain Rust that also builds for the host, where their tests
//! run; what needs maps and helpers exists in the BPF build alone.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::needless_borrows_for_generic_args,
        reason = "a key given by value is copied once more, on a stack of 512 bytes"
    )
)]

pub mod discovery;
pub mod packet;
pub mod parse;
pub mod rules;

#[cfg(target_arch = "bpf")]
mod arrival;
#[cfg(target_arch = "bpf")]
mod checksum;
#[cfg(target_arch = "bpf")]
mod classes;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod endpoint;
#[cfg(target_arch = "bpf")]
mod events;
#[cfg(target_arch = "bpf")]
pub mod exit;
#[cfg(target_arch = "bpf")]
mod family;
#[cfg(target_arch = "bpf")]
pub mod fast;
#[cfg(target_arch = "bpf")]
mod flow;
#[cfg(target_arch = "bpf")]
mod fragments;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod neighbours;
#[cfg(target_arch = "bpf")]
mod origin;
#[cfg(target_arch = "bpf")]
pub mod program;
#[cfg(target_arch = "bpf")]
mod read;
#[cfg(target_arch = "bpf")]
mod related;
#[cfg(target_arch = "bpf")]
mod scene;
#[cfg(target_arch = "bpf")]
mod service;
#[cfg(target_arch = "bpf")]
mod shares;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod verdict;
