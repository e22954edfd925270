//! Two pods on a node, under one kind of enforcement.

use podgate_lab::{
    Agent, Answer, ChainPosition, ForeignLink, Hook, Lab, Manifests, Node, Pod, Result, RunningAgent, Wiring,
};

use crate::load::{self, Family, Load};

/// What stands between the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Nothing,
    EmptyPrograms,
    /// Whether policies isolate both pods, or one the server only, and whether the kernel tracks connections.
    Podgate {
        both: bool,
        conntrack: bool,
    },
    Conntrack,
    Nftables,
    Iptables,
}

impl Kind {
    pub(crate) const PODGATE: Self = Self::Podgate { both: true, conntrack: false };
    pub(crate) const CONNTRACK: Self = Self::Conntrack;
    pub(crate) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::EmptyPrograms,
        Self::PODGATE,
        Self::Podgate { both: false, conntrack: false },
        Self::CONNTRACK,
        Self::Podgate { both: true, conntrack: true },
        Self::Podgate { both: false, conntrack: true },
        Self::Nftables,
        Self::Iptables,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no enforcement",
            Self::EmptyPrograms => "an empty program at every hook of both pods",
            Self::Podgate { both: true, conntrack: false } => "podgate, policies on both pods",
            Self::Podgate { both: false, conntrack: false } => "podgate, one policy",
            Self::Conntrack => "connection tracking alone",
            Self::Podgate { both: true, conntrack: true } => "podgate, policies on both pods, and connection tracking",
            Self::Podgate { both: false, conntrack: true } => "podgate, one policy, and connection tracking",
            Self::Nftables => "nftables, one policy as sets, connection tracking included",
            Self::Iptables => "iptables and ipset, one policy, connection tracking included",
        }
    }

    pub(crate) const fn tracks_connections(self) -> bool {
        match self {
            Self::Nothing | Self::EmptyPrograms => false,
            Self::Podgate { conntrack, .. } => conntrack,
            Self::Conntrack | Self::Nftables | Self::Iptables => true,
        }
    }

    /// Whether it takes programs or a kernel that podgate itself does without.
    pub(crate) const fn is_foreign(self) -> bool {
        matches!(self, Self::EmptyPrograms | Self::Conntrack | Self::Nftables | Self::Iptables)
            || matches!(self, Self::Podgate { conntrack: true, .. })
    }
}

/// A rule that asks for the state of connections is what makes the kernel track them.
const TRACK: &str = "
add table inet track
add chain inet track forward { type filter hook forward priority 0; policy accept; }
add rule inet track forward ct state established counter
";

/// What a policy says that lets the client use the server's ports.
const NFTABLES: &str = "
add table inet filter
add set inet filter peers4 { type ipv4_addr . inet_service; }
add set inet filter peers6 { type ipv6_addr . inet_service; }
add chain inet filter forward { type filter hook forward priority 0; policy drop; }
add rule inet filter forward ct state established,related accept
add rule inet filter forward ip saddr . tcp dport @peers4 accept
add rule inet filter forward ip saddr . udp dport @peers4 accept
add rule inet filter forward ip6 saddr . tcp dport @peers6 accept
add rule inet filter forward ip6 saddr . udp dport @peers6 accept
";

/// The client may use the server's ports.
const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8001, endPort: 8004}, {port: 8001, endPort: 8004, protocol: UDP}]
";

/// The same, and both pods are isolated in both directions.
pub(crate) const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8001, endPort: 8004}, {port: 8001, endPort: 8004, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: client}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: server}}}]
    ports: [{port: 8001, endPort: 8004}, {port: 8001, endPort: 8004, protocol: UDP}]
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
        let [client, server] = ["shop/client", "shop/server"].map(|name| node.pod(name, Wiring::Ptp));
        let (client, server) = (client?, server?);
        let manifests = Manifests::new(&lab, "manifests")?;
        let labelled = [&client, &server].map(|pod| pod.manifest().label("app", &pod.name().name));
        manifests.write_pods("pods.yaml", &labelled)?;
        let (mut agent, mut links) = (None, Vec::new());
        match kind {
            Kind::Nothing => {}
            Kind::EmptyPrograms => links = empty_programs(&node, [&client, &server])?,
            Kind::Podgate { both, conntrack } => {
                manifests.write("policies.yaml", if both { POLICIES } else { INGRESS })?;
                if conntrack {
                    node.output("nft", &[TRACK])?;
                }
                agent = Some(start(&lab, &node, &manifests)?);
            }
            Kind::Conntrack => drop(node.output("nft", &[TRACK])?),
            Kind::Nftables => nftables(&node, &client)?,
            Kind::Iptables => iptables(&node, &client)?,
        }
        load::serve(&server);
        Ok(Self { kind, client, server, manifests, _agent: agent, _links: links, _lab: lab })
    }

    pub(crate) fn rate(&self, load: Load, family: Family) -> f64 {
        load.rate(&self.client, &self.server, family)
    }
}

fn empty_programs(node: &Node, pods: [&Pod; 2]) -> Result<Vec<ForeignLink>> {
    let hooks = pods.into_iter().flat_map(|pod| Hook::ALL.map(|hook| (&pod.host_interface().name, hook)));
    hooks.map(|(name, hook)| ForeignLink::attach(node, name, hook, ChainPosition::First, Answer::Next)).collect()
}

fn nftables(node: &Node, client: &Pod) -> Result<()> {
    let elements = [("peers4", client.ip4()), ("peers6", client.ip6())].map(|(set, address)| {
        let elements = [8001, 8002, 8003, 8004].map(|port| format!("{address} . {port}")).join(", ");
        format!("add element inet filter {set} {{ {elements} }}\n")
    });
    node.output("nft", &[&format!("{NFTABLES}{}", elements.concat())]).map(drop)
}

/// The same rules by the older tools.
fn iptables(node: &Node, client: &Pod) -> Result<()> {
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        node.output(words[0], &words[1..]).map(drop)
    };
    for (iptables, inet, address) in [("iptables", "inet", client.ip4()), ("ip6tables", "inet6", client.ip6())] {
        run(&format!("ipset create peers-{inet} hash:ip,port family {inet}"))?;
        for protocol in ["tcp", "udp"] {
            run(&format!("ipset add peers-{inet} {address},{protocol}:8001-8004"))?;
        }
        run(&format!("{iptables} -P FORWARD DROP"))?;
        run(&format!("{iptables} -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"))?;
        run(&format!("{iptables} -A FORWARD -m set --match-set peers-{inet} src,dst -j ACCEPT"))?;
    }
    Ok(())
}

fn start(lab: &Lab, node: &Node, manifests: &Manifests) -> Result<RunningAgent> {
    let bindings = lab.directory().join("bindings.json");
    let agent = Agent::new(env!("CARGO_BIN_EXE_podgate")).arg("--bindings").arg(bindings);
    agent.manifests(manifests.path()).start_ready(lab, node)
}
