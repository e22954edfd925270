//! One copy of each string, and of each set of labels, that many objects carry.

use std::collections::BTreeSet;
use std::sync::Arc;

use podgate_policy::model::Labels;

/// What is in use, each held once.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    texts: Held<Arc<str>>,
    labels: Held<Labels>,
}

impl Strings {
    /// The one copy of this text.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        match self.texts.known.get(text) {
            Some(known) => known.clone(),
            None => self.texts.hold(text.into(), |known| Arc::strong_count(known) > 1),
        }
    }

    /// The one copy of these labels: those of all pods that one template makes.
    pub(crate) fn share_labels(&mut self, labels: Labels) -> Labels {
        match self.labels.known.get(&labels) {
            Some(known) => known.clone(),
            None => self.labels.hold(labels, Labels::is_shared),
        }
    }
}

/// Values that may be in use.
#[derive(Debug)]
struct Held<T> {
    known: BTreeSet<T>,
    purge_at: usize,
}

impl<T> Held<T> {
    const SMALLEST_PURGE: usize = 4096;
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), purge_at: Self::SMALLEST_PURGE }
    }
}

impl<T: Clone + Ord> Held<T> {
    /// Holds a new value, and now and then forgets those that nobody uses any more.
    fn hold(&mut self, value: T, is_used: impl Fn(&T) -> bool) -> T {
        if self.known.len() >= self.purge_at {
            self.known.retain(is_used);
            self.purge_at = (self.known.len() * 2).max(Self::SMALLEST_PURGE);
        }
        self.known.insert(value.clone());
        value
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
    fn equal_labels_are_held_once() {
        let mut strings = Strings::default();
        let labels = |value: &str| Labels::from([("app".into(), value.into())]);
        let [web, again, api] = ["web", "web", "api"].map(|app| strings.share_labels(labels(app)));
        assert!(web.is_shared() && again.is_shared());
        assert_eq!((&web, &*api), (&again, &*labels("api")));
        drop(strings);
        assert_eq!((web.is_shared(), api.is_shared()), (true, false));
    }

    #[test]
    fn strings_out_of_use_are_forgotten() {
        let mut strings = Strings::default();
        let used = strings.share("used");
        for number in 0..10 * Held::<Arc<str>>::SMALLEST_PURGE {
            strings.share(&number.to_string());
        }
        assert!(strings.texts.known.len() <= Held::<Arc<str>>::SMALLEST_PURGE + 1);
        assert!(Arc::ptr_eq(&used, &strings.share("used")));
    }
}
