//! Tables of a run, and the part of docs/performance.md that they are.

use anyhow::{Result, ensure};

use super::figures::{Quartiles, Run, Series, Unit};

/// The page.
pub(crate) const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- bench: written by `cargo xtask bench --write-docs` -->";
const END: &str = "<!-- /bench -->";

/// What the tables of this or that name show.
const TEXTS: [(&str, &str); 9] = [
    (
        "Calls",
        "By the instructions that the kernel runs, those in functions included. Which path a packet takes they do not tell, so \
         a path is given by its bounds: the fewest and the most calls on any that ends in the program, without those that go \
         on to the whole program; – where the code has loops.",
    ),
    (
        "Programs",
        "Nanoseconds per packet above an empty program that runs by turns with it, all in the kernel (BPF_PROG_TEST_RUN). \
         Events about denials are suppressed, as under a flood.",
    ),
    ("Services", "The same for packets to and of a Service."),
    ("Peers", "The same with more and fewer other pods known, IPv4."),
    (
        "Pick-up",
        "The same for packets into the pod that no flow is known of and that open none. Nobody can be asked where the pod's \
         network namespace is not known. What is allowed comes from ever other ports; where it becomes a flow, the entry is \
         part of the cost.",
    ),
    (
        "Pods that come and go",
        "The same on a node with 250 of 10,000 pods and 1,000 policies, IPv4, while nothing changes and while the planner's \
         operations are done on another CPU. The empty program runs while nothing changes.",
    ),
    (
        "Traffic",
        "How often per second something can be done, as a part of how often it can be without enforcement. More is better.",
    ),
    (
        "On top of connection tracking",
        "Nanoseconds above connection tracking alone, where that is loaded anyway, as kube-proxy does.",
    ),
    ("Change of a policy's file", "Milliseconds. For 50 of them the agent waits until the directory stops changing."),
];

const PODGATE: [&str; 2] = ["podgate, policies on both pods", "podgate, one policy"];
const TRACKED: [&str; 2] =
    ["podgate, policies on both pods, and connection tracking", "podgate, one policy, and connection tracking"];
