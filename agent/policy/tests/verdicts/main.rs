//! The verdicts of the NetworkPolicy API, behaviour by behaviour, and how they are explained and tabulated.

mod audit;
mod backends;
#[path = "../cases/mod.rs"]
mod cases;
mod diff;
mod expectations;
mod explain;
mod explain_text;
mod findings;
mod findings_of_peers;
mod isolation;
mod leads;
mod matrix;
mod peers;
mod ports;
mod random;
mod random_services;
mod service_errors;
mod service_matrix;
mod service_text;
mod service_ways;
mod service_world;
mod services;
mod world;
