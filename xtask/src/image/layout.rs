//! The OCI image layout: blobs by digest, and an index that leads to them (opencontainers/image-spec, version 1.1).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use xshell::cmd;

use super::Platform;
use crate::workspace::shell;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image's labels say.
pub(crate) struct About {
    /// The name without the tag.
    pub(crate) name: String,
    /// The program, by its path.
    pub(crate) entrypoint: &'static str,
    /// The version, which is also the tag.
    pub(crate) version: String,
    /// The commit.
    pub(crate) revision: String,
    /// When the commit was made, in the form of RFC 3339.
    pub(crate) created: String,
    /// The same in seconds since 1970.
    pub(crate) seconds: u64,
}

impl About {
    /// What the checkout says.
    pub(crate) fn of_checkout(name: &str, entrypoint: &'static str) -> Result<Self> {
        let shell = shell()?;
        let log =
            |format: &str| cmd!(shell, "git log -1 --format={format}").quiet().read().context("ask git for the commit");
        let changed = !cmd!(shell, "git status --porcelain").quiet().read().context("ask git for changes")?.is_empty();
        Ok(Self {
            name: name.to_owned(),
            entrypoint,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: log("%H")? + if changed { "-changed" } else { "" },
            created: log("%cI")?,
            seconds: log("%ct")?.parse().context("git tells the commit's time as a number")?,
        })
    }

    /// The labels, whose names the image specification gives.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            ("title", self.name.rsplit('/').next().unwrap_or_default()),
            ("version", &self.version),
            ("revision", &self.revision),
            ("created", &self.created),
            ("licenses", env!("CARGO_PKG_LICENSE")),
            ("source", env!("CARGO_PKG_REPOSITORY")),
        ];
        labels.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned())).into()
    }

    /// The name with the tag.
    pub(crate) fn reference(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }
}

/// The digest of a blob.
pub(crate) fn digest(blob: &[u8]) -> String {
    let hash = Sha256::digest(blob);
    let hexadecimal: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hexadecimal}")
}

/// Everything in the layout, by path.
pub(crate) struct Layout {
    files: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// The layout of an image for these platforms.
    pub(crate) fn new(about: &About, platforms: &[Platform]) -> Result<Self> {
        let mut layout = Self { files: BTreeMap::new() };
        let manifests: Vec<Value> =
            platforms.iter().map(|platform| layout.platform(about, platform)).collect::<Result<_>>()?;
        let image = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": about.labels(),
        });
        let mut image = layout.object(INDEX, &image)?;
        // By the first, containerd names what it imports; by the second, others do.
        image["annotations"] = json!({
            "io.containerd.image.name": about.reference(),
            "org.opencontainers.image.ref.name": about.version,
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image] });
        layout.files.insert("index.json".to_owned(), serde_json::to_vec(&index)?);
        let marker = json!({ "imageLayoutVersion": "1.0.0" });
        layout.files.insert("oci-layout".to_owned(), serde_json::to_vec(&marker)?);
        Ok(layout)
    }

    fn platform(&mut self, about: &About, platform: &Platform) -> Result<Value> {
        let layer = self.blob(LAYER, platform.layer.compressed.clone());
        let config = json!({
            "created": about.created,
            "architecture": platform.arch.oci(),
            "os": "linux",
            "config": { "Entrypoint": [about.entrypoint], "WorkingDir": "/", "Labels": about.labels() },
            "rootfs": { "type": "layers", "diff_ids": [platform.layer.diff_id] },
            "history": [{ "created": about.created, "created_by": "cargo xtask image" }],
        });
        let config = self.object(CONFIG, &config)?;
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
        let mut descriptor = self.object(MANIFEST, &manifest)?;
        descriptor["platform"] = json!({ "architecture": platform.arch.oci(), "os": "linux" });
        Ok(descriptor)
    }

    fn object(&mut self, kind: &str, object: &Value) -> Result<Value> {
        Ok(self.blob(kind, serde_json::to_vec(object)?))
    }

    /// Adds a blob; its descriptor.
    fn blob(&mut self, kind: &str, blob: Vec<u8>) -> Value {
        let (digest, size) = (digest(&blob), blob.len());
        self.files.insert(format!("blobs/{}", digest.replace(':', "/")), blob);
        json!({ "mediaType": kind, "digest": digest, "size": size })
    }

    /// The archive of the layout.
    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        let mut append = |path: &str, kind: EntryType, mode: u32, contents: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(contents.len() as u64);
            header.set_mtime(0);
            archive.append_data(&mut header, path, contents)
        };
        for directory in ["blobs/", "blobs/sha256/"] {
            append(directory, EntryType::Directory, 0o755, &[])?;
        }
        for (path, contents) in &self.files {
            append(path, EntryType::Regular, 0o644, contents)?;
        }
        archive.into_inner().context("finish the archive")
    }
}
