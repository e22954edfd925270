//! Kernels from the distribution's packages, unpacked and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::Series;
use crate::workspace::{shell, target};

/// The modules that labs and podgate need; what they depend on is found out.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    directory: PathBuf,
    release: String,
}

impl Image {
    /// The newest of the series: unpacked before, or else fetched. None when the package lists have none.
    pub(crate) fn find(series: &Series) -> Result<Option<Self>> {
        let directory = target().join("kernels").join(series.name);
        if let Some(image) = Self::unpacked(&directory) {
            return Ok(Some(image));
        }
        let Some(package) = newest(series.packages)? else { return Ok(None) };
        fetch(&package, &directory)?;
        let image = Self::unpacked(&directory).with_context(|| format!("{package} contains no kernel"))?;
        let (base, release) = (&image.directory, &image.release);
        let shell = shell()?;
        cmd!(shell, "depmod --basedir {base} {release}").run().context("list the dependencies of kernel modules")?;
        Ok(Some(image))
    }

    fn unpacked(directory: &Path) -> Option<Self> {
        let files = fs::read_dir(directory.join("boot")).ok()?;
        let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        let release = names.into_iter().find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()))?;
        Some(Self { directory: directory.to_owned(), release })
    }

    /// The version as `uname -r` shows it.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// What the emulator boots.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// Where logs and archives of this kernel go.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The modules, uncompressed, in the order in which they are to be loaded.
    pub(crate) fn modules(&self) -> Result<Vec<Vec<u8>>> {
        let shell = shell()?;
        let (base, release) = (&self.directory, &self.release);
        let mut paths: Vec<String> = Vec::new();
        for module in MODULES {
            let listed = cmd!(shell, "modprobe --dirname {base} --set-version {release} --show-depends {module}");
            let listed = listed.quiet().read().with_context(|| format!("look for the kernel module {module}"))?;
            let wanted =
                listed.lines().filter_map(|line| line.strip_prefix("insmod ")).map(|path| path.trim().to_owned());
            paths.extend(wanted);
        }
        let mut seen = std::collections::BTreeSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        paths.iter().map(|path| uncompressed(path)).collect()
    }
}

fn newest(pattern: &str) -> Result<Option<String>> {
    let shell = shell()?;
    let found =
        cmd!(shell, "apt-cache search --names-only {pattern}").quiet().read().context("search the package lists")?;
    let names = found.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.max_by_key(|name| numbers(name)).map(str::to_owned))
}

/// The numbers in a name, so that 6.12.9 is older than 6.12.10.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn fetch(package: &str, directory: &Path) -> Result<()> {
    println!("fetching {package}");
    let shell = shell()?;
    let downloads = directory.join("download");
    shell.create_dir(&downloads)?;
    shell.change_dir(&downloads);
    // `apt-get download` gives up root's rights, which a directory of root's does not welcome; the option keeps them.
    let download = cmd!(shell, "apt-get download -q -o APT::Sandbox::User=root {package}");
    download.ignore_stdout().run().with_context(|| format!("download {package}: try `apt-get update`"))?;
    for file in shell.read_dir(&downloads)? {
        cmd!(shell, "dpkg-deb --extract {file} {directory}").run().with_context(|| format!("unpack {package}"))?;
    }
    shell.remove_path(&downloads).context("remove the downloaded package")
}

fn uncompressed(path: &str) -> Result<Vec<u8>> {
    let compressed_by = match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(path).with_context(|| format!("read {path}")),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{path} is compressed in an unknown way"),
    };
    let shell = shell()?;
    let output = cmd!(shell, "{compressed_by} --decompress --stdout {path}").quiet().output();
    Ok(output.with_context(|| format!("decompress {path}"))?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let older = numbers("linux-image-6.12.9+deb12-amd64");
        assert!(older < numbers("linux-image-6.12.10+deb12-amd64"));
    }
}
