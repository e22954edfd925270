//! What leads to others: to which ones, and the verdict of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{DirectionVerdict, Element, Identity, Reach, RuleAnswer, Traffic, source_address};
use podgate_policy::model::ObjectKey;
use podgate_policy::services::{Backend, Service, Through, TrafficPolicy, Within, backends, has_slices};

use crate::explain::resolve::{Leg, judge};
use crate::explain::side::Side;
use crate::explain::{
    Entry, EntryPort, ExplainError, Explanation, Forwarded, Lack, Note, Participant, Path, ServiceEntry, Unknown, Way,
};
use crate::routes::routes;

/// What is asked for, and what it leads to.
pub(super) struct Route<'c> {
    pub(super) entry: Entry,
    leads: Leads<'c>,
    /// Other Services with the same address and port.
    contested_by: Vec<ObjectKey>,
}

enum Leads<'c> {
    ToBackends { service: &'c Service, way: Way, through: Through<'c> },
    ToPod(Vec<Backend>),
}

/// What the backends see as the source address.
enum Seen {
    /// The source's own.
    Own,
    /// This node's, whose first addresses of both families are these.
    Node { node: Arc<str>, v4: Option<IpAddr>, v6: Option<IpAddr> },
    /// That of a node, but of which one is not known.
    SomeNode,
}

impl<'c> Route<'c> {
    pub(super) fn service(service: &'c Service, way: Way, port: Option<EntryPort>, through: Through<'c>) -> Self {
        let entry = ServiceEntry { service: service.key.clone(), way: way.clone(), port };
        Self {
            entry: Entry::Service(entry),
            leads: Leads::ToBackends { service, way, through },
            contested_by: Vec::new(),
        }
    }

    pub(super) fn host_port(entry: Entry, pod: Vec<Backend>) -> Self {
        Self { entry, leads: Leads::ToPod(pod), contested_by: Vec::new() }
    }

    /// The same where these Services have the same address and port.
    pub(super) fn contested_by(self, others: Vec<ObjectKey>) -> Self {
        Self { contested_by: others, ..self }
    }

    /// The backends that clients like `from` are led to, of the families that they use.
    fn backends(&self, cluster: &Cluster, from: &Side<'_>) -> Result<Vec<Backend>, ExplainError> {
        let (service, way, through) = match &self.leads {
            Leads::ToPod(pod) => return Ok(pod.clone()),
            Leads::ToBackends { service, way, through } => (service, way, *through),
        };
        let node = only_node(from, service, way)?;
        let mut found = backends(cluster, service, through, node.map_or(Within::Cluster, Within::Node));
        found.retain(|backend| is_reached(way, backend.address));
        if found.is_empty() {
            return Err(ExplainError::NoBackends { to: self.entry.clone().into(), why: lack(cluster, service, node) });
        }
        Ok(found)
    }

    fn seen(&self, cluster: &Cluster, from: &Side<'_>) -> Seen {
        match &self.leads {
            Leads::ToBackends { service, way, .. } if service.external == TrafficPolicy::Cluster => {
                seen(cluster, from, way)
            }
            Leads::ToBackends { .. } | Leads::ToPod(_) => Seen::Own,
        }
    }

    /// The note that the backends are not those of EndpointSlices.
    fn derived(&self, cluster: &Cluster) -> Option<Note> {
        match &self.leads {
            Leads::ToBackends { service, .. } if !has_slices(cluster, service) => {
                Some(Note::Derived(service.key.clone()))
            }
            Leads::ToBackends { .. } | Leads::ToPod(_) => None,
        }
    }
}

pub(super) fn answer(cluster: &Cluster, from: &Side<'_>, route: &Route<'_>) -> Result<Forwarded, ExplainError> {
    let seen = route.seen(cluster, from);
    let mut explanations = Vec::new();
    for (to, reached) in together(cluster, route.backends(cluster, from)?)? {
        explanations.extend(backend(cluster, from, &to, &reached, &seen)?);
    }
    if explanations.is_empty() {
        let why = Lack::Family(from.participant.clone());
        return Err(ExplainError::NoBackends { to: route.entry.clone().into(), why });
    }
    let own_ports = own_ports(&route.entry, &explanations);
    let rewritten = match seen {
        Seen::Node { node, .. } if explanations.iter().any(is_rewritten) => Some(Note::SourceRewritten(node)),
        _ => None,
    };
    let contested = Some(&route.contested_by).filter(|others| !others.is_empty());
    let contested = contested.map(|others| Note::Contested(others.clone()));
    let notes = route.derived(cluster).into_iter().chain(own_ports).chain(rewritten).chain(contested).collect();
    Ok(Forwarded { from: from.participant.clone(), entry: route.entry.clone(), backends: explanations, notes })
}

/// The node whose endpoints alone count, where the Service says so and the source is on one.
fn only_node<'c>(from: &Side<'c>, service: &Service, way: &Way) -> Result<Option<&'c str>, ExplainError> {
    match (way, service.internal, from.any_pod()) {
        (Way::ClusterIps(_), TrafficPolicy::Local, Some(pod)) => match &pod.node {
            Some(node) => Ok(Some(node)),
            None => Err(ExplainError::Undecidable(Unknown::NearestBackends(pod.key.clone()))),
        },
        _ => Ok(None),
    }
}

/// Whether clients that take this way are led to an address.
fn is_reached(way: &Way, backend: IpAddr) -> bool {
    let same_family = |address: &IpAddr| address.is_ipv4() == backend.is_ipv4();
    match way {
        Way::ClusterIps(addresses) => addresses.is_empty() || addresses.iter().any(same_family),
        Way::ExternalIp(address) | Way::LoadBalancerIp(address) | Way::NodePort { address, .. } => same_family(address),
        Way::Backends => true,
    }
}

