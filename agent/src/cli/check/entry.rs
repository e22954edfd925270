//! Findings in policies and mistakes in objects, in one form.

use podgate_judge::check::{Checked, Finding, Rule, Severity, Subject, check_all};
use podgate_source::manifests::{ForeignPolicies, Loaded};
use podgate_source::{ObjectRef, Origin, Problem, ProblemKind};
use serde::{Serialize, Serializer};

/// A finding, as JSON has it. Scripts read it: fields are added, not renamed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Entry {
    /// The file, where one is known.
    pub(super) file: Option<String>,
    /// The document in it, counted from 1.
    pub(super) document: Option<usize>,
    /// The line on which the document begins, counted from 1.
    pub(super) line: Option<u64>,
    /// Kind, namespace and name.
    pub(super) object: Option<String>,
    /// The path of the field.
    pub(super) field: Option<String>,
    /// The stable name of what was found.
    pub(super) rule: &'static str,
    /// How bad it is.
    #[serde(serialize_with = "severity")]
    pub(super) severity: Severity,
    /// What is wrong.
    pub(super) why: String,
    /// What to write instead, where that can be said.
    pub(super) instead: Option<String>,
    /// The same as YAML, where it can be written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) yaml: Option<String>,
    /// Why it is ignored, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ignored: Option<String>,
    /// Where the finding stands among others of its object.
    #[serde(skip)]
    pub(super) order: usize,
}

/// Everything that is found in files, by file, document, object and field, what policies leave open last; and what is
/// ignored by annotations.
pub(in crate::cli) fn entries(loaded: &Loaded) -> (Vec<Entry>, Vec<Entry>) {
    let Checked { findings, ignored } = check_all(&loaded.cluster, &loaded.written);
    let mut entries: Vec<_> = loaded.problems.iter().map(|problem| of_problem(loaded, problem)).collect();
    entries.extend(findings.into_iter().enumerate().map(|(order, finding)| of_finding(loaded, order, finding)));
    entries.extend(loaded.foreign.iter().map(|policies| of_foreign(loaded, policies)));
    entries.extend(loaded.foreign.iter().flat_map(|policies| of_converted(loaded, policies)));
    entries.extend(not_enforced(loaded));
    let ignored = ignored.into_iter().enumerate();
    let mut ignored: Vec<_> = ignored
        .map(|(order, (finding, reason))| Entry { ignored: Some(reason), ..of_finding(loaded, order, finding) })
        .collect();
    for entries in [&mut entries, &mut ignored] {
        entries.sort_by(|one, other| {
            let is_last = |entry: &Entry| entry.rule == Rule::NotIsolated.name();
            let place =
                |entry: &Entry| (is_last(entry), entry.file.clone(), entry.document, entry.object.clone(), entry.order);
            place(one).cmp(&place(other)).then_with(|| one.cmp(other))
        });
    }
    (entries, ignored)
}

fn of_finding(loaded: &Loaded, order: usize, finding: Finding) -> Entry {
    let reference = match finding.object {
        Subject::Policy(key) => ObjectRef::Policy(key),
        Subject::ClusterPolicy(name) => ObjectRef::ClusterPolicy(name),
        Subject::Namespace(name) => ObjectRef::Namespace(name),
    };
    let place = loaded.places.get(&reference);
    let line = place.and_then(|place| loaded.lines.get(&(place.path.clone(), place.document)));
    Entry {
        file: place.map(|place| place.path.display().to_string()),
        document: place.map(|place| place.document),
        line: line.copied(),
        object: Some(reference.to_string()),
        field: Some(finding.field.to_string()),
        rule: finding.rule.name(),
        severity: finding.severity,
        why: finding.why,
        instead: Some(finding.instead),
        yaml: finding.yaml,
        ignored: None,
        order,
    }
}

/// The first of these names, and how many more there are.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let mut listed = names[..names.len().min(SHOWN)].join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        listed += &format!(" and {more} more");
    }
    listed
}

/// One finding for all ClusterNetworkPolicies, at the first of them.
fn not_enforced(loaded: &Loaded) -> Option<Entry> {
    let names: Vec<_> = loaded.cluster.cluster_policies.names().map(|name| &**name).collect();
    let reference = ObjectRef::ClusterPolicy((*names.first()?).into());
    let place = loaded.places.get(&reference);
    let line = place.and_then(|place| loaded.lines.get(&(place.path.clone(), place.document)));
    Some(Entry {
        file: place.map(|place| place.path.display().to_string()),
        document: place.map(|place| place.document),
        line: line.copied(),
        object: Some(reference.to_string()),
        field: None,
        rule: Rule::NotEnforced.name(),
        severity: Severity::Warning,
        why: format!(
            "podgate's agent enforces these ClusterNetworkPolicies only with --cluster-policies=auto, and they count in everything here: {}",
            listed(&names)
        ),
        instead: Some(
            "where podgate is the only one to enforce, run its agent with --cluster-policies=auto".to_owned(),
        ),
        yaml: None,
        ignored: None,
        order: 0,
    })
}

