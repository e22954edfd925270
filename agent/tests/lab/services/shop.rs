//! A shop on two nodes: a client that is isolated for egress, and a Service with backends of which some are open to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use podgate_lab::{
    Attempt, Counter, Fate, Load, Namespace, Node, Pod, Probe, Proxy, ProxyMode, Received, Result, RunningAgent, Seen,
    Service, ServicePort, Transport, Wiring,
};

use crate::support::{World, agent_of, labelled, policy, until};

/// The Service's addresses.
pub(super) const CLUSTER_IPS: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];
pub(super) const EXTERNAL_IPS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
pub(super) const BALANCER_IPS: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
/// The Service's port, and that of its backends.
pub(super) const PORT: u16 = 80;
pub(super) const TARGET: u16 = 8080;
pub(super) const NODE_PORT: u16 = 30080;
pub(super) const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];
/// How long an attempt may wait: less than TCP's first retransmission takes, so that each is one packet.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long nothing comes where nothing more is expected.
const QUIET: Duration = Duration::from_millis(100);

/// The client may ask what is open at [`TARGET`].
pub(super) fn to_open_backends() -> String {
    egress("to: [{podSelector: {matchLabels: {access: open}}}], ports: [{port: 8080}, {port: 8080, protocol: UDP}]")
}

/// Isolates the client for egress with one rule.
pub(super) fn egress(rule: &str) -> String {
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\n";
    policy("shop", "client", &format!("{client}egress: [{{{rule}}}]"))
}

pub(super) fn ips(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().expect("it is an address"))
}

/// How a shop is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) mode: ProxyMode,
    pub(super) wiring: Wiring,
    /// Whether a tunnel connects the nodes, in place of routes.
    pub(super) tunnel: bool,
}

impl Plan {
    pub(super) const ROUTED_NFTABLES: Self = Self { mode: ProxyMode::Nftables, wiring: Wiring::Ptp, tunnel: false };
    pub(super) const TUNNELLED_IPTABLES: Self =
        Self { mode: ProxyMode::Iptables, wiring: Wiring::Bridge, tunnel: true };
    pub(super) const BOUND: Self = Self { mode: ProxyMode::Bound, wiring: Wiring::Routed, tunnel: false };
    /// Every mode, every wiring, both ways between the nodes.
    pub(super) const ALL: [Self; 3] = [Self::ROUTED_NFTABLES, Self::TUNNELLED_IPTABLES, Self::BOUND];
}

/// A pod that serves [`TARGET`] by TCP and UDP, and counts.
pub(super) struct Backend {
    pub(super) pod: Pod,
    pub(super) identity: u64,
    _counters: [Counter; 2],
}

pub(super) struct Shop {
    far_agent: Option<RunningAgent>,
    pub(super) proxies: [Proxy; 2],
    pub(super) client: Pod,
    pub(super) backends: BTreeMap<&'static str, Backend>,
    pub(super) world: World,
    pub(super) far: Node,
    next_port: AtomicU16,
}

impl Shop {
    /// Two nodes and proxies, the client on the first, and no backend yet.
    pub(super) fn empty(name: &str, plan: Plan) -> Result<Self> {
        let mut world = World::new(name)?;
        let far = world.lab.node("node-2")?;
        if plan.tunnel {
            world.lab.tunnel(&world.node, &far)?;
        }
        let proxies = [Proxy::new(&world.node, plan.mode)?, Proxy::new(&far, plan.mode)?];
        world.node.remember_datagrams()?;
        let nodes = [&world.node, &far].map(|node| node.json().to_string());
        world.write("nodes.yaml", &nodes.join("\n---\n"))?;
        let client = world.pod("shop/client", plan.wiring)?;
        let backends = BTreeMap::new();
        Ok(Self { far_agent: None, proxies, client, backends, world, far, next_port: AtomicU16::new(10_000) })
    }

    /// With an open and a closed backend on each node, and the Service `shop/api` in front of them, without a policy and an
    /// agent.
    pub(super) fn new(name: &str, plan: Plan) -> Result<Self> {
        let mut shop = Self::empty(name, plan)?;
        for (name, access) in
            [("near-open", "open"), ("near-closed", "closed"), ("far-open", "open"), ("far-closed", "closed")]
        {
            shop.backend(name, plan.wiring, access)?;
        }
        shop.set(&shop.api())?;
        shop.get_acquainted()?;
        Ok(shop)
    }

