//! What was wrong with an object or a file, and what podgate did about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// One thing that is wrong in the input.
///
/// Its text names origin, object and field, then what is expected, then what podgate did:
/// `net.yaml, document 2: NetworkPolicy shop/api: spec.ingress[0].ports[0].port: 70000 is no port: expected 1 to 65535; …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where it was read.
    pub origin: Origin,
    /// The object: kind, namespace and name as far as they could be read.
    pub object: Option<String>,
    /// The path of the field, such as `spec.ingress[0].from[1].ipBlock.except[0]`.
    pub field: Option<String>,
    /// What sort of mistake it is.
    pub kind: ProblemKind,
    /// What is wrong and what is expected instead.
    pub message: String,
    /// What podgate did.
    pub effect: Effect,
}

impl Problem {
    /// Whether everything else can be judged all the same.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        self.kind == ProblemKind::PassedOver
    }

    /// Whether it is of an object that a server has, and what the object means all the same is known: a rule that fails
    /// closed. In a file the mistake is there to be corrected.
    #[must_use]
    pub fn fails_closed_as_served(&self) -> bool {
        let fails_closed = matches!(self.effect, Effect::RuleMatchesNothing | Effect::RuleDeniesAll);
        fails_closed && self.origin == Origin::Api
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}; {}", self.message, self.effect)
    }
}

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file, and the document in it, counted from 1, if one is meant.
    File {
        /// The file.
        path: Arc<Path>,
        /// The document.
        document: Option<usize>,
    },
    /// The Kubernetes API.
    Api,
}

impl Origin {
    /// This file as a whole.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into().into(), document: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, document: None } => write!(f, "{}", path.display()),
            Self::File { path, document: Some(document) } => write!(f, "{}, document {document}", path.display()),
            Self::Api => f.write_str("Kubernetes API"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The sorts of mistakes, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A file can't be read: permissions, size, not text.
    File,
    /// A document isn't YAML, a NetworkPolicy repeats a key, or something grows or nests beyond the limits.
    Syntax,
    /// A field holds a value of another type, or is unknown in a policy.
    Schema,
    /// A value isn't allowed there.
    Invalid,
    /// The object is defined twice.
    Duplicate,
    /// Nothing that is enforced or judged depends on it, and kubectl passes over it too: a field that this version of podgate
    /// doesn't know, the former value of a key given twice. In a NetworkPolicy neither is ever passed over.
    PassedOver,
    /// The offline commands judge by the object, and the agent is told not to enforce it: a ClusterNetworkPolicy.
    NotEnforced,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::File, Self::Syntax, Self::Schema, Self::Invalid, Self::Duplicate, Self::PassedOver, Self::NotEnforced];

    /// In lower case, for labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Syntax => "syntax",
            Self::Schema => "schema",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::PassedOver => "passed_over",
            Self::NotEnforced => "not_enforced",
        }
    }
}

/// What podgate did about a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// What was read before it went wrong stays in force.
    LastGoodKept,
    /// A policy without rules stands in for it: the pods it selects, or all of its namespace, are isolated.
    Isolated,
    /// The named field or item is left out, the rest of the object counts.
    ItemLeftOut,
    /// The object, document or file is left out.
    LeftOut,
    /// The object counts as written.
    Used,
    /// A rule of a ClusterNetworkPolicy that is not understood: it accepts nothing.
    RuleMatchesNothing,
    /// A rule of a ClusterNetworkPolicy that is not understood: it denies everything from its place on.
    RuleDeniesAll,
    /// The agent does not enforce the object.
    NotEnforced,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastGoodKept => "the last good version stays in force",
            Self::Isolated => "until it is valid, its pods are isolated and none of its rules count",
            Self::ItemLeftOut => "this item is left out",
            Self::LeftOut => "left out",
            Self::Used => "the rest of the object counts",
            Self::RuleMatchesNothing => "until it is understood, the rule accepts nothing",
            Self::RuleDeniesAll => "until it is understood, the rule denies everything from its place on",
            Self::NotEnforced => "not enforced",
        })
    }
}
