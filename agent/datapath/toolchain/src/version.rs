//! Versions, as compilers, packages and linkers print them.

use std::fmt;

/// The first three numbers of a version. What is left out is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible with others.
    pub major: u32,
    /// Compatible with lower ones, after 0 as incompatible as `major`.
    pub minor: u32,
    /// Repairs.
    pub patch: u32,
}

impl Version {
    /// A version of which all numbers are known.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `1.95`, `1.97.0-nightly`, `0.10.3` or Debian's `1:22.1.8-1~deb12u1`. None if there is no number at the front.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once(':').map_or(text, |(_, upstream)| upstream);
        let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(|number| number.parse().ok());
        let major = numbers.next()??;
        Some(Self { major, minor: numbers.next().flatten().unwrap_or(0), patch: numbers.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_tools_and_packages_print_them() {
        let cases = [
            ("1.95", Some(Version::new(1, 95, 0))),
            ("1.96.0+dfsg1-1~deb12u2", Some(Version::new(1, 96, 0))),
            ("1.97.0-nightly", Some(Version::new(1, 97, 0))),
            ("1:22.1.8-1~deb12u1", Some(Version::new(22, 1, 8))),
            (" 0.10.3\n", Some(Version::new(0, 10, 3))),
            ("22", Some(Version::new(22, 0, 0))),
            ("(none)", None),
            ("", None),
        ];
        assert_eq!(cases.map(|(text, _)| Version::parse(text)), cases.map(|(_, version)| version));
    }

    #[test]
    fn versions_are_ordered_by_number_and_not_by_letter() {
        assert!(Version::new(1, 100, 0) > Version::new(1, 95, 2));
        assert!(Version::new(0, 9, 15) < Version::new(0, 10, 0));
    }
}
