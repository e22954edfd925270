//! Files of Kubernetes YAML or JSON as a source.
//!
//! As `kubectl apply -f DIRECTORY` does, a directory's own `*.yaml`, `*.yml` and `*.json` files are read, not those of
//! directories in it; hidden files are passed over. A file may hold several documents and `List`s. YAML and JSON mean what they
//! mean to kubectl. Kinds that podgate doesn't read and documents that are null are skipped; fields that it doesn't know are
//! reported and passed over. Not in a NetworkPolicy: there unknown fields and repeated keys are refused, since a rule with
//! `form:` instead of `from:` would be open to everyone. A ClusterNetworkPolicy is reported where the agent
//! is not to enforce it.
//!
//! **What is broken keeps its last good version**, each object for itself. An invalid NetworkPolicy stays in force as it was
//! last read; where it never was, a policy without rules stands in for it if its namespace can be read. Where a file or a
//! document can't be read at all, every object that was in the file and is missing now stays as it was. The others change.
//! A pod's or another object's bad item alone (an address, a port) is left out.

mod directory;
mod document;
mod file;
mod folder;
mod foreign;
mod json;
mod list;
mod merge;
mod open;
mod scalar;
mod split;
mod stream;
mod template;
mod tree;
mod values;
mod watch;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use podgate_policy::cluster::{Cluster, Written};
use podgate_policy::model::{Direction, Pod};

pub use self::directory::spawn;
use self::file::{Content, Item, Reader, ToBe};
pub use self::foreign::ForeignPolicies;
pub use self::values::{Document, values};
use crate::convert::Strings;
use crate::object::{Change, ObjectRef};
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// What a set of files holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The objects. For an invalid NetworkPolicy: the policy without rules that stands in for it.
    pub cluster: Cluster,
    /// Everything that is wrong, sorted by origin.
    pub problems: Vec<Problem>,
    /// Where each object is written. Namespaces that exist only because objects are in them are not among these.
    pub places: BTreeMap<ObjectRef, Definition>,
    /// The line on which the content of each YAML document begins, by file and document; both counted from 1.
    pub lines: BTreeMap<(Arc<Path>, usize), u64>,
    /// What is written beside what the objects hold, for `podgate check`.
    pub written: Written,
    /// Policies of other kinds, by kind.
    pub foreign: Vec<ForeignPolicies>,
}

/// Where an object is written, and what is written there that the object itself does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The file.
    pub path: Arc<Path>,
    /// The document in it, counted from 1.
    pub document: usize,
    /// Whether the object is what is written: no policy that stands in for an invalid one, and nothing left out.
    pub sound: bool,
    /// Directions in which a policy has rules that its `policyTypes` makes ineffective.
    pub ineffective: Vec<Direction>,
}

/// Reads files and directories, each file once, and what comes through pipes; `-` is standard input. The pods that
/// workloads are to make are among the objects, unless there are pods of theirs. Blocking; for the command line.
#[must_use]
pub fn load(paths: &[PathBuf]) -> Loaded {
    let mut strings = Strings::default();
    let mut problems = vec![];
    let mut seen = BTreeSet::new();
    let mut contents = vec![];
    for path in paths.iter().flat_map(|path| files(path, &mut problems)) {
        if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue;
        }
        // What is in a directory is no pipe that somebody meant.
        let bytes = if paths.contains(&path) { stream::bytes(&path) } else { None };
        let name = if path == Path::new(stream::STANDARD_INPUT) { PathBuf::from("standard input") } else { path };
        let content = match bytes {
            Some(bytes) => Some(file::of_bytes(&name, bytes, Reader::Judges, &mut strings)),
            None => file::read(&name, Reader::Judges, &mut strings),
        };
        contents.extend(content.map(|content| (name, content)));
    }
    Loaded::new(contents, problems)
}

/// Reads a text as if it were the file of this name.
#[must_use]
pub fn parse(name: &Path, text: &str) -> Loaded {
    parse_all([(name, text)])
}

/// Reads texts as if they were files of these names.
pub(crate) fn parse_all<'a>(texts: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Loaded {
    let mut strings = Strings::default();
    let content =
        |(name, text): (&'a Path, &str)| (name.to_owned(), file::parse(name, text, Reader::Judges, &mut strings));
    Loaded::new(texts.into_iter().map(content).collect(), vec![])
}

/// The files that a path of the command line names.
fn files(path: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut problem = |message: String| {
        let (origin, kind) = (Origin::file(path), ProblemKind::File);
        problems.push(Problem { origin, object: None, field: None, kind, message, effect: Effect::LeftOut });
    };
    match list::names(path) {
        Ok(names) => {
            if names.is_empty() {
                problem("no manifests in this directory: expected files named *.yaml, *.yml or *.json".to_owned());
            }
            names.into_iter().map(|name| path.join(name)).collect()
        }
        Err(error) => {
            problem(format!("can't be listed: {error}"));
            vec![]
        }
    }
}

