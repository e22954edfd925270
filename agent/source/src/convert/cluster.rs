//! Namespaces and nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use podgate_policy::model::Namespace;

use super::path::Path;
use super::{Scope, meta, syntax};
use podgate_policy::services::Node;

/// The label with its name that the API server gives every namespace.
pub(crate) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn namespace(from: &api::Namespace, scope: &mut Scope<'_>) -> Namespace {
    let name = meta::name(&from.metadata, syntax::dns_label, scope);
    let mut labels = meta::labels(&from.metadata, scope);
    labels.insert(scope.strings.share(NAME_LABEL), name.clone());
    let audit = meta::audit(&from.metadata, scope);
    Namespace { name, labels, audit }
}

pub(super) fn node(from: &api::Node, scope: &mut Scope<'_>) -> Node {
    Node {
        name: meta::name(&from.metadata, syntax::dns_subdomain, scope),
        labels: meta::labels(&from.metadata, scope),
        addresses: from.status.as_ref().map(|status| addresses(status, scope)).unwrap_or_default(),
        pod_cidrs: from.spec.as_ref().map(|spec| pod_cidrs(spec, scope)).unwrap_or_default(),
    }
}

fn addresses(status: &api::NodeStatus, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let path = Path::Root.field("status");
    let path = path.field("addresses");
    let listed = status.addresses.as_deref().unwrap_or_default().iter().enumerate();
    let mut addresses: Vec<_> = listed
        .filter(|(_, entry)| matches!(entry.type_.as_str(), "InternalIP" | "ExternalIP"))
        .filter_map(|(index, entry)| scope.check(&path.index(index).field("address"), syntax::address(&entry.address)))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn pod_cidrs(spec: &api::NodeSpec, scope: &mut Scope<'_>) -> Vec<IpNet> {
    let path = Path::Root.field("spec");
    let list = path.field("podCIDRs");
    let listed = spec.pod_cidrs.as_deref().unwrap_or_default();
    let mut blocks: Vec<_> = listed
        .iter()
        .enumerate()
        .filter_map(|(index, text)| scope.check(&list.index(index), syntax::block(text)))
        .collect();
    if let (true, Some(single)) = (listed.is_empty(), spec.pod_cidr.as_deref().filter(|text| !text.is_empty())) {
        blocks.extend(scope.check(&path.field("podCIDR"), syntax::block(single)));
    }
    blocks
}
