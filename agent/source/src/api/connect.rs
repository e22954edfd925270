//! The way to the API server.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::Options;

/// No answer for so long means that the connection is dead. Longer than a quiet watch, which the server ends after 290 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(310);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The given kubeconfig can't be used.
    #[error("can't use kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The pod's service account can't be used.
    #[error("can't use this pod's service account: {0}; mount its token, or give --kubeconfig")]
    ServiceAccount(#[from] Box<InClusterError>),
    /// There is neither a service account nor a usable default kubeconfig.
    #[error("no way to an API server: {0}; run in a pod, or give --kubeconfig FILE or --manifests DIR")]
    Nothing(Box<KubeconfigError>),
    /// The configuration makes no client, for example because of its certificates.
    #[error("can't use the configuration of the API server: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client, and the address of the server.
pub(super) async fn client(options: &Options) -> Result<(Client, String), ConnectError> {
    let mut config = match &options.kubeconfig {
        Some(path) => from_file(path).await?,
        None if env::var_os("KUBERNETES_SERVICE_HOST").is_some() => Config::incluster().map_err(Box::new)?,
        None => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .map_err(|error| ConnectError::Nothing(Box::new(error)))?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(Box::new)?;
    Ok((client, server))
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)
}
