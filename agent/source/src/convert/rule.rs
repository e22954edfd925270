//! Rules of NetworkPolicies: peers and ports.

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podgate_policy::model::{Direction, IpBlock, Namespaces, Peer, Peers, PortMatch, PortSpec, Ports, Rule, Selector};

use super::path::Path;
use super::selector::selector;
use super::{Scope, protocol, syntax};

pub(super) fn rule(
    direction: Direction,
    peers: &[NetworkPolicyPeer],
    ports: &[NetworkPolicyPort],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Rule {
    let at_peers = path.field(match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    });
    let at_ports = path.field("ports");
    let listed_peers = peers.iter().enumerate().filter_map(|(index, from)| peer(from, &at_peers.index(index), scope));
    let listed_peers: Vec<_> = listed_peers.collect();
    let listed_ports = ports.iter().enumerate().filter_map(|(index, from)| port(from, &at_ports.index(index), scope));
    let listed_ports: Vec<_> = listed_ports.collect();
    // Absence is judged by what was written: what can't be read must not turn a restricted rule into an open one.
    Rule {
        peers: if peers.is_empty() { Peers::Any } else { Peers::Listed(listed_peers) },
        ports: if ports.is_empty() { Ports::Any } else { Ports::Listed(listed_ports) },
    }
}

fn peer(from: &NetworkPolicyPeer, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<Peer> {
    let mut select = |from: &Option<LabelSelector>, field| -> Option<Selector> {
        from.as_ref().map(|from| selector(from, &path.field(field), scope))
    };
    let pods = select(&from.pod_selector, "podSelector");
    let namespaces = select(&from.namespace_selector, "namespaceSelector");
    let block = from.ip_block.as_ref().map(|from| ip_block(from, &path.field("ipBlock"), scope));
    match (pods, namespaces, block) {
        (None, None, None) => {
            scope.report.invalid(path, "empty peer: expected podSelector, namespaceSelector or ipBlock");
            None
        }
        (None, None, Some(block)) => block.map(Peer::Block),
        (_, _, Some(_)) => {
            scope.report.invalid(path, "ipBlock beside a selector: expected either, or two elements of the list");
            None
        }
        (pods, namespaces, None) => Some(Peer::Pods {
            namespaces: namespaces.map_or(Namespaces::Own, Namespaces::Matching),
            pods: pods.unwrap_or_default(),
        }),
    }
}

fn ip_block(from: &IPBlock, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<IpBlock> {
    let at_cidr = path.field("cidr");
    let cidr = scope.check(&at_cidr, syntax::block(&from.cidr));
    let at_except = path.field("except");
    let mut except = vec![];
    for (index, text) in from.except.iter().flatten().enumerate() {
        let path = at_except.index(index);
        let Some(inner) = scope.check(&path, syntax::block(text)) else { continue };
        let Some(cidr) = cidr else { continue };
        // `contains` is false across families.
        if cidr.contains(&inner) && inner.prefix_len() > cidr.prefix_len() {
            except.push(inner);
        } else {
            scope.report.invalid(
                &path,
                format!("{inner} does not lie strictly inside cidr {cidr}: expected a smaller part of it"),
            );
        }
    }
    except.sort();
    except.dedup();
    Some(IpBlock { cidr: cidr?, except })
}

fn port(from: &NetworkPolicyPort, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<PortMatch> {
    let protocol = scope.check(&path.field("protocol"), protocol(from.protocol.as_deref()));
    let port = match (&from.port, from.end_port) {
        (None, None) => Some(PortSpec::All),
        (None, Some(_)) => {
            scope
                .report
                .invalid(&path.field("endPort"), "endPort without port: expected the first port of the range in port");
            None
        }
        (Some(IntOrString::String(name)), end) => {
            if end.is_some() {
                scope.report.invalid(&path.field("endPort"), "endPort beside a named port: expected a number in port");
            }
            scope
                .check(&path.field("port"), syntax::port_name(name))
                .map(|()| PortSpec::Named(scope.strings.share(name)))
        }
        (Some(IntOrString::Int(first)), end) => range(*first, end, path, scope),
    };
    Some(PortMatch { protocol: protocol?, port: port? })
}

fn range(first: i32, end: Option<i32>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<PortSpec> {
    let first = scope.check(&path.field("port"), syntax::port_number(first));
    let at_end = path.field("endPort");
    let last = match end {
        None => first,
        Some(end) => scope.check(&at_end, syntax::port_number(end)),
    };
    let (first, last) = (first?, last?);
    if last < first {
        scope.report.invalid(&at_end, format!("{last} is below port: expected {first} or more"));
        return None;
    }
    Some(PortSpec::Range { first, last })
}
