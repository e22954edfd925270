//! `podgate test`.

mod init;
mod junit;
mod read;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use podgate_engine::printable;
use podgate_judge::expectations::{Judgement, Wrong, judge};
use podgate_judge::present::present;
use serde::Serialize;

use super::NOTHING_JUDGED;
use super::explain::AnswerView;
use super::input::{Files, PartiesArgs, PortChoiceArgs};
use super::output::{print, print_json};
use super::progress::Progress;

use read::Case;

/// Exit status when something is not as expected.
const UNEXPECTED: u8 = 1;

/// Compare what policies allow with what is expected
///
/// The expectations are YAML: a list of cases, each with `from`, `to`, `port`, `protocol` (TCP unless it says UDP, SCTP or ICMP),
/// `expect` (allow or deny), and perhaps a `name`. Ends are named as for `podgate explain`; `{namespace: NS, labels: {…}}` stands
/// for every such pod, each of which is judged; pairs of pods that are alike are explained once. A case that names
/// nobody fails.
///
/// With --init it prints expectations that hold now, as a file to begin with.
///
/// Exit status: 0 everything is as expected, 1 something is not, 2 when files or expectations are invalid, 3 when
/// --init found nothing to expect.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// A file of expectations; several may be given
    #[arg(value_name = "FILE", required_unless_present = "init")]
    expectations: Vec<PathBuf>,

    /// Print who reaches whom now, as expectations
    #[arg(long, conflicts_with_all = ["expectations", "output", "pods"])]
    init: bool,

    #[command(flatten)]
    ports: PortChoiceArgs,

    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    parties: PartiesArgs,

    /// How to print the results
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: TestFormat,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For continuous integration: JUnit's XML.
    Junit,
}

/// A case and how it compares.
struct Outcome {
    case: Case,
    judgement: Judgement,
}

/// The JSON output. Scripts read it: fields are added, not renamed.
#[derive(Serialize)]
struct View<'a> {
    passed: usize,
    failed: usize,
    cases: Vec<CaseView<'a>>,
}

#[derive(Serialize)]
struct CaseView<'a> {
    file: String,
    case: usize,
    name: &'a str,
    expect: &'static str,
    passed: bool,
    pairs: usize,
    wrong: Vec<WrongView>,
}

/// What is not as expected: in words, and as `podgate explain -o json` has it where there is a verdict.
#[derive(Serialize)]
struct WrongView {
    /// How many pairs it is about, where these are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<usize>,
    reason: String,
    answer: Option<AnswerView>,
}

impl TestArgs {
    /// Prints the results.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.init {
            return self.init();
        }
        if self.ports.is_given() {
            bail!("--port goes with --init: cases have ports of their own");
        }
        let cases = self.cases()?;
        let outcomes = self.judge(cases)?;
        match self.output {
            TestFormat::Text => print(&text::render(&outcomes))?,
            TestFormat::Json => print_json(&view(&outcomes))?,
            TestFormat::Junit => print(&junit::render(&outcomes)?)?,
        }
        let all_met = outcomes.iter().all(|outcome| outcome.judgement.is_met());
        Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::from(UNEXPECTED) })
    }

    fn init(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let cluster = self.files.load(&progress)?;
        let present = present(&cluster, &self.ports.choice(), &mut progress.judging_pairs());
        drop(progress);
        if present.left_out > 0 {
            eprintln!(
                "warning: {} cases are left out: connections pass over some addresses and not over others, or hang on an \
                 address that is not known yet",
                present.left_out
            );
        }
        if present.cases.is_empty() {
            eprintln!("warning: nothing was judged: there are no two pods, or no ports; add pods, or give --port");
            return Ok(ExitCode::from(NOTHING_JUDGED));
        }
        print(&init::render(&present))?;
        Ok(ExitCode::SUCCESS)
    }

    fn judge(&self, cases: Vec<Case>) -> anyhow::Result<Vec<Outcome>> {
        let progress = Progress::new();
        let cluster = self.files.load(&progress)?;
        let all = cases.len();
        let outcomes = cases.into_iter().enumerate().map(|(done, case)| {
            progress.doing(format!("judging case {} of {all}", done + 1));
            Outcome { judgement: judge(&cluster, &case.expectation, self.parties.choice()), case }
        });
        Ok(outcomes.collect())
    }

    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let (mut cases, mut mistakes) = (vec![], vec![]);
        for file in &self.expectations {
            let read = read::cases(file);
            cases.extend(read.cases);
            mistakes.extend(read.mistakes);
        }
        for mistake in &mistakes {
            eprintln!("{}", printable(mistake));
        }
        match mistakes.len() {
            0 => Ok(cases),
            1 => bail!("1 problem in the expectations: nothing was judged"),
            n => bail!("{n} problems in the expectations: nothing was judged"),
        }
    }
}

fn view(outcomes: &[Outcome]) -> View<'_> {
    let failed = outcomes.iter().filter(|outcome| !outcome.judgement.is_met()).count();
    View { passed: outcomes.len() - failed, failed, cases: outcomes.iter().map(case_view).collect() }
}

fn case_view(Outcome { case, judgement }: &Outcome) -> CaseView<'_> {
    CaseView {
        file: case.file.display().to_string(),
        case: case.number,
        name: &case.name,
        expect: case.expectation.expected.as_str(),
        passed: judgement.is_met(),
        pairs: judgement.pairs,
        wrong: judgement.wrong.iter().map(wrong_view).collect(),
    }
}

fn wrong_view(wrong: &Wrong) -> WrongView {
    let answer = match wrong {
        Wrong::Verdict(answer, _) => Some(AnswerView::new(answer)),
        Wrong::NoAnswer(..) | Wrong::Nobody(_) | Wrong::Itself(_) => None,
    };
    WrongView { pairs: Some(wrong.pairs()).filter(|&pairs| pairs > 1), reason: wrong.to_string(), answer }
}
