//! Services and their endpoints.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self as core, ServiceSpec};
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podgate_policy::model::{Labels, ObjectKey};
use podgate_policy::services::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, Service, ServiceForm, ServicePort, TargetPort, TrafficPolicy,
};

use super::path::{Path, quote};
use super::{Scope, meta, protocol, syntax};

pub(super) fn service(from: &core::Service, scope: &mut Scope<'_>) -> Service {
    let path = Path::Root.field("spec");
    let no_spec = ServiceSpec::default();
    let spec = from.spec.as_ref().unwrap_or(&no_spec);
    let ports = spec.ports.as_deref().unwrap_or_default().iter().enumerate();
    let at_ports = path.field("ports");
    Service {
        key: meta::namespaced(&from.metadata, scope),
        form: form(from, spec),
        cluster_ips: cluster_ips(spec, scope),
        external_ips: addresses(spec.external_ips.as_deref(), &path.field("externalIPs"), scope),
        load_balancer_ips: load_balancer_ips(from, scope),
        ports: ports.filter_map(|(index, port)| service_port(port, &at_ports.index(index), scope)).collect(),
        selector: selector(spec, scope),
        internal: traffic_policy(spec.internal_traffic_policy.as_deref(), &path.field("internalTrafficPolicy"), scope),
        external: traffic_policy(spec.external_traffic_policy.as_deref(), &path.field("externalTrafficPolicy"), scope),
    }
}

/// The labels for which kube-proxy leaves out Services and EndpointSlices, whatever their values: the one says that another
/// program serves them (`LabelServiceProxyName`), the other that a Service is headless (`IsHeadlessService`).
const LEFT_OUT: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

fn is_left_out(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().is_some_and(|labels| LEFT_OUT.iter().any(|key| labels.contains_key(*key)))
}

fn form(from: &core::Service, spec: &ServiceSpec) -> ServiceForm {
    match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => ServiceForm::ExternalName,
        (_, Some("None")) => ServiceForm::Headless,
        _ if is_left_out(&from.metadata) => ServiceForm::OtherProxy,
        _ => ServiceForm::Virtual,
    }
}

fn cluster_ips(spec: &ServiceSpec, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let path = Path::Root.field("spec");
    let given = |text: &&String| !text.is_empty() && *text != "None";
    let listed: Vec<_> = spec.cluster_ips.iter().flatten().filter(given).cloned().collect();
    if !listed.is_empty() {
        return addresses(Some(&listed), &path.field("clusterIPs"), scope);
    }
    let single = spec.cluster_ip.as_ref().filter(given);
    single.and_then(|text| scope.check(&path.field("clusterIP"), syntax::address(text))).into_iter().collect()
}

fn addresses(texts: Option<&[String]>, path: &Path<'_>, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let texts = texts.unwrap_or_default().iter().enumerate();
    texts.filter_map(|(index, text)| scope.check(&path.index(index), syntax::address(text))).collect()
}

fn load_balancer_ips(from: &core::Service, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let path = Path::Root.field("status");
    let path = path.field("loadBalancer");
    let path = path.field("ingress");
    let entries = from.status.iter().flat_map(|status| &status.load_balancer).flat_map(|balancer| &balancer.ingress);
    // kube-proxy serves those in mode VIP (`service.go`, `newBaseServiceInfo`), which is the default.
    let served =
        |(_, entry): &(usize, &core::LoadBalancerIngress)| entry.ip_mode.as_deref().is_none_or(|it| it == "VIP");
    let addresses = entries.flatten().enumerate().filter(served).filter_map(|(index, entry)| {
        scope.check(&path.index(index).field("ip"), syntax::address(entry.ip.as_deref()?))
    });
    addresses.collect()
}

