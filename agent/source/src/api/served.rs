//! In which versions the server has ClusterNetworkPolicies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::Client;
use kube::api::{ApiResource, GetParams, GroupVersionKind, Request};

use super::failure::Failure;
use super::watch::resource;
use crate::object::Kind;
use crate::status::ErrorClass;

/// The group of ClusterNetworkPolicies. It may have other kinds too, in other versions.
pub(super) const GROUP: &str = "policy.networking.k8s.io";

/// The version of it that podgate reads.
pub(super) const VERSION: &str = "v1alpha2";

/// The name of the CustomResourceDefinition.
pub(super) const DEFINITION: &str = "clusternetworkpolicies.policy.networking.k8s.io";

/// CustomResourceDefinitions, of which only the metadata are read.
pub(super) fn definitions() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))
}

/// How the server has ClusterNetworkPolicies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// In the version that podgate reads.
    Read,
    /// In these versions only.
    Others(Vec<String>),
    /// Not at all.
    Not,
}

impl Served {
    /// Asks the server.
    pub(super) async fn ask(client: &Client) -> Result<Self, kube::Error> {
        let group = Request::new("/apis").get(GROUP, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        let Some(group) = found(client.request::<APIGroup>(group).await)? else { return Ok(Self::Not) };
        let plural = resource(Kind::ClusterNetworkPolicy).plural;
        let mut others = vec![];
        for version in group.versions {
            let resources = found(client.list_api_group_resources(&version.group_version).await)?;
            let mut resources = resources.into_iter().flat_map(|list| list.resources);
            match resources.any(|resource| resource.name == plural) {
                true if version.version == VERSION => return Ok(Self::Read),
                true => others.push(version.version),
                false => {}
            }
        }
        Ok(if others.is_empty() { Self::Not } else { Self::Others(others) })
    }
}

/// What was asked for; none: the server knows nothing of it.
fn found<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}

/// Policies are there in versions that podgate does not read.
pub(super) fn unread(versions: &[String]) -> Failure {
    let versions = versions.join(", ");
    let message = format!(
        "the server serves clusternetworkpolicies.{GROUP} in {versions} only, and podgate reads {VERSION}: let its \
         CustomResourceDefinition serve that too, or upgrade podgate"
    );
    Failure { class: ErrorClass::Missing, message }
}
