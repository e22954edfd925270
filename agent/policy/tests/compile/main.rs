//! The compiler and its tables against the evaluator.

mod audit;
mod bounds;
mod churn;
mod properties;
mod races;
mod room;
mod support;
