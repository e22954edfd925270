//! Tests of the bindings, with plain data.

mod contested;
mod handed;
mod listed;
mod plain;
mod random;
mod world;