const NFTABLES: &str = "nftables, one policy as sets, connection tracking included";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// All of a run as Markdown.
pub(crate) fn of(run: &Run) -> String {
    let mut page = format!("Measured at commit {}:\n\n{}\n", run.commit, run.machine);
    for note in &run.notes {
        page += &format!("- {note}\n");
    }
    page += "\nMedians of the rounds, with quartiles in brackets.\n";
    for name in distinct(run.series.iter().map(|series| series.table.as_str())) {
        page += &format!("\n### {name}\n\n");
        if let Some((_, text)) = TEXTS.iter().find(|(start, _)| name.starts_with(start)) {
            page += &format!("{text}\n\n");
        }
        page += &table(&run.series.iter().filter(|series| series.table == name).collect::<Vec<_>>());
    }
    page + &beside_nftables(run)
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// A row for each row and a column for each column, in the order in which they first come.
fn table(series: &[&Series]) -> String {
    let columns = distinct(series.iter().map(|series| series.column.as_str()));
    let mut text = format!("| | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in distinct(series.iter().map(|series| series.row.as_str())) {
        let cell = |column: &&str| {
            let found = series.iter().find(|series| series.row == row && series.column == *column);
            found.map_or_else(|| "–".to_owned(), |series| cell(series))
        };
        text += &format!("| {row} | {} |\n", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text
}

fn cell(series: &Series) -> String {
    let Quartiles { lower, median, upper } = series.quartiles();
    let [lower, median, upper] = [lower, median, upper].map(|value| series.unit.show(value));
    if series.unit == Unit::Count {
        return median;
    }
    format!("{median} ({lower}–{upper})")
}

/// Says plainly where podgate is ahead of nftables, and where it is not; nothing if nftables was not measured.
fn beside_nftables(run: &Run) -> String {
    let mut text = String::new();
    for (table, ours, what) in [
        ("Traffic", PODGATE, "With the connection tracking that nftables needs, and podgate without it"),
        ("On top of connection tracking", TRACKED, "Both on top of connection tracking that is loaded anyway"),
    ] {
        let standings: Vec<String> =
            ours.iter().filter_map(|ours| Standing::of(run, table, ours)?.text(ours)).collect();
        if !standings.is_empty() {
            text += &format!("\n{what}:\n\n{}", standings.concat());
        }
    }
    if text.is_empty() { text } else { format!("\n### Where nftables wins\n{text}") }
}

/// The columns in which podgate is ahead of nftables, behind, and neither beyond noise.
#[derive(Debug, Default, PartialEq)]
struct Standing {
    ahead: Vec<String>,
    behind: Vec<String>,
    even: Vec<String>,
}

impl Standing {
    /// `None` if the run has nothing to compare.
    fn of(run: &Run, table: &str, ours: &str) -> Option<Self> {
        let mut standing = Self::default();
        for family in FAMILIES {
            let table = format!("{table}, {family}");
            for series in run.series.iter().filter(|series| series.table == table && series.row == ours) {
                let theirs = run.find([&table, NFTABLES, &series.column])?;
                let (own, other) = (series.quartiles(), theirs.quartiles());
                let is_more = own.median > other.median;
                let columns = if !own.is_apart_from(&other) {
                    &mut standing.even
                } else if is_more == series.unit.is_better_above() {
                    &mut standing.ahead
                } else {
                    &mut standing.behind
                };
                columns.push(format!("{} over {family}", series.column));
            }
        }
        Some(standing)
    }

    fn text(&self, ours: &str) -> Option<String> {
        let parts = [
            ("podgate is ahead", &self.ahead),
            ("nftables is ahead", &self.behind),
            ("no difference beyond noise", &self.even),
        ];
        let parts = parts.into_iter().filter(|(_, columns)| !columns.is_empty());
        let parts: Vec<String> = parts.map(|(what, columns)| format!("{what}: {}", columns.join(", "))).collect();
        (!parts.is_empty()).then(|| format!("- {ours}: {}.\n", parts.join("; ")))
    }
}

/// The page with this in place of what is between the marks.
pub(crate) fn with(page: &str, part: &str) -> Result<String> {
    let once = |mark| page.matches(mark).count() == 1;
    ensure!(once(BEGIN) && once(END), "{PAGE} has not exactly one line `{BEGIN}` and one `{END}`");
    let (before, rest) = page.split_once(BEGIN).unwrap_or_default();
    let Some((_, after)) = rest.split_once(END) else { anyhow::bail!("in {PAGE} `{END}` is before `{BEGIN}`") };
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::run;
    use super::*;

    fn series(table: &str, row: &str, column: &str, unit: Unit, samples: &[f64]) -> Series {
        let [table, row, column] = [table, row, column].map(str::to_owned);
        Series { table, row, column, unit, samples: samples.to_vec() }
    }

    #[test]
    fn tables_keep_the_order_of_the_benchmark_and_mark_what_is_not_measured() {
        let ns = Unit::Nanoseconds;
        let cells = [
            series("Programs", "b", "IPv4", ns, &[40.0, 38.0, 39.0]),
            series("Programs", "b", "IPv6", ns, &[44.0]),
            series("Programs", "a", "IPv4", ns, &[5.0]),
        ];
        assert_eq!(
            table(&cells.iter().collect::<Vec<_>>()),
            "| | IPv4 | IPv6 |\n|---|---|---|\n| b | 39 (38–40) | 44 (44–44) |\n| a | 5 (5–5) | – |\n"
        );
    }

    #[test]
    fn it_is_said_where_nftables_wins_and_where_not() {
        let mut run = run(&[]);
        let (table, ratio) = ("Traffic, IPv4", Unit::Ratio);
        for (column, own, other) in [("RR", 0.97, 0.94), ("connect", 0.90, 0.91), ("UDP", 0.95, 0.95)] {
            run.series.push(series(table, PODGATE[0], column, ratio, &[own]));
            run.series.push(series(table, NFTABLES, column, ratio, &[other]));
        }
        let (table, ns) = ("On top of connection tracking, IPv6", Unit::Nanoseconds);
        run.series.push(series(table, TRACKED[1], "RR per packet", ns, &[170.0]));
        run.series.push(series(table, NFTABLES, "RR per packet", ns, &[40.0]));
        assert_eq!(
            beside_nftables(&run),
            "\n### Where nftables wins\n\n\
             With the connection tracking that nftables needs, and podgate without it:\n\n\
             - podgate, policies on both pods: podgate is ahead: RR over IPv4; nftables is ahead: connect over IPv4; \
             no difference beyond noise: UDP over IPv4.\n\n\
             Both on top of connection tracking that is loaded anyway:\n\n\
             - podgate, one policy, and connection tracking: nftables is ahead: RR per packet over IPv6.\n"
        );
        run.series.retain(|series| series.row != NFTABLES);
        assert_eq!(beside_nftables(&run), "");
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("# Costs\n\nby hand\n\n{BEGIN}\nold\n{END}\n\nby hand too\n");
        let written = with(&page, "new\n").unwrap();
        assert_eq!(written, format!("# Costs\n\nby hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nby hand too\n"));
        assert_eq!(with(&written, "new\n").unwrap(), written);
    }

    #[test]
    fn a_page_without_both_marks_in_order_is_left_alone() {
        for page in ["", BEGIN, END, &format!("{END}\n{BEGIN}"), &format!("{BEGIN}{BEGIN}{END}")] {
            assert!(with(page, "new").is_err(), "{page}");
        }
    }

    #[test]
    fn the_page_has_both_marks() {
        let page = std::fs::read_to_string(crate::workspace::root().join(PAGE)).unwrap();
        with(&page, "new").unwrap();
    }
}
