//! Random Services and policies: what `podgate explain` says from the files alone is what becomes of packets.

mod objects;
mod proxied;
mod world;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use podgate_judge::explain::{Answer, Asked, Destination, End, ExplainError, Query, explain};
use podgate_lab::{
    Attempt, Counter, Fate, Landings, Load, Outside, Pod, Probe, ProxyMode, Result, Seen, Transport, Wiring,
};
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::{ObjectKey, Protocol};
use podgate_source::manifests;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::proxied::Cast;
use self::world::{NODE_PORTS, PODS, RandomWorld, TARGETS, random_worlds};
use super::shop::{BOTH, Plan, Shop};
use crate::support::times;

/// Attempts at each address and port.
const ATTEMPTS: u16 = 4;
/// A world's first source port; as many worlds as there are have ports that the others have not.
const FIRST_PORT: u16 = 10_000;
const PORTS_OF_A_WORLD: u16 = 500;
const WORLDS_WITHOUT_COMMON_PORTS: u64 = 100;
/// Less than TCP's first retransmission takes.
const PATIENCE: Duration = Duration::from_millis(900);
/// The identity of the server outside of the cluster; pods' are their places in [`PODS`].
const OUTSIDE: u64 = 99;

/// Where an attempt may land, and whether it is answered there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// Nothing translates the address, or nothing is behind it.
    Nowhere,
    /// At one of these.
    Backends(BTreeMap<SocketAddr, bool>),
}

/// A client's attempts at one address and port.
#[derive(Debug)]
struct Ask {
    client: usize,
    load: Load,
    expected: Expected,
}

/// How many addresses were asked, and how many attempts were answered and denied. How many addresses lead to backends
/// of both kinds, and how many nowhere.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    asks: usize,
    answered: usize,
    denied: usize,
    partly: usize,
    nowhere: usize,
}

/// Two nodes, proxies and agents, and the pods of every world.
struct Stage {
    shop: Shop,
    pods: Vec<Pod>,
    at_source: bool,
    _counters: Vec<Counter>,
}

impl Stage {
    fn new(name: &str, plan: Plan, arguments: &[&str], at_source: bool) -> Result<Self> {
        let mut shop = Shop::empty(name, plan)?;
        // Each world has an object for this pod too.
        shop.world.remove("pod-shop-client.yaml")?;
        let mut pods = vec![shop.client.clone()];
        for name in &PODS[1..] {
            let node = if name.contains("/far") { &shop.far } else { &shop.world.node };
            pods.push(node.pod(name, plan.wiring)?);
        }
        let mut counters = Vec::new();
        for (transport, port) in BOTH.into_iter().flat_map(|transport| TARGETS.map(|port| (transport, port))) {
            for (identity, pod) in (0..).zip(&pods) {
                counters.push(pod.count(transport, port, identity)?);
            }
            // Bound to the addresses of endpoints, since it would answer its neighbours with others.
            for address in [Outside::IP4, Outside::IP6] {
                let at = SocketAddr::new(address, port);
                counters.push(shop.world.lab.outside().count_at(transport, at, OUTSIDE)?);
            }
        }
        // The first packets of a crowd would not all be kept until the neighbours' addresses are known.
        for pod in &pods {
            let others = pods.iter().flat_map(|pod| pod.addresses().both()).chain([Outside::IP4, Outside::IP6]);
            others.into_iter().try_for_each(|address| pod.expect(Probe::ping(address), Seen::Answered))?;
        }
        shop.start_agents(arguments)?;
        Ok(Self { shop, pods, at_source, _counters: counters })
    }

