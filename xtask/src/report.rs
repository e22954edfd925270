//! How checks went: said while they run, and all of it at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong, or could not be carried out.
    Failed,
    /// It does not apply here, for this reason.
    Skipped(&'static str),
}

/// The checks that were run, in that order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Name, outcome and time of each.
    pub(crate) steps: Vec<(&'static str, Verdict, Duration)>,
}

impl Report {
    /// Runs a check and takes note of it.
    pub(crate) fn run(&mut self, name: &'static str, check: impl FnOnce() -> Result<Verdict>) -> Result<()> {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = check();
        let took = start.elapsed();
        let verdict = *outcome.as_ref().unwrap_or(&Verdict::Failed);
        println!("== {name}: {verdict} in {:.0} s", took.as_secs_f32());
        self.steps.push((name, verdict, took));
        outcome.map(drop).with_context(|| format!("{name} failed after {:.0} s", took.as_secs_f32()))
    }

    /// The last lines: what was not run, and the numbers of the rest.
    pub(crate) fn total(&self, not_run: Vec<&str>) -> String {
        let count = |is: fn(&Verdict) -> bool| self.steps.iter().filter(|(_, verdict, _)| is(verdict)).count();
        let not_run = if not_run.is_empty() { String::new() } else { format!("not run: {}\n", not_run.join(", ")) };
        format!(
            "{not_run}{} passed, {} failed, {} skipped",
            count(|verdict| *verdict == Verdict::Passed),
            count(|verdict| *verdict == Verdict::Failed),
            count(|verdict| matches!(verdict, Verdict::Skipped(_)))
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("failed"),
            Self::Skipped(why) => write!(f, "skipped ({why})"),
        }
    }
}

/// A line for each check, and one for all.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.steps.iter().map(|(_, _, took)| *took).sum::<Duration>();
        for (name, verdict, took) in &self.steps {
            writeln!(f, "{name:<14}{:>6.0} s  {verdict}", took.as_secs_f32())?;
        }
        writeln!(f, "{:<14}{:>6.0} s", "all", all.as_secs_f32())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_end_says_what_passed_what_failed_what_was_skipped_and_how_long_each_took() {
        let seconds = Duration::from_secs;
        let steps = vec![
            ("fmt", Verdict::Passed, seconds(2)),
            ("deny", Verdict::Skipped("no crates here"), seconds(0)),
            ("unit", Verdict::Failed, seconds(120)),
        ];
        let report = Report { steps };
        assert_eq!(
            format!("{report}{}", report.total(vec!["kernel", "lab"])),
            "fmt                2 s  passed\n\
             deny               0 s  skipped (no crates here)\n\
             unit             120 s  failed\n\
             all              122 s\n\
             not run: kernel, lab\n\
             1 passed, 1 failed, 1 skipped"
        );
    }

    #[test]
    fn a_check_that_fails_is_an_error_and_one_that_is_skipped_is_none() {
        let mut report = Report::default();
        let outcomes = [
            report.run("passes", || Ok(Verdict::Passed)).is_ok(),
            report.run("is skipped", || Ok(Verdict::Skipped("why"))).is_ok(),
            report.run("fails", || bail!("wrong")).is_ok(),
        ];
        assert_eq!(outcomes, [true, true, false]);
        let verdicts: Vec<Verdict> = report.steps.iter().map(|(_, verdict, _)| *verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Skipped("why"), Verdict::Failed]);
        assert_eq!(report.total(vec![]), "1 passed, 1 failed, 1 skipped");
    }
}
