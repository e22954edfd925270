//! The verdicts of the NetworkPolicy API, behaviour by behaviour, and the ends of Services.

mod audit;
mod backends;
mod isolation;
mod leads;
mod peers;
mod ports;
#[expect(dead_code, reason = "shared with the tests of podgate-judge, which ask about nodes too")]
mod service_world;
mod world;
