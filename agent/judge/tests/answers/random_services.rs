//! Random clusters with Services: what is said of each backend is what the evaluator says when it is asked about it directly.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podgate_judge::explain::{Answer, Asked, Destination, End, ExplainError, Query, explain};
use podgate_judge::groups::Parties;
use podgate_judge::matrix::{PortChoice, services};
use podgate_judge::routes;
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Reach, Traffic, Verdict, verdict, verdict_by};
use podgate_policy::model::{ObjectKey, Phase, Pod, Protocol};
use podgate_policy::services::{Endpoint, EndpointSlice, Service, ServiceForm, ServicePort, TargetPort, TrafficPolicy};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use crate::cases::cases;
use crate::random;
use crate::service_world::{endpoint, ips, leads, service, slice, terminating, unready};
use crate::world::{World, key};

use Protocol::{Tcp, Udp};

/// A cluster with up to three Services, some with slices, some left to their selectors.
pub(crate) fn cluster() -> impl Strategy<Value = World> {
    (random::cluster(), vec((any_service(), option::of(slices())), 1..4)).prop_map(|(world, services)| {
        services.into_iter().zip(0..).fold(
            world.node("node-1", "192.168.0.1,fd01::1"),
            |world, ((service, slices), index)| {
                let (namespace, number) = (service.key.namespace.clone(), 10 + index);
                let name = key(&format!("{namespace}/service-{index}"));
                let own = |family: &IpAddr| {
                    if family.is_ipv4() { format!("10.96.0.{number}") } else { format!("fd96::{number}") }
                };
                let cluster_ips = service.cluster_ips.iter().flat_map(|family| ips(&own(family))).collect();
                let external_ips = ips(&format!("192.0.2.{number},2001:db8::{number}"));
                let world = slices.into_iter().flatten().enumerate().fold(world, |world, (slice_index, slice)| {
                    let key = ObjectKey::new(namespace.clone(), format!("{}-{slice_index}", name.name));
                    let slice = EndpointSlice { key, service: Some(name.name.clone()), ..with_targets(&world, slice) };
                    world.slice(slice)
                });
                world.service(Service { key: name, cluster_ips, external_ips, ..service })
            },
        )
    })
}

fn any_service() -> impl Strategy<Value = Service> {
    let policy = || select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let families = select(vec!["10.0.0.0,fd00::", "10.0.0.0", "fd00::"]);
    let place = (select(vec!["a/s", "b/s", "c/s"]), select(vec!["x=1", "x=2", "y=1"]));
    let form = select(vec![ServiceForm::Virtual, ServiceForm::Virtual, ServiceForm::Virtual, ServiceForm::OtherProxy]);
    (place, form, families, vec(service_port(), 1..3), policy(), policy()).prop_map(
        |((name, selects), form, families, ports, internal, external)| {
            let ports = ports.into_iter().zip(["one", "two"]).zip([80, 81]).map(|((port, name), number)| ServicePort {
                name: Some(name.into()),
                port: number,
                ..port
            });
            Service { form, internal, external, ..service(name, selects, families, ports.collect()) }
        },
    )
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    let number = select(vec![53, 80, 81]).prop_map(TargetPort::Number);
    let name = select(vec!["http", "dns"]).prop_map(|name| TargetPort::Name(name.into()));
    let target = prop_oneof![number, name];
    (select(vec![Tcp, Udp]), target).prop_map(|(protocol, target)| ServicePort { target, ..leads("", protocol, 1, 1) })
}

/// One slice of each family, perhaps empty, of addresses among which some are pods' and some are nobody's.
fn slices() -> impl Strategy<Value = Vec<EndpointSlice>> {
    let of = |prefix: &'static str| {
        let left_out = select(vec![false, false, false, true]);
        (vec(any_endpoint(prefix), 0..4), select(vec![53_u16, 80]), select(vec![Tcp, Udp]), left_out).prop_map(
            |(endpoints, number, protocol, left_out)| EndpointSlice {
                left_out,
                ..slice("a/s", 0, &[("one", protocol, number), ("two", Tcp, 81)], endpoints)
            },
        )
    };
    (of("10.0.0."), of("fd00::")).prop_map(|(four, six)| vec![four, six])
}

/// An endpoint of which those with even numbers are to name their pods.
fn any_endpoint(prefix: &'static str) -> impl Strategy<Value = Endpoint> {
    let make: Vec<fn(&str) -> Endpoint> = vec![endpoint, endpoint, terminating, unready];
    let node = option::of(select(vec!["node-1", "node-2"]));
    (0..9_u8, select(make), node).prop_map(move |(number, make, node)| Endpoint {
        node: node.map(Into::into),
        ..make(&format!("{prefix}{number}"))
    })
}

