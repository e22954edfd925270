//! Denials that agents have seen, as `podgate flows -o json` tells them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use podgate_engine::flows::{End, Flow, Line};

/// What agents have seen of denials, and how many of these they did not report one by one.
#[derive(Serialize)]
pub(super) struct Observed {
    denials: Vec<Denial>,
    lost: u64,
}

/// Denials that differ only in time and in the sender's port.
#[derive(Serialize)]
struct Denial {
    #[serde(flatten)]
    what: What,
    count: u64,
    /// When the last one was.
    last: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct What {
    verdict: String,
    direction: String,
    from: String,
    to: String,
    protocol: String,
    port: Option<u16>,
    reason: String,
    policies: Vec<String>,
}

impl Observed {
    /// Reads lines from a file, or from standard input where it is `-`.
    ///
    /// # Errors
    /// When it can't be read, or a line is none of a flow.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        let outcome = match path.to_str() {
            Some("-") => io::stdin().read_to_string(&mut text).map(drop),
            _ => fs::read_to_string(path).map(|read| text = read),
        };
        outcome.with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let mut denials: BTreeMap<What, (u64, String)> = BTreeMap::new();
        let mut lost = 0;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line = serde_json::from_str(line).with_context(|| {
                format!("{}, line {}: no line of podgate flows -o json", path.display(), number + 1)
            })?;
            match line {
                Line::Lost(missing) => lost += missing.denied + missing.unread,
                Line::Flow(flow) if flow.verdict == "allowed" => {}
                Line::Flow(flow) => {
                    let time = flow.time.clone();
                    let (count, last) = denials.entry(What::of(*flow)).or_default();
                    *count += 1;
                    *last = time.max(std::mem::take(last));
                }
            }
        }
        let mut denials: Vec<_> =
            denials.into_iter().map(|(what, (count, last))| Denial { what, count, last }).collect();
        denials.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.what.cmp(&other.what)));
        Ok(Self { denials, lost })
    }
}

impl What {
    fn of(flow: Flow) -> Self {
        let name = |end: &End| {
            let address = || end.address.map(|address| address.to_string()).unwrap_or_default();
            end.name.clone().unwrap_or_else(address)
        };
        Self {
            from: name(&flow.source),
            to: name(&flow.destination),
            port: flow.destination.port,
            verdict: flow.verdict,
            direction: flow.direction,
            protocol: flow.protocol,
            reason: flow.reason,
            policies: flow.policies,
        }
    }
}
