//! What benchmarks say: samples, of which everything else is made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// A run: where it was made, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    /// The commit that was measured, and whether something was changed since.
    pub(crate) commit: String,
    /// What benchmarks say of themselves.
    pub(crate) notes: Vec<String>,
    pub(crate) series: Vec<Series>,
}

/// Samples of one cell of a table, one for each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) table: String,
    pub(crate) row: String,
    pub(crate) column: String,
    pub(crate) unit: Unit,
    pub(crate) samples: Vec<f64>,
}

/// What the samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Nanoseconds over the measure beside which it ran.
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "ms")]
    Milliseconds,
    /// A rate, as a part of that without enforcement.
    #[serde(rename = "ratio")]
    Ratio,
    /// Exact, and better if it is less.
    #[serde(rename = "count")]
    Count,
    /// A rate.
    #[serde(rename = "per second")]
    PerSecond,
}

/// A line that a benchmark prints.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Line {
    Note { note: String },
    Series(Series),
}

/// The median of samples, and the quartiles, between which half of them are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Quartiles {
    /// Those of at least one sample, between samples by linear interpolation.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    /// Whether half of the samples of each are beyond half of the other's.
    pub(crate) fn is_apart_from(&self, other: &Self) -> bool {
        self.lower > other.upper || self.upper < other.lower
    }
}

impl Unit {
    /// Whether it is better if it is more.
    pub(crate) fn is_better_above(self) -> bool {
        matches!(self, Self::Ratio | Self::PerSecond)
    }

    fn decimals(self) -> usize {
        match self {
            Self::Nanoseconds | Self::Count | Self::PerSecond => 0,
            Self::Milliseconds => 1,
            Self::Ratio => 3,
        }
    }

    /// A value as tables show it.
    pub(crate) fn show(self, value: f64) -> String {
        let shown = format!("{value:.*}", self.decimals());
        // No "-0".
        if shown.trim_start_matches(['-', '0', '.']).is_empty() { shown.replace('-', "") } else { shown }
    }
}

impl Series {
    pub(crate) fn quartiles(&self) -> Quartiles {
        Quartiles::of(&self.samples)
    }

    /// By which another run's series is found.
    pub(crate) fn place(&self) -> [&str; 3] {
        [&self.table, &self.row, &self.column]
    }
}

impl Run {
    /// Takes what a benchmark has printed.
    pub(crate) fn take(&mut self, output: &str) -> Result<()> {
        for line in output.lines() {
            match serde_json::from_str(line).with_context(|| format!("not a line of a benchmark: {line}"))? {
                Line::Note { note } => self.notes.push(note),
                Line::Series(series) if series.samples.is_empty() => bail!("no samples: {line}"),
                Line::Series(series) => self.series.push(series),
            }
        }
        Ok(())
    }

    pub(crate) fn find(&self, place: [&str; 3]) -> Option<&Series> {
        self.series.iter().find(|series| series.place() == place)
    }

    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string(self)?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    pub(crate) fn load(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let run: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is no run that was saved", file.display()))?;
        let is_whole = run.series.iter().all(|series| !series.samples.is_empty());
        ensure!(is_whole, "{} has series without samples", file.display());
        Ok(run)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run with a cell of a table `T` for each of these rows.
    pub(crate) fn run(rows: &[(&str, Unit, &[f64])]) -> Run {
        let series = rows.iter().map(|&(row, unit, samples)| Series {
            table: "T".to_owned(),
            row: row.to_owned(),
            column: "C".to_owned(),
            unit,
            samples: samples.to_vec(),
        });
        Run { machine: Machine::default(), commit: "0123456".to_owned(), notes: Vec::new(), series: series.collect() }
    }

    #[test]
    fn quartiles_lie_between_the_samples_whatever_their_order() {
        let quartiles = |samples: &[f64]| {
            let Quartiles { lower, median, upper } = Quartiles::of(samples);
            [lower, median, upper]
        };
        assert_eq!(quartiles(&[7.0]), [7.0, 7.0, 7.0]);
        assert_eq!(quartiles(&[4.0, 1.0]), [1.75, 2.5, 3.25]);
        assert_eq!(quartiles(&[50.0, 10.0, 30.0, 20.0, 40.0]), [20.0, 30.0, 40.0]);
        assert_eq!(quartiles(&[-3.0, 100.0, -1.0, -2.0]), [-2.25, -1.5, 24.25]);
    }

    #[test]
    fn quartiles_that_touch_are_not_apart() {
        let of = |lower, upper| Quartiles { lower, median: lower, upper };
        let cases = [((1.0, 2.0), (2.0, 3.0), false), ((1.0, 2.0), (2.1, 3.0), true), ((5.0, 6.0), (1.0, 4.0), true)];
        for ((a, b), (c, d), apart) in cases {
            assert_eq!(of(a, b).is_apart_from(&of(c, d)), apart);
            assert_eq!(of(c, d).is_apart_from(&of(a, b)), apart);
        }
    }

    #[test]
    fn values_are_shown_with_the_digits_that_count() {
        let shown =
            [(Unit::Nanoseconds, 38.4), (Unit::Nanoseconds, -0.4), (Unit::Ratio, 0.98765), (Unit::Milliseconds, 52.04)];
        assert_eq!(shown.map(|(unit, value)| unit.show(value)), ["38", "0", "0.988", "52.0"]);
    }

    #[test]
    fn a_benchmarks_lines_are_notes_and_series() {
        let mut taken = run(&[]);
        taken
            .take(
                "{\"note\":\"no nft\"}\n\
                 {\"table\":\"T\",\"row\":\"a\",\"column\":\"C\",\"unit\":\"ns\",\"samples\":[1.5,2]}\n",
            )
            .unwrap();
        let expected = Run { notes: vec!["no nft".to_owned()], ..run(&[("a", Unit::Nanoseconds, &[1.5, 2.0])]) };
        assert_eq!(taken, expected);
        assert!(taken.take("warning: something").is_err());
        assert!(taken.take("{\"table\":\"T\",\"row\":\"a\",\"column\":\"C\",\"unit\":\"ns\",\"samples\":[]}").is_err());
    }

    #[test]
    fn a_saved_run_is_loaded_as_it_was() {
        let file = std::env::temp_dir().join(format!("podgate-bench-{}.json", std::process::id()));
        let run = run(&[("a", Unit::Ratio, &[0.9, 1.0 / 3.0])]);
        run.save(&file).unwrap();
        let loaded = Run::load(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(loaded.unwrap(), run);
    }
}
