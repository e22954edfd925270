//! Pods.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self as api, Container, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use podgate_policy::model::{ContainerPort, Phase, Pod, Workload};

use super::path::{Path, quote};
use super::{Scope, meta, protocol, syntax};

pub(super) fn pod(from: &api::Pod, scope: &mut Scope<'_>) -> Pod {
    let no_spec = PodSpec::default();
    let no_status = PodStatus::default();
    let spec = from.spec.as_ref().unwrap_or(&no_spec);
    let status = from.status.as_ref().unwrap_or(&no_status);
    Pod {
        key: meta::namespaced(&from.metadata, scope),
        uid: uid(from).into(),
        labels: meta::labels(&from.metadata, scope),
        workload: workload(&from.metadata, scope),
        node: spec.node_name.as_deref().filter(|name| !name.is_empty()).map(|name| scope.strings.share(name)),
        host_network: spec.host_network.unwrap_or(false),
        phase: phase(status, scope),
        terminating: from.metadata.deletion_timestamp.is_some(),
        addresses: addresses(status, scope),
        ports: ports(spec, scope),
    }
}

/// The annotation of a mirror pod, with the hash of its static pod's configuration (`ConfigMirrorAnnotationKey` of the
/// kubelet).
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The UID by which a pod's node knows it. For a static pod that is the hash of its configuration, which the kubelet gives
/// to the container runtime too; its mirror in the API has a UID of its own, and another one whenever it is made anew.
fn uid(from: &api::Pod) -> &str {
    let mirrored = from.metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRROR));
    let uid = mirrored.filter(|hash| !hash.is_empty()).or(from.metadata.uid.as_ref());
    uid.map(String::as_str).unwrap_or_default()
}

/// The label by which a Deployment tells the pods of its ReplicaSets apart.
const TEMPLATE: &str = "pod-template-hash";

/// What controls a pod. A ReplicaSet with the hash of a template at the end of its name is a Deployment's, which has
/// the name without it.
fn workload(meta: &ObjectMeta, scope: &mut Scope<'_>) -> Option<Workload> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true)).filter(|owner| !owner.name.is_empty())?;
    let hash = meta.labels.as_ref().and_then(|labels| labels.get(TEMPLATE)).filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    let (kind, name) = match deployment.filter(|name| !name.is_empty()) {
        Some(name) => ("Deployment", name),
        None => (owner.kind.as_str(), owner.name.as_str()),
    };
    Some(Workload { kind: scope.strings.share(kind), name: scope.strings.share(name) })
}

fn phase(status: &PodStatus, scope: &mut Scope<'_>) -> Phase {
    match status.phase.as_deref() {
        Some("Succeeded" | "Failed") => Phase::Finished,
        None | Some("" | "Pending" | "Running" | "Unknown") => Phase::Active,
        Some(other) => {
            let expected = "expected Pending, Running, Succeeded, Failed or Unknown";
            let path = Path::Root.field("status");
            scope.report.questionable(&path.field("phase"), format!("{} is not a phase: {expected}", quote(other)));
            Phase::Active
        }
    }
}

fn addresses(status: &PodStatus, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let path = Path::Root.field("status");
    let mut addresses = vec![];
    let mut add = |path: &Path<'_>, text: &str| {
        if let Some(address) = scope.check(path, syntax::address(text))
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    };
    let list = path.field("podIPs");
    let listed = status.pod_ips.as_deref().unwrap_or_default();
    for (index, entry) in listed.iter().enumerate() {
        add(&list.index(index).field("ip"), &entry.ip);
    }
    if let (true, Some(single)) = (listed.is_empty(), status.pod_ip.as_deref().filter(|text| !text.is_empty())) {
        add(&path.field("podIP"), single);
    }
    addresses.shrink_to_fit();
    addresses
}

/// The ports of containers, and of the init containers that go on running beside them: in this order, since the first with
/// a name is the one that a Service's target port means (`FindPort` of the endpoint slice controller).
fn ports(spec: &PodSpec, scope: &mut Scope<'_>) -> Vec<ContainerPort> {
    let path = Path::Root.field("spec");
    let mut ports = vec![];
    for (index, container) in spec.containers.iter().enumerate() {
        container_ports(container, &path.field("containers").index(index), scope, &mut ports);
    }
    let init = spec.init_containers.as_deref().unwrap_or_default().iter().enumerate();
    for (index, container) in init.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always")) {
        container_ports(container, &path.field("initContainers").index(index), scope, &mut ports);
    }
    ports.shrink_to_fit();
    ports
}

fn container_ports(from: &Container, path: &Path<'_>, scope: &mut Scope<'_>, ports: &mut Vec<ContainerPort>) {
    let path = path.field("ports");
    let listed = from.ports.as_deref().unwrap_or_default().iter().enumerate();
    ports.extend(listed.filter_map(|(index, port)| container_port(port, &path.index(index), scope)));
}

fn container_port(from: &api::ContainerPort, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<ContainerPort> {
    let number = scope.check(&path.field("containerPort"), syntax::port_number(from.container_port));
    let protocol = scope.check(&path.field("protocol"), protocol(from.protocol.as_deref()));
    let name = from.name.as_deref().filter(|name| !name.is_empty());
    let name = name.filter(|name| scope.check(&path.field("name"), syntax::port_name(name)).is_some());
    // 0 is how the API's types say that there is none.
    let host_port = from.host_port.filter(|&port| port != 0);
    let host_port = host_port.and_then(|port| scope.check(&path.field("hostPort"), syntax::port_number(port)));
    Some(ContainerPort {
        name: name.map(|name| scope.strings.share(name)),
        protocol: protocol?,
        number: number?,
        host_port,
    })
}