fn lack(cluster: &Cluster, service: &Service, node: Option<&str>) -> Lack {
    match node {
        Some(node) => Lack::OnNode(node.into()),
        None if has_slices(cluster, service) => Lack::Ready,
        None if service.selector.is_empty() => Lack::Slices,
        None => Lack::Selected,
    }
}

/// What backends see of a client when kube-proxy masquerades whatever comes from outside of the cluster IPs. A process of a
/// node needs no masquerade for what it sends through that node.
fn seen(cluster: &Cluster, from: &Side<'_>, way: &Way) -> Seen {
    let node = match (way, from.identity) {
        (Way::ClusterIps(_) | Way::Backends, _) => return Seen::Own,
        (Way::NodePort { node, .. }, Identity::Host(host)) if host.node.as_ref() != Some(node) => Some(node),
        (_, Identity::Host(_)) => return Seen::Own,
        (Way::NodePort { node, .. }, Identity::Pod(_) | Identity::Outside) => Some(node),
        (Way::ExternalIp(_) | Way::LoadBalancerIp(_), Identity::Pod(pod)) => pod.node.as_ref(),
        (Way::ExternalIp(_) | Way::LoadBalancerIp(_), Identity::Outside) => None,
    };
    node.map_or(Seen::SomeNode, |node| Seen::Node {
        node: node.clone(),
        v4: source_address(cluster, node, true),
        v6: source_address(cluster, node, false),
    })
}

/// What is behind addresses of backends, and the addresses and ports at which it is one.
type Reached<'c> = (Side<'c>, Vec<(IpAddr, Traffic)>);

/// Backends by what is behind their addresses, sorted.
fn together(cluster: &Cluster, backends: Vec<Backend>) -> Result<Vec<Reached<'_>>, ExplainError> {
    let mut sides: BTreeMap<Participant, Reached<'_>> = BTreeMap::new();
    for backend in backends {
        let Backend { address, traffic, .. } = backend;
        let side = Side::backend(cluster, &backend)?;
        let (side, reached) = sides.entry(side.participant.clone()).or_insert((side, Vec::new()));
        if !side.addresses.contains(&address) {
            side.addresses.to_mut().push(address);
        }
        reached.push((address, traffic));
    }
    Ok(sides.into_values().collect())
}

/// The verdict of one backend; `None`: the source has no address of its families.
fn backend(
    cluster: &Cluster,
    from: &Side<'_>,
    to: &Side<'_>,
    reached: &[(IpAddr, Traffic)],
    seen: &Seen,
) -> Result<Option<Explanation>, ExplainError> {
    let mut legs = Vec::new();
    for &(address, traffic) in reached {
        let seen_as = match seen {
            Seen::Node { v4, v6, .. } => {
                if address.is_ipv4() {
                    *v4
                } else {
                    *v6
                }
            }
            Seen::Own | Seen::SomeNode => None,
        };
        let pairs = routes(&from.addresses, &[address]).into_iter();
        let reach = Reach::ThroughService;
        legs.extend(pairs.map(|(source, destination)| Leg { from: source, to: destination, seen_as, traffic, reach }));
    }
    if legs.is_empty() {
        return Ok(None);
    }
    let explanation = judge(cluster, from, to, &legs)?;
    if !matches!(seen, Seen::Own) && explanation.paths.iter().any(hangs_on_unseen) {
        return Err(ExplainError::Undecidable(Unknown::SeenAddress { to: to.participant.clone() }));
    }
    Ok(Some(explanation))
}

/// Whether the verdict would be another for some source addresses, and the one that the backend sees is not known.
fn hangs_on_unseen(path: &Path) -> bool {
    path.seen_as.is_none() && path.verdict.egress.is_allowed() && hangs_on_source(&path.verdict.ingress)
}

/// Whether a verdict would be another for some addresses of nodes as the source. No ingress peer of a ClusterNetworkPolicy
/// matches any, so what matches does so by the pod that is hidden then.
fn hangs_on_source(ingress: &DirectionVerdict) -> bool {
    match ingress {
        DirectionVerdict::Open(_) => false,
        DirectionVerdict::ByTiers(tiers) => {
            let mut asked = tiers.admin.iter().chain(&tiers.baseline);
            let matches = asked.any(|asked| matches!(asked.answer, RuleAnswer::Matches { .. }));
            matches || tiers.network_policy.as_ref().is_some_and(hangs_on_source)
        }
        DirectionVerdict::Allowed { by, .. } => by.iter().all(|allow| allow.peer != Element::Any),
        DirectionVerdict::Denied { by } | DirectionVerdict::WouldDeny { by } => {
            by.iter().flat_map(|it| &it.rules).any(|rule| rule.ports.is_match())
        }
    }
}

/// The note on ports, where some denied path uses another than the one that was asked for.
fn own_ports(entry: &Entry, backends: &[Explanation]) -> Option<Note> {
    let Entry::Service(ServiceEntry { port: Some(port), .. }) = entry else { return None };
    let asked = Traffic::Port { protocol: port.protocol, number: port.number };
    let mut paths = backends.iter().flat_map(|backend| &backend.paths);
    let differs = paths.any(|path| !path.verdict.is_allowed() && path.traffic != asked);
    differs.then(|| Note::OwnPorts(port.clone()))
}

fn is_rewritten(backend: &Explanation) -> bool {
    backend.paths.iter().any(|path| path.seen_as.is_some())
}
