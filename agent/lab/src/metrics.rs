//! Reading metrics in the text format of Prometheus and OpenMetrics.

use std::collections::BTreeMap;

/// All series of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// In the order in which they were exposed.
    pub series: Vec<Series>,
}

/// One value with its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric's name, with its suffix.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Metrics {
    /// Reads what `/metrics` returned. Lines that are no series are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { series: text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect() }
    }

    /// The sum of the series of this name that have all of these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|series| series.value).sum()
    }

    /// The series of this name that have all of these labels.
    pub fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Series> {
        let named = self.series.iter().filter(move |series| series.name == name);
        named.filter(|series| labels.iter().all(|(key, value)| series.label(key) == *value))
    }
}

impl Series {
    /// A label's value, empty where there is no such label.
    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

fn series(line: &str) -> Option<Series> {
    let (start, value) = match line.rsplit_once('}') {
        Some((start, rest)) => (start, rest.split_whitespace().next()?),
        None => line.split_once(' ')?,
    };
    let (name, labels) = start.split_once('{').unwrap_or((start, ""));
    Some(Series { name: name.to_owned(), labels: labels_of(labels)?, value: value.trim().parse().ok()? })
}

fn labels_of(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while let Some((key, rest)) = text.split_once("=\"") {
        let end = closing_quote(rest)?;
        let value = rest[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        text = &rest[end + 1..];
    }
    Some(labels)
}

/// Where the first quote without a backslash is.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP podgate_verdicts Packets.
# TYPE podgate_verdicts counter
podgate_verdicts_total{direction="ingress",pod="a",reason="no \"rule\", none"} 3
podgate_verdicts_total{direction="egress",pod="a"} 4 1700000000
podgate_endpoints 2
# EOF
"#;

    #[test]
    fn series_are_read_with_labels_and_without() {
        let metrics = Metrics::parse(TEXT);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let first = Series {
            name: "podgate_verdicts_total".to_owned(),
            labels: [label("direction", "ingress"), label("pod", "a"), label("reason", r#"no "rule", none"#)].into(),
            value: 3.0,
        };
        assert_eq!((metrics.series.len(), &metrics.series[0]), (3, &first));
    }

    #[test]
    fn a_sum_takes_the_series_that_have_the_labels() {
        let metrics = Metrics::parse(TEXT);
        let sum = |labels: &[(&str, &str)]| metrics.sum("podgate_verdicts_total", labels);
        assert_eq!([sum(&[]), sum(&[("direction", "egress")]), sum(&[("pod", "b")])], [7.0, 4.0, 0.0]);
        assert_eq!(metrics.sum("podgate_endpoints", &[]), 2.0);
    }
}
