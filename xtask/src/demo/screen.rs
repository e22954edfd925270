//! What the demo prints.

use std::env;
use std::io::{IsTerminal, stdout};
use std::net::IpAddr;

use podgate_lab::{Metrics, Pod, Seen};

use super::question::Question;

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31;1";
const BOLD: &str = "1";

/// Prints in colours where somebody looks.
pub(crate) struct Screen {
    colours: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { colours: stdout().is_terminal() && env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Begins a part.
    pub(crate) fn title(&self, text: &str) {
        println!("\n{}", self.paint(&format!("── {text}"), BOLD));
    }

    /// A pod of the lab.
    pub(crate) fn pod(&self, pod: &Pod) {
        let name = format!("{}/{}", pod.name().namespace, pod.name().name);
        println!("   {name:<28} {:<15} {:<24} {}", pod.ip4(), pod.ip6(), pod.wiring());
    }

    /// A Service with its addresses.
    pub(crate) fn service(&self, name: &str, v4: IpAddr, v6: IpAddr) {
        println!("   {name:<28} {v4:<15} {v6}");
    }

    /// One line of the table: the question with what was seen over IPv4 and IPv6.
    pub(crate) fn answers(&self, question: &Question, phase: usize, seen: [Seen; 2]) {
        let expected = question.expected(phase);
        let changed = phase > 0 && expected != question.expected(phase - 1);
        let mark = if changed { self.paint("← changed", BOLD) } else { String::new() };
        let ends = format!("{} → {}", question.from, question.to);
        let [v4, v6] = seen.map(|seen| self.answer(expected, seen));
        println!("   {ends:<44} {:<11} IPv4 {v4}   IPv6 {v6} {mark}", question.what.to_string());
    }

    fn answer(&self, expected: Seen, seen: Seen) -> String {
        let word = |seen: Seen| match seen {
            Seen::Answered => "passed",
            Seen::Silence => "dropped",
            Seen::Refused => "refused",
            Seen::Unreachable => "unreachable",
        };
        if seen != expected {
            return self.paint(&format!("{}, but should be {}", word(seen), word(expected)), RED);
        }
        let colour = if seen == Seen::Answered { GREEN } else { YELLOW };
        self.paint(&format!("{:<7}", word(seen)), colour)
    }

    /// Packets by pod, direction, verdict and reason.
    pub(crate) fn counters(&self, metrics: &Metrics) {
        println!("   {:<28} {:<9} {:<8} {:<24} {:>8}", "pod", "direction", "verdict", "reason", "packets");
        for series in metrics.matching("podgate_verdicts_total", &[]).filter(|series| series.value > 0.0) {
            let pod = format!("{}/{}", series.label("namespace"), series.label("pod"));
            let [direction, verdict, reason] = ["direction", "verdict", "reason"].map(|key| series.label(key));
            println!("   {pod:<28} {direction:<9} {verdict:<8} {reason:<24} {:>8}", series.value);
        }
    }

    /// What a program printed, under its command line.
    pub(crate) fn output(&self, command: &str, text: &str) {
        println!("   {}", self.paint(&format!("$ {command}"), BOLD));
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// The demo's result.
    pub(crate) fn verdict(&self, wrong: usize, asked: usize) {
        let text = match wrong {
            0 => self.paint(&format!("all {asked} probes behaved as expected"), GREEN),
            _ => self.paint(&format!("{wrong} of {asked} probes did not behave as expected"), RED),
        };
        println!("\n{text}");
    }
}
