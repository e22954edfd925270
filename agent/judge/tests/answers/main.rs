//! What is said of policies: connections explained, tabulated, compared and expected, and what is found in the policies.

mod audit;
#[path = "../../../policy/tests/cases/mod.rs"]
mod cases;
mod diff;
mod expectations;
mod explain;
mod explain_text;
mod findings;
mod findings_of_guards;
mod findings_of_halves;
mod findings_of_peers;
mod findings_of_services;
mod groups;
#[path = "../../../policy/tests/verdicts/guards.rs"]
mod guards;
mod matrix;
mod random;
mod random_services;
mod service_errors;
mod service_matrix;
mod service_text;
mod service_ways;
#[path = "../../../policy/tests/verdicts/service_world.rs"]
mod service_world;
mod services;
mod tiers;
#[path = "../../../policy/tests/verdicts/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the evaluator, which ask for single verdicts")]
mod world;
