//! `cargo xtask e2e`: podgate on a real cluster, seen with nothing but kubectl.
//!
//! ```text
//! kind (default CNI off) ──► ptp on each node ──► images ──► kubectl apply -k ──► pods ──► cases
//! --kubeconfig ─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The pods that ask and answer run an image of their own with this very program in it (`xtask serve`, `xtask ask`), so
//! nothing is pulled from anywhere.

mod cases;
mod cluster;
mod kubectl;
mod workload;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use self::cluster::Cluster;
use self::kubectl::Kubectl;
use crate::{image, setup};

/// Against which cluster.
#[derive(Args)]
pub(crate) struct Options {
    /// Use this cluster, on whose nodes are the images that `--images-only` makes, and a CNI that enforces no policies.
    /// podgate and the namespaces podgate-e2e-a and podgate-e2e-b are made and removed there
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Build the images and end
    #[arg(long)]
    images_only: bool,
    /// Leave what runs in the cluster, and the cluster itself if it was made with kind
    #[arg(long)]
    keep: bool,
}

/// Runs the suite.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.images_only {
        return images().map(drop);
    }
    setup::for_cluster()?;
    match &options.kubeconfig {
        // What is tried is what is on its nodes.
        Some(kubeconfig) => suite(&Kubectl::new(kubeconfig), options.keep),
        None => {
            let cluster = Cluster::create(&images()?)?;
            let outcome = suite(&Kubectl::new(cluster.kubeconfig()), options.keep);
            if options.keep {
                cluster.keep()
            } else {
                cluster.remove()
            }
            outcome
        }
    }
}

fn images() -> Result<Vec<PathBuf>> {
    let images = image::of_suite()?;
    images.iter().for_each(|image| println!("wrote {}", image.display()));
    Ok(images.into())
}

fn suite(kubectl: &Kubectl, keep: bool) -> Result<()> {
    let start = Instant::now();
    let outcome = workload::deploy(kubectl).and_then(|()| cases::run(kubectl));
    if outcome.is_err() {
        workload::show(kubectl);
    }
    if !keep {
        workload::remove(kubectl);
    }
    outcome.inspect(|()| println!("all cases passed in {:.0} s", start.elapsed().as_secs_f32()))
}
