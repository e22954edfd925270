//! `podgate check`.

mod entry;
mod github;
mod junit;
mod sarif;
mod text;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use podgate_judge::check::{Severity, Unjudged, unjudged};
use serde::Serialize;

use super::NOTHING_JUDGED;
use super::input::Files;
use super::output::{print, print_json};
use super::progress::Progress;

pub(super) use entry::{Entry, entries};

/// Exit status when something was found that is bad enough.
const FOUND: u8 = 1;

/// Find probable mistakes in policies
///
/// Names for each finding the object and field, why, and what to write instead: invalid objects, policies and peers
/// that match nothing, labels that almost exist, egress without DNS, permissions whose other half is missing, ports that
/// nobody serves and ports of Services, blocks of pod, Service or API server addresses, rules without effect, and pods that
/// no policy isolates. A policy's annotation podgate.io/check-ignore, with lines of NAME: REASON, ignores findings in it.
/// What policies select is judged by the pods in the files, and by those
/// that workloads are to make (Deployments and their like); without any, it isn't.
///
/// Exit status: 0 no finding as severe as --fail-on; 1 at least one; 2 when files can't be read; 3 when there are no
/// policies.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    files: Files,

    /// The lowest severity that makes the exit status 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,

    /// Leave out findings less severe than this
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "note")]
    least: Least,

    /// How to print the findings
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: CheckFormat,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For continuous integration: the XML of JUnit's runners, a case for each object that something is found in.
    Junit,
    /// For GitHub: workflow commands that annotate the lines of a change.
    Github,
}

/// Which findings count at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Least {
    /// Errors.
    Error,
    /// Warnings and errors.
    Warning,
    /// All findings.
    Note,
}

/// Which findings make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Errors.
    Error,
    /// Warnings and errors.
    Warning,
    /// All findings.
    Note,
    /// No finding.
    None,
}

/// The JSON output. Scripts read it: fields are added, not renamed.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Entry],
    ignored: &'a [Entry],
    not_judged: Vec<String>,
}

impl CheckArgs {
    /// Prints the findings.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let loaded = self.files.load_readable(&progress)?;
        progress.doing("looking at the policies");
        let (mut entries, ignored) = entries(&loaded);
        let is_empty = entries.is_empty();
        entries.retain(|entry| self.least.includes(entry.severity));
        let unjudged = unjudged(&loaded.cluster, &loaded.written);
        drop(progress);
        match self.output {
            CheckFormat::Text => print(&text::render(&entries, ignored.len(), &unjudged))?,
            CheckFormat::Json => {
                let not_judged = unjudged.iter().map(Unjudged::to_string).collect();
                print_json(&Report { findings: &entries, ignored: &ignored, not_judged })?;
            }
            CheckFormat::Sarif => print_json(&sarif::log(&entries, &ignored))?,
            CheckFormat::Junit => print(&junit::render(&entries, &ignored)?)?,
            CheckFormat::Github => print(&github::render(&entries))?,
        }
        if is_empty && loaded.cluster.policies.is_empty() && loaded.cluster.cluster_policies.is_empty() {
            eprintln!("warning: nothing was judged: there are no NetworkPolicies in the input");
            return Ok(ExitCode::from(NOTHING_JUDGED));
        }
        let failed = entries.iter().any(|entry| self.fail_on.includes(entry.severity));
        Ok(if failed { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}

impl Least {
    fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity >= Severity::Error,
            Self::Warning => severity >= Severity::Warning,
            Self::Note => true,
        }
    }
}

impl FailOn {
    fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity >= Severity::Error,
            Self::Warning => severity >= Severity::Warning,
            Self::Note => severity >= Severity::Note,
            Self::None => false,
        }
    }
}
