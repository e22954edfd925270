//! What happens to the files of a directory, from the kernel.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, timeout};

use super::list::is_manifest;

/// Files changed together change within this time of each other.
const QUIET: Duration = Duration::from_millis(50);
/// A directory that never comes to rest is read so long after its first change.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What must be read again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// These files.
    Files(BTreeSet<OsString>),
    /// All files.
    All,
    /// All files, and the directory under this name may be another one now.
    Reopen,
}

/// A watch on a directory, and on its name in the directory above.
pub(super) struct DirectoryWatch {
    events: EventStream<[u8; 4096]>,
    own: Option<WatchDescriptor>,
    above: Option<WatchDescriptor>,
    name: OsString,
    pending: Pending,
}

impl DirectoryWatch {
    /// Watches a directory, which need not exist. An error is the kernel's, such as its limit on watches.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let own = existing(inotify.watches().add(directory, own_mask()))?;
        let name = directory.file_name().unwrap_or_default().to_owned();
        let above = match directory.parent() {
            Some(above) if !name.is_empty() => {
                let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                existing(inotify.watches().add(above, above_mask()))?
            }
            _ => None,
        };
        let events = inotify.into_event_stream([0; 4096])?;
        Ok(Self { events, own, above, name, pending: Pending::default() })
    }

    /// Whether the directory was there.
    pub(super) fn is_present(&self) -> bool {
        self.own.is_some()
    }

    /// Files that are being written: what they hold may be half a file.
    pub(super) fn busy(&self) -> &BTreeSet<OsString> {
        &self.pending.written
    }

    /// Waits for a change, then until the directory rests. Nothing is lost if it is cancelled.
    pub(super) async fn next(&mut self) -> io::Result<Signal> {
        loop {
            while !self.pending.is_ready() {
                self.event().await?;
            }
            let latest = Instant::now() + LONGEST_WAIT;
            while Instant::now() < latest {
                match timeout(QUIET, self.event()).await {
                    Ok(event) => event?,
                    Err(_quiet) => break,
                }
            }
            // A file may have been opened for writing again meanwhile.
            if let Some(signal) = self.pending.take() {
                return Ok(signal);
            }
        }
    }

    async fn event(&mut self) -> io::Result<()> {
        let event = self.events.next().await.ok_or_else(|| io::Error::other("the watch ended"))??;
        let name = event.name.as_deref();
        if self.own.as_ref() == Some(&event.wd) || event.mask.contains(EventMask::Q_OVERFLOW) {
            self.pending.note(event.mask, name);
        } else if self.above.as_ref() == Some(&event.wd) && name == Some(&self.name) {
            self.pending.reopen = true;
        }
        Ok(())
    }
}

fn own_mask() -> WatchMask {
    let files = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::MODIFY | WatchMask::CLOSE_WRITE;
    files | WatchMask::ATTRIB | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR
}

fn above_mask() -> WatchMask {
    WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ONLYDIR
}

/// The watch, or none if there is nothing to watch.
fn existing(watch: io::Result<WatchDescriptor>) -> io::Result<Option<WatchDescriptor>> {
    match watch {
        Ok(watch) => Ok(Some(watch)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Changes that wait for the directory to rest.
#[derive(Debug, Default)]
struct Pending {
    files: BTreeSet<OsString>,
    /// Files that were written to and not closed since. Such a file may be half of what it is going to be.
    written: BTreeSet<OsString>,
    all: bool,
    reopen: bool,
}

impl Pending {
    fn note(&mut self, event: EventMask, name: Option<&OsStr>) {
        let any = |masks: EventMask| event.intersects(masks);
        if any(EventMask::Q_OVERFLOW) {
            // The end of a write may be among what was lost.
            self.written.clear();
            self.all = true;
            return;
        }
        match name {
            None if any(EventMask::ATTRIB) => self.all = true,
            None => self.reopen = true,
            // Mounted ConfigMaps change by swapping what this link leads to.
            Some(name) if name == "..data" => self.all = true,
            Some(name) if !is_manifest(name) => {}
            Some(name) if any(EventMask::MODIFY) => drop(self.written.insert(name.to_owned())),
            Some(name) => {
                if !any(EventMask::CREATE | EventMask::ATTRIB) {
                    self.written.remove(name);
                }
                self.files.insert(name.to_owned());
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.reopen || self.all || self.files.difference(&self.written).next().is_some()
    }

    fn take(&mut self) -> Option<Signal> {
        if !self.is_ready() {
            return None;
        }
        let (reopen, all) = (std::mem::take(&mut self.reopen), std::mem::take(&mut self.all));
        // Those being written come again when they are closed.
        let files = std::mem::take(&mut self.files).difference(&self.written).cloned().collect();
        Some(match (reopen, all) {
            (true, _) => Signal::Reopen,
            (_, true) => Signal::All,
            _ => Signal::Files(files),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(events: &[(EventMask, Option<&str>)]) -> Option<Signal> {
        let mut pending = Pending::default();
        for (event, name) in events {
            pending.note(*event, name.map(OsStr::new));
        }
        pending.take()
    }

    fn files(names: &[&str]) -> Option<Signal> {
        Some(Signal::Files(names.iter().map(OsString::from).collect()))
    }

    #[test]
    fn file_is_read_when_its_writer_is_done() {
        let written = [(EventMask::CREATE, Some("a.yaml")), (EventMask::MODIFY, Some("a.yaml"))];
        assert_eq!(after(&written), None);
        let closed = [written[0], written[1], (EventMask::CLOSE_WRITE, Some("a.yaml"))];
        assert_eq!(after(&closed), files(&["a.yaml"]));
    }

    #[test]
    fn file_that_is_moved_away_while_it_is_written_is_looked_at() {
        let events = [(EventMask::MODIFY, Some("a.yaml")), (EventMask::MOVED_FROM, Some("a.yaml"))];
        assert_eq!(after(&events), files(&["a.yaml"]));
    }

    #[test]
    fn links_and_moves_need_no_closing() {
        let events = [
            (EventMask::CREATE, Some("link.yaml")),
            (EventMask::MOVED_TO, Some("b.yml")),
            (EventMask::DELETE, Some("c.json")),
        ];
        assert_eq!(after(&events), files(&["b.yml", "c.json", "link.yaml"]));
    }

    #[test]
    fn other_files_mean_nothing() {
        let events = [
            (EventMask::CREATE, Some("a.txt")),
            (EventMask::CLOSE_WRITE, Some(".a.yaml.swp")),
            (EventMask::CREATE, Some(".#a.yaml")),
        ];
        assert_eq!(after(&events), None);
    }

    #[test]
    fn swap_of_a_mounted_config_map_concerns_all_files() {
        assert_eq!(after(&[(EventMask::MOVED_TO, Some("..data"))]), Some(Signal::All));
    }

    #[test]
    fn lost_events_concern_all_files_even_those_being_written() {
        let mut pending = Pending::default();
        pending.note(EventMask::MODIFY, Some(OsStr::new("a.yaml")));
        pending.note(EventMask::Q_OVERFLOW, None);
        assert_eq!(pending.take(), Some(Signal::All));
        assert!(pending.written.is_empty());
    }

    #[test]
    fn directory_that_goes_is_opened_again() {
        assert_eq!(after(&[(EventMask::CREATE, Some("a.yaml")), (EventMask::DELETE_SELF, None)]), Some(Signal::Reopen));
    }
}
