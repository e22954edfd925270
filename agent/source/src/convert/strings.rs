//! One copy of each string that many objects carry.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Strings that are in use, each held once.
#[derive(Debug)]
pub(crate) struct Strings {
    known: BTreeSet<Arc<str>>,
    purge_at: usize,
}

impl Default for Strings {
    fn default() -> Self {
        Self { known: BTreeSet::new(), purge_at: Self::SMALLEST_PURGE }
    }
}

impl Strings {
    const SMALLEST_PURGE: usize = 4096;

    /// The one copy of this text.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.purge_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.purge_at = (self.known.len() * 2).max(Self::SMALLEST_PURGE);
        }
        let text: Arc<str> = text.into();
        self.known.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_held_once() {
        let mut strings = Strings::default();
        assert!(Arc::ptr_eq(&strings.share("a"), &strings.share("a")));
    }

    #[test]
    fn strings_out_of_use_are_forgotten() {
        let mut strings = Strings::default();
        let used = strings.share("used");
        for number in 0..10 * Strings::SMALLEST_PURGE {
            strings.share(&number.to_string());
        }
        assert!(strings.known.len() <= Strings::SMALLEST_PURGE + 1);
        assert!(Arc::ptr_eq(&used, &strings.share("used")));
    }
}