    fn cast(&self) -> Cast<'_> {
        Cast { pods: &self.pods, nodes: [&self.shop.world.node, &self.shop.far] }
    }

    /// Puts a world in force: first for the agents, then for the proxies, as a source that is behind denies.
    fn set(&mut self, world: &RandomWorld) -> Result<Cluster> {
        let text = world.manifests(self.cast());
        self.shop.set_policies(&text)?;
        let changes = self.cast().nodes.map(|node| world.proxied(node, self.cast()));
        for (proxy, changes) in self.shop.proxies.iter_mut().zip(changes) {
            proxy.sync(changes)?;
        }
        for node in self.cast().nodes {
            node.output("conntrack", &["-F"])?;
        }
        let loaded = manifests::load(&[self.shop.world.manifests.path().to_owned()]);
        assert_eq!(loaded.problems, [], "{text}");
        Ok(loaded.cluster)
    }

    fn node_of(&self, pod: &Pod) -> usize {
        usize::from(pod.node_name() == self.shop.far.name())
    }

    /// All that every pod may ask.
    fn asks(&self, number: u64, world: &RandomWorld, cluster: &Cluster) -> Vec<Ask> {
        let place = u16::try_from(number % WORLDS_WITHOUT_COMMON_PORTS).expect("it is less than that");
        let mut asks = Vec::new();
        for (client, pod) in self.pods.iter().enumerate() {
            let mut first_port = FIRST_PORT + place * PORTS_OF_A_WORLD;
            let frontends = world.frontends(self.cast().nodes[self.node_of(pod)], self.cast());
            for &(transport, to) in &frontends {
                // What is for a pod's own address never leaves it.
                if pod.addresses().both().contains(&to.ip()) {
                    continue;
                }
                let load = Load { patience: PATIENCE, ..Load::new(transport, to, first_port, ATTEMPTS) };
                asks.push(Ask { client, load, expected: self.expected(cluster, pod, transport, to) });
                first_port += ATTEMPTS;
            }
        }
        asks
    }

    /// What the files alone say.
    fn expected(&self, cluster: &Cluster, client: &Pod, transport: Transport, to: SocketAddr) -> Expected {
        let protocol = if transport == Transport::Tcp { Protocol::Tcp } else { Protocol::Udp };
        let name = client.name();
        let query = Query {
            from: End::Pod(ObjectKey::new(&*name.namespace, &*name.name)),
            to: Destination::Address(to.ip()),
            asked: Asked::Number(protocol, to.port()),
        };
        let forwarded = match explain(cluster, &query) {
            Ok(Answer::Forwarded(forwarded)) => forwarded,
            Ok(Answer::Direct(_)) | Err(ExplainError::NoBackends { .. }) => return Expected::Nowhere,
            Err(error) => panic!("{query:?}: {error}"),
        };
        let paths = || forwarded.backends.iter().flat_map(|backend| &backend.paths);
        // Where packets leave the pod, nobody knows yet which backend they will reach. An address that is a pod's too, or
        // the node's, is left to the exit.
        let is_pods = self.pods.iter().any(|pod| pod.addresses().both().contains(&to.ip()));
        let judged_at_source = self.at_source && to.port() < NODE_PORTS && !is_pods;
        let every_one = !judged_at_source || paths().all(|path| path.verdict.egress.is_allowed());
        let backends = paths().map(|path| {
            let Traffic::Port { number, .. } = path.traffic else { panic!("a backend has a port: {query:?}") };
            let address = path.to.expect("every pod has its addresses");
            (SocketAddr::new(address, number), every_one && path.verdict.is_allowed())
        });
        Expected::Backends(backends.collect())
    }

    fn identity(&self, backend: SocketAddr) -> u64 {
        let place = self.pods.iter().position(|pod| pod.addresses().both().contains(&backend.ip()));
        place.map_or(OUTSIDE, |place| place as u64)
    }

    /// Makes all attempts at once and compares what came of each with what was expected.
    fn play(&self, asks: &[Ask]) -> Result<(Tally, Vec<String>)> {
        let made: Vec<Result<Vec<Attempt>>> = thread::scope(|scope| {
            let threads: Vec<_> =
                asks.iter().map(|ask| scope.spawn(|| self.pods[ask.client].load(&ask.load))).collect();
            threads.into_iter().map(|thread| thread.join().expect("making attempts does not panic")).collect()
        });
        let (mut landings, mut tally, mut wrong) = (BTreeMap::new(), Tally::default(), Vec::new());
        for (ask, attempts) in asks.iter().zip(made) {
            let client = &self.pods[ask.client];
            let (node, load) = (self.node_of(client), ask.load);
            let landed: &Landings = match landings.entry((node, load.transport, load.to)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.cast().nodes[node].landings(load.transport, load.to)?),
            };
            tally.asks += 1;
            tally.add(&ask.expected);
            for attempt in attempts? {
                let at = landed.get(&attempt.from).copied().filter(|at| *at != load.to);
                tally.answered += usize::from(matches!(attempt.fate, Fate::Answered(_)));
                // What is denied where it leaves the pod lands nowhere.
                let has_backends = ask.expected != Expected::Nowhere;
                tally.denied += usize::from(attempt.fate == Fate::Silence && has_backends);
                if !self.is_right(&ask.expected, at, attempt.fate) {
                    let Load { transport, to, .. } = load;
                    let name = client.name();
                    wrong.push(format!("{name} asks {to} {transport}: {attempt:?} at {at:?}, {:?}", ask.expected));
                }
            }
        }
        Ok((tally, wrong))
    }

    fn is_right(&self, expected: &Expected, at: Option<SocketAddr>, fate: Fate) -> bool {
        match (expected, at) {
            (Expected::Nowhere, at) => at.is_none() && !matches!(fate, Fate::Answered(_)),
            (Expected::Backends(backends), Some(at)) => match backends.get(&at) {
                Some(true) => fate == Fate::Answered(self.identity(at)),
                Some(false) => fate == Fate::Silence,
                None => false,
            },
            // What is denied where it leaves the pod lands nowhere.
            (Expected::Backends(backends), None) => {
                self.at_source && backends.values().all(|allowed| !allowed) && fate == Fate::Silence
            }
        }
    }
}

