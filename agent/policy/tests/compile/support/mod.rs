//! Random small clusters that collide as often as possible, and what must be true of the tables made from them.

use podgate_policy::tables::{Limits, Mirror};

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
