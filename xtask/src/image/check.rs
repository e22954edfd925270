//! Reads an image back from its archive and tries it, as a runtime would.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tar::{Archive, EntryType};
use xshell::cmd;

use super::Arch;
use super::layer::{BILL, BINARY, PLUGIN};
use super::layout::{About, digest};
use crate::workspace::{find, shell, target};

/// A file of the layer: what it is, its permissions, and its contents or, of a link, its target.
pub(crate) type File = (EntryType, u32, Vec<u8>);

/// An image for one platform.
pub(crate) struct Image {
    /// Its architecture, as the index has it.
    pub(crate) architecture: String,
    /// Its configuration.
    pub(crate) config: Value,
    /// The files of its layer.
    pub(crate) files: BTreeMap<String, File>,
}

/// Reads the images in an archive of an OCI layout. Every digest and size is compared.
pub(crate) fn read(path: &Path) -> Result<Vec<Image>> {
    let archive = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let files = entries(&archive)?;
    let file =
        |path: &str| files.get(path).map(|(_, _, contents)| contents).with_context(|| format!("there is no {path}"));
    let blob = |descriptor: &Value| -> Result<Vec<u8>> {
        let name = descriptor["digest"].as_str().unwrap_or_default();
        let contents = file(&format!("blobs/{}", name.replace(':', "/")))?;
        ensure!(digest(contents) == name, "{name} has another digest");
        ensure!(descriptor["size"] == contents.len(), "{name} has another size");
        Ok(contents.clone())
    };
    let object = |descriptor: &Value| -> Result<Value> { Ok(serde_json::from_slice(&blob(descriptor)?)?) };
    let marker: Value = serde_json::from_slice(file("oci-layout")?)?;
    ensure!(marker["imageLayoutVersion"] == "1.0.0", "not an OCI layout: {marker}");
    let index: Value = serde_json::from_slice(file("index.json")?)?;
    let [image] = list(&index["manifests"]) else { bail!("the index does not lead to one image: {index}") };
    let image = object(image)?;
    list(&image["manifests"]).iter().map(|descriptor| platform(descriptor, &object, &blob)).collect()
}

fn platform(
    descriptor: &Value,
    object: &impl Fn(&Value) -> Result<Value>,
    blob: &impl Fn(&Value) -> Result<Vec<u8>>,
) -> Result<Image> {
    let manifest = object(descriptor)?;
    let config = object(&manifest["config"])?;
    let [layer] = list(&manifest["layers"]) else { bail!("the image has not one layer: {manifest}") };
    let mut plain = Vec::new();
    GzDecoder::new(&blob(layer)?[..]).read_to_end(&mut plain).context("decompress the layer")?;
    ensure!(config["rootfs"]["diff_ids"] == json!([digest(&plain)]), "the configuration names another layer: {config}");
    let architecture = descriptor["platform"]["architecture"].as_str().unwrap_or_default().to_owned();
    Ok(Image { architecture, config, files: entries(&plain)? })
}

fn entries(archive: &[u8]) -> Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for entry in Archive::new(archive).entries().context("read the archive")? {
        let mut entry = entry.context("read the archive")?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode()?);
        let mut contents = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        entry.read_to_end(&mut contents)?;
        files.insert(path, (kind, mode, contents));
    }
    Ok(files)
}

/// Fails unless the images are what a podgate image is to be.
pub(crate) fn verify(images: &[Image], about: &About) -> Result<()> {
    for image in images {
        let paths: Vec<(&str, u32)> = image.files.iter().map(|(path, (_, mode, _))| (path.as_str(), *mode)).collect();
        let expected = [
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            (BINARY, 0o755),
            (PLUGIN, 0o777),
            ("usr/share/", 0o755),
            ("usr/share/podgate/", 0o755),
            (BILL, 0o644),
        ];
        ensure!(paths == expected, "the image has other files: {paths:?}");
        let config = &image.config;
        ensure!(config["architecture"] == image.architecture.as_str(), "the architectures differ: {config}");
        ensure!(config["config"]["Entrypoint"] == json!([about.entrypoint]), "another entrypoint: {config}");
        ensure!(config["config"]["Labels"] == json!(about.labels()), "other labels: {config}");
        ensure!(image.files[PLUGIN].2 == b"podgate", "the plugin is another program");
        static_executable(&image.files[BINARY].2, &image.architecture)?;
    }
    Ok(())
}

