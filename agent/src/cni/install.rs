//! Puts the plugin where the runtime looks for it, and takes it away.
//!
//! ```text
//! BIN/podgate-cni          this binary
//! CONF/podgate-cni.entry   the entry that belongs into the network's list; runtimes don't read files of that name
//! CONF/10-….conflist       the network that the runtime uses, with the entry in its list
//! ```
//!
//! Runtimes use the network of the first file, by name, that ends in .conf, .conflist or .json and has a plugin (libcni's
//! `ConfFiles`, containerd's go-cni). A file with a single plugin is replaced by one with a list, as istio's CNI plugin
//! does, which is the established way to chain to it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::NAME;
use super::conflist::{Json, Network};

/// Where things go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// The directory of plugins.
    pub(crate) bin: PathBuf,
    /// The directory of networks.
    pub(crate) conf: PathBuf,
}

/// The name of the file with our entry.
const ENTRY: &str = "podgate-cni.entry";

impl Places {
    /// The plugin's file.
    pub(crate) fn binary(&self) -> PathBuf {
        self.bin.join(NAME)
    }

    fn entry(&self) -> PathBuf {
        self.conf.join(ENTRY)
    }

    /// Installs a binary as the plugin, with this entry; what was changed, a line each.
    ///
    /// # Errors
    /// There is no network to chain to, or a file can't be read or written.
    pub(crate) fn install(&self, binary: &Path, entry: &Json) -> anyhow::Result<Vec<String>> {
        let mut changes = Vec::new();
        let contents = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        // The network comes last: the runtime must find what it names.
        changes.extend(put(&self.binary(), &contents, 0o755)?);
        let mut entry = serde_json::to_vec_pretty(entry)?;
        entry.push(b'\n');
        changes.extend(put(&self.entry(), &entry, 0o600)?);
        match self.ensure()? {
            Ensured::NoNetwork => bail!(
                "no network is configured in {}: install one first; podgate's entry is added to it when the agent runs \
                 with --cni-conf-dir",
                self.conf.display()
            ),
            Ensured::NotInstalled | Ensured::AsItIs => {}
            Ensured::Changed(path) => changes.push(format!("changed {}", path.display())),
        }
        Ok(changes)
    }

    /// Sees that the entry is in the network's list, if the plugin is installed.
    ///
    /// # Errors
    /// A file can't be read or written, or is no network.
    pub(crate) fn ensure(&self) -> anyhow::Result<Ensured> {
        let entry = match fs::read(self.entry()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ensured::NotInstalled),
            contents => contents.with_context(|| format!("cannot read {}", self.entry().display()))?,
        };
        let entry = serde_json::from_slice(&entry).with_context(|| format!("{} is no JSON", self.entry().display()))?;
        let Some((path, network)) = self.network()? else { return Ok(Ensured::NoNetwork) };
        let list = network.clone().into_list().with_entry(&entry);
        if list == network {
            return Ok(Ensured::AsItIs);
        }
        let target = if network.is_list() { path.clone() } else { path.with_extension("conflist") };
        write(&target, &list.contents(), mode(&path).unwrap_or(0o600))?;
        if target != path {
            remove(&path)?;
        }
        Ok(Ensured::Changed(target))
    }

    /// Removes the entry from every network, then the plugin; what was changed, a line each.
    ///
    /// # Errors
    /// A file can't be read or written; what was removed stays removed.
    pub(crate) fn uninstall(&self) -> anyhow::Result<Vec<String>> {
        let mut changes = Vec::new();
        // First, so that no agent puts the entry back.
        changes.extend(remove(&self.entry())?);
        for path in self.files()? {
            let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let Ok(network) = Network::parse(&contents) else { continue };
            let without = network.clone().without_entry();
            if without != network {
                write(&path, &without.contents(), mode(&path).unwrap_or(0o600))?;
                changes.push(format!("changed {}", path.display()));
            }
        }
        changes.extend(remove(&self.binary())?);
        Ok(changes)
    }

    /// The file of the network that the runtime uses, and the types of its plugins.
    ///
    /// # Errors
    /// A file can't be read, or is no network.
    pub(crate) fn chain(&self) -> anyhow::Result<Option<(PathBuf, Vec<String>)>> {
        Ok(self.network()?.map(|(path, network)| (path, network.into_list().types())))
    }

    /// Whether the plugin was installed, and not removed.
    pub(crate) fn is_installed(&self) -> bool {
        self.entry().exists()
    }

    /// The network that the runtime uses, and its file.
    fn network(&self) -> anyhow::Result<Option<(PathBuf, Network)>> {
        for path in self.files()? {
            let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let network = Network::parse(&contents);
            let network = network.map_err(|error| anyhow::anyhow!("{} can't be used: {error}", path.display()))?;
            if network.has_plugins() {
                return Ok(Some((path, network)));
            }
        }
        Ok(None)
    }

    /// The files of networks, in the order in which runtimes look at them.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let context = || format!("cannot read {}", self.conf.display());
        let entries = match fs::read_dir(&self.conf) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(context)?,
        };
        let is_network = |path: &PathBuf| {
            let extension = path.extension().and_then(OsStr::to_str);
            // What is neither file nor directory might never be read to its end.
            let is_file = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
            matches!(extension, Some("conf" | "conflist" | "json")) && is_file
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
        let mut paths: Vec<_> = paths.with_context(context)?.into_iter().filter(is_network).collect();
        paths.sort();
        Ok(paths)
    }
}

