//! What enforcement costs where traffic flows: two pods on one node, routed, under several kinds of it, measured by turns.
//!
//! Prints lines of JSON, with a sample for each round: rates as ratios to those without enforcement, what a packet costs on
//! top of connection tracking, and how long a change of policy takes to be in force. `cargo xtask bench` makes tables of
//! them. Runs as root. `PODGATE_BENCH_ROUNDS` changes how long it takes.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up fails")]

mod change;
mod load;
mod world;

use std::collections::BTreeMap;
use std::process::Command;

use load::{Family, Load};
use serde_json::json;
use world::{Kind, World};

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds = std::env::var("PODGATE_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25);
    Rates::measure(&worlds(), rounds).tell();
    change::measure(4 * rounds);
}

/// A world of each kind that this machine can make. Of those that it cannot, says why.
fn worlds() -> Vec<World> {
    for tool in ["nft", "iptables", "ipset"] {
        if let Ok(output) = Command::new(tool).arg("--version").output() {
            let version = String::from_utf8_lossy(&output.stdout);
            println!("{}", json!({ "note": format!("Compared with {}.", version.lines().next().unwrap_or(tool)) }));
        }
    }
    let make = |kind: Kind| match World::new(kind) {
        Ok(world) => Some(world),
        Err(error) if kind.is_foreign() => {
            let reason = error.to_string();
            let line = reason.lines().next().unwrap_or_default();
            println!("{}", json!({ "note": format!("Not measured: {}. {line}", kind.name()) }));
            None
        }
        Err(error) => panic!("{}: {error}", kind.name()),
    };
    Kind::ALL.into_iter().filter_map(make).collect()
}

/// Prints a line for a cell of a table.
fn tell(table: &str, row: &str, column: &str, unit: &str, samples: Vec<f64>) {
    println!("{}", json!({ "table": table, "row": row, "column": column, "unit": unit, "samples": samples }));
}

/// How often per second each load could be done, round by round.
struct Rates {
    kinds: Vec<Kind>,
    rates: BTreeMap<(Kind, Family, Load), Vec<f64>>,
}

impl Rates {
    fn measure(worlds: &[World], rounds: usize) -> Self {
        let mut rates: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for round in 0..rounds {
            eprintln!("traffic: round {} of {rounds}", round + 1);
            for (family, load) in Family::ALL.into_iter().flat_map(|family| Load::ALL.map(|load| (family, load))) {
                for world in worlds {
                    rates.entry((world.kind, family, load)).or_default().push(world.rate(load, family));
                }
            }
        }
        Self { kinds: worlds.iter().map(|world| world.kind).collect(), rates }
    }

    fn tell(&self) {
        for family in Family::ALL {
            let table = format!("Traffic, {}", family.name());
            for kind in &self.kinds {
                for load in Load::ALL {
                    let ratios = self.compare((*kind, family, load), Kind::Nothing, |rate, base| rate / base);
                    tell(&table, kind.name(), load.name(), "ratio", ratios);
                }
            }
        }
        for family in Family::ALL {
            let table = format!("On top of connection tracking, {}", family.name());
            let tracked = self.kinds.iter().filter(|kind| kind.tracks_connections() && **kind != Kind::CONNTRACK);
            for kind in tracked.filter(|_| self.kinds.contains(&Kind::CONNTRACK)) {
                for load in Load::ALL {
                    let (unit, count) = load.unit();
                    let longer = |rate: f64, base: f64| (1e9 / rate - 1e9 / base) / count;
                    let nanoseconds = self.compare((*kind, family, load), Kind::CONNTRACK, longer);
                    tell(&table, kind.name(), &format!("{} per {unit}", load.name()), "ns", nanoseconds);
                }
            }
        }
        for (family, load) in Family::ALL.into_iter().flat_map(|family| Load::ALL.map(|load| (family, load))) {
            let rates = self.rates[&(Kind::Nothing, family, load)].clone();
            tell("Rates without enforcement", family.name(), load.name(), "per second", rates);
        }
    }

    /// Each round's rate beside that of another kind in the same round.
    fn compare(&self, at: (Kind, Family, Load), base: Kind, compare: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let bases = &self.rates[&(base, at.1, at.2)];
        self.rates[&at].iter().zip(bases).map(|(rate, base)| compare(*rate, *base)).collect()
    }
}
