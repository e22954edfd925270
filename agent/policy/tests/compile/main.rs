//! The compiler and its tables against the evaluator.

mod audit;
mod bounds;
#[path = "../cases/mod.rs"]
mod cases;
mod churn;
mod properties;
mod races;
mod room;
mod support;
