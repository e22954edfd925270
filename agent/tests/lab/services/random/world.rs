//! Worlds: what five pods are and serve, policies about them, and Services in front of them.

use podgate_lab::Transport;
use proptest::array::uniform5;
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::select;
use serde_json::{Value, json};

/// The pods of every world. Those whose name begins with `far` are on the second node.
pub(super) const PODS: [&str; 5] = ["shop/client", "shop/near", "other/near-too", "shop/far", "other/far-too"];
/// What every pod serves, by TCP and UDP.
pub(super) const TARGETS: [u16; 3] = [8080, 8081, 9090];
/// The ports of a Service; the second one may be left out.
pub(super) const PORTS: [(&str, u16); 2] = [("one", 80), ("two", 81)];
/// Below these no node port is.
pub(super) const NODE_PORTS: u16 = 30_080;
/// Each Service has a name of its own at the proxies, and its other addresses another.
pub(super) const MOST_SERVICES: usize = 3;

/// A world.
#[derive(Clone, Debug)]
pub(super) struct RandomWorld {
    pub(super) pods: [PodPlan; 5],
    pub(super) policies: Vec<Value>,
    pub(super) services: Vec<ServicePlan>,
}

#[derive(Clone, Debug)]
pub(super) struct PodPlan {
    pub(super) labels: Vec<(&'static str, &'static str)>,
    /// The number of its container port `http`, by TCP.
    pub(super) http: Option<u16>,
    /// The number of its container port `dns`, by UDP.
    pub(super) dns: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct ServicePlan {
    pub(super) namespace: &'static str,
    pub(super) label: (&'static str, &'static str),
    pub(super) ports: Vec<PortPlan>,
    pub(super) families: &'static [bool],
    pub(super) external: ExternalIps,
    pub(super) internal_is_local: bool,
    pub(super) external_is_local: bool,
    pub(super) is_sticky: bool,
    pub(super) is_other_proxys: bool,
    /// What EndpointSlices say of each pod; `None`: there are none.
    pub(super) listed: Option<[Listed; 5]>,
    /// Whether an address outside of the cluster is an endpoint too.
    pub(super) outside: bool,
    pub(super) names_pods: bool,
}

#[derive(Clone, Debug)]
pub(super) struct PortPlan {
    pub(super) transport: Transport,
    pub(super) target: Target,
    pub(super) has_node_port: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Number(u16),
    /// By the name of a container port, [`PortPlan::name`].
    Name,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ExternalIps {
    None,
    Own,
    /// Those of one of the pods.
    OfPod(usize),
}

/// What an EndpointSlice says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Not,
    Ready,
    Unready,
    Terminating,
}

/// Worlds dense in coincidences.
pub(super) fn random_worlds() -> impl Strategy<Value = RandomWorld> {
    let services = vec(service(), 1..=MOST_SERVICES);
    (uniform5(pod()), vec(policy(), 1..4), services).prop_map(|(pods, policies, services)| {
        let named = |(number, mut policy): (usize, Value)| {
            policy["metadata"]["name"] = format!("policy-{number}").into();
            policy
        };
        RandomWorld { pods, policies: policies.into_iter().enumerate().map(named).collect(), services }
    })
}

fn pod() -> impl Strategy<Value = PodPlan> {
    let number = || option::weighted(0.7, select(&TARGETS[..]));
    let labels = vec(select(vec![("x", "1"), ("x", "2"), ("y", "1")]), 0..3);
    (labels, number(), number()).prop_map(|(labels, http, dns)| PodPlan { labels, http, dns })
}

fn namespace() -> impl Strategy<Value = &'static str> {
    select(vec!["shop", "shop", "other"])
}

fn service() -> impl Strategy<Value = ServicePlan> {
    let families: Vec<&'static [bool]> = vec![&[true, false], &[true, false], &[true], &[false]];
    let external = prop_oneof![
        2 => Just(ExternalIps::None),
        2 => Just(ExternalIps::Own),
        1 => (0..PODS.len()).prop_map(ExternalIps::OfPod),
    ];
    let listed = select(vec![Listed::Not, Listed::Ready, Listed::Ready, Listed::Unready, Listed::Terminating]);
    let flags = (weighted(0.3), weighted(0.3), weighted(0.2), weighted(0.1), weighted(0.2), weighted(0.5));
    let objects = (namespace(), select(vec![("x", "1"), ("x", "2"), ("y", "1")]), vec(port(), 1..=PORTS.len()));
    (objects, select(families), external, option::weighted(0.8, uniform5(listed)), flags).prop_map(
        |((namespace, label, ports), families, external, listed, flags)| {
            let (internal_is_local, external_is_local, is_sticky, is_other_proxys, outside, names_pods) = flags;
            ServicePlan {
                namespace,
                label,
                ports,
                families,
                external,
                internal_is_local,
                external_is_local,
                is_sticky,
                is_other_proxys,
                listed,
                outside,
                names_pods,
            }
        },
    )
}