/// How the network's list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// The plugin is not installed.
    NotInstalled,
    /// There is no network to chain to.
    NoNetwork,
    /// The entry was there.
    AsItIs,
    /// It was added to this file.
    Changed(PathBuf),
}

/// Writes a file if its contents are others; what was done.
fn put(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<Option<String>> {
    if fs::read(path).is_ok_and(|now| now == contents) {
        return Ok(None);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    write(path, contents, mode)?;
    Ok(Some(format!("wrote {}", path.display())))
}

/// Replaces a file; a reader sees the old or the new, whole.
///
/// # Errors
/// It can't be written.
pub(crate) fn write(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.podgate"));
    let replace = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(contents)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    replace().inspect_err(|_| drop(fs::remove_file(&draft))).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a file that may not be there; what was done.
///
/// # Errors
/// It can't be removed.
pub(crate) fn remove(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result
            .map(|()| Some(format!("removed {}", path.display())))
            .with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|file| file.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    struct Node {
        directory: TempDir,
        places: Places,
        binary: PathBuf,
    }

    impl Node {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = TempDir::new().unwrap();
            let places = Places { bin: directory.path().join("bin"), conf: directory.path().join("conf") };
            fs::create_dir(&places.conf).unwrap();
            for (name, contents) in files {
                fs::write(places.conf.join(name), contents).unwrap();
            }
            let binary = directory.path().join("podgate");
            fs::write(&binary, "an executable").unwrap();
            Self { directory, places, binary }
        }

        fn install(&self) -> anyhow::Result<Vec<String>> {
            self.places.install(&self.binary, &entry()).map(|changes| self.short(changes))
        }

        fn uninstall(&self) -> Vec<String> {
            self.short(self.places.uninstall().unwrap())
        }

        /// Paths without the directory.
        fn short(&self, changes: Vec<String>) -> Vec<String> {
            let directory = format!("{}/", self.directory.path().display());
            changes.into_iter().map(|change| change.replace(&directory, "")).collect()
        }

        /// The types of each network's plugins, by file.
        fn chains(&self) -> BTreeMap<String, Vec<String>> {
            let files = self.places.files().unwrap();
            let chain = |path: &PathBuf| {
                let network: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
                let plugins = network["plugins"].as_array().cloned().unwrap_or_default();
                plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
            };
            files.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), chain(path))).collect()
        }
    }

    fn entry() -> Json {
        serde_json::from_value(json!({"type": NAME, "whenAgentDown": "fail"})).unwrap()
    }

    fn chains(expected: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let chain = |types: &[&str]| types.iter().map(ToString::to_string).collect();
        expected.iter().map(|(name, types)| (name.to_string(), chain(types))).collect()
    }

    const PTP: &str = r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"ptp"},{"type":"bandwidth"}]}"#;
    const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"bridge"}]}"#;

    #[test]
    fn the_first_network_gets_the_entry_and_loses_it_again() {
        let node = Node::new(&[("20-b.conflist", BRIDGE), ("10-a.conflist", PTP), ("00-note.txt", "x")]);
        let wrote = ["wrote bin/podgate-cni", "wrote conf/podgate-cni.entry", "changed conf/10-a.conflist"];
        assert_eq!(node.install().unwrap(), wrote);
        let chained = chains(&[("10-a.conflist", &["ptp", "bandwidth", NAME]), ("20-b.conflist", &["bridge"])]);
        assert_eq!(node.chains(), chained);
        assert_eq!(fs::read(node.places.binary()).unwrap(), b"an executable");
        assert_eq!(mode(&node.places.binary()), Some(0o755));
        assert_eq!(node.install().unwrap(), Vec::<String>::new());
        let removed = ["removed conf/podgate-cni.entry", "changed conf/10-a.conflist", "removed bin/podgate-cni"];
        assert_eq!(node.uninstall(), removed);
        assert_eq!(node.chains(), chains(&[("10-a.conflist", &["ptp", "bandwidth"]), ("20-b.conflist", &["bridge"])]));
        assert_eq!(node.uninstall(), Vec::<String>::new());
    }

    #[test]
    fn a_file_with_a_single_plugin_becomes_a_list_of_the_same_name_and_mode() {
        let node = Node::new(&[("10-a.conf", r#"{"cniVersion":"1.0.0","name":"a","type":"ptp"}"#)]);
        fs::set_permissions(node.places.conf.join("10-a.conf"), fs::Permissions::from_mode(0o640)).unwrap();
        node.install().unwrap();
        assert_eq!(node.chains(), chains(&[("10-a.conflist", &["ptp", NAME])]));
        assert_eq!(mode(&node.places.conf.join("10-a.conflist")), Some(0o640));
    }

    #[test]
    fn a_network_without_plugins_is_passed_by_and_one_that_is_broken_is_not() {
        let node = Node::new(&[("05-x.conflist", r#"{"name":"x","plugins":[]}"#), ("10-a.conflist", PTP)]);
        node.install().unwrap();
        assert_eq!(node.chains()["05-x.conflist"], Vec::<String>::new());
        assert_eq!(node.chains()["10-a.conflist"], ["ptp", "bandwidth", NAME]);
        let node = Node::new(&[("05-x.conflist", "{"), ("10-a.conflist", PTP)]);
        let error = node.install().unwrap_err().to_string();
        assert!(error.contains("05-x.conflist can't be used"), "{error}");
        assert_eq!(fs::read_to_string(node.places.conf.join("10-a.conflist")).unwrap(), PTP);
    }

    #[test]
    fn where_no_network_is_the_entry_is_kept_for_one_to_come() {
        let node = Node::new(&[]);
        let error = node.install().unwrap_err().to_string();
        assert!(error.starts_with("no network is configured in "), "{error}");
        fs::write(node.places.conf.join("10-a.conflist"), PTP).unwrap();
        let path = node.places.conf.join("10-a.conflist");
        assert_eq!(node.places.ensure().unwrap(), Ensured::Changed(path));
        assert_eq!(node.places.ensure().unwrap(), Ensured::AsItIs);
        assert_eq!(node.chains(), chains(&[("10-a.conflist", &["ptp", "bandwidth", NAME])]));
    }

    #[test]
    fn nothing_is_inserted_where_nothing_is_installed() {
        let node = Node::new(&[("10-a.conflist", PTP)]);
        assert_eq!(node.places.ensure().unwrap(), Ensured::NotInstalled);
        assert_eq!(node.uninstall(), Vec::<String>::new());
        assert_eq!(fs::read_to_string(node.places.conf.join("10-a.conflist")).unwrap(), PTP);
        let nowhere = Places { bin: "/nowhere/bin".into(), conf: "/nowhere/conf".into() };
        assert_eq!(nowhere.uninstall().unwrap(), Vec::<String>::new());
    }
}