/// One finding for all policies of a kind, at the first of them.
fn of_foreign(loaded: &Loaded, policies: &ForeignPolicies) -> Entry {
    let ForeignPolicies { kind, group, names, path, document, .. } = policies;
    let listed = listed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    Entry {
        file: Some(path.display().to_string()),
        document: Some(*document),
        line: loaded.lines.get(&(path.clone(), *document)).copied(),
        object: names.first().map(|name| format!("{kind} {name}")),
        field: None,
        rule: Rule::ForeignPolicy.name(),
        severity: Severity::Warning,
        why: format!("podgate does not enforce {kind} of {group}, and nothing here is judged by it: {listed}"),
        instead: Some("write as NetworkPolicies what podgate is to enforce of them".to_owned()),
        yaml: None,
        ignored: None,
        order: 0,
    }
}

/// Policies that are ClusterNetworkPolicies today, written as such.
fn of_converted<'l>(loaded: &'l Loaded, policies: &'l ForeignPolicies) -> impl Iterator<Item = Entry> + 'l {
    policies.converted.iter().map(|(name, path, document, text)| Entry {
        file: Some(path.display().to_string()),
        document: Some(*document),
        line: loaded.lines.get(&(path.clone(), *document)).copied(),
        object: Some(format!("{} {name}", policies.kind)),
        field: None,
        rule: Rule::ClusterPolicyV1alpha1.name(),
        severity: Rule::ClusterPolicyV1alpha1.worst(),
        why: format!("{} is of v1alpha1, which ClusterNetworkPolicy has replaced", policies.kind),
        instead: Some("write it as a ClusterNetworkPolicy, by which these commands judge".to_owned()),
        yaml: Some(text.clone()),
        ignored: None,
        order: 0,
    })
}

fn of_problem(loaded: &Loaded, problem: &Problem) -> Entry {
    let (file, document) = match &problem.origin {
        Origin::File { path, document } => (Some(path.clone()), *document),
        Origin::Api => (None, None),
    };
    let line = file.clone().zip(document).and_then(|place| loaded.lines.get(&place));
    let (why, instead) = parts(&problem.message);
    Entry {
        file: file.map(|path| path.display().to_string()),
        document,
        line: line.copied(),
        object: problem.object.clone(),
        field: problem.field.clone(),
        rule: mistake(problem).name(),
        severity: mistake(problem).severity(),
        why,
        instead,
        yaml: None,
        ignored: None,
        order: 0,
    }
}

/// What is wrong, and what was expected.
fn parts(message: &str) -> (String, Option<String>) {
    let split = [": expected ", ", expected "].into_iter().find_map(|mark| message.split_once(mark));
    match split {
        Some((why, expected)) => (why.to_owned(), Some(format!("write {expected}"))),
        None => (message.to_owned(), None),
    }
}

/// The sorts of mistakes in files: those that make an object invalid, and what is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    File,
    Syntax,
    Schema,
    Value,
    Except,
    Duplicate,
    PassedOver,
}

impl Mistake {
    pub(super) const ALL: [Self; 7] =
        [Self::File, Self::Syntax, Self::Schema, Self::Value, Self::Except, Self::Duplicate, Self::PassedOver];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "unreadable-file",
            Self::Syntax => "invalid-syntax",
            Self::Schema => "invalid-schema",
            Self::Value => "invalid-value",
            Self::Except => "invalid-except",
            Self::Duplicate => "duplicate-object",
            Self::PassedOver => "passed-over",
        }
    }

    const fn severity(self) -> Severity {
        match self {
            Self::PassedOver => Severity::Note,
            Self::File | Self::Syntax | Self::Schema | Self::Value | Self::Except | Self::Duplicate => Severity::Error,
        }
    }

    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::File => "A file can't be read as a whole.",
            Self::Syntax => "A document is not YAML or JSON, or a policy gives a key twice.",
            Self::Schema => "The value of a field has another type, or a policy has an unknown field.",
            Self::Value => "The API server would not accept the value.",
            Self::Except => "An exception of an ipBlock is no smaller part of its cidr.",
            Self::Duplicate => "The object is defined twice.",
            Self::PassedOver => "A field is unknown or given twice outside a policy: passed over, as kubectl does.",
        }
    }
}

fn mistake(problem: &Problem) -> Mistake {
    let of_except = |field: &String| field.contains(".ipBlock.except[");
    match problem.kind {
        ProblemKind::File => Mistake::File,
        ProblemKind::Syntax => Mistake::Syntax,
        ProblemKind::Schema => Mistake::Schema,
        ProblemKind::Invalid if problem.field.as_ref().is_some_and(of_except) => Mistake::Except,
        ProblemKind::Invalid => Mistake::Value,
        ProblemKind::Duplicate => Mistake::Duplicate,
        // Only the agent reports what it does not enforce.
        ProblemKind::PassedOver | ProblemKind::NotEnforced => Mistake::PassedOver,
    }
}

/// Every rule with what it is about and how bad its findings are at worst.
pub(super) fn rules() -> impl Iterator<Item = (&'static str, &'static str, Severity)> {
    let mistakes = Mistake::ALL.into_iter().map(|it| (it.name(), it.about(), it.severity()));
    mistakes.chain(Rule::ALL.into_iter().map(|rule| (rule.name(), rule.about(), rule.worst())))
}

fn severity<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}
