//! Services: pods judged by the backends that their packets reach, whatever address they asked for.

mod at_source;
mod bulk;
mod dns;
mod evidence;
mod flips;
mod itself;
mod large;
mod live;
mod node_ports;
mod random;
mod sctp;
mod shaped;
mod shop;
mod tags;
mod verdict;
