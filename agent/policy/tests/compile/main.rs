//! The compiler and its tables against the evaluator.

mod properties;
mod races;
mod room;
mod support;
