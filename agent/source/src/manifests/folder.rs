//! The files of a directory: the last good version of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, Content, Item, Reader};
use super::{list, merge};
use crate::cluster_policies::ClusterPolicies;
use crate::convert::Strings;
use crate::object::{Object, ObjectRef};
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// The files of a directory. Methods that read block.
#[derive(Debug)]
pub(super) struct Folder {
    directory: PathBuf,
    reader: Reader,
    files: BTreeMap<OsString, Version>,
    strings: Strings,
    /// Problems met since they were last taken.
    met: Vec<Problem>,
}

/// What is in force of a file.
#[derive(Debug)]
struct Version {
    path: PathBuf,
    /// The last good version of each object.
    items: Vec<Item>,
    /// What is wrong with the file now.
    problems: Vec<Problem>,
}

impl Folder {
    pub(super) fn new(directory: PathBuf, cluster_policies: ClusterPolicies) -> Self {
        Self {
            directory,
            reader: Reader::Agent(cluster_policies),
            files: BTreeMap::new(),
            strings: Strings::default(),
            met: vec![],
        }
    }

    /// Reads every file that is there and forgets those that are gone, except the ones that are being written.
    pub(super) fn read_all(&mut self, busy: &BTreeSet<OsString>) -> io::Result<()> {
        let mut names: BTreeSet<_> = list::names(&self.directory)?.into_iter().collect();
        names.extend(self.files.keys().cloned());
        for name in names.difference(busy) {
            self.read(name);
        }
        Ok(())
    }

    /// Reads one file, or forgets it if it is gone.
    pub(super) fn read(&mut self, name: &OsStr) {
        let path = self.directory.join(name);
        // A link that leads nowhere is a broken file: mounts swap what links lead to before they remove a link.
        let content =
            path.symlink_metadata().is_ok().then(|| file::read(&path, self.reader, &mut self.strings)).flatten();
        match content {
            Some(content) => self.take(name, path, content),
            None => drop(self.files.remove(name)),
        }
    }

    fn take(&mut self, name: &OsStr, path: PathBuf, mut content: Content) {
        let known = self.files.remove(name).map(|version| version.items).unwrap_or_default();
        if content.is_empty() && !known.is_empty() {
            content.incomplete = true;
            content.problems.push(emptied(&path));
        }
        let items = last_good(known, &mut content);
        self.met.extend_from_slice(&content.problems);
        self.files.insert(name.to_owned(), Version { path, items, problems: content.problems });
    }

    /// The objects in force, and everything that is wrong now, sorted.
    pub(super) fn state(&mut self) -> (BTreeMap<ObjectRef, Object>, Vec<Problem>) {
        let files = self.files.values().map(|version| (version.path.as_path(), version.items.as_slice()));
        let (objects, mut problems) = merge::merge(files);
        problems.extend(self.files.values().flat_map(|version| &version.problems).cloned());
        problems.sort();
        (objects, problems)
    }

    /// The problems met since the last call.
    pub(super) fn take_met(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.met)
    }
}

/// The objects of a file's new content, with what was known before of those that it can't tell: an object that is broken now
/// keeps its last good version, and where something can't be read at all, so does every object that is missing.
///
/// Each object for itself, as `kubectl apply` would change a cluster: a document that is broken keeps no other from being
/// read.
fn last_good(known: Vec<Item>, content: &mut Content) -> Vec<Item> {
    let now: BTreeMap<_, _> = content.items.iter().map(|item| (item.object.reference(), item.stand_in)).collect();
    let is_kept = |item: &Item| match now.get(&item.object.reference()) {
        Some(stand_in) => *stand_in && !item.stand_in,
        None => content.incomplete,
    };
    let kept: Vec<_> = known.into_iter().filter(is_kept).collect();
    let references: BTreeSet<_> = kept.iter().map(|item| item.object.reference()).collect();
    let names: BTreeSet<_> = references.iter().map(ToString::to_string).collect();
    let mut items = std::mem::take(&mut content.items);
    items.retain(|item| !references.contains(&item.object.reference()));
    items.extend(kept);
    for problem in &mut content.problems {
        let is_kept = match &problem.object {
            Some(object) => names.contains(object),
            None => content.incomplete && !references.is_empty(),
        };
        if is_kept && !problem.is_passed_over() {
            problem.effect = Effect::LastGoodKept;
        }
    }
    items
}

/// A file that loses all its text was cut off more likely than meant so.
fn emptied(path: &Path) -> Problem {
    Problem {
        origin: Origin::file(path),
        object: None,
        field: None,
        kind: ProblemKind::File,
        message: "empty: expected its objects; remove the file to remove them".to_owned(),
        effect: Effect::LastGoodKept,
    }
}
