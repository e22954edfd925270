//! A fresh machine: a root with a minimal Debian and decoys, entered in namespaces of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xshell::cmd;

use super::Release;
use super::watch::Watched;
use crate::workspace::{find, root, shell, target};

/// What a machine has beside the base system: what rustup asks for.
const INCLUDED: &str = "ca-certificates,gcc,libc6-dev";
/// What rustup's one program is called by.
const PROXIES: [&str; 7] = ["cargo", "cargo-clippy", "cargo-fmt", "clippy-driver", "rustc", "rustdoc", "rustfmt"];
/// Where an old bpf-linker is, which must neither be used nor changed.
const OLD_LINKER: &str = "usr/local/bin/bpf-linker";
const OLD_LINKER_TEXT: &str = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'bpf-linker 0.9.15' && exit\n\
                               echo 'the old bpf-linker was run' >&2\nexit 1\n";
/// What the mount namespace has, seen from outside of the root `$1`; `$2` is rustup's directory. The root is a mount, as
/// runc leaves no other for that of a container (pivot_root(2)). The machine has a BPF file system of its own, and the control
/// groups of this one.
const ENTER: &str = r#"
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
if mountpoint -q "$1/sys/fs/bpf"; then umount "$1/sys/fs/bpf"; fi
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
mkdir -p "$1$2"
mount --bind "$2" "$1$2"
mount -o remount,bind,ro "$1$2"
root=$1; shift 2
exec chroot "$root" "$@"
"#;

/// A root that can be entered.
pub(super) struct Machine {
    release: Release,
    path: PathBuf,
    rustup_home: PathBuf,
}

impl Machine {
    /// Makes a fresh one, or takes the one that is there if it is to be kept.
    pub(super) fn make(release: Release, mirror: Option<&str>, keep: bool) -> Result<Self> {
        let directory = target().join("fresh");
        let path = directory.join(release.name());
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let rustup_home = std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
        ensure!(rustup_home.is_dir(), "rustup's toolchains are not at {}", rustup_home.display());
        let machine = Self { release, path, rustup_home };
        if keep && machine.path.is_dir() {
            println!("going on with {}", machine.path.display());
        } else {
            let base = machine.base(&directory, mirror)?;
            machine.remove()?;
            println!("copying {} to {}", base.display(), machine.path.display());
            let (shell, path) = (shell()?, &machine.path);
            cmd!(shell, "cp --archive {base} {path}").quiet().run().context("copy the base")?;
        }
        machine.copy_checkout()?;
        Ok(machine)
    }

    /// Its release.
    pub(super) fn release(&self) -> Release {
        self.release
    }

    /// Where its root is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it. Nothing is mounted there outside of the namespaces of those who entered.
    pub(super) fn remove(&self) -> Result<()> {
        if self.path.exists() {
            fs::remove_dir_all(&self.path).with_context(|| format!("remove {}", self.path.display()))?;
        }
        Ok(())
    }

    /// A minimal Debian with decoys, made once.
    fn base(&self, directory: &Path, mirror: Option<&str>) -> Result<PathBuf> {
        let base = directory.join(format!("{}.base", self.release.name()));
        if base.is_dir() {
            return Ok(base);
        }
        let sources = Sources::new(&read_sources(), mirror)?;
        let partial = Self { path: directory.join(format!("{}.partial", self.release.name())), ..self.clone_places() };
        partial.remove()?;
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        partial.bootstrap(&sources)?;
        partial.add_rustup()?;
        partial.add_decoys(&sources)?;
        fs::rename(&partial.path, &base).context("name the base")?;
        Ok(base)
    }

    fn clone_places(&self) -> Self {
        Self { release: self.release, path: self.path.clone(), rustup_home: self.rustup_home.clone() }
    }

    fn bootstrap(&self, sources: &Sources) -> Result<()> {
        println!("making a minimal {}, which takes some two minutes", self.release.name());
        let (shell, name, path, mirror) = (shell()?, self.release.name(), &self.path, &sources.main);
        cmd!(shell, "debootstrap --variant=minbase --include={INCLUDED} {name} {path} {mirror}")
            .run()
            .context("run debootstrap")?;
        // The certificates that this machine trusts, the name server that it asks.
        for file in ["/etc/ssl/certs/ca-certificates.crt", "/etc/resolv.conf", "/etc/hosts"] {
            if Path::new(file).is_file() {
                self.add(Path::new(file), Path::new(file))?;
            }
        }
        Ok(())
    }

    /// rustup's program under all its names; its toolchains are mounted.
    fn add_rustup(&self) -> Result<()> {
        let rustup = find("rustup").context("rustup is missing")?;
        let rustup = rustup.canonicalize().context("find rustup")?;
        let bin = Path::new("/root/.cargo/bin");
        self.add(&rustup, &bin.join("rustup"))?;
        for name in PROXIES {
            symlink("rustup", self.inside(&bin.join(name))).with_context(|| format!("link {name}"))?;
        }
        Ok(())
    }

