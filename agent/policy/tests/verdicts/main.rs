//! The verdicts of the NetworkPolicy API, behaviour by behaviour, and the ends of Services.

mod audit;
mod backends;
#[expect(dead_code, reason = "shared with the tests of the judges, which ask for protocols too")]
mod guards;
mod isolation;
mod leads;
mod peers;
mod ports;
#[expect(dead_code, reason = "shared with the tests of podgate-judge, which ask about nodes too")]
mod service_world;
mod tiers;
mod world;
