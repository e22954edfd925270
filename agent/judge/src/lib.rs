//! What policies mean, for people who read or change them: the verdict of a connection and its reason, of all
//! connections, what a change opens and closes, what is probably not meant, and whether expectations are met.
//!
//! Plain data in, plain data and text out: the state of a cluster ([`podgate_policy::cluster`]) is all that is asked,
//! through the evaluator ([`podgate_policy::evaluate`]), which shares nothing with the compiler. What enforces policies
//! does not use this crate.
#![forbid(unsafe_code)]

pub mod check;
pub mod diff;
pub mod expectations;
pub mod explain;
pub mod groups;
pub mod matrix;
pub mod present;
mod routes;

pub use routes::routes;
