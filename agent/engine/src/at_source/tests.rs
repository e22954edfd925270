use std::net::SocketAddr;

use podgate_policy::model::{Labels, Protocol};
use podgate_policy::services::{
    AddressFamily, Endpoint, EndpointPort, Service, ServiceForm, ServicePort, TargetPort, TrafficPolicy,
};

use super::super::fixtures::pod;
use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn frontend(text: &str) -> Frontend {
    let at: SocketAddr = text.parse().unwrap();
    Frontend { address: at.ip(), protocol: Protocol::Tcp, port: at.port() }
}

fn to(backends: &[&str]) -> Option<Lead> {
    Some(Lead::Backends(backends.iter().map(|text| text.parse::<SocketAddr>().unwrap()).collect()))
}

/// A Service with TCP port 80 that leads to 8080 of the pods with label `app` of this name.
fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let port = ServicePort {
        name: None,
        protocol: Protocol::Tcp,
        port: 80,
        target: TargetPort::Number(8080),
        node_port: None,
    };
    Service {
        key: ObjectKey::new("shop", name),
        form: ServiceForm::Virtual,
        cluster_ips: cluster_ips.iter().map(|text| address(text)).collect(),
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports: vec![port],
        selector: [("app".into(), name.into())].into(),
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
    }
}

fn slice(service: &str, addresses: impl IntoIterator<Item = IpAddr>) -> EndpointSlice {
    let endpoint = |address| Endpoint {
        addresses: vec![address],
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        target: None,
    };
    EndpointSlice {
        key: ObjectKey::new("shop", format!("{service}-1")),
        service: Some(service.into()),
        family: AddressFamily::Ipv4,
        endpoints: addresses.into_iter().map(endpoint).collect(),
        ports: vec![EndpointPort { name: None, protocol: Protocol::Tcp, port: Some(8080) }],
        left_out: false,
    }
}

/// A cluster, and what is made of it.
struct World {
    cluster: Cluster,
    at_source: AtSource,
}

impl World {
    fn new(frontends: usize, backends: usize) -> Self {
        let at_source = AtSource::new("node-a".into(), ServiceRoom { frontends, backends });
        Self { cluster: Cluster::default(), at_source }
    }

    fn service(&mut self, service: Service) {
        self.at_source.touch_service(&service.key);
        self.cluster.services.insert(service.key.clone(), service.into());
    }

    fn slice(&mut self, slice: EndpointSlice) {
        self.at_source.touch_slice(&slice);
        self.cluster.endpoint_slices.insert(slice.key.clone(), slice.into());
    }

    fn pod(&mut self, name: &str, app: &str, at: &str) {
        let labels = Labels::from([("app".into(), app.into())]);
        let pod = podgate_policy::model::Pod { labels, ..pod(name, at) };
        self.at_source.touch_pod(&pod.key, &pod.addresses);
        self.cluster.pods.insert(pod.key.clone(), pod.into());
    }

    /// What is to change, all of which is then done.
    fn settle(&mut self, own: &[&str]) -> LeadChanges {
        self.update(own);
        let changes = self.at_source.next(Instant::now()).unwrap_or_default();
        self.at_source.report(changes.clone(), &Outcome::Done, Instant::now());
        changes
    }

    fn update(&mut self, own: &[&str]) -> bool {
        let pods = self.cluster.pods.values();
        let of_pods: BTreeSet<IpAddr> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
        let own = own.iter().map(|text| address(text)).collect();
        self.at_source.update(&self.cluster, own, |address| of_pods.contains(&address))
    }

    fn refusals(&self) -> Vec<(Frontend, Refusal)> {
        self.at_source.refused().iter().map(|refused| (refused.frontend, refused.refusal)).collect()
    }
}

fn many(count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|last| IpAddr::from([10, 0, 0, last]))
}

