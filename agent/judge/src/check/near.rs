//! Words that differ from others as typing errors do.

use std::collections::BTreeSet;

use podgate_policy::model::{Operator, Requirement, Selector};

use crate::check::known::Vocabulary;

/// Something that a selector asks for, nobody has, and somebody has almost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slip {
    /// As it is written.
    pub(super) written: String,
    /// What there is.
    pub(super) meant: String,
}

/// What a selector asks for that is not in `all`, but almost in one of `here`. `all` includes `here`.
pub(super) fn slips(selector: &Selector, here: &[&Vocabulary<'_>], all: &Vocabulary<'_>) -> Vec<Slip> {
    selector.requirements().iter().flat_map(|requirement| requirement_slips(requirement, here, all)).collect()
}

fn requirement_slips(requirement: &Requirement, here: &[&Vocabulary<'_>], all: &Vocabulary<'_>) -> Vec<Slip> {
    let key = &*requirement.key;
    let Some(present) = all.values(key) else {
        let keys: BTreeSet<&str> = here.iter().flat_map(|labels| labels.keys()).collect();
        let slip = nearest(key, keys).map(|meant| Slip { written: key.to_owned(), meant: meant.to_owned() });
        return slip.into_iter().collect();
    };
    let (Operator::In(values) | Operator::NotIn(values)) = &requirement.operator else { return vec![] };
    let near = || here.iter().filter_map(|labels| labels.values(key)).flatten().copied();
    let others = || near().filter(|near| !values.iter().any(|value| **value == **near));
    let unknown = values.iter().filter(|value| !present.contains(&***value));
    unknown
        .filter_map(|value| {
            nearest(value, others())
                .map(|meant| Slip { written: format!("{key}={value}"), meant: format!("{key}={meant}") })
        })
        .collect()
}

/// The candidate that a word is a typing error of, if there is one: the most similar.
pub(super) fn nearest<'w>(word: &str, candidates: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let similar = candidates.into_iter().filter_map(|candidate| Some((distance(word, candidate)?, candidate)));
    similar.min().map(|(_, candidate)| candidate)
}

/// How much a word differs from what it may be a typing error of. Words that count something (`v1` and `v2`, `zone-a` and
/// `zone-b`) are different on purpose.
fn distance(word: &str, other: &str) -> Option<usize> {
    let (word, other) = (folded(word), folded(other));
    if word == other {
        return Some(0);
    }
    let longest = word.chars().count().max(other.chars().count());
    let distance = strsim::osa_distance(&word, &other);
    let most = match longest {
        ..=3 if sorted(&word) == sorted(&other) => 1,
        ..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    (distance <= most && !counts(&word, &other)).then_some(distance)
}

/// Without case, and with one sort of separator.
fn folded(word: &str) -> String {
    word.to_lowercase().replace(['_', '.'], "-")
}

fn sorted(word: &str) -> Vec<char> {
    let mut letters: Vec<_> = word.chars().collect();
    letters.sort_unstable();
    letters
}

/// Whether two words are alike but for digits, or for parts of one letter.
fn counts(word: &str, other: &str) -> bool {
    let without_digits = |word: &str| word.replace(|letter: char| letter.is_ascii_digit(), "");
    let parts = |word: &str| word.split(['-', '/']).map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (parts(word), parts(other));
    let by_letter = ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(one, other)| one == other || (one.len() == 1 && other.len() == 1));
    without_digits(word) == without_digits(other) || by_letter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_told_from_other_words() {
        for (word, meant) in [
            ("Web", "web"),
            ("front_end", "front-end"),
            ("wbe", "web"),
            ("frontned", "frontend"),
            ("fronted", "frontend"),
            ("databse", "database"),
            ("postgres", "postgresql"),
            ("kube-dsn", "kube-dns"),
        ] {
            assert_eq!(nearest(word, [meant]), Some(meant), "{word}");
        }
        for (word, other) in [
            ("a", "b"),
            ("v1", "v2"),
            ("web-1", "web-12"),
            ("zone-a", "zone-b"),
            ("web", "api"),
            ("frontend", "backend"),
            ("staging", "stage"),
        ] {
            assert_eq!(nearest(word, [other]), None, "{word}");
        }
    }

    #[test]
    fn the_most_similar_word_is_meant() {
        assert_eq!(nearest("databasee", ["databases", "database", "data"]), Some("database"));
    }
}
