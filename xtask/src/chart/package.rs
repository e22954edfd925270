//! `cargo xtask package`: the chart and the manifests of a release, which name its image.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use xshell::cmd;

use super::{NAMESPACE, copy_with_image};
use crate::setup;
use crate::workspace::{root, shell, target};

/// What to name in them, and where to put them.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the image is, without the tag, which is the version
    #[arg(long, value_name = "NAME", default_value = "localhost/podgate")]
    image: String,
    /// The digest of the image, by which it is pulled then
    #[arg(long, value_name = "sha256:…")]
    digest: Option<String>,
    /// Where to write the files [default: package in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Writes podgate-VERSION.tgz, the chart, and podgate-VERSION.yaml, what it renders with its own values.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (helm, shell, version) = (setup::helm()?, shell()?, env!("CARGO_PKG_VERSION"));
    let output = options.output.clone().unwrap_or_else(|| target().join("package"));
    let output = root().join(output);
    shell.create_dir(&output)?;
    let chart = shell.create_temp_dir()?;
    let directory = chart.path().join("podgate");
    copy_with_image(&shell, &directory, &options.image, options.digest.as_deref())?;
    cmd!(shell, "{helm} package {directory} --destination {output}").run().context("package the chart")?;
    let render = cmd!(shell, "{helm} template podgate {directory} --namespace {NAMESPACE} --skip-tests");
    let manifest = render.args(["--set", "createNamespace=true"]).read().context("render the chart")?;
    let path = output.join(format!("podgate-{version}.yaml"));
    shell.write_file(&path, manifest + "\n")?;
    println!("wrote {}", path.display());
    Ok(())
}