    fn add_decoys(&self, sources: &Sources) -> Result<()> {
        let list = self.path.join("etc/apt/sources.list");
        let name = self.release.name();
        write(&list, &format!("deb {} {name} main\n", sources.main))?;
        let packages = self.release.decoys().join(" ");
        println!("installing decoys: {packages}");
        let install = format!("apt-get update -q && apt-get install -y -q --no-install-recommends {packages}");
        ensure!(self.run(&["sh", "-c", &install])?.succeeded(), "the decoys could not be installed");
        // Lists of more than a year ago know nothing of the source that has the newer packages.
        write(&list, &format!("deb {} {name} main\ndeb {} {name}-security main\n", sources.main, sources.security))?;
        let old = "touch -d '400 days ago' /var/lib/apt/lists /var/lib/apt/lists/partial /var/lib/apt/lists/*_*";
        ensure!(self.run(&["sh", "-c", old])?.succeeded(), "the lists could not be made old");
        let linker = self.path.join(OLD_LINKER);
        write(&linker, OLD_LINKER_TEXT)?;
        fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).context("make the old linker executable")
    }

    /// Fails if something of the user's was changed.
    pub(super) fn check_decoys(&self) -> Result<()> {
        let linker = fs::read_to_string(self.path.join(OLD_LINKER)).unwrap_or_default();
        ensure!(linker == OLD_LINKER_TEXT, "the user's own bpf-linker was changed");
        Ok(())
    }

    /// Copies what git knows or would know of this checkout, as it is now.
    fn copy_checkout(&self) -> Result<()> {
        let copy = "git ls-files -z --cached --others --exclude-standard \
                    | tar --null --files-from=- --ignore-failed-read -cf - | tar -xf - -C \"$1\"";
        let (shell, place) = (shell()?, self.inside(root()));
        shell.create_dir(&place)?;
        cmd!(shell, "sh -euc {copy} sh {place}").quiet().run().context("copy the checkout")
    }

    /// Copies a file of this machine's there.
    pub(super) fn add(&self, from: &Path, to: &Path) -> Result<()> {
        let to = self.inside(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::copy(from, &to).map(drop).with_context(|| format!("copy {} to {}", from.display(), to.display()))
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs a command there, where the checkout is if it is there already.
    pub(super) fn run(&self, command: &[&str]) -> Result<Watched> {
        let place = root().to_string_lossy();
        let line = r#"cd "$1" 2>/dev/null || cd /; shift; exec "$@" 2>&1"#;
        // The first process of the namespaces ends with `unshare`, and that with the thread that started it.
        let mut enter = Command::new("setpriv");
        enter
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--ipc", "--uts"])
            .args(["--fork", "--kill-child", "sh", "-euc", ENTER, "sh"])
            .arg(&self.path)
            .arg(&self.rustup_home)
            .args(["/usr/bin/env", "-i"])
            .args(self.environment())
            .args(["sh", "-c", line, "sh", &place])
            .args(command);
        Watched::run(&mut enter)
    }

    /// Nothing of this machine's but how it reaches the network.
    fn environment(&self) -> Vec<String> {
        let kept = ["http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];
        let kept = kept.into_iter().filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
        let own = [
            "PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "HOME=/root".to_owned(),
            "LANG=C.UTF-8".to_owned(),
            "RUSTUP_AUTO_INSTALL=0".to_owned(),
            "DEBIAN_FRONTEND=noninteractive".to_owned(),
            format!("RUSTUP_HOME={}", self.rustup_home.display()),
        ];
        own.into_iter().chain(kept).collect()
    }
}

/// Where Debian's packages are.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    main: String,
    security: String,
}

impl Sources {
    /// Those of a mirror, else those that a machine's own lists of sources name.
    fn new(lists: &str, mirror: Option<&str>) -> Result<Self> {
        let words = lists.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        let words: Vec<&str> = words.map(|word| word.trim_end_matches('/')).collect();
        let ending = |ending: &str| words.iter().find(|word| word.contains("://") && word.ends_with(ending));
        let Some(main) = mirror.or(ending("/debian").copied()) else {
            bail!("the package sources of this machine name no mirror of Debian: name one with --mirror");
        };
        let main = main.trim_end_matches('/').to_owned();
        let security = match (mirror, ending("/debian-security")) {
            (None, Some(security)) => (*security).to_owned(),
            _ => format!("{main}-security"),
        };
        Ok(Self { main, security })
    }
}

fn read_sources() -> String {
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = parts.collect();
    files.sort();
    files.push("/etc/apt/sources.list".into());
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_this_machine_uses() {
        let listed = "deb [signed-by=/k] https://tools.invalid/apt stable main\n\
                      Types: deb\n# URIs: http://old.invalid/debian\nURIs: http://mirror.invalid/debian/\n\
                      URIs: http://security.invalid/debian-security\n";
        let sources = |main: &str, security: &str| Sources { main: main.into(), security: security.into() };
        let own = Sources::new(listed, None).unwrap();
        assert_eq!(own, sources("http://mirror.invalid/debian", "http://security.invalid/debian-security"));
        let named = Sources::new(listed, Some("http://near.invalid/debian/")).unwrap();
        assert_eq!(named, sources("http://near.invalid/debian", "http://near.invalid/debian-security"));
        assert!(Sources::new("URIs: http://mirror.invalid/ubuntu\n", None).is_err());
    }
}
