//! Results as text.

use std::fmt::Write;

use podgate_judge::expectations::Wrong;

use super::Outcome;

/// So many wrong pairs of a case are explained; the rest is counted.
const SHOWN: usize = 3;

/// A line for each case, with the reasons of what is not as expected, and a last one that counts; each ended.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let mut text: String = outcomes.iter().map(case).collect();
    let failed = outcomes.iter().filter(|outcome| !outcome.judgement.is_met()).count();
    // Writing into a String cannot fail.
    let _ = match outcomes.len() {
        1 => writeln!(text, "1 case, {failed} not as expected"),
        count => writeln!(text, "{count} cases, {failed} not as expected"),
    };
    text
}

fn case(outcome: &Outcome) -> String {
    let Outcome { case, judgement } = outcome;
    let expected = case.expectation.expected.as_str();
    let pairs = match judgement.pairs {
        1 => "1 pair".to_owned(),
        pairs => format!("{pairs} pairs"),
    };
    if judgement.is_met() {
        return format!("ok    {}: {expected}, {pairs}\n", case.name);
    }
    let mut text = match judgement.pairs {
        0 => format!("FAIL  {}: expected {expected}\n", case.name),
        _ => format!("FAIL  {}: expected {expected}, not so for {} of {pairs}\n", case.name, judgement.wrong_pairs()),
    };
    text += &reasons(outcome);
    text
}

/// The reasons of the first wrong pairs, indented.
pub(super) fn reasons(outcome: &Outcome) -> String {
    let wrong = &outcome.judgement.wrong;
    // Writing into a String cannot fail.
    let mut text = String::new();
    for wrong in wrong.iter().take(SHOWN) {
        for line in wrong.to_string().lines() {
            let _ = writeln!(text, "      {line}");
        }
        if wrong.pairs() > 1 {
            let _ = writeln!(text, "        the same for each of {} pairs of alike pods", wrong.pairs());
        }
    }
    let more: usize = wrong.iter().skip(SHOWN).map(Wrong::pairs).sum();
    if more > 0 {
        let _ = writeln!(text, "      and {more} more");
    }
    text
}
