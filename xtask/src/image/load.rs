//! Loading the image where Kubernetes runs it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xshell::cmd;

use crate::workspace::{find, shell};

/// What images can be loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// The nodes of the kind cluster that $KIND_CLUSTER_NAME names, else of `kind`
    Kind,
    /// This node's containerd
    Containerd,
    /// This node's k3s
    K3s,
}

impl Runtime {
    /// The program, and its arguments, which the archive follows.
    fn command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Kind => ("kind", &["load", "image-archive"]),
            Self::Containerd => ("ctr", &["--namespace", "k8s.io", "images", "import"]),
            Self::K3s => ("k3s", &["ctr", "images", "import"]),
        }
    }

    /// What to do where its program is missing.
    fn advice(self) -> String {
        let advice = match self {
            Self::Kind => "install kind, and make a cluster with `kind create cluster`",
            Self::Containerd => "it comes with containerd, so run this on the node",
            Self::K3s => "run this on the node of k3s",
        };
        format!("{} is missing, which loads the image: {advice}", self.command().0)
    }

    /// Fails where its program is missing, while nothing is built yet.
    pub(crate) fn look(self) -> Result<()> {
        ensure!(find(self.command().0).is_some(), self.advice());
        Ok(())
    }

    /// Loads the image in an archive.
    pub(crate) fn load(self, archive: &Path) -> Result<()> {
        let (shell, (program, arguments)) = (shell()?, self.command());
        cmd!(shell, "{program} {arguments...} {archive}").run().with_context(|| format!("load {}", archive.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let advice = Runtime::value_variants().iter().map(|runtime| runtime.advice());
        let expected = [
            "kind is missing, which loads the image: install kind, and make a cluster with `kind create cluster`",
            "ctr is missing, which loads the image: it comes with containerd, so run this on the node",
            "k3s is missing, which loads the image: run this on the node of k3s",
        ];
        assert_eq!(advice.collect::<Vec<_>>(), expected);
    }
}