fn service_port(from: &core::ServicePort, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<ServicePort> {
    let port = scope.check(&path.field("port"), syntax::port_number(from.port));
    let protocol = scope.check(&path.field("protocol"), protocol(from.protocol.as_deref()));
    let at_target = path.field("targetPort");
    let target = match &from.target_port {
        None | Some(IntOrString::Int(0)) => port.map(TargetPort::Number),
        Some(IntOrString::Int(number)) => scope.check(&at_target, syntax::port_number(*number)).map(TargetPort::Number),
        Some(IntOrString::String(name)) => {
            scope.check(&at_target, syntax::port_name(name)).map(|()| TargetPort::Name(scope.strings.share(name)))
        }
    };
    let node_port = from.node_port.filter(|&port| port != 0);
    let node_port = node_port.and_then(|port| scope.check(&path.field("nodePort"), syntax::port_number(port)));
    let name = from.name.as_deref().filter(|name| !name.is_empty()).map(|name| scope.strings.share(name));
    Some(ServicePort { name, protocol: protocol?, port: port?, target: target?, node_port })
}

fn traffic_policy(text: Option<&str>, path: &Path<'_>, scope: &mut Scope<'_>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            let message = format!("{} is not a traffic policy: expected Cluster or Local", quote(other));
            scope.report.questionable(path, message);
            TrafficPolicy::Cluster
        }
    }
}

fn selector(spec: &ServiceSpec, scope: &mut Scope<'_>) -> Labels {
    let labels = spec.selector.iter().flatten();
    labels.map(|(key, value)| (scope.strings.share(key), scope.strings.share(value))).collect()
}

pub(super) fn endpoint_slice(from: &discovery::EndpointSlice, scope: &mut Scope<'_>) -> EndpointSlice {
    let key = meta::namespaced(&from.metadata, scope);
    let labels = from.metadata.labels.as_ref();
    let family = family(&from.address_type, scope);
    let at_endpoints = Path::Root.field("endpoints");
    let at_ports = Path::Root.field("ports");
    EndpointSlice {
        service: labels
            .and_then(|labels| labels.get("kubernetes.io/service-name"))
            .map(|name| scope.strings.share(name)),
        family,
        endpoints: (from.endpoints.iter().flatten().enumerate())
            .map(|(index, from)| endpoint(from, family, &key, &at_endpoints.index(index), scope))
            .collect(),
        ports: (from.ports.iter().flatten().enumerate())
            .filter_map(|(index, from)| endpoint_port(from, &at_ports.index(index), scope))
            .collect(),
        left_out: is_left_out(&from.metadata),
        key,
    }
}

fn family(text: &str, scope: &mut Scope<'_>) -> AddressFamily {
    match text {
        "IPv4" => AddressFamily::Ipv4,
        "IPv6" => AddressFamily::Ipv6,
        "FQDN" => AddressFamily::Fqdn,
        other => {
            let message = format!("{} is not an address type: expected IPv4, IPv6 or FQDN", quote(other));
            scope.report.invalid(&Path::Root.field("addressType"), message);
            AddressFamily::Fqdn
        }
    }
}

fn endpoint(
    from: &discovery::Endpoint,
    family: AddressFamily,
    slice: &ObjectKey,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Endpoint {
    let path = path.field("addresses");
    let texts = from.addresses.iter().enumerate().filter(|_| family != AddressFamily::Fqdn);
    let addresses = texts.filter_map(|(index, text)| {
        scope.check(&path.index(index), syntax::address(text).and_then(|address| of_family(address, family)))
    });
    let addresses = addresses.collect();
    let conditions = from.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let target = from.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let target = target.and_then(|target| {
        let namespace = target.namespace.as_deref().map_or_else(|| slice.namespace.clone(), Into::into);
        Some(ObjectKey::new(namespace, target.name.as_deref()?))
    });
    let (serving, terminating) = (conditions.serving.unwrap_or(ready), conditions.terminating.unwrap_or(false));
    let node = from.node_name.as_deref().filter(|name| !name.is_empty()).map(|name| scope.strings.share(name));
    Endpoint { addresses, ready, serving, terminating, node, target }
}

fn of_family(address: IpAddr, family: AddressFamily) -> Result<IpAddr, String> {
    if address.is_ipv4() == (family == AddressFamily::Ipv4) {
        return Ok(address);
    }
    let expected = if family == AddressFamily::Ipv4 { "IPv4" } else { "IPv6" };
    Err(format!("{address} is not of the slice's addressType: expected {expected} addresses only"))
}

fn endpoint_port(from: &discovery::EndpointPort, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<EndpointPort> {
    let protocol = scope.check(&path.field("protocol"), protocol(from.protocol.as_deref()));
    let port = match from.port {
        None => Some(None),
        Some(number) => scope.check(&path.field("port"), syntax::port_number(number)).map(Some),
    };
    let name = from.name.as_deref().filter(|name| !name.is_empty()).map(|name| scope.strings.share(name));
    Some(EndpointPort { name, protocol: protocol?, port: port? })
}
