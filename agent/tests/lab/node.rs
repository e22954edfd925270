//! The node's own traffic.