impl Tally {
    fn add(&mut self, expected: &Expected) {
        match expected {
            Expected::Nowhere => self.nowhere += 1,
            Expected::Backends(backends) => {
                let allowed = backends.values().filter(|allowed| **allowed).count();
                self.partly += usize::from(allowed > 0 && allowed < backends.len());
            }
        }
    }

    fn sum(self, other: Self) -> Self {
        Self {
            asks: self.asks + other.asks,
            answered: self.answered + other.answered,
            denied: self.denied + other.denied,
            partly: self.partly + other.partly,
            nowhere: self.nowhere + other.nowhere,
        }
    }
}

/// The world of this number, always the same unless `PROPTEST_RNG_SEED` says otherwise.
fn world(number: u64) -> RandomWorld {
    let seed: u64 = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let bytes = [seed.to_be_bytes(), number.to_be_bytes(), [0; 8], [0; 8]].concat();
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    random_worlds().new_tree(&mut runner).expect("no world is rejected").current()
}

/// Plays worlds one after the other on the same nodes and pods.
fn what_is_explained_happens(name: &str, plan: Plan, arguments: &[&str], numbers: std::ops::Range<u64>) -> Result<()> {
    let mut stage = Stage::new(name, plan, arguments, arguments.contains(&"--services=source"))?;
    let mut tally = Tally::default();
    for number in numbers {
        let world = world(number);
        let cluster = stage.set(&world)?;
        let (of_world, wrong) = stage.play(&stage.asks(number, &world, &cluster))?;
        let (count, shown) = (wrong.len(), &wrong[..wrong.len().min(20)]);
        assert!(wrong.is_empty(), "world {number}, {count} attempts: {shown:#?}\n{}", world.manifests(stage.cast()));
        tally = tally.sum(of_world);
    }
    println!("{plan:?} {arguments:?}: {tally:?}");
    let Tally { asks, answered, denied, partly, nowhere } = tally;
    let is_every_kind = asks > 0 && answered > 0 && denied > 0 && nowhere > 0 && (partly > 0 || stage.at_source);
    assert!(is_every_kind, "{tally:?}");
    Ok(())
}

/// The links of the pods have no address of their own, so what is masqueraded has that of its node.
const ROUTED: Plan = Plan { wiring: Wiring::Routed, ..Plan::ROUTED_NFTABLES };

#[test]
fn random_services_are_judged_by_the_kernel_as_they_are_explained() -> Result<()> {
    what_is_explained_happens("random", ROUTED, &[], 0..times(6, 200) as u64)
}

#[test]
fn random_services_are_judged_as_they_are_explained_behind_chains_of_iptables() -> Result<()> {
    let plan = Plan { mode: ProxyMode::Iptables, ..ROUTED };
    what_is_explained_happens("random-iptables", plan, &[], 1_000..1_000 + times(3, 100) as u64)
}

#[test]
fn random_services_judged_at_the_source_need_every_backend_that_is_explained() -> Result<()> {
    what_is_explained_happens("random-source", ROUTED, &["--services=source"], 2_000..2_000 + times(3, 100) as u64)
}
