//! What podgate knows of its host.
//!
//! [`netlink`] follows devices and addresses, those in pods' namespaces too. [`binding`] decides from that, and from what CNI
//! and the objects say, which veth is which pod's.

#![forbid(unsafe_code)]

pub mod binding;
pub mod netlink;
