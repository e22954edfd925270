//! Random small clusters that collide as often as possible, and what must be true of the tables made from them.

use podgate_policy::tables::{Limits, Mirror};
use proptest::prelude::ProptestConfig;

pub(crate) mod build;
pub(crate) mod generate;
pub(crate) mod judge;
pub(crate) mod world;

/// Room for everything that the generator makes.
pub(crate) const ROOMY: Limits = Limits {
    addresses4: 2000,
    addresses6: 1000,
    groups: 1000,
    blocks4: 1000,
    blocks6: 1000,
    class_rows: 10_000,
    rows: 10_000,
    row_ports: 10_000,
    port_classes: 1000,
};

/// Whether the tables let through what a probe asks about.
pub(crate) fn allowed(mirror: &Mirror, probe: judge::Probe) -> bool {
    mirror.judge(probe.slot, probe.direction, probe.remote, probe.traffic).is_allowed()
}

/// So many cases, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(number: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases: number, ..default } }
}