/// Whether an endpoint made by [`any_endpoint`] names the pod behind its address.
fn names_its_pod(address: IpAddr) -> bool {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    last.is_multiple_of(2)
}

/// The active pod with an address, on whatever network.
fn pod_with(cluster: &Cluster, address: IpAddr) -> Option<&Pod> {
    let mut pods = cluster.pods.values().map(|pod| &**pod);
    pods.find(|pod| pod.phase == Phase::Active && pod.addresses.contains(&address))
}

fn with_targets(world: &World, mut slice: EndpointSlice) -> EndpointSlice {
    for endpoint in slice.endpoints.iter_mut().filter(|endpoint| names_its_pod(endpoint.addresses[0])) {
        endpoint.target = pod_with(&world.cluster, endpoint.addresses[0]).map(|pod| pod.key.clone());
    }
    slice
}

type Backends = BTreeSet<(IpAddr, u16)>;

fn slices_of<'c>(cluster: &'c Cluster, service: &Service) -> Vec<&'c EndpointSlice> {
    let of = |slice: &&EndpointSlice| {
        slice.key.namespace == service.key.namespace && slice.service.as_ref() == Some(&service.key.name)
    };
    cluster.endpoint_slices.values().map(|slice| &**slice).filter(of).collect()
}

/// The backends of a port, those of `node-1` if `local`, as the API's documentation has them.
fn by_definition(cluster: &Cluster, service: &Service, port: &ServicePort, local: bool) -> Backends {
    let slices = slices_of(cluster, service);
    if slices.is_empty() {
        return selected(cluster, service, port, local);
    }
    let mut found = Backends::new();
    for is_ipv4 in [true, false] {
        let listed = |counts: fn(&Endpoint) -> bool| -> Backends {
            let heeded = slices.iter().filter(|slice| !slice.left_out);
            let endpoints = heeded.flat_map(|slice| slice.endpoints.iter().map(move |it| (it, &slice.ports)));
            let near = endpoints.filter(|(it, _)| !local || it.node.as_deref() == Some("node-1"));
            let counted = near.filter(|(it, _)| counts(it) && it.addresses[0].is_ipv4() == is_ipv4);
            let ports = counted.flat_map(|(it, ports)| ports.iter().map(|port| (it.addresses[0], port)));
            let named = ports.filter(|(_, its)| its.name == port.name && its.protocol == port.protocol);
            named.filter_map(|(address, its)| Some((address, its.port?))).collect()
        };
        let ready = listed(|it| it.ready);
        found.extend(if ready.is_empty() { listed(|it| it.serving && it.terminating) } else { ready });
    }
    found
}

fn selected(cluster: &Cluster, service: &Service, port: &ServicePort, local: bool) -> Backends {
    let mut found = Backends::new();
    let fits = |pod: &Pod| service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    for pod in cluster.pods.values().filter(|pod| pod.key.namespace == service.key.namespace && fits(pod)) {
        let named = |name| pod.ports.iter().find(|it| it.name.as_ref() == Some(name) && it.protocol == port.protocol);
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => named(name).map(|it| it.number),
        };
        if pod.phase == Phase::Active && (!local || pod.node.as_deref() == Some("node-1")) {
            found.extend(number.into_iter().flat_map(|number| pod.addresses.iter().map(move |&it| (it, number))));
        }
    }
    found
}

type Path = (IpAddr, u16, Option<IpAddr>, Verdict);

/// The verdict about each backend, asked of the evaluator; with this source at the destination, where it is another.
fn direct(cluster: &Cluster, from: &Pod, backends: &Backends, ask: &Ask<'_>, seen_as: Option<IpAddr>) -> Vec<Path> {
    let mut paths = Vec::new();
    for &(address, number) in backends {
        let named = slices_of(cluster, ask.service).is_empty() || names_its_pod(address);
        let pod = pod_with(cluster, address).filter(|_| named).map(|pod| Party::pod_at(pod, Some(address)));
        let to = pod.unwrap_or_else(|| Party::at(cluster, address).expect("no two pods share an address"));
        let traffic = Traffic::Port { protocol: ask.port.protocol, number };
        for (source, _) in routes(&from.addresses, &[address]) {
            let source_party = Party::pod_at(from, source);
            let mut said = verdict_by(cluster, &source_party, &to, traffic, Reach::ThroughService);
            if let Some(node) = seen_as.filter(|_| to.pod().is_none_or(|pod| pod.key != from.key)) {
                said.ingress = verdict(cluster, &Party::outside(node), &to, traffic).ingress;
            }
            paths.push((address, number, source, said));
        }
    }
    paths
}

