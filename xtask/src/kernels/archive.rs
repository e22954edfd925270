//! Writing an initramfs: a cpio archive of the kind "newc", as the kernel's Documentation/driver-api/early-userspace says.

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const END: &str = "TRAILER!!!";

/// An archive in memory.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory and those above it, unless they are there.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        for above in Path::new(path).ancestors().collect::<Vec<_>>().into_iter().rev() {
            self.entry(&above.to_string_lossy(), DIRECTORY, (0, 0), &[]);
        }
    }

    /// Adds a file, executable, unless there is one of this name.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some(parent) = Path::new(path).parent() {
            self.directory(&parent.to_string_lossy());
        }
        self.entry(path, EXECUTABLE, (0, 0), contents);
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path.trim_start_matches('/'), CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.write(END, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        if !name.is_empty() && self.names.insert(name.to_owned()) {
            self.write(name, mode, device, contents);
        }
    }

    fn write(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        let inode = self.names.len();
        let (size, name_size) = (contents.len(), name.len() + 1);
        let (major, minor) = device;
        let header = format!(
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}",
            0, 0, 1, 0, 0, 0, 0
        );
        self.bytes.extend(header.bytes().chain(name.bytes()).chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_lists_each_directory_once_before_what_is_in_it() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/a", b"abcde");
        archive.file("/usr/bin/b", b"");
        archive.device("/dev/console", 5, 1);
        let text = String::from_utf8(archive.finish()).unwrap();
        let names: Vec<&str> = text.split("070701").skip(1).map(|entry| &entry[104..]).collect();
        let expected = [
            "usr\0\0\0",
            "usr/bin\0\0\0",
            "usr/bin/a\0abcde\0\0\0",
            "usr/bin/b\0",
            "dev/console\0\0\0",
            "TRAILER!!!\0\0\0\0",
        ];
        let trimmed = |text: &&str| text.trim_end_matches('\0').to_owned();
        assert_eq!(names.iter().map(trimmed).collect::<Vec<_>>(), expected.iter().map(trimmed).collect::<Vec<_>>());
        assert_eq!(text.len() % 4, 0);
    }
}
