//! What one file holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use podgate_policy::model::{Pod, Workload};

use super::document::{Found, NoObject, objects};
use super::foreign::ForeignPolicy;
use super::open::{self, Unreadable};
use super::template::Template;
use super::tree::Tree;
use super::{Definition, json, split, yaml};
use crate::cluster_policies::{ClusterPolicies, close_what_the_agent_cannot_judge};
use crate::convert::{self, Aside, Converted, Issue, Outcome, Strings};
use crate::object::{Kind, Object};
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// So many objects of one file are read.
const MAX_OBJECTS: usize = 200_000;
/// So many problems of one file are named; one more says that there are others.
const MAX_PROBLEMS: usize = 1000;
/// The same for what is passed over: a field newer than podgate is in every object of its kind.
const MAX_PASSED_OVER: usize = 100;

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Its objects in order, with those that stand in for broken ones.
    pub(super) items: Vec<Item>,
    /// Its workloads, with the pods that they are to make.
    pub(super) workloads: Vec<ToBe>,
    /// Its policies of other kinds, with their documents.
    pub(super) foreign: Vec<(usize, ForeignPolicy)>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// Whether part of it could not be read, so that an object that is missing may have been in that part.
    pub(super) incomplete: bool,
    /// The line on which the content of each YAML document begins, by its number; both counted from 1.
    pub(super) lines: BTreeMap<usize, u64>,
    /// How many objects there were, of whatever kind and condition.
    objects: usize,
}

impl Content {
    /// Whether there was nothing in the file but comments.
    pub(super) fn is_empty(&self) -> bool {
        !self.incomplete && self.objects == 0
    }
}

/// A workload, and the pods that it is to make.
#[derive(Debug)]
pub(super) struct ToBe {
    /// The document, counted from 1.
    pub(super) document: usize,
    /// One of the pods.
    pub(super) pod: Arc<Pod>,
    /// The workload.
    pub(super) workload: Workload,
    /// How many pods there are to be.
    pub(super) pods: u64,
    /// Whether they are what was written.
    pub(super) sound: bool,
}

/// Whom a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Whoever judges policies: the pods of workloads are among the objects, as if they were there.
    Judges,
    /// The agent, which enforces: workloads are passed over, as anything that is no pod, and policies that it does not
    /// enforce are reported.
    Agent(ClusterPolicies),
}

/// Where reading a document began, to go back to if it can't be read to its end.
#[derive(Clone, Copy)]
struct Mark {
    items: usize,
    workloads: usize,
    foreign: usize,
    problems: usize,
    objects: usize,
    surplus: usize,
    passed_over: usize,
}

/// One object and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The document, counted from 1.
    pub(super) document: usize,
    /// The object.
    pub(super) object: Object,
    /// Whether it stands in for one that can't be read as its author meant it.
    pub(super) stand_in: bool,
    /// Whether it is what was written: no stand-in, and nothing of it left out.
    pub(super) sound: bool,
    /// What is written beside it.
    pub(super) aside: Aside,
}

impl Item {
    pub(super) fn place(&self, path: &Path) -> Definition {
        let Self { document, sound, ref aside, .. } = *self;
        Definition { path: path.into(), document, sound, ineffective: aside.ineffective.clone() }
    }
}

/// Reads what came otherwise than from a file.
pub(super) fn of_bytes(path: &Path, bytes: Result<Vec<u8>, String>, reader: Reader, strings: &mut Strings) -> Content {
    match bytes.and_then(decode) {
        Ok(text) => parse(path, &text, reader, strings),
        Err(message) => unreadable(path, message),
    }
}

fn unreadable(path: &Path, message: String) -> Content {
    Content { problems: vec![whole_file(path, message)], incomplete: true, ..Content::default() }
}

/// Reads a file; `None`: it is a directory.
pub(super) fn read(path: &Path, reader: Reader, strings: &mut Strings) -> Option<Content> {
    Some(match text(path) {
        Ok(text) => parse(path, &text, reader, strings),
        Err(Unreadable::Directory) => return None,
        Err(Unreadable::Because(message)) => unreadable(path, message),
    })
}