/// A port of a Service, by an address of it.
struct Ask<'w> {
    service: &'w Service,
    port: &'w ServicePort,
    address: IpAddr,
}

impl Ask<'_> {
    fn explained(&self, cluster: &Cluster, from: &Pod) -> Result<Vec<Path>, ExplainError> {
        let asked = Asked::Number(self.port.protocol, self.port.port);
        let query = Query { from: End::Pod(from.key.clone()), to: Destination::Address(self.address), asked };
        let Answer::Forwarded(forwarded) = explain(cluster, &query)? else { panic!("leads to nothing: {query:?}") };
        let mut paths = Vec::new();
        for path in forwarded.backends.into_iter().flat_map(|backend| backend.paths) {
            let Traffic::Port { number, .. } = path.traffic else { panic!("no port") };
            paths.push((path.to.expect("an address"), number, path.from, path.verdict));
        }
        paths.sort_by_key(|(address, number, source, _)| (*address, *number, *source));
        Ok(paths)
    }

    /// Whether kube-proxy serves the address: the Service is its own to serve, and has a ClusterIP of the family.
    fn is_served(&self) -> bool {
        let same_family = |cluster_ip: &IpAddr| cluster_ip.is_ipv4() == self.address.is_ipv4();
        self.service.form == ServiceForm::Virtual && self.service.cluster_ips.iter().any(same_family)
    }

    fn is_cluster_ip(&self) -> bool {
        self.service.cluster_ips.contains(&self.address)
    }

    fn expected(&self, cluster: &Cluster, from: &Pod) -> Vec<Path> {
        let local = self.is_cluster_ip() && self.service.internal == TrafficPolicy::Local;
        let mut backends = by_definition(cluster, self.service, self.port, local);
        backends.retain(|(address, _)| address.is_ipv4() == self.address.is_ipv4());
        let rewritten = !self.is_cluster_ip() && self.service.external == TrafficPolicy::Cluster && !from.host_network;
        let node = if self.address.is_ipv4() { "192.168.0.1" } else { "fd01::1" };
        let seen_as = rewritten.then(|| node.parse().expect("an address"));
        direct(cluster, from, &backends, self, seen_as)
    }
}

/// Every address and port of every Service.
fn asks(cluster: &Cluster) -> impl Iterator<Item = Ask<'_>> {
    cluster.services.values().flat_map(|service| {
        let addresses = service.cluster_ips.iter().chain(&service.external_ips);
        addresses.flat_map(move |&address| service.ports.iter().map(move |port| Ask { service, port, address }))
    })
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn backends_are_judged_as_the_evaluator_judges_each(world in cluster()) {
        let cluster = &world.cluster;
        let pods = || cluster.pods.values().filter(|pod| pod.phase == Phase::Active && !pod.addresses.is_empty());
        for (from, ask) in pods().flat_map(|from| asks(cluster).map(move |ask| (from, ask))) {
            if !ask.is_served() {
                let asked = Asked::Number(ask.port.protocol, ask.port.port);
                let query = Query { from: End::Pod(from.key.clone()), to: Destination::Address(ask.address), asked };
                let as_it_is = matches!(
                    explain(cluster, &query),
                    Ok(Answer::Direct(_)) | Err(ExplainError::NoCommonFamily { .. } | ExplainError::Undecidable(_))
                );
                prop_assert!(as_it_is, "{:?}", query);
                continue;
            }
            let expected = ask.expected(cluster, from);
            match ask.explained(cluster, from) {
                Ok(paths) => prop_assert_eq!(paths, expected),
                Err(ExplainError::NoBackends { .. }) => prop_assert_eq!(expected, vec![]),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn matrix_of_services_counts_what_is_explained(world in cluster()) {
        let cluster = &world.cluster;
        for row in services(cluster, &PortChoice::ContainerPorts, Parties::Pods) {
            let from = End::Pod(row.from.name.clone());
            let to = Destination::Service(row.service.clone());
            let asked = Asked::Number(row.protocol, row.port);
            let counts = match explain(cluster, &Query { from, to, asked }) {
                Ok(Answer::Forwarded(forwarded)) => (forwarded.allowed(), forwarded.backends.len()),
                Err(ExplainError::NoBackends { .. }) => (0, 0),
                // The matrix takes an address that is not known for one in no block.
                Err(ExplainError::Undecidable(_)) => continue,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!((row.allowed, row.backends), counts, "{:?}", row);
        }
    }
}