impl Loaded {
    /// The same where no files are: objects of the Kubernetes API.
    pub(crate) fn without_places(mut self) -> Self {
        self.places.clear();
        self.lines.clear();
        // A server newer than podgate has fields that podgate doesn't know, in every object.
        self.problems.retain(|problem| !problem.is_passed_over());
        self.problems.iter_mut().for_each(|problem| problem.origin = Origin::Api);
        self
    }

    fn new(contents: Vec<(PathBuf, Content)>, mut problems: Vec<Problem>) -> Self {
        let items = contents.iter().map(|(path, content)| (path.as_path(), content.items.as_slice()));
        let (objects, duplicates) = merge::merge(items);
        let (mut places, mut lines) = (BTreeMap::new(), BTreeMap::new());
        for (path, content) in &contents {
            lines.extend(content.lines.iter().map(|(&document, &line)| ((path.as_path().into(), document), line)));
            for item in &content.items {
                places.entry(item.object.reference()).or_insert_with(|| item.place(path));
            }
        }
        problems.extend(duplicates);
        let foreign = contents.iter().flat_map(|(path, content)| {
            content.foreign.iter().map(move |(document, policy)| (path.as_path(), *document, policy.clone()))
        });
        let foreign = foreign::by_kind(foreign);
        let mut written = written(&places);
        for item in contents.iter().flat_map(|(_, content)| &content.items) {
            add_aside(&mut written, item);
        }
        let mut workloads = vec![];
        for (path, content) in contents {
            problems.extend(content.problems);
            workloads.extend(content.workloads.into_iter().map(|to_be| (path.clone(), to_be)));
        }
        problems.sort();
        let mut loaded = Self { problems, places, lines, written, foreign, ..Self::default() };
        for object in objects.into_values() {
            Change::Apply(object).apply_to(&mut loaded.cluster);
        }
        loaded.add_pods_to_be(&workloads);
        loaded
    }

    /// Adds the pods of workloads that have none yet.
    fn add_pods_to_be(&mut self, workloads: &[(PathBuf, ToBe)]) {
        let to_be = workloads.iter().map(|(_, it)| (Pod::clone(&it.pod), it.workload.clone(), it.pods));
        let added = template::add(&mut self.cluster, to_be);
        for key in added.iter().flatten() {
            let namespaces = &mut self.cluster.namespaces;
            namespaces.entry(key.namespace.clone()).or_insert_with(|| merge::implied(&key.namespace).into());
        }
        for ((path, it), keys) in workloads.iter().zip(added) {
            let place = || Definition {
                path: path.as_path().into(),
                document: it.document,
                sound: it.sound,
                ineffective: vec![],
            };
            self.places.extend(keys.into_iter().map(|key| (ObjectRef::Pod(key), place())));
        }
    }
}

/// Adds what is written beside an object. Of several with one name the first counts.
fn add_aside(written: &mut Written, item: &Item) {
    match item.object.reference() {
        ObjectRef::Policy(key) => {
            if item.aside.empty {
                written.empty.insert(key.clone());
            }
            if let Some(text) = &item.aside.ignored {
                written.ignored.entry(key).or_insert_with(|| text.clone());
            }
        }
        ObjectRef::ClusterPolicy(name) => {
            let unscoped = item.aside.unscoped.iter();
            written.unscoped.extend(unscoped.map(|&(direction, rule, peer)| (name.clone(), direction, rule, peer)));
            if let Some(text) = &item.aside.ignored {
                written.ignored_cluster.entry(name).or_insert_with(|| text.clone());
            }
        }
        ObjectRef::Service(key) if item.aside.exposed => {
            written.exposed.insert(key);
        }
        ObjectRef::Service(_)
        | ObjectRef::Namespace(_)
        | ObjectRef::Node(_)
        | ObjectRef::Pod(_)
        | ObjectRef::EndpointSlice(_) => {}
    }
}

fn written(places: &BTreeMap<ObjectRef, Definition>) -> Written {
    let mut written = Written::default();
    for (reference, place) in places {
        match reference {
            ObjectRef::Policy(key) => {
                if !place.sound {
                    written.unsound.insert(key.clone());
                }
                written.ineffective.extend(place.ineffective.iter().map(|&direction| (key.clone(), direction)));
            }
            ObjectRef::ClusterPolicy(name) => {
                if !place.sound {
                    written.unsound_cluster.insert(name.clone());
                }
            }
            ObjectRef::Namespace(_) => written.namespaces = true,
            ObjectRef::Node(_) | ObjectRef::Pod(_) | ObjectRef::Service(_) | ObjectRef::EndpointSlice(_) => {}
        }
    }
    written
}
