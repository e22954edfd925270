//! The agent on nodes of the lab: real CNI plugins, real sockets, YAML in a directory. Needs root.

mod audit;
mod cni;
mod connections;
mod flows;
mod foreign;
mod life;
mod node;
mod packets;
mod pick_up;
mod services;
mod support;
mod wirings;
