//! What a query of Prometheus asks for: the selectors in it and the labels by which it groups.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// A condition on a label.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) operator: String,
    pub(super) value: String,
}

/// A metric, and the conditions on its labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) matchers: Vec<Matcher>,
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) selectors: Vec<Selector>,
    /// Labels by which series are grouped or matched.
    pub(super) grouped: BTreeSet<String>,
}

/// Words before a list of labels.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between vectors.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

type Tokens = Peekable<IntoIter<String>>;

impl Asked {
    /// Reads a query that is well-formed.
    pub(super) fn of(query: &str) -> Self {
        let mut asked = Self::default();
        let mut tokens = tokens(query).into_iter().peekable();
        while let Some(token) = tokens.next() {
            let next = tokens.peek().map_or("", String::as_str);
            if GROUPING.contains(&token.as_str()) {
                let labels = tokens.by_ref().take_while(|token| token != ")");
                asked.grouped.extend(labels.filter(|token| is_word(token)));
            } else if is_word(&token)
                && next != "("
                && !GROUPING.contains(&next)
                && !OPERATORS.contains(&token.as_str())
            {
                asked.selectors.push(Selector { metric: token, matchers: matchers(&mut tokens) });
            }
        }
        asked
    }
}

/// The conditions behind a metric's name, if there are any.
fn matchers(tokens: &mut Tokens) -> Vec<Matcher> {
    if tokens.next_if(|token| token == "{").is_none() {
        return Vec::new();
    }
    let inside: Vec<String> = tokens.by_ref().take_while(|token| token != "}").filter(|token| token != ",").collect();
    let matcher = |parts: &[String]| Matcher {
        label: parts[0].clone(),
        operator: parts[1].clone(),
        value: parts[2].trim_matches('"').to_owned(),
    };
    inside.chunks(3).map(matcher).collect()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Words, strings with their quotes, numbers and durations, and signs; of these only comparisons have two characters.
fn tokens(query: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let belongs = |other: char| other.is_ascii_alphanumeric() || matches!(other, '_' | ':' | '.');
        let is_sign = |other: char| matches!(other, '=' | '!' | '~' | '<' | '>');
        let end = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            _ if belongs(first) => rest.find(|other| !belongs(other)).unwrap_or(rest.len()),
            _ if is_sign(first) => rest.find(|other| !is_sign(other)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        tokens.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    tokens
}

#[test]
fn selectors_and_labels_are_found_among_functions_operators_and_numbers() {
    let query = r#"topk(3, sum by (pod, le) (rate(a_total{x="1, 2}", y!~"b|c"}[5m] offset 1h))) > 2.5 unless on (node) a:b:c == 0"#;
    let matcher = |label: &str, operator: &str, value: &str| Matcher {
        label: label.to_owned(),
        operator: operator.to_owned(),
        value: value.to_owned(),
    };
    let selectors = vec![
        Selector {
            metric: "a_total".to_owned(),
            matchers: vec![matcher("x", "=", "1, 2}"), matcher("y", "!~", "b|c")],
        },
        Selector { metric: "a:b:c".to_owned(), matchers: vec![] },
    ];
    let grouped = ["pod", "le", "node"].map(str::to_owned).into();
    assert_eq!(Asked::of(query), Asked { selectors, grouped });
}
