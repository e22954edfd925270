//! Tests against the kernel. They need root, run in namespaces of their own, and leave nothing behind.

mod apply;
mod attach;
mod drift;
mod foreign;
mod lifecycle;
mod permissions;
mod provisional;
mod reading;
mod sandbox;
mod takeover;
