//! The image, by buildah: with a store of its own, which goes away with the image, and for other users than root too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use super::Arch;
use super::checkout::Checkout;
use crate::setup::is_root;
use crate::workspace::{root, shell, target};

/// An image that is being made.
pub(crate) struct Build<'a> {
    /// The Containerfile, from the root of the repository.
    pub(crate) containerfile: &'a str,
    /// The name without the tag, which is the version.
    pub(crate) name: &'a str,
    /// What it is made from.
    pub(crate) checkout: &'a Checkout,
    directory: PathBuf,
    archs: Vec<Arch>,
    shell: Shell,
}

impl<'a> Build<'a> {
    /// Begins an image.
    pub(crate) fn new(containerfile: &'a str, name: &'a str, checkout: &'a Checkout) -> Result<Self> {
        let (shell, directory) = (shell()?, target().join("image/build"));
        let build = Self { containerfile, name, checkout, directory, archs: vec![], shell };
        // What is left of a build that was interrupted.
        build.remove()?;
        build.shell.create_dir(&build.directory)?;
        Ok(build)
    }

    /// Adds what goes to `/usr` of the image for a processor: executables into `bin`.
    pub(crate) fn add_program(&mut self, arch: Arch, binary: &Path) -> Result<PathBuf> {
        static_executable(&self.shell, arch, binary)?;
        let usr = self.directory.join("context").join(arch.oci());
        cmd!(self.shell, "install -D --mode 0755 --target-directory {usr}/bin {binary}").quiet().run()?;
        self.archs.push(arch);
        Ok(usr)
    }

    /// Makes the image of each processor and puts them into one archive of an OCI layout.
    pub(crate) fn write(&self, archive: &Path) -> Result<()> {
        let (shell, reference) = (&self.shell, format!("{}:{}", self.name, env!("CARGO_PKG_VERSION")));
        for arch in &self.archs {
            // One by one: those that are built at once come into the list in any order.
            let build = self.build(*arch).args(["--manifest", &reference]);
            build
                .arg(self.context())
                .ignore_stdout()
                .run()
                .context("build the image: other users than root need user namespaces")?;
        }
        let layout = self.directory.join("layout");
        let push = self.buildah("manifest push --quiet --all").arg(&reference);
        push.arg(format!("oci:{}:{reference}", layout.display())).run().context("write the image")?;
        // buildah could write the archive itself, but with the times of now.
        let parts = ["oci-layout", "index.json", "blobs"];
        let time = format!("--mtime=@{}", self.checkout.seconds);
        let same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=go=rX,u+rw", "--format=ustar"];
        if let Some(parent) = archive.parent() {
            shell.create_dir(parent)?;
        }
        let tar = cmd!(shell, "tar --create {same...} {time} --file {archive} --directory {layout} {parts...}");
        tar.quiet().run().with_context(|| format!("write {}", archive.display()))
    }

    /// Writes the files of the image for a processor into a directory.
    pub(crate) fn unpack(&self, arch: Arch, directory: &Path) -> Result<()> {
        let output = format!("type=local,dest={}", directory.display());
        self.build(arch).args(["--output", &output]).arg(self.context()).run().context("unpack the image")
    }

    /// Reads the image back from its archive, and runs it, with nothing of this machine in sight.
    pub(crate) fn try_out(&self, arch: Arch, archive: &Path) -> Result<()> {
        let from = self.buildah("from --quiet --arch").arg(arch.oci());
        let container = from.arg(format!("oci-archive:{}", archive.display())).read().context("read the image back")?;
        let inspect = self.buildah("inspect --format").arg("{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Labels}}");
        let config = inspect.arg(&container).read().context("inspect the image")?;
        let expected = format!("org.opencontainers.image.revision:{} ", self.checkout.revision);
        ensure!(config.starts_with("[/usr/bin/podgate] ") && config.contains(&expected), "another image: {config}");
        if !is_root() {
            println!("not tried: running the image needs root");
            return Ok(());
        }
        let run = |call: &[&str]| {
            let run =
                self.buildah("run --isolation oci --runtime runc --env CNI_COMMAND=VERSION").args([&container, "--"]);
            run.args(call).read().context("run the image")
        };
        let version = run(&["podgate", "--version"])?;
        let expected = format!("podgate {} ({})", env!("CARGO_PKG_VERSION"), self.checkout.stamp);
        ensure!(version == expected, "the image said {version:?}, not {expected:?}");
        let versions = run(&["podgate-cni"])?;
        ensure!(versions.contains("supportedVersions"), "the plugin said {versions:?}");
        println!("runc runs it: {version}");
        Ok(())
    }

    /// Removes what was needed to make it.
    pub(crate) fn remove(&self) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        // Other users than root may not remove all that is in its store.
        self.buildah("rm --all").ignore_stdout().run()?;
        self.buildah("rmi --all --force").ignore_stdout().run()?;
        self.shell.remove_path(&self.directory).context("remove what the image was made of")
    }

    fn build(&self, arch: Arch) -> Cmd<'_> {
        let platform = format!("linux/{}", arch.oci());
        let (seconds, file) = (self.checkout.seconds.to_string(), root().join(self.containerfile));
        let build = self.buildah("build --quiet --isolation chroot --identity-label=false --pull=never --platform");
        let build = build.arg(platform).args(["--timestamp", &seconds, "--file"]).arg(file);
        let labels = [
            ("VERSION", env!("CARGO_PKG_VERSION")),
            ("REVISION", &self.checkout.revision),
            ("CREATED", &self.checkout.created),
            ("LICENSES", env!("CARGO_PKG_LICENSE")),
            ("SOURCE", env!("CARGO_PKG_REPOSITORY")),
        ];
        labels.iter().fold(build, |build, (name, value)| build.args(["--build-arg", &format!("{name}={value}")]))
    }

    fn context(&self) -> OsString {
        self.directory.join("context").into()
    }

    /// A call of buildah, with arguments separated by blanks, on a store that needs no file system of its own.
    fn buildah(&self, arguments: &str) -> Cmd<'_> {
        let (store, run) = (self.directory.join("store"), self.directory.join("run"));
        let buildah = cmd!(self.shell, "buildah --storage-driver vfs --root {store} --runroot {run}");
        buildah.args(arguments.split(' ')).quiet()
    }
}

/// Fails unless this is an executable for the processor that needs no interpreter, and so no libraries.
fn static_executable(shell: &Shell, arch: Arch, binary: &Path) -> Result<()> {
    let headers = cmd!(shell, "readelf --wide --file-header --program-headers {binary}").env("LC_ALL", "C").quiet();
    let headers = headers.read().with_context(|| format!("look at {}", binary.display()))?;
    ensure!(!headers.contains("INTERP"), "{} is linked dynamically", binary.display());
    ensure!(headers.contains(arch.elf()), "{} is for another processor than {}", binary.display(), arch.oci());
    Ok(())
}
