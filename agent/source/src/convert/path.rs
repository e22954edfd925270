//! Paths of fields, as messages name them.

use std::fmt;

/// Where in an object something is. Made on the way down at no cost; text only when something is wrong.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The object itself.
    Root,
    /// A field.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list.
    Index(&'a Path<'a>, usize),
    /// An entry of a map whose keys the user chose.
    Key(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    pub(super) const fn field(&'a self, name: &'a str) -> Self {
        Self::Field(self, name)
    }

    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(parent, key) => write!(f, "{parent}[{}]", quote(key)),
        }
    }
}

/// A piece of input in quotes, control characters escaped, cut where it gets long: messages end up on terminals.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_manifest() {
        let root = Path::Root;
        let spec = root.field("spec");
        let ingress = spec.field("ingress");
        let rule = ingress.index(0);
        let labels = rule.field("matchLabels");
        assert_eq!(labels.key("a/b").to_string(), r#"spec.ingress[0].matchLabels["a/b"]"#);
    }

    #[test]
    fn quoted_input_is_short_and_free_of_control_characters() {
        assert_eq!(quote("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert_eq!(quote(&"é".repeat(5000)), format!("\"{}\"…", "é".repeat(100)));
    }
}
