//! Kernels from the distribution's packages, unpacked and never installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::cmd;

use super::Series;
use crate::setup;
use crate::workspace::{shell, target};

/// The modules that labs and podgate need, since nothing loads them on demand; what they depend on is found out.
const MODULES: [&str; 9] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "br_netfilter",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
];

/// Where packages have modules that don't have them in `lib`, which is a link to `usr/lib` where they are installed.
const MODULES_OF_KERNELS: &str = "usr/lib/modules";

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    directory: PathBuf,
    kernel: PathBuf,
    release: String,
}

impl Image {
    /// The newest of the series: unpacked before, or else fetched.
    pub(crate) fn find(series: &Series) -> Result<Self> {
        let directory = target().join("kernels").join(series.name);
        if let Some(image) = Self::unpacked(&directory) {
            return Ok(image);
        }
        // What was interrupted is no image.
        let partial = directory.with_file_name(format!("{}.partial", series.name));
        let shell = shell()?;
        shell.remove_path(&partial)?;
        fetch(series, &partial)?;
        let missing = || format!("the packages of kernel {} contain no kernel", series.name);
        let release = Self::unpacked(&partial).with_context(missing)?.release;
        cmd!(shell, "depmod --basedir {partial} {release}").run().context("list the dependencies of kernel modules")?;
        fs::rename(&partial, &directory).context("put the kernel in its place")?;
        Self::unpacked(&directory).with_context(missing)
    }

    /// A kernel is in `boot` with its release in its name, or beside its modules.
    fn unpacked(directory: &Path) -> Option<Self> {
        let names = |below: &str| {
            let files = fs::read_dir(directory.join(below)).into_iter().flatten().flatten();
            files.map(|file| file.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let in_boot = |name: &String| Some((name.strip_prefix("vmlinuz-")?.to_owned(), format!("boot/{name}")));
        let beside_modules = |release: &String| {
            let kernel = format!("{MODULES_OF_KERNELS}/{release}/vmlinuz");
            directory.join(&kernel).is_file().then(|| (release.clone(), kernel))
        };
        let (release, kernel) = names("boot")
            .iter()
            .find_map(in_boot)
            .or_else(|| names(MODULES_OF_KERNELS).iter().find_map(beside_modules))?;
        Some(Self { kernel: directory.join(kernel), directory: directory.to_owned(), release })
    }

    /// The version as `uname -r` shows it.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// What the emulator boots.
    pub(crate) fn kernel(&self) -> &Path {
        &self.kernel
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

/// apt-get and apt-cache with package lists of their own: those of one release of Debian, which is not the machine's, and
/// of which nothing is ever installed there.
struct Lists {
    options: Vec<String>,
}

impl Lists {
    /// Fetches the lists of a release from where the machine has its own packages from.
    fn fetch(suite: &str) -> Result<Self> {
        let directory = target().join("kernels/lists").join(suite);
        fs::create_dir_all(directory.join("partial")).context("make a directory for package lists")?;
        // Beside the lists: among them apt-get removes what it does not know.
        let source = directory.with_extension("list");
        fs::write(&source, format!("deb {} {suite} main\n", setup::mirror()?)).context("write a source of packages")?;
        let options = [
            format!("Dir::Etc::SourceList={}", source.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", directory.display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // As in `setup::unpack`.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let lists = Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() };
        let shell = shell()?;
        let options = &lists.options;
        cmd!(shell, "apt-get update -qq {options...}").run().with_context(|| format!("fetch the lists of {suite}"))?;
        Ok(lists)
    }

    /// The newest release of a series that there is a package of whose name begins like this.
    fn newest(&self, prefix: &str, series: &str) -> Result<Option<String>> {
        let shell = shell()?;
        let options = &self.options;
        let names = cmd!(shell, "apt-cache pkgnames {prefix} {options...}").quiet().read();
        let names = names.context("list the names of packages")?;
        let releases = names.lines().filter_map(|name| name.trim().strip_prefix(prefix));
        let releases = releases.filter(|release| release.starts_with(series) && is_plain(release));
        Ok(releases.max_by_key(|release| numbers(release)).map(str::to_owned))
    }
}

/// Fetches a kernel and its modules.
fn fetch(series: &Series, directory: &Path) -> Result<()> {
    let lists = Lists::fetch(series.suite)?;
    let release = lists.newest(series.packages[0], series.release)?;
    let release = release.with_context(|| format!("{} has no kernel {}", series.suite, series.name))?;
    for package in series.packages {
        println!("fetching {package}{release}");
        setup::unpack(&[&format!("{package}{release}")], directory, &lists.options)?;
    }
    let modules = directory.join("lib");
    if !modules.exists() {
        ensure!(directory.join(MODULES_OF_KERNELS).is_dir(), "{release} comes without modules");
        symlink("usr/lib", modules).context("link lib to usr/lib")?;
    }
    Ok(())
}

/// Whether a release is for x86-64 and of no flavour: not for clouds, not for real time, not the one with debug symbols.
fn is_plain(release: &str) -> bool {
    let Some(version) = release.strip_suffix("-amd64") else { return false };
    let (version, revision) = version.split_once("+deb").unwrap_or((version, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    version.split(['.', '-']).all(is_number) && is_number(revision)
}

/// The numbers in a name, so that 6.12.9 is older than 6.12.10.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
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
    fn kernels_of_no_flavour_are_told_from_others() {
        let plain = ["5.10.0-32-amd64", "6.12.107+deb13-amd64", "7.2.13+deb14-amd64"];
        let others = ["5.10.0-32-cloud-amd64", "5.10.0-32-rt-amd64", "6.1.0-50-amd64-dbg", "amd64", "6.1.0-50-arm64"];
        assert!(plain.into_iter().all(is_plain));
        assert!(!others.into_iter().any(is_plain));
    }

    #[test]
    fn versions_are_compared_by_number() {
        let older = numbers("linux-image-6.12.9+deb12-amd64");
        assert!(older < numbers("linux-image-6.12.10+deb12-amd64"));
    }
}
