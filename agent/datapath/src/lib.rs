//! Placeholder.

pub mod binding;
pub mod netlink;