    /// Lets everybody on the ways to the backends learn the neighbours' addresses: the first packets of a crowd would
    /// not all be kept until they are known.
    fn get_acquainted(&self) -> Result<()> {
        let addresses = self.backends.values().flat_map(|backend| backend.pod.addresses().both());
        let mut probes = addresses.map(Probe::ping);
        probes.try_for_each(|probe| self.client.expect(probe, Seen::Answered))
    }

    /// With the agent on both nodes, and these policies in force.
    pub(super) fn started(name: &str, plan: Plan, policies: &str) -> Result<Self> {
        let mut shop = Self::new(name, plan)?;
        shop.world.write("policies.yaml", policies)?;
        shop.start_agents(&[])?;
        Ok(shop)
    }

    /// Starts the agent on both nodes, with these arguments besides.
    pub(super) fn start_agents(&mut self, arguments: &[&str]) -> Result<()> {
        self.world.run_agent(arguments)?;
        let agent = agent_of(&self.world.lab, &self.far).manifests(self.world.manifests.path());
        let agent = arguments.iter().fold(agent, |agent, argument| agent.arg(argument));
        self.far_agent = Some(agent.start_ready(&self.world.lab, &self.far)?);
        Ok(())
    }

    /// Adds a backend, on the second node if its name says `far`.
    pub(super) fn backend(&mut self, name: &'static str, wiring: Wiring, access: &str) -> Result<&Backend> {
        let node = if name.starts_with("far") { &self.far } else { &self.world.node };
        let pod = node.pod(&format!("shop/{name}"), wiring)?;
        let identity = self.backends.len() as u64 + 1;
        let [tcp, udp] = BOTH.map(|transport| pod.count(transport, TARGET, identity));
        let backend = Backend { pod, identity, _counters: [tcp?, udp?] };
        self.world.declare(&labelled(&backend.pod).label("access", access), &backend.pod)?;
        self.backends.insert(name, backend);
        Ok(&self.backends[name])
    }

    pub(super) fn pod(&self, name: &str) -> &Pod {
        &self.backends[name].pod
    }

    /// The Service with all of these backends, with addresses and node ports of every kind.
    pub(super) fn api_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Service {
        let backends: Vec<SocketAddr> = names.into_iter().flat_map(|name| self.pod(name).backends(TARGET)).collect();
        let ports =
            BOTH.map(|transport| ServicePort::new(transport, PORT).node_port(NODE_PORT).to(backends.iter().copied()));
        let service = Service::new("shop/api").cluster_ips(ips(CLUSTER_IPS)).external_ips(ips(EXTERNAL_IPS));
        ports.into_iter().fold(service.balancer_ips(ips(BALANCER_IPS)), Service::port)
    }

    /// The Service with every backend.
    pub(super) fn api(&self) -> Service {
        self.api_of(self.backends.keys().copied())
    }

    /// Adds or changes a Service: first for the agents, then for the proxies, as a source that is behind denies.
    pub(super) fn set(&mut self, service: &Service) -> Result<()> {
        self.world.write(&file_of(service), &service.manifests())?;
        self.settle_far()?;
        self.proxies.iter_mut().try_for_each(|proxy| proxy.set(service.clone()))
    }

    /// Removes a Service.
    pub(super) fn unset(&mut self, service: &Service) -> Result<()> {
        self.proxies.iter_mut().try_for_each(|proxy| proxy.remove(&service.name().to_string()))?;
        self.world.remove(&file_of(service))?;
        self.settle_far()
    }

    /// Writes the policies and waits until they are in force on both nodes.
    pub(super) fn set_policies(&mut self, policies: &str) -> Result<()> {
        self.world.write("policies.yaml", policies)?;
        self.settle_far()
    }

    fn settle_far(&mut self) -> Result<()> {
        let Some(far) = &mut self.far_agent else { return Ok(()) };
        let near = self.world.agent().metrics()?.sum("podgate_policies", &[]);
        until("the other node's agent has taken in what was written", || {
            Ok(far.metrics()?.sum("podgate_policies", &[]) == near)
        })?;
        until("the other node's agent has applied what was written", || {
            Ok(far.metrics()?.sum("podgate_apply_pending", &[]) == 0.0)
        })?;
        far.wait_ready()
    }

    /// The addresses of the client's node.
    pub(super) fn node_ips(&self) -> [IpAddr; 2] {
        [self.world.node.ip4(), self.world.node.ip6()]
    }

