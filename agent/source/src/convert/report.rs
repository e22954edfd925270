//! Collects what is wrong with one object.

use crate::problem::{Effect, ProblemKind};

use super::path::Path;

/// One mistake in an object. With the object's name and origin it becomes a [`crate::Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The path of the field, if one is meant.
    pub field: Option<String>,
    /// What sort of mistake it is.
    pub kind: ProblemKind,
    /// What is wrong and what is expected instead.
    pub message: String,
    /// What happens to the object because of it.
    pub effect: Effect,
}

/// The mistakes found in one object so far.
pub(super) struct Report {
    issues: Vec<Issue>,
    surplus: usize,
    /// What a plain mistake does to the object.
    effect: Effect,
    /// Fields whose value is of a wrong type, reported already: what is said about them or their surroundings is a consequence.
    unreadable: Vec<String>,
}

impl Report {
    /// So many mistakes of one object are named; further ones are only counted.
    const MAX_ISSUES: usize = 100;

    pub(super) const fn new(effect: Effect) -> Self {
        Self { issues: vec![], surplus: 0, effect, unreadable: vec![] }
    }

    /// An empty one for a part of the same object.
    pub(super) const fn same(&self) -> Self {
        Self::new(self.effect)
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.issues.is_empty()
    }

    /// Whether something couldn't be read as the API writes it, so that the object may not mean what its author meant.
    pub(super) fn is_doubtful(&self) -> bool {
        self.issues.iter().any(|issue| matches!(issue.kind, ProblemKind::Schema | ProblemKind::Syntax))
    }

    /// A value that isn't allowed there.
    pub(super) fn invalid(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.add(path.to_string(), ProblemKind::Invalid, message.into(), self.effect);
    }

    /// A value that isn't allowed there, but that is used all the same unless the whole object falls.
    pub(super) fn questionable(&mut self, path: &Path<'_>, message: impl Into<String>) {
        let effect = if self.effect == Effect::Isolated { Effect::Isolated } else { Effect::Used };
        self.add(path.to_string(), ProblemKind::Invalid, message.into(), effect);
    }

    /// A field that isn't known.
    pub(super) fn unknown(&mut self, field: String, message: String) {
        self.add(field, self.unless_passed_over(ProblemKind::Schema), message, self.unless_used());
    }

    /// A kind or version other than the one that is meant.
    pub(super) fn mistaken(&mut self, field: &str, message: String) {
        self.add(field.to_owned(), ProblemKind::Schema, message, self.unless_used());
    }

    /// A key that is given twice.
    pub(super) fn repeated(&mut self, field: String) {
        // Two objects without --- between them have those twice that say what they are.
        let says_what_it_is = matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "metadata.name");
        let kind = if says_what_it_is { ProblemKind::Syntax } else { self.unless_passed_over(ProblemKind::Syntax) };
        let message = "the key is given twice: keep one".to_owned();
        self.add(field, kind, message, self.unless_used());
    }

    /// A value of a wrong type.
    pub(super) fn unreadable(&mut self, field: String, message: String) {
        self.add(field.clone(), ProblemKind::Schema, message, self.effect);
        self.unreadable.push(field);
    }

    pub(super) fn finish(mut self) -> Vec<Issue> {
        if self.surplus > 0 {
            let message = format!("{} more mistakes in this object", self.surplus);
            self.issues.push(Issue { field: None, kind: ProblemKind::Invalid, message, effect: self.effect });
        }
        self.issues
    }

    /// Whether anything has the effect of a plain mistake.
    pub(super) fn has_effect(&self) -> bool {
        self.issues.iter().any(|issue| issue.effect == self.effect)
    }

    /// Takes over what was found in a part of the object, at this path.
    pub(super) fn absorb(&mut self, path: &Path<'_>, part: Self) {
        let prefix = path.to_string();
        for issue in part.finish() {
            let field = issue.field.unwrap_or_default();
            let dot = if prefix.is_empty() || field.is_empty() || field.starts_with('[') { "" } else { "." };
            self.add(format!("{prefix}{dot}{field}"), issue.kind, issue.message, issue.effect);
        }
    }

    /// Says of everything that was found that it has this effect.
    pub(super) fn all_have(&mut self, effect: Effect) {
        self.effect = effect;
        self.issues.iter_mut().for_each(|issue| issue.effect = effect);
    }

    /// Whether it is about a policy, of which nothing is passed over.
    fn is_of_policy(&self) -> bool {
        self.effect != Effect::ItemLeftOut
    }

    /// The effect of what is of no consequence but in a policy.
    fn unless_used(&self) -> Effect {
        if self.is_of_policy() { self.effect } else { Effect::Used }
    }

    /// What is wrong in a policy and of no consequence elsewhere.
    fn unless_passed_over(&self, kind: ProblemKind) -> ProblemKind {
        if self.is_of_policy() { kind } else { ProblemKind::PassedOver }
    }

    fn add(&mut self, field: String, kind: ProblemKind, message: String, effect: Effect) {
        if self.unreadable.iter().any(|unreadable| unreadable.starts_with(&field) || field.starts_with(unreadable)) {
            return;
        }
        if self.issues.len() == Self::MAX_ISSUES {
            self.surplus += usize::from(kind != ProblemKind::PassedOver);
            return;
        }
        self.issues.push(Issue { field: (!field.is_empty()).then_some(field), kind, message, effect });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_full_of_mistakes_names_the_first_and_counts_the_rest() {
        let mut report = Report::new(Effect::Isolated);
        for index in 0..250 {
            report.invalid(&Path::Root.field("spec").index(index), "wrong");
        }
        let issues = report.finish();
        assert_eq!(issues.len(), Report::MAX_ISSUES + 1);
        assert_eq!(issues[99].field.as_deref(), Some("spec[99]"));
        assert_eq!(issues[100].message, "150 more mistakes in this object");
    }

    #[test]
    fn consequences_of_an_unreadable_value_are_not_reported() {
        let mut report = Report::new(Effect::Isolated);
        report.unreadable("spec.ingress[0].from[1].ipBlock".to_owned(), "not an object".to_owned());
        report.invalid(&Path::Root.field("spec").field("ingress").index(0).field("from").index(1), "empty peer");
        report.invalid(&Path::Root.field("spec").field("ingress").index(1), "another");
        let fields: Vec<_> = report.finish().into_iter().filter_map(|issue| issue.field).collect();
        assert_eq!(fields, ["spec.ingress[0].from[1].ipBlock", "spec.ingress[1]"]);
    }
}
