//! The objects of a cluster at one moment, for the command line.

use std::path::{Path, PathBuf};

use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::KubeconfigError;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::received::{Received, Whole};
use super::served::{self, Served};
use super::{ConnectError, connect, watch};
use crate::manifests::{self, Loaded};
use crate::object::Kind;

/// So many objects are asked for at a time.
const PAGE: u32 = 500;

/// Which cluster is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The kubeconfig file. Without it: the pod's service account if there is one, else `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; without it the current one.
    pub context: Option<String>,
}

/// Why a cluster can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no usable configuration.
    #[error(transparent)]
    Connect(ConnectError),
    /// There is no configuration at all.
    #[error("no way to a cluster: {0}; give -f FILE or --kubeconfig FILE")]
    Nothing(Box<KubeconfigError>),
    /// A kind can't be listed.
    #[error("{0}")]
    List(String),
}

/// Reads all objects that podgate knows, of all namespaces, and tells how many there are so far after each page.
///
/// # Errors
/// When there is no way to the server, or it does not let a kind be listed.
pub async fn snapshot(access: &Access, progress: impl FnMut(usize)) -> Result<Loaded, SnapshotError> {
    let connected = connect::client(access.kubeconfig.as_deref(), access.context.as_deref()).await;
    let (client, _) = connected.map_err(|error| match error {
        ConnectError::Nothing(error) => SnapshotError::Nothing(error),
        other => SnapshotError::Connect(other),
    })?;
    read(&client, progress).await
}

/// Objects go the way of manifests, so that they are judged alike.
pub(super) async fn read(client: &Client, mut progress: impl FnMut(usize)) -> Result<Loaded, SnapshotError> {
    let mut texts = vec![];
    let mut number = 0;
    for kind in Kind::ALL {
        let api: Api<Received<Whole>> = Api::all_with(client.clone(), &watch::resource(kind));
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = match api.list(&page).await {
                Ok(list) => list,
                Err(error) => match refused(client, kind, error).await {
                    Some(failure) => return Err(SnapshotError::List(failure.message)),
                    None => break,
                },
            };
            number += list.items.len();
            progress(number);
            let items: Vec<_> = list.items.into_iter().map(|item| document(kind, item.value)).collect();
            texts.push(json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    let texts = texts.iter().map(|text| (Path::new("Kubernetes API"), text.as_str()));
    Ok(manifests::parse_all(texts).without_places())
}

/// Why a kind can't be listed; none: the error says that there are no objects of it.
async fn refused(client: &Client, kind: Kind, error: kube::Error) -> Option<Failure> {
    let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
    match (kind, code) {
        // Servers before 1.21 have no EndpointSlices of this version, and agents may not list them: backends are then
        // those that selectors match.
        (Kind::EndpointSlice, 403 | 404) => return None,
        // Who may not list a kind is told so whether the server has it or not.
        (Kind::ClusterNetworkPolicy, 403 | 404) => match Served::ask(client).await {
            Ok(Served::Not) => return None,
            Ok(Served::Others(versions)) => return Some(served::unread(&versions)),
            Err(_) if code == 404 => return None,
            Ok(Served::Read) | Err(_) => {}
        },
        _ => {}
    }
    Some(Failure::of_request(&watch::resource(kind), "list", &error))
}

/// An object as a manifest has it, with what podgate reads of it: of pods and nodes that is little.
fn document(kind: Kind, mut object: Value) -> Value {
    match kind {
        Kind::Pod => {
            let containers = |field: &str| {
                let containers = object["spec"][field].as_array().cloned().unwrap_or_default();
                containers.iter().map(|it| only(it, &["name", "image", "ports", "restartPolicy"])).collect::<Value>()
            };
            let mut spec = only(&object["spec"], &["nodeName", "hostNetwork"]);
            (spec["containers"], spec["initContainers"]) = (containers("containers"), containers("initContainers"));
            object["spec"] = spec;
            object["status"] = only(&object["status"], &["phase", "podIP", "podIPs", "hostIP", "hostIPs"]);
        }
        Kind::Node => object["status"] = only(&object["status"], &["addresses"]),
        Kind::Namespace | Kind::NetworkPolicy | Kind::ClusterNetworkPolicy | Kind::Service | Kind::EndpointSlice => {}
    }
    let resource = watch::resource(kind);
    object["apiVersion"] = resource.api_version.into();
    object["kind"] = resource.kind.into();
    object
}

/// These fields of an object, as far as it has them; anything else stays what it is, for the reader to complain of.
fn only(object: &Value, fields: &[&str]) -> Value {
    let Value::Object(all) = object else { return if object.is_null() { json!({}) } else { object.clone() } };
    let kept = all.iter().filter(|(field, _)| fields.contains(&field.as_str()));
    Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect::<Map<_, _>>())
}