/// Reads the text of a file.
pub(super) fn parse(path: &Path, text: &str, reader: Reader, strings: &mut Strings) -> Content {
    let content = Content::default();
    let mut parser =
        Parser { path, reader, strings, content, documents: 0, surplus: 0, passed_over: 0, is_full: false };
    parser.read(text);
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
    reader: Reader,
    strings: &'a mut Strings,
    content: Content,
    /// The number of documents so far.
    documents: usize,
    /// Problems that are only counted.
    surplus: usize,
    /// How many times something was passed over.
    passed_over: usize,
    /// Whether there were more objects than are read.
    is_full: bool,
}

impl Parser<'_> {
    /// Reads the documents as kubectl does: whatever the file is called, JSON where a document begins with a brace and can be
    /// read so, YAML otherwise.
    fn read(&mut self, text: &str) {
        for document in split::documents(text) {
            if !self.has_room() {
                break;
            }
            let line = document.first_line();
            let wrong_json = match document.text_as_json() {
                Some((text, lines_before)) => match self.json(text, lines_before, line) {
                    Ok(()) => continue,
                    Err(wrong) => Some(wrong),
                },
                None => None,
            };
            let number = self.next_document(line);
            let mark = self.mark();
            let tree = yaml::read(document.text, document.lines_before, Some(&mut |tree| self.objects(number, tree)));
            let tree = tree.map_err(|wrong| wrong_json.filter(|_| self.is_json()).unwrap_or(wrong));
            self.document(number, mark, tree);
        }
    }

    /// Reads documents of JSON, one behind the other; an error if not even the first is one.
    fn json(&mut self, text: &str, lines_before: u64, line: u64) -> Result<(), String> {
        let mut values = json::Values::new(text, lines_before);
        let mut number = None;
        while self.has_room() {
            let mark = self.mark();
            let next = number.map_or(self.documents + 1, |number: usize| number + 1);
            let Some(tree) = values.next(Some(&mut |tree| self.objects(next, tree))) else { break };
            match (tree, number) {
                (Err(wrong), None) => {
                    self.go_back(mark);
                    return Err(wrong);
                }
                (tree, number_before) => {
                    let is_read = tree.is_ok();
                    self.documents = next;
                    if number_before.is_none() {
                        self.content.lines.insert(next, line);
                    }
                    self.document(next, mark, tree);
                    number = Some(next);
                    if !is_read {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_json(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "json")
    }

    fn next_document(&mut self, line: u64) -> usize {
        self.documents += 1;
        self.content.lines.insert(self.documents, line);
        self.documents
    }

    fn has_room(&mut self) -> bool {
        let room = self.content.objects < MAX_OBJECTS;
        if !room && !self.is_full {
            (self.is_full, self.content.incomplete) = (true, true);
            self.problem(whole_file(self.path, format!("more than {MAX_OBJECTS} objects: expected smaller files")));
        }
        room
    }

    fn mark(&self) -> Mark {
        Mark {
            items: self.content.items.len(),
            workloads: self.content.workloads.len(),
            foreign: self.content.foreign.len(),
            problems: self.content.problems.len(),
            objects: self.content.objects,
            surplus: self.surplus,
            passed_over: self.passed_over,
        }
    }

    /// Forgets what a document has given so far.
    fn go_back(&mut self, mark: Mark) {
        self.content.items.truncate(mark.items);
        self.content.workloads.truncate(mark.workloads);
        self.content.foreign.truncate(mark.foreign);
        self.content.problems.truncate(mark.problems);
        (self.content.objects, self.surplus, self.passed_over) = (mark.objects, mark.surplus, mark.passed_over);
    }

    fn document(&mut self, number: usize, mark: Mark, tree: Result<Tree, String>) {
        match tree {
            Ok(tree) => self.objects(number, tree),
            Err(message) => {
                self.go_back(mark);
                self.no_object(number, NoObject { field: None, kind: ProblemKind::Syntax, message, doubtful: true });
            }
        }
    }

    fn objects(&mut self, number: usize, tree: Tree) {
        for found in objects(tree) {
            self.content.objects += 1;
            match found {
                Found::Known(Kind::ClusterNetworkPolicy, tree)
                    if let Reader::Agent(setting) = self.reader
                        && !setting.are_enforced() =>
                {
                    self.not_enforced(number, &tree);
                }
                Found::Known(kind, tree) => {
                    let unnamed = format!("(unnamed object {} of {})", self.content.objects, self.path.display());
                    let mut converted =
                        convert::object(kind, tree.raw(), convert::Origin::File, &unnamed, self.strings);
                    if let Reader::Agent(_) = self.reader {
                        close_what_the_agent_cannot_judge(&mut converted);
                    }
                    self.object(number, converted, convert::aside(kind, &tree.value));
                }
                Found::Workload(template) if self.reader == Reader::Judges => self.workload(number, &template),
                Found::Workload(_) => {}
                Found::Policy(policy) => self.content.foreign.push((number, policy)),
                Found::Foreign(name) => {
                    tracing::debug!(path = %self.path.display(), document = number, name, "kind that podgate does not read");
                }
                Found::NoObject(wrong) => self.no_object(number, wrong),
            }
        }
    }

    /// Reports a ClusterNetworkPolicy to an agent that is not to enforce it.
    fn not_enforced(&mut self, document: usize, tree: &Tree) {
        let unnamed = format!("(unnamed object {} of {})", self.content.objects, self.path.display());
        let object = convert::describe(Kind::ClusterNetworkPolicy, &tree.value, convert::Origin::File, &unnamed);
        let problem = ClusterPolicies::not_enforced(self.origin(document), object);
        self.problem(problem);
    }

    fn workload(&mut self, document: usize, template: &Template) {
        let unnamed = format!("(unnamed object {} of {})", self.content.objects, self.path.display());
        let raw = template.pod.raw();
        let Converted { name, outcome, issues } =
            convert::object(Kind::Pod, raw, convert::Origin::File, &unnamed, self.strings);
        let sound = issues.iter().all(|issue| issue.kind == ProblemKind::PassedOver);
        if let Outcome::Good(Object::Pod(pod)) | Outcome::StandIn(Object::Pod(pod)) = outcome {
            let workload = Workload { kind: self.strings.share(template.kind), name: pod.key.name.clone() };
            self.content.workloads.push(ToBe { document, pod, workload, pods: template.pods, sound });
        }
        let name = name.replacen(Kind::Pod.as_str(), template.kind, 1);
        for Issue { field, kind, message, effect } in issues {
            let field = field.map(|field| template.field(&field));
            let origin = self.origin(document);
            self.problem(Problem { origin, object: Some(name.clone()), field, kind, message, effect });
        }
    }

    fn no_object(&mut self, document: usize, wrong: NoObject) {
        let NoObject { field, kind, message, doubtful } = wrong;
        self.content.incomplete |= doubtful;
        let origin = self.origin(document);
        self.problem(Problem { origin, object: None, field, kind, message, effect: Effect::LeftOut });
    }

    fn object(&mut self, document: usize, converted: Converted, aside: Aside) {
        let Converted { name, outcome, issues } = converted;
        let sound = issues.iter().all(|issue| issue.kind == ProblemKind::PassedOver);
        match outcome {
            Outcome::Good(object) => {
                self.content.items.push(Item { document, object, stand_in: false, sound, aside });
            }
            Outcome::StandIn(object) => {
                // Which object is meant is not known then.
                self.content.incomplete |= issues.iter().any(|issue| is_of_its_name(issue.field.as_deref()));
                self.content.items.push(Item { document, object, stand_in: true, sound: false, aside });
            }
            Outcome::Nothing => self.content.incomplete = true,
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
        if problem.is_passed_over() {
            self.passed_over += 1;
            if self.passed_over <= MAX_PASSED_OVER {
                self.content.problems.push(problem);
            }
        } else if self.content.problems.len() < MAX_PROBLEMS + MAX_PASSED_OVER.min(self.passed_over) {
            self.content.problems.push(problem);
        } else {
            self.surplus += 1;
        }
    }

    fn finish(mut self) -> Content {
        if self.surplus > 0 {
            self.content.problems.push(whole_file(self.path, format!("{} more problems", self.surplus)));
        }
        if self.passed_over > MAX_PASSED_OVER {
            let message = format!("{} more times something is passed over", self.passed_over - MAX_PASSED_OVER);
            let problem = whole_file(self.path, message);
            self.content.problems.push(Problem { kind: ProblemKind::PassedOver, effect: Effect::Used, ..problem });
        }
        self.content
    }
}

/// Whether a field is one of those that say which object this is.
fn is_of_its_name(field: Option<&str>) -> bool {
    matches!(field, None | Some("apiVersion" | "kind" | "metadata" | "metadata.name" | "metadata.namespace"))
}
