//! Services without enforcement: every way to a backend works, so that a test that finds one closed has found a verdict.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use podgate_lab::{
    Attempt, Counter, Fate, Lab, Load, Namespace, Node, Pod, Proxy, ProxyMode, Result, Service, ServicePort, TUNNEL,
    Transport, Wiring,
};

const CLUSTER_IPS: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];
const EXTERNAL_IPS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
const BALANCER_IPS: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const NODE_PORT: u16 = 30080;
const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

fn ips(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

/// Two nodes with a backend on each and a client on the first, of one wiring.
struct World {
    proxies: [Proxy; 2],
    counters: Vec<Counter>,
    client: Pod,
    backends: [Pod; 2],
    nodes: [Node; 2],
    lab: Lab,
}

impl World {
    fn new(name: &str, wiring: Wiring, mode: ProxyMode) -> Result<Self> {
        let lab = Lab::new(name)?;
        let nodes = [lab.node("one")?, lab.node("two")?];
        let client = nodes[0].pod("client", wiring)?;
        let backends = [nodes[0].pod("near", wiring)?, nodes[1].pod("far", wiring)?];
        let proxies = [Proxy::new(&nodes[0], mode)?, Proxy::new(&nodes[1], mode)?];
        let mut world = Self { proxies, counters: Vec::new(), client, backends, nodes, lab };
        world.serve()?;
        Ok(world)
    }

    fn serve(&mut self) -> Result<()> {
        for (identity, pod) in (1..).zip(&self.backends) {
            for transport in BOTH {
                self.counters.push(pod.count(transport, TARGET, identity)?);
            }
        }
        Ok(())
    }

    fn set(&mut self, service: &Service) -> Result<()> {
        self.proxies.iter_mut().try_for_each(|proxy| proxy.set(service.clone()))
    }

    fn api(&self) -> Service {
        let port = |transport| {
            let backends = self.backends.iter().flat_map(|pod| pod.backends(TARGET));
            ServicePort::new(transport, PORT).node_port(NODE_PORT).to(backends)
        };
        let service = Service::new("api").cluster_ips(ips(CLUSTER_IPS)).external_ips(ips(EXTERNAL_IPS));
        service.balancer_ips(ips(BALANCER_IPS)).port(port(Transport::Tcp)).port(port(Transport::Udp))
    }
}

fn ask(from: &Namespace, transport: Transport, to: SocketAddr, attempts: u16) -> Result<Vec<Attempt>> {
    let first_port = 20000 + to.port() % 1000;
    from.load(&Load { patience: Duration::from_secs(5), ..Load::new(transport, to, first_port, attempts) })
}

/// The number of attempts that each backend has answered; anything else fails.
#[track_caller]
fn answered_by(attempts: &[Attempt]) -> BTreeMap<u64, usize> {
    let mut answered = BTreeMap::new();
    for attempt in attempts {
        let Fate::Answered(by) = attempt.fate else { panic!("{attempt:?}") };
        *answered.entry(by).or_default() += 1;
    }
    answered
}

/// Asks often enough that both backends answer.
fn reaches_both(from: &Namespace, to: [IpAddr; 2], port: u16) -> Result<()> {
    for transport in BOTH {
        for address in to {
            let answered = answered_by(&ask(from, transport, SocketAddr::new(address, port), 40)?);
            let by: BTreeSet<u64> = answered.keys().copied().collect();
            assert_eq!(by, [1, 2].into(), "{transport} from {} to {address}", from.netns());
        }
    }
    Ok(())
}

#[test]
fn pods_and_the_node_reach_every_backend_at_every_address_of_a_service() -> Result<()> {
    for (mode, wiring) in ProxyMode::ALL.into_iter().zip([Wiring::Ptp, Wiring::Bridge, Wiring::Routed]) {
        let mut world = World::new("every-address", wiring, mode)?;
        world.set(&world.api())?;
        let node = [world.nodes[0].ip4(), world.nodes[0].ip6()];
        for address in [CLUSTER_IPS, EXTERNAL_IPS, BALANCER_IPS].map(ips) {
            reaches_both(&world.client, address, PORT)?;
        }
        reaches_both(&world.client, node, NODE_PORT)?;
        reaches_both(&world.nodes[0], ips(CLUSTER_IPS), PORT)?;
        reaches_both(world.lab.outside(), node, NODE_PORT)?;
    }
    Ok(())
}

#[test]
fn a_change_of_backends_takes_effect_at_once_and_a_removed_service_answers_no_more() -> Result<()> {
    for mode in ProxyMode::ALL {
        let mut world = World::new("changes", Wiring::Ptp, mode)?;
        let to = SocketAddr::new(ips(CLUSTER_IPS)[1], PORT);
        for (number, pod) in (1..).zip(world.backends.clone()) {
            let ports = BOTH.map(|transport| ServicePort::new(transport, PORT).to(pod.backends(TARGET)));
            let service = ports.into_iter().fold(Service::new("api").cluster_ips(ips(CLUSTER_IPS)), Service::port);
            world.set(&service)?;
            for transport in BOTH {
                // The same source ports again: the kernel has forgotten the datagrams' old backend.
                let answered = answered_by(&ask(&world.client, transport, to, 20)?);
                assert_eq!(answered, [(number, 20)].into(), "{mode:?} {transport}");
            }
        }
        world.proxies.iter_mut().try_for_each(|proxy| proxy.remove("default/api"))?;
        let load = Load::new(Transport::Tcp, to, 30000, 1);
        assert!(!matches!(world.client.load(&load)?[0].fate, Fate::Answered(_)), "{mode:?}");
    }
    Ok(())
}

#[test]
fn session_affinity_leads_a_client_to_one_backend() -> Result<()> {
    for mode in ProxyMode::ALL {
        let mut world = World::new("affinity", Wiring::Ptp, mode)?;
        world.set(&world.api().sticky())?;
        for address in ips(CLUSTER_IPS) {
            // Attempts at once would all be the first one.
            let load = Load::new(Transport::Tcp, SocketAddr::new(address, PORT), 20000, 30);
            let load = Load { at_once: 1, patience: Duration::from_secs(5), ..load };
            assert_eq!(answered_by(&world.client.load(&load)?).len(), 1, "{mode:?} {address}");
        }
    }
    Ok(())
}

#[test]
fn a_pod_reaches_itself_through_its_service() -> Result<()> {
    for mode in [ProxyMode::Nftables, ProxyMode::Iptables] {
        for wiring in Wiring::ALL {
            let mut world = World::new("hairpin", wiring, mode)?;
            let own = world.backends[0].clone();
            let ports = BOTH.map(|transport| ServicePort::new(transport, PORT).to(own.backends(TARGET)));
            let service = ports.into_iter().fold(Service::new("api").cluster_ips(ips(CLUSTER_IPS)), Service::port);
            world.set(&service)?;
            for (transport, address) in
                BOTH.into_iter().flat_map(|transport| ips(CLUSTER_IPS).map(|ip| (transport, ip)))
            {
                let answered = answered_by(&ask(&own, transport, SocketAddr::new(address, PORT), 10)?);
                assert_eq!(answered, [(1, 10)].into(), "{transport} {address} {wiring} {mode:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_tunnel_carries_what_goes_between_the_pods_of_two_nodes() -> Result<()> {
    let mut world = World::new("tunnel", Wiring::Bridge, ProxyMode::Nftables)?;
    world.lab.tunnel(&world.nodes[0], &world.nodes[1])?;
    world.set(&world.api())?;
    reaches_both(&world.client, ips(CLUSTER_IPS), PORT)?;
    let shown = world.nodes[0].output("ip", &["-json", "-statistics", "link", "show", "dev", TUNNEL])?;
    let link: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let sent = link[0]["stats64"]["tx"]["packets"].as_u64().unwrap();
    assert!(sent > 100, "{sent} packets went through the tunnel");
    Ok(())
}

#[test]
fn a_process_of_the_node_answers_at_the_address_of_a_service() -> Result<()> {
    for mode in ProxyMode::ALL {
        let mut world = World::new("node-local", Wiring::Ptp, mode)?;
        world.set(&world.api())?;
        let (node, addresses) = (&world.nodes[0], ips(CLUSTER_IPS));
        if mode != ProxyMode::Bound {
            node.bind_addresses("node-local", &addresses)?;
        }
        for transport in BOTH {
            node.keep_from_translation(transport, &addresses, PORT)?;
            for address in addresses {
                let at = SocketAddr::new(address, PORT);
                let _server = node.count_at(transport, at, 99)?;
                let answered = answered_by(&ask(&world.client, transport, at, 10)?);
                assert_eq!(answered, [(99, 10)].into(), "{transport} {address} {mode:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_pod_is_reached_through_a_port_of_its_node() -> Result<()> {
    let world = World::new("host-port", Wiring::Ptp, ProxyMode::Iptables)?;
    world.nodes[0].host_port(&world.backends[0], 8888, Transport::Tcp, TARGET)?;
    for address in [world.nodes[0].ip4(), world.nodes[0].ip6()] {
        let at = SocketAddr::new(address, 8888);
        assert_eq!(answered_by(&ask(&world.client, Transport::Tcp, at, 10)?), [(1, 10)].into(), "{address}");
    }
    Ok(())
}

#[test]
fn the_node_knows_where_attempts_landed_and_servers_what_reached_them() -> Result<()> {
    let mut world = World::new("landings", Wiring::Ptp, ProxyMode::Nftables)?;
    world.set(&world.api())?;
    let backends = world.backends.each_ref().map(Pod::ip4);
    let identity = |landing: &SocketAddr| (1..).zip(backends).find(|(_, ip)| *ip == landing.ip()).map(|(id, _)| id);
    for transport in BOTH {
        let to = SocketAddr::new(ips(CLUSTER_IPS)[0], PORT);
        let before = world.backends.each_ref().map(|pod| pod.received().unwrap());
        let attempts = ask(&world.client, transport, to, 100)?;
        let after = world.backends.each_ref().map(|pod| pod.received().unwrap());
        assert!(before != after, "the kernel of the backends counts what it receives");
        let landings = world.nodes[0].landings(transport, to)?;
        assert_eq!((attempts.len(), landings.len()), (100, 100));
        for attempt in attempts {
            let landed = landings.get(&attempt.from).and_then(identity);
            assert_eq!(landed.map(Fate::Answered), Some(attempt.fate), "{transport} from {}", attempt.from);
        }
    }
    let counts: Vec<_> = world.counters.iter().map(Counter::counts).collect();
    let sum = |places: [usize; 2]| places.map(|place| counts[place].bytes).iter().sum::<u64>();
    assert_eq!((sum([0, 2]), sum([1, 3])), (800, 800));
    assert_eq!(counts[0].connections + counts[2].connections, 100);
    Ok(())
}
