//! What one file holds.

use std::collections::BTreeMap;
use std::path::Path;

use super::document::{Found, objects};
use podgate_policy::model::Direction;

use super::open::{self, Unreadable};
use super::tree::Tree;
use super::{Place, split, yaml};
use crate::convert::{self, Converted, Issue, Outcome, Strings};
use crate::object::Object;
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// So many objects of one file are read.
const MAX_OBJECTS: usize = 50_000;
/// So many problems of one file are named; one more says that there are others.
const MAX_PROBLEMS: usize = 1000;

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Its objects in order, with those that stand in for broken ones.
    pub(super) items: Vec<Item>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// Whether an earlier version without this flaw is to be preferred.
    pub(super) broken: bool,
    /// The line on which the content of each YAML document begins, by its number; both counted from 1.
    pub(super) lines: BTreeMap<usize, u64>,
    /// How many objects there were, of whatever kind and condition.
    objects: usize,
}

impl Content {
    /// Whether there was nothing in the file but comments.
    pub(super) fn is_empty(&self) -> bool {
        !self.broken && self.objects == 0
    }
}

/// One object and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The document, counted from 1.
    pub(super) document: usize,
    /// The object.
    pub(super) object: Object,
    /// Whether it is what was written: no stand-in, and nothing of it left out.
    pub(super) sound: bool,
    /// Directions in which the object is a policy with rules, but which its `policyTypes` leaves out.
    pub(super) ineffective: Vec<Direction>,
}

impl Item {
    pub(super) fn place(&self, path: &Path) -> Place {
        let Self { document, sound, ref ineffective, .. } = *self;
        Place { path: path.into(), document, sound, ineffective: ineffective.clone() }
    }
}

/// Reads a file; `None`: it is a directory.
pub(super) fn read(path: &Path, strings: &mut Strings) -> Option<Content> {
    Some(match text(path) {
        Ok(text) => parse(path, &text, strings),
        Err(Unreadable::Directory) => return None,
        Err(Unreadable::Because(message)) => {
            Content { problems: vec![whole_file(path, message)], broken: true, ..Content::default() }
        }
    })
}

/// Reads the text of a file.
pub(super) fn parse(path: &Path, text: &str, strings: &mut Strings) -> Content {
    let mut parser = Parser { path, strings, content: Content::default(), surplus: 0 };
    if path.extension().is_some_and(|extension| extension == "json") {
        parser.json(text);
    } else {
        parser.yaml(text);
    }
    parser.finish()
}

fn whole_file(path: &Path, message: String) -> Problem {
    let origin = Origin::file(path);
    Problem { origin, object: None, field: None, kind: ProblemKind::File, message, effect: Effect::LeftOut }
}

/// The text of a file, or why there is none.
pub(super) fn text(path: &Path) -> Result<String, Unreadable> {
    open::bytes(path).and_then(|bytes| decode(bytes).map_err(Unreadable::Because))
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.contains(&0) {
        return Err("binary or UTF-16: expected YAML or JSON in UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("not UTF-8 from byte {} on: expected YAML or JSON in UTF-8", error.utf8_error().valid_up_to())
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

struct Parser<'a> {
    path: &'a Path,
    strings: &'a mut Strings,
    content: Content,
    surplus: usize,
}

impl Parser<'_> {
    fn yaml(&mut self, text: &str) {
        for (number, document) in (1..).zip(split::documents(text)) {
            if !self.has_room() {
                break;
            }
            self.content.lines.insert(number, document.first_line());
            self.document(number, yaml::read(document.text, document.lines_before));
        }
    }

    fn json(&mut self, text: &str) {
        for (number, tree) in (1..).zip(serde_json::Deserializer::from_str(text).into_iter()) {
            if !self.has_room() {
                break;
            }
            self.document(number, tree.map_err(|error| error.to_string()));
        }
    }

    fn has_room(&mut self) -> bool {
        let room = self.content.objects < MAX_OBJECTS;
        if !room {
            self.content.broken = true;
            self.problem(whole_file(self.path, format!("more than {MAX_OBJECTS} objects: expected smaller files")));
        }
        room
    }

    fn document(&mut self, number: usize, tree: Result<Tree, String>) {
        let tree = match tree {
            Ok(tree) => tree,
            Err(message) => return self.no_object(number, None, ProblemKind::Syntax, message),
        };
        for found in objects(tree) {
            self.content.objects += 1;
            match found {
                Found::Known(kind, tree) => {
                    let unnamed = format!("(unnamed object {} of {})", self.content.objects, self.path.display());
                    let converted = convert::object(kind, tree.raw(), convert::Origin::File, &unnamed, self.strings);
                    let ineffective = convert::ineffective_rules(kind, &tree.value);
                    self.object(number, converted, ineffective);
                }
                Found::Foreign(name) => {
                    tracing::debug!(path = %self.path.display(), document = number, name, "kind that podgate does not read");
                }
                Found::NoObject(field, kind, message) => self.no_object(number, field, kind, message),
            }
        }
    }

    fn no_object(&mut self, document: usize, field: Option<String>, kind: ProblemKind, message: String) {
        self.content.broken = true;
        let origin = self.origin(document);
        self.problem(Problem { origin, object: None, field, kind, message, effect: Effect::LeftOut });
    }

    fn object(&mut self, document: usize, converted: Converted, ineffective: Vec<Direction>) {
        let Converted { name, outcome, issues } = converted;
        self.content.broken |= !matches!(outcome, Outcome::Good(_));
        if let Outcome::Good(object) | Outcome::StandIn(object) = outcome {
            self.content.items.push(Item { document, object, sound: issues.is_empty(), ineffective });
        }
        for Issue { field, kind, message, effect } in issues {
            let origin = self.origin(document);
            self.problem(Problem { origin, object: Some(name.clone()), field, kind, message, effect });
        }
    }

    fn origin(&self, document: usize) -> Origin {
        Origin::File { path: self.path.into(), document: Some(document) }
    }

    fn problem(&mut self, problem: Problem) {
        if self.content.problems.len() < MAX_PROBLEMS {
            self.content.problems.push(problem);
        } else {
            self.surplus += 1;
        }
    }

    fn finish(mut self) -> Content {
        if self.surplus > 0 {
            self.content.problems.push(whole_file(self.path, format!("{} more problems", self.surplus)));
        }
        self.content
    }
}