#[test]
fn frontends_follow_services_their_slices_and_without_slices_the_pods() {
    let mut world = World::new(8, 8);
    world.service(service("web", &["10.96.0.1"]));
    assert_eq!(world.settle(&[]), [].into(), "nobody is behind it yet");
    world.pod("web-1", "web", "10.0.0.1");
    assert_eq!(world.settle(&[]), [(frontend("10.96.0.1:80"), to(&["10.0.0.1:8080"]))].into());
    world.slice(slice("web", many(2)));
    let both = to(&["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(world.settle(&[]), [(frontend("10.96.0.1:80"), both.clone())].into());
    world.pod("web-3", "web", "10.0.0.3");
    assert_eq!(world.settle(&[]), [].into(), "slices say who the backends are");
    world.service(service("web", &["10.96.0.2"]));
    let moved = [(frontend("10.96.0.1:80"), None), (frontend("10.96.0.2:80"), both)];
    assert_eq!(world.settle(&[]), moved.into());
    world.cluster.services.clear();
    world.at_source.touch_service(&ObjectKey::new("shop", "web"));
    assert_eq!(world.settle(&[]), [(frontend("10.96.0.2:80"), None)].into());
}

#[test]
fn an_address_that_the_host_serves_itself_is_left_to_the_exit() {
    let mut world = World::new(8, 8);
    world.service(service("web", &["10.96.0.1"]));
    world.slice(slice("web", many(1)));
    assert_eq!(world.settle(&["10.96.0.1"]), [].into());
    let now = [(frontend("10.96.0.1:80"), to(&["10.0.0.1:8080"]))];
    assert_eq!(world.settle(&[]), now.into());
    assert_eq!(world.settle(&["10.96.0.1"]), [(frontend("10.96.0.1:80"), None)].into());
}

#[test]
fn what_has_too_many_backends_or_no_room_is_denied_and_told_of() {
    let mut world = World::new(3, 130);
    for (name, address, backends) in
        [("a", "10.96.0.1", 128), ("b", "10.96.0.2", 129), ("c", "10.96.0.3", 3), ("d", "10.96.0.4", 2)]
    {
        world.service(service(name, &[address]));
        world.slice(slice(name, many(backends)));
    }
    let changes = world.settle(&[]);
    let [a, b, c, d] = ["10.96.0.1:80", "10.96.0.2:80", "10.96.0.3:80", "10.96.0.4:80"].map(frontend);
    let unknown: Vec<_> = changes.iter().filter(|(_, lead)| **lead == Some(Lead::Unknown)).map(|(it, _)| *it).collect();
    assert_eq!((changes.keys().copied().collect::<Vec<_>>(), unknown), (vec![a, b, c], vec![b, c]));
    let refusals = [(b, Refusal::TooMany(129)), (c, Refusal::NoRoom), (d, Refusal::NoRoom)];
    assert_eq!(world.refusals(), refusals);
    let egress = [a, d].map(|frontend| world.at_source.egress(frontend.address));
    assert_eq!(egress, [ServiceEgress::Source, ServiceEgress::SourceShort]);
    assert_eq!(world.at_source.judged(), 1);
    world.slice(slice("b", many(1)));
    world.slice(slice("a", many(1)));
    world.cluster.services.remove(&ObjectKey::new("shop", "c"));
    world.at_source.touch_service(&ObjectKey::new("shop", "c"));
    world.settle(&[]);
    assert_eq!((world.refusals(), world.at_source.judged()), (vec![], 3));
    assert_eq!(world.at_source.egress(d.address), ServiceEgress::Source);
}

#[test]
fn a_frontend_whose_change_failed_is_changed_again_though_it_is_to_be_as_before() {
    let mut world = World::new(8, 8);
    world.service(service("web", &["10.96.0.1"]));
    world.slice(slice("web", many(1)));
    world.settle(&[]);
    world.slice(slice("web", many(2)));
    world.update(&[]);
    let now = Instant::now();
    let failed = Outcome::Failed { applied: 0, error: "no room".to_owned() };
    world.at_source.report(world.at_source.next(now).unwrap(), &failed, now);
    assert_eq!(world.at_source.next(now), None, "not at once");
    world.slice(slice("web", many(1)));
    world.update(&[]);
    let again = world.at_source.next(world.at_source.deadline(now).unwrap());
    assert_eq!(again, Some([(frontend("10.96.0.1:80"), to(&["10.0.0.1:8080"]))].into()));
}

#[test]
fn an_address_with_a_port_of_several_services_is_left_to_the_exit() {
    let mut world = World::new(8, 8);
    world.service(service("shop", &["10.96.0.1"]));
    world.slice(slice("shop", many(1)));
    let alone = [(frontend("10.96.0.1:80"), to(&["10.0.0.1:8080"]))];
    assert_eq!(world.settle(&[]), alone.clone().into());
    let claimed = address("10.96.0.1");
    world.service(Service { external_ips: vec![claimed], ..service("other", &["10.96.0.2"]) });
    world.slice(slice("other", [address("10.0.0.9")]));
    assert!(world.update(&[]), "it is judged elsewhere");
    let changes = [(frontend("10.96.0.1:80"), None), (frontend("10.96.0.2:80"), to(&["10.0.0.9:8080"]))];
    assert_eq!(world.settle(&[]), changes.into());
    assert_eq!(world.at_source.egress(claimed), ServiceEgress::Exit);
    assert_eq!(world.at_source.egress(address("10.96.0.2")), ServiceEgress::Source);
    world.service(service("other", &["10.96.0.2"]));
    assert!(world.update(&[]));
    assert_eq!(world.settle(&[]), alone.into());
    assert_eq!(world.at_source.egress(claimed), ServiceEgress::Source);
}

#[test]
fn a_pods_address_that_a_service_claims_is_left_to_the_exit() {
    let mut world = World::new(8, 8);
    let claimed = address("10.0.0.7");
    world.service(Service { external_ips: vec![claimed], ..service("web", &["10.96.0.1"]) });
    world.slice(slice("web", many(1)));
    world.settle(&[]);
    assert_eq!(world.at_source.egress(claimed), ServiceEgress::Source);
    world.pod("other", "other", "10.0.0.7");
    assert!(world.update(&[]), "it is judged elsewhere");
    assert_eq!(world.settle(&[]), [(frontend("10.0.0.7:80"), None)].into());
    assert_eq!(world.at_source.egress(claimed), ServiceEgress::Exit);
    let gone = ObjectKey::new("shop", "other");
    world.cluster.pods.retain(|_, pod| !pod.addresses.contains(&claimed));
    world.at_source.touch_pod(&gone, &[claimed]);
    assert!(world.update(&[]));
    assert_eq!(world.at_source.egress(claimed), ServiceEgress::Source);
}

#[test]
fn a_service_that_kube_proxy_leaves_to_others_leads_nowhere() {
    let mut world = World::new(8, 8);
    let service = Service { external_ips: vec![address("192.0.2.9")], ..service("web", &["10.96.0.1"]) };
    world.slice(slice("web", many(1)));
    world.service(Service { form: ServiceForm::OtherProxy, ..service.clone() });
    assert_eq!(world.settle(&[]), [].into());
    world.service(service);
    assert_eq!(world.settle(&[]).len(), 2);
    world.slice(EndpointSlice { left_out: true, ..slice("web", many(1)) });
    assert_eq!(world.settle(&[]).into_values().collect::<Vec<_>>(), [None, None]);
}
