//! A run beside an earlier one: what became worse, or better, beyond the noise.

use std::fmt;

use super::figures::{Quartiles, Run, Series, Unit};

/// A difference counts from this part of the former median.
const PART: f64 = 0.05;
/// The kernel reports whole nanoseconds of both programs of which one is subtracted.
const RESOLUTION: f64 = 1.0;

/// A cell that both runs have, and that differs.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    place: String,
    unit: Unit,
    before: Quartiles,
    now: Quartiles,
    is_worse: bool,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    differences: Vec<Difference>,
    /// How many cells are the same, within noise.
    same: usize,
    /// Cells that only one of the runs has.
    only_before: Vec<String>,
    only_now: Vec<String>,
    /// What is said of the machines where it is not the same.
    machines: Option<String>,
}

impl Comparison {
    /// Compares a run with an earlier one. How often something could be done without any enforcement is not compared: it
    /// is the machine's.
    pub(crate) fn of(before: &Run, now: &Run) -> Self {
        let mut comparison = Self::default();
        let counts = |series: &&Series| series.unit != Unit::PerSecond;
        for series in now.series.iter().filter(counts) {
            match before.find(series.place()) {
                Some(former) => comparison.compare(former, series),
                None => comparison.only_now.push(series.place().join(", ")),
            }
        }
        let gone = before.series.iter().filter(counts).filter(|series| now.find(series.place()).is_none());
        comparison.only_before = gone.map(|series| series.place().join(", ")).collect();
        let (former, present) = (before.machine.name(), now.machine.name());
        if former != present {
            comparison.machines = Some(format!("The earlier run is of another machine: {former}; now {present}"));
        }
        comparison
    }

    fn compare(&mut self, former: &Series, series: &Series) {
        let (before, now) = (former.quartiles(), series.quartiles());
        let change = now.median - before.median;
        let resolution = if series.unit == Unit::Nanoseconds { RESOLUTION } else { 0.0 };
        let is_much = change.abs() >= before.median.abs() * PART && change.abs() > resolution;
        if !is_much || !now.is_apart_from(&before) {
            self.same += 1;
            return;
        }
        let is_worse = (change > 0.0) != series.unit.is_better_above();
        let place = series.place().join(", ");
        self.differences.push(Difference { place, unit: series.unit, before, now, is_worse });
    }

    /// How many cells became worse.
    pub(crate) fn worse(&self) -> usize {
        self.differences.iter().filter(|difference| difference.is_worse).count()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(machines) = &self.machines {
            writeln!(f, "{machines}\n")?;
        }
        if !self.differences.is_empty() {
            writeln!(f, "| beyond noise | before | now | change | |\n|---|---|---|---|---|")?;
        }
        for Difference { place, unit, before, now, is_worse } in &self.differences {
            let shown =
                |it: &Quartiles| format!("{} ({}–{})", unit.show(it.median), unit.show(it.lower), unit.show(it.upper));
            let percent = (now.median - before.median) / before.median.abs() * 100.0;
            let change = if percent.is_finite() { format!("{percent:+.0} %") } else { "from nothing".to_owned() };
            let verdict = if *is_worse { "worse" } else { "better" };
            writeln!(f, "| {place} | {} | {} | {change} | {verdict} |", shown(before), shown(now))?;
        }
        for (cells, what) in [(&self.only_before, "Only the earlier run has"), (&self.only_now, "Only this run has")] {
            for cell in cells {
                writeln!(f, "{what}: {cell}")?;
            }
        }
        write!(f, "{} worse, {} better, ", self.worse(), self.differences.len() - self.worse())?;
        writeln!(f, "{} within 5 % or the noise", self.same)
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::run;
    use super::*;

    /// What a cell is found to be: `None`, within noise.
    fn verdict(unit: Unit, before: &[f64], now: &[f64]) -> Option<&'static str> {
        let comparison = Comparison::of(&run(&[("a", unit, before)]), &run(&[("a", unit, now)]));
        comparison.differences.first().map(|it| if it.is_worse { "worse" } else { "better" })
    }

    #[test]
    fn a_cell_differs_from_five_percent_on_if_the_quartiles_are_apart() {
        let ns = |before: &[f64], now: &[f64]| verdict(Unit::Nanoseconds, before, now);
        assert_eq!(ns(&[100.0, 101.0, 99.0], &[105.0, 106.0, 104.0]), Some("worse"));
        assert_eq!(ns(&[100.0, 101.0, 99.0], &[104.0, 105.0, 103.0]), None, "4 %");
        assert_eq!(ns(&[100.0, 101.0, 99.0], &[92.0, 94.0, 93.0]), Some("better"));
        assert_eq!(ns(&[100.0, 120.0, 90.0], &[110.0, 140.0, 100.0]), None, "the quartiles overlap");
        assert_eq!(ns(&[4.0, 4.0, 4.0], &[5.0, 5.0, 5.0]), None, "the kernel does not tell one nanosecond");
        assert_eq!(ns(&[4.0, 4.0, 4.0], &[6.0, 6.0, 6.0]), Some("worse"));
    }

    #[test]
    fn less_of_a_ratio_is_worse() {
        assert_eq!(verdict(Unit::Ratio, &[0.98, 0.97], &[0.90, 0.91]), Some("worse"));
        assert_eq!(verdict(Unit::Ratio, &[0.90, 0.91], &[0.98, 0.97]), Some("better"));
    }

    #[test]
    fn rates_without_enforcement_are_not_compared() {
        assert_eq!(verdict(Unit::PerSecond, &[1000.0], &[500.0]), None);
    }

    #[test]
    fn a_comparison_shows_what_differs_and_what_only_one_run_has() {
        let ns = Unit::Nanoseconds;
        let before = run(&[("a", ns, &[100.0]), ("b", ns, &[50.0]), ("c", ns, &[50.0]), ("old", ns, &[1.0])]);
        let mut now = run(&[("a", ns, &[120.0]), ("b", ns, &[40.0]), ("c", ns, &[51.0]), ("new", ns, &[1.0])]);
        now.machine.cpu = "another".to_owned();
        let comparison = Comparison::of(&before, &now);
        assert_eq!(comparison.worse(), 1);
        assert_eq!(
            comparison.to_string(),
            "The earlier run is of another machine: , Linux ; now another, Linux \n\n\
             | beyond noise | before | now | change | |\n|---|---|---|---|---|\n\
             | T, a, C | 100 (100–100) | 120 (120–120) | +20 % | worse |\n\
             | T, b, C | 50 (50–50) | 40 (40–40) | -20 % | better |\n\
             Only the earlier run has: T, old, C\n\
             Only this run has: T, new, C\n\
             1 worse, 1 better, 1 within 5 % or the noise\n"
        );
    }
}