fn port() -> impl Strategy<Value = PortPlan> {
    let target = prop_oneof![select(&TARGETS[..]).prop_map(Target::Number), Just(Target::Name)];
    let transport = select(vec![Transport::Tcp, Transport::Udp]);
    (transport, target, weighted(0.5)).prop_map(|(transport, target, has_node_port)| PortPlan {
        transport,
        target,
        has_node_port,
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let types = select(vec![json!(["Ingress"]), json!(["Egress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    let rules = || vec((vec(peer(), 0..3), vec(rule_port(), 0..3)), 0..3);
    (namespace(), selector(), types, rules(), rules()).prop_map(|(namespace, pods, types, ingress, egress)| {
        let rules = |peers: &str, rules: Vec<(Vec<Value>, Vec<Value>)>| -> Vec<Value> {
            rules.into_iter().map(|(listed, ports)| json!({ peers: listed, "ports": ports })).collect()
        };
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "namespace": namespace },
            "spec": {
                "podSelector": pods,
                "policyTypes": types,
                "ingress": rules("from", ingress),
                "egress": rules("to", egress),
            },
        })
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let expression = |key: &str, operator: &str| json!({ "matchExpressions": [{ "key": key, "operator": operator }] });
    select(vec![
        json!({}),
        json!({ "matchLabels": { "x": "1" } }),
        json!({ "matchLabels": { "x": "2" } }),
        json!({ "matchLabels": { "y": "1" } }),
        expression("x", "Exists"),
        expression("y", "DoesNotExist"),
    ])
}

fn peer() -> impl Strategy<Value = Value> {
    let namespaces = select(vec![json!({}), json!({ "matchLabels": { "team": "a" } })]);
    // Pods, nodes, the world, and the addresses of Services, which no rule is to be asked about.
    let blocks = select(vec![
        json!({ "cidr": "0.0.0.0/0" }),
        json!({ "cidr": "::/0" }),
        json!({ "cidr": "10.244.1.0/24" }),
        json!({ "cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"] }),
        json!({ "cidr": "fd00:10:244:2::/64" }),
        json!({ "cidr": "172.18.1.2/32" }),
        json!({ "cidr": "172.18.2.2/32" }),
        json!({ "cidr": "fd00:172:18::/48" }),
        json!({ "cidr": "198.51.100.0/24" }),
        json!({ "cidr": "10.96.0.0/12" }),
        json!({ "cidr": "fd00:10:96::/112" }),
    ]);
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        (namespaces, selector())
            .prop_map(|(namespaces, pods)| json!({ "namespaceSelector": namespaces, "podSelector": pods })),
        blocks.prop_map(|block| json!({ "ipBlock": block })),
    ]
}

fn rule_port() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "port": 8080 }),
        json!({ "port": 8080, "protocol": "UDP" }),
        json!({ "port": 8080, "endPort": 8081 }),
        json!({ "port": 8081, "endPort": 9090, "protocol": "UDP" }),
        json!({ "port": "http" }),
        json!({ "port": "dns", "protocol": "UDP" }),
        json!({ "protocol": "UDP" }),
        json!({ "protocol": "TCP" }),
        json!({ "port": 80 }),
    ])
}

impl PodPlan {
    pub(super) fn number(&self, port: &PortPlan) -> Option<u16> {
        match (port.target, port.transport) {
            (Target::Number(number), _) => Some(number),
            (Target::Name, Transport::Udp) => self.dns,
            (Target::Name, _) => self.http,
        }
    }
}

impl PortPlan {
    /// The name that its targets have if they have one.
    pub(super) fn name(&self) -> &'static str {
        if self.transport == Transport::Udp { "dns" } else { "http" }
    }

    /// The number at an endpoint that is no pod: a name is none's there.
    pub(super) fn at_outside(&self) -> Option<u16> {
        match self.target {
            Target::Number(number) => Some(number),
            Target::Name => None,
        }
    }
}
