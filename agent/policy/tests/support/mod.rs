//! Random small clusters that collide as often as possible, and what must be true of the tables made from them.

pub(crate) mod generate;
pub(crate) mod judge;
pub(crate) mod world;
