//! Two pods on a node, under one kind of enforcement.

use podgate_lab::{
    Agent, Answer, ChainPosition, ForeignLink, Hook, Lab, Manifests, Node, Pod, Result, RunningAgent, Wiring,
};

use crate::load::{self, Load};

/// What stands between the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nothing,
    EmptyPrograms,
    Podgate,
    Conntrack,
    PodgateOnConntrack,
    Nftables,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Nothing, Self::EmptyPrograms, Self::Podgate, Self::Conntrack, Self::PodgateOnConntrack, Self::Nftables];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no enforcement",
            Self::EmptyPrograms => "an empty program at every hook of both pods",
            Self::Podgate => "podgate, policies on both pods",
            Self::Conntrack => "connection tracking alone",
            Self::PodgateOnConntrack => "podgate and connection tracking",
            Self::Nftables => "nftables, one policy as sets, connection tracking included",
        }
    }

    /// Rules for nft.
    const fn rules(self) -> Option<&'static str> {
        match self {
            Self::Conntrack | Self::PodgateOnConntrack => Some(
                "add table ip track; add chain ip track forward { type filter hook forward priority 0; policy accept; }; \
                 add rule ip track forward ct state established counter",
            ),
            Self::Nftables => Some(
                "add table ip filter; add set ip filter peers { type ipv4_addr . inet_service; }; \
                 add chain ip filter forward { type filter hook forward priority 0; policy drop; }; \
                 add rule ip filter forward ct state established,related accept; \
                 add rule ip filter forward ip saddr . tcp dport @peers accept; \
                 add rule ip filter forward ip saddr . udp dport @peers accept",
            ),
            Self::Nothing | Self::EmptyPrograms | Self::Podgate => None,
        }
    }
}

/// Client may use the server's ports, by an egress and an ingress policy.
pub(crate) const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8001, endPort: 8003}, {port: 8001, endPort: 8003, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: client}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: server}}}]
    ports: [{port: 8001, endPort: 8003}, {port: 8001, endPort: 8003, protocol: UDP}]
";

/// A lab with a client and a server.
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) manifests: Manifests,
    // Dropped in this order.
    _agent: Option<RunningAgent>,
    _links: Vec<ForeignLink>,
    _lab: Lab,
}

impl World {
    pub(crate) fn new(kind: Kind) -> Result<Self> {
        let lab = Lab::new("network-bench")?;
        let node = lab.node("node-1")?;
        let pods = ["shop/client", "shop/server"].map(|name| node.pod(name, Wiring::Ptp));
        let [client, server] = pods;
        let (client, server) = (client?, server?);
        load::serve(&server);
        let manifests = Manifests::new(&lab, "manifests")?;
        let labelled = [&client, &server].map(|pod| pod.manifest().label("app", &pod.name().name));
        manifests.write_pods("pods.yaml", &labelled)?;
        manifests.write("policies.yaml", POLICIES)?;
        if let Some(rules) = kind.rules() {
            node.output("nft", &[rules])?;
        }
        if kind == Kind::Nftables {
            let peer = |port| format!("{} . {port}", client.ip4());
            let elements = [8001, 8002, 8003].map(peer).join(", ");
            node.output("nft", &[&format!("add element ip filter peers {{ {elements} }}")])?;
        }
        let links = if kind == Kind::EmptyPrograms { empty_programs(&node, [&client, &server])? } else { Vec::new() };
        let agent = match kind {
            Kind::Podgate | Kind::PodgateOnConntrack => Some(agent(&lab, &node, &manifests)?),
            _ => None,
        };
        Ok(Self { kind, client, server, manifests, _agent: agent, _links: links, _lab: lab })
    }

    pub(crate) fn rate(&self, load: Load) -> f64 {
        load.rate(&self.client, &self.server)
    }
}

fn empty_programs(node: &Node, pods: [&Pod; 2]) -> Result<Vec<ForeignLink>> {
    let hooks = pods.into_iter().flat_map(|pod| Hook::ALL.map(|hook| (&pod.host_interface().name, hook)));
    hooks.map(|(name, hook)| ForeignLink::attach(node, name, hook, ChainPosition::First, Answer::Next)).collect()
}

fn agent(lab: &Lab, node: &Node, manifests: &Manifests) -> Result<RunningAgent> {
    let bindings = lab.directory().join("bindings.json");
    let agent = Agent::new(env!("CARGO_BIN_EXE_podgate")).arg("--bindings").arg(bindings);
    agent.manifests(manifests.path()).start_ready(lab, node)
}
