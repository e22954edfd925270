//! The Kubernetes API as a source.

use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use crate::source::Source;
use crate::status::SourceStatus;

/// How to reach the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The kubeconfig file. Without it: the pod's service account if there is one, else `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file can't be used.
    #[error("can't use kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
}

/// Watches the Kubernetes API. Must be called in a tokio runtime.
///
/// # Errors
///
/// When there is no usable configuration. Once it runs, no error of the server stops it: errors show in the status.
pub async fn spawn(options: &Options) -> Result<Source, ConnectError> {
    let (_updates, updates) = mpsc::channel(1);
    let (_status, status) = watch::channel(SourceStatus {
        source: format!("Kubernetes API {options:?}"),
        resources: Default::default(),
        problems: vec![],
        problem_count: 0,
        problems_met: Default::default(),
    });
    Ok(Source::new(updates, status, vec![]))
}