    /// Single exchanges by TCP and UDP with a port of both addresses.
    pub(super) fn loads(&self, to: [IpAddr; 2], port: u16, attempts: u16) -> Vec<Load> {
        let loads = to.iter().flat_map(|address| BOTH.map(|transport| (transport, SocketAddr::new(*address, port))));
        loads.map(|(transport, to)| self.load(transport, to, attempts)).collect()
    }

    /// Single exchanges, from source ports that no other load has.
    pub(super) fn load(&self, transport: Transport, to: SocketAddr, attempts: u16) -> Load {
        let first_port = self.next_port.fetch_add(attempts, Ordering::Relaxed);
        Load { patience: PATIENCE, ..Load::new(transport, to, first_port, attempts) }
    }

    /// The identities of these backends.
    pub(super) fn identities<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> BTreeSet<u64> {
        names.into_iter().map(|name| self.backends[name].identity).collect()
    }

    /// Makes the client's attempts: those that are sent to one of the allowed backends are answered by it, of the others not a
    /// packet arrives, and backends of both kinds are tried where there are any.
    #[track_caller]
    pub(super) fn assert_judged(&self, loads: &[Load], allowed: &[&str]) -> Result<()> {
        let closed: Vec<&Pod> =
            self.backends.iter().filter(|(name, _)| !allowed.contains(name)).map(|(_, backend)| &backend.pod).collect();
        let before = settled(&closed)?;
        let made = make(&self.client, loads)?;
        assert_eq!(received(&closed)?, before, "something reached a backend that is closed");
        let allowed = self.identities(allowed.iter().copied());
        for (load, attempts) in loads.iter().zip(made) {
            self.assert_fates(load, &attempts, &allowed)?;
        }
        Ok(())
    }

    fn assert_fates(&self, load: &Load, attempts: &[Attempt], allowed: &BTreeSet<u64>) -> Result<()> {
        let landed = self.landed(load)?;
        let wrong: Vec<String> = attempts
            .iter()
            .filter_map(|attempt| {
                let by = landed.get(&attempt.from).copied();
                let expected = match by {
                    Some(by) if allowed.contains(&by) => Fate::Answered(by),
                    _ => Fate::Silence,
                };
                let is_right = by.is_some() && attempt.fate == expected;
                (!is_right).then(|| format!("{attempt:?} was sent to {by:?}"))
            })
            .collect();
        let (count, shown) = (wrong.len(), &wrong[..wrong.len().min(10)]);
        assert!(wrong.is_empty(), "{count} of {load:?}, of which only {allowed:?} are allowed, among them {shown:#?}");
        Ok(())
    }

    /// The identity of the backend to which each attempt was sent.
    pub(super) fn landed(&self, load: &Load) -> Result<BTreeMap<SocketAddr, u64>> {
        let identities: BTreeMap<SocketAddr, u64> = self
            .backends
            .values()
            .flat_map(|backend| backend.pod.backends(TARGET).map(|at| (at, backend.identity)))
            .collect();
        let landings = self.world.node.landings(load.transport, load.to)?;
        let known = landings.into_iter().filter_map(|(from, at)| Some((from, *identities.get(&at)?)));
        Ok(known.collect())
    }
}

fn file_of(service: &Service) -> String {
    format!("service-{}.yaml", service.name().name)
}

/// What pods have received so far.
pub(super) fn received(pods: &[&Pod]) -> Result<Vec<Received>> {
    pods.iter().map(|pod| pod.received()).collect()
}

/// What pods have received once nothing more comes, for instance the ends of earlier connections.
fn settled(pods: &[&Pod]) -> Result<Vec<Received>> {
    let mut before = received(pods)?;
    until("nothing more reaches the backends", || {
        thread::sleep(QUIET);
        let now = received(pods)?;
        Ok(now == std::mem::replace(&mut before, now.clone()))
    })?;
    Ok(before)
}

/// Makes the attempts of all loads at once.
pub(super) fn make(client: &Namespace, loads: &[Load]) -> Result<Vec<Vec<Attempt>>> {
    thread::scope(|scope| {
        let threads: Vec<_> = loads.iter().map(|load| scope.spawn(|| client.load(load))).collect();
        threads.into_iter().map(|thread| thread.join().expect("making attempts does not panic")).collect()
    })
}
