//! The one layer of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::layout::digest;

/// Where the binary is in the image.
pub(crate) const BINARY: &str = "usr/bin/podgate";
/// The name under which the binary is the CNI plugin.
pub(crate) const PLUGIN: &str = "usr/bin/podgate-cni";
/// Where the bill of materials is in the image, under a name by which scanners know it.
pub(crate) const BILL: &str = "usr/share/podgate/podgate.cdx.json";

/// What is at a path.
pub(crate) enum Item<'a> {
    /// An executable.
    Program(&'a [u8]),
    /// A file to read.
    File(&'a [u8]),
    /// A symbolic link.
    Link(&'a str),
}

/// A layer: an archive of files.
pub(crate) struct Layer {
    /// The archive, compressed.
    pub(crate) compressed: Vec<u8>,
    /// The digest of the archive as it is.
    pub(crate) diff_id: String,
}

impl Layer {
    /// The layer of podgate: its binary under both names, and the bill of materials.
    pub(crate) fn of_podgate(binary: &[u8], bill: &[u8], seconds: u64) -> Result<Self> {
        let items = [(BINARY, Item::Program(binary)), (PLUGIN, Item::Link("podgate")), (BILL, Item::File(bill))];
        Self::new(&BTreeMap::from(items), seconds)
    }

    /// The layer with these items by path, written at this time.
    pub(crate) fn new(items: &BTreeMap<&str, Item<'_>>, seconds: u64) -> Result<Self> {
        let archive = archive(items, seconds).context("make the layer")?;
        let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        encoder.write_all(&archive).context("compress the layer")?;
        let compressed = encoder.finish().context("compress the layer")?;
        Ok(Self { compressed, diff_id: digest(&archive) })
    }
}

fn archive(items: &BTreeMap<&str, Item<'_>>, seconds: u64) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let header = |kind: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_mtime(seconds);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for directory in directories(items.keys().copied()) {
        archive.append_data(&mut header(EntryType::Directory, 0o755, 0), directory, io::empty())?;
    }
    for (path, item) in items {
        match item {
            Item::Program(contents) => {
                archive.append_data(&mut header(EntryType::Regular, 0o755, contents.len()), path, *contents)?;
            }
            Item::File(contents) => {
                archive.append_data(&mut header(EntryType::Regular, 0o644, contents.len()), path, *contents)?;
            }
            Item::Link(to) => archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, to)?,
        }
    }
    archive.into_inner()
}

/// The directories above some paths, outer ones first.
fn directories<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let above = |path: &'a str| path.match_indices('/').map(move |(end, _)| path[..=end].to_owned());
    paths.flat_map(above).collect()
}
