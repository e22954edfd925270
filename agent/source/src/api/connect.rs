//! The way to the API server.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::status::Location;

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

/// A client, and where the server is.
pub(super) async fn client(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<(Client, Location), ConnectError> {
    let chosen = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(path) => from_file(path, &chosen).await?,
        None if context.is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Config::incluster().map_err(Box::new)?
        }
        None => Config::from_kubeconfig(&chosen).await.map_err(|error| ConnectError::Nothing(Box::new(error)))?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let location = location(&config);
    let client = Client::try_from(config).map_err(Box::new)?;
    Ok((client, location))
}

fn location(config: &Config) -> Location {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let default_port = if url.scheme_str() == Some("http") { 80 } else { 443 };
    Location::Api { url: url.to_string(), host, port: url.port_u16().unwrap_or(default_port) }
}

async fn from_file(path: &Path, chosen: &KubeConfigOptions) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(kubeconfig, chosen).await.map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A certificate of nobody, for the form alone.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBRDCB96ADAgECAhQmGvUBL/mfj187QwP3hq8vmv8r3jAFBgMrZXAwFzEVMBMG
A1UEAwwMcG9kZ2F0ZSB0ZXN0MCAXDTI2MTEyMTEzMjUyOFoYDzIxMjYxMDI4MTMy
NTI4WjAXMRUwEwYDVQQDDAxwb2RnYXRlIHRlc3QwKjAFBgMrZXADIQCFsiyqr720
7bKampIkNttR/4KCC0PD4IuNcv0wozLeqaNTMFEwHQYDVR0OBBYEFFBcIfTn5kLn
L9zS7GVWxp8kwErBMB8GA1UdIwQYMBaAFFBcIfTn5kLnL9zS7GVWxp8kwErBMA8G
A1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EAnmY8S2YxCz9pg+K9KTcDEZ3xEAGIwoGW
C1BLDhCoVDcukpnulM6Q+AR6PN7WkJLHJmG13vpCUrjq/HyBmGmfBg==
-----END CERTIFICATE-----
";

    async fn with_kubeconfig(text: &str) -> Result<Location, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config");
        fs::write(directory.path().join("ca.pem"), CERTIFICATE).expect("written");
        fs::write(&path, text).expect("written");
        let connected = client(Some(&path), None).await;
        let prefix = format!("{}/", directory.path().display());
        connected.map(|(_, location)| location).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn kubeconfig(server: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
             clusters: [{{name: k, cluster: {{server: \"{server}\", certificate-authority: ca.pem}}}}], \
             users: [{{name: u, user: {{token: t}}}}]}}"
        )
    }

    #[tokio::test]
    async fn kubeconfig_with_its_own_authority_makes_a_client() {
        for (server, url, host, port) in [
            ("https://192.0.2.1:6443", "https://192.0.2.1:6443/", "192.0.2.1", 6443),
            ("https://[fd00::1]/", "https://[fd00::1]/", "fd00::1", 443),
            ("http://api.example", "http://api.example/", "api.example", 80),
        ] {
            let location = Location::Api { url: url.to_owned(), host: host.to_owned(), port };
            assert_eq!(with_kubeconfig(&kubeconfig(server)).await, Ok(location));
        }
    }

    #[tokio::test]
    async fn kubeconfig_that_cannot_be_used_is_named() {
        for text in ["", "[", "{current-context: none}", &kubeconfig("not an URL")] {
            let error = with_kubeconfig(text).await.expect_err(text);
            assert!(error.starts_with("can't use kubeconfig config: "), "{error}");
        }
        let error = client(Some(Path::new("/nonexistent/config")), None)
            .await
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.starts_with("can't use kubeconfig /nonexistent/config: "), "{error}");
    }
}