/// Fails unless this is an executable for the architecture that needs no interpreter, and so no libraries.
fn static_executable(binary: &[u8], architecture: &str) -> Result<()> {
    let number = |at: usize, size: usize| -> Result<usize> {
        let bytes = binary.get(at..at + size).context("the binary is truncated")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    // The fields of ELF64's header: e_machine, e_phoff, e_phentsize, e_phnum.
    ensure!(binary.starts_with(b"\x7fELF\x02\x01"), "the binary is not 64-bit ELF");
    let machine = if architecture == "amd64" { 62 } else { 183 };
    ensure!(number(18, 2)? == machine, "the binary is for another processor than {architecture}");
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    const PT_INTERP: usize = 3;
    for header in 0..count {
        ensure!(number(first + header * size, 4)? != PT_INTERP, "the binary is linked dynamically");
    }
    Ok(())
}

/// Writes the files of the image for a processor into a directory.
pub(crate) fn unpack(images: &[Image], arch: Arch, directory: &Path) -> Result<()> {
    let image =
        images.iter().find(|image| image.architecture == arch.oci()).context("the image is not for this machine")?;
    for (path, (kind, mode, contents)) in &image.files {
        let path = directory.join(path);
        place(&path, *kind, *mode, contents).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn place(path: &Path, kind: EntryType, mode: u32, contents: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    match kind {
        EntryType::Directory => return fs::create_dir_all(path),
        EntryType::Symlink if path.is_symlink() => return Ok(()),
        EntryType::Symlink => return symlink(String::from_utf8_lossy(contents).as_ref(), path),
        _ => {}
    }
    fs::write(path, contents)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Runs the image by an OCI runtime, with nothing of this machine in sight; root and runc must be there.
pub(crate) fn try_out(images: &[Image], arch: Arch) -> Result<()> {
    if find("runc").is_none() || !nix::unistd::Uid::effective().is_root() {
        println!("not tried: running the image needs root and runc");
        return Ok(());
    }
    let bundle = target().join("image/bundle");
    let shell = shell()?;
    shell.remove_path(&bundle)?;
    unpack(images, arch, &bundle.join("rootfs"))?;
    let config = json!({
        "ociVersion": "1.0.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/usr/bin/podgate", "--version"], "cwd": "/", "env": [] },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "ipc" }] },
    });
    shell.write_file(bundle.join("config.json"), config.to_string())?;
    let (state, id) = (target().join("image/runc"), format!("podgate-image-{}", std::process::id()));
    let run = cmd!(shell, "runc --root {state} run --bundle {bundle} {id}");
    let said = run.quiet().read().context("run the image")?;
    let expected = concat!("podgate ", env!("CARGO_PKG_VERSION"));
    ensure!(said == expected, "the image said {said:?} instead of {expected:?}");
    println!("runc runs it: {said}");
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::super::Platform;
    use super::super::layer::Layer;
    use super::super::layout::Layout;
    use super::*;

    fn about() -> About {
        About {
            name: "localhost/podgate".to_owned(),
            entrypoint: "/usr/bin/podgate",
            version: "1.2.3".to_owned(),
            revision: "abc".to_owned(),
            created: "2026-01-02T03:04:05+00:00".to_owned(),
            seconds: 1_767_323_045,
        }
    }

    /// The header of an executable for a machine with one program header of this type.
    fn executable(machine: u8, header: u8) -> Vec<u8> {
        let mut binary = vec![0; 120];
        binary[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (binary[18], binary[32], binary[54], binary[56], binary[64]) = (machine, 64, 56, 1, header);
        binary
    }

    fn archive() -> Vec<u8> {
        let platform = |arch, machine| {
            let layer = Layer::of_podgate(&executable(machine, 1), b"{}", about().seconds).unwrap();
            Platform { arch, layer }
        };
        let platforms = [platform(Arch::X86_64, 62), platform(Arch::Aarch64, 183)];
        Layout::new(&about(), &platforms).unwrap().archive().unwrap()
    }

    fn read_back(archive: &[u8]) -> Result<Vec<Image>> {
        let path = std::env::temp_dir().join(format!("podgate-image-{}-{:p}.tar", std::process::id(), archive));
        fs::write(&path, archive).unwrap();
        let images = read(&path);
        fs::remove_file(path).unwrap();
        images
    }

    #[test]
    fn an_image_is_read_back_as_it_was_made() {
        let images = read_back(&archive()).unwrap();
        verify(&images, &about()).unwrap();
        let architectures: Vec<_> = images.iter().map(|image| image.architecture.as_str()).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
        assert_eq!(images[0].files[BINARY], (EntryType::Regular, 0o755, executable(62, 1)));
        assert_eq!(images[0].config["config"]["Labels"]["org.opencontainers.image.version"], "1.2.3");
    }

    #[test]
    fn the_same_input_makes_the_same_bytes() {
        assert_eq!(archive(), archive());
    }

    #[test]
    fn a_blob_that_was_changed_is_noticed() {
        let mut archive = archive();
        let at = archive.windows(10).position(|window| window == b"\"rootfs\":{").unwrap();
        archive[at + 1] = b'R';
        let error = read_back(&archive).err().unwrap().to_string();
        assert!(error.ends_with("has another digest"), "{error}");
    }

    #[test]
    fn an_executable_that_needs_libraries_or_another_processor_is_refused() {
        assert!(static_executable(&executable(62, 1), "amd64").is_ok());
        let error = |binary: &[u8], architecture| static_executable(binary, architecture).unwrap_err().to_string();
        assert_eq!(error(&executable(62, 3), "amd64"), "the binary is linked dynamically");
        assert_eq!(error(&executable(62, 1), "arm64"), "the binary is for another processor than arm64");
        assert_eq!(error(b"#!/bin/sh", "amd64"), "the binary is not 64-bit ELF");
    }
}
