//! Where the ports of Services lead, kept up to date one Service at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::cluster::Cluster;
use crate::evaluate::Traffic;
use crate::model::{ObjectKey, Protocol};
use crate::services::{Service, ServicePort, Through, TrafficPolicy, Within, backends, frontend_addresses};

/// What a client of a Service speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port that clients use.
    pub port: u16,
}

/// The backends behind the frontends of one Service; only frontends that have some.
pub type Ends = BTreeMap<Frontend, BTreeSet<SocketAddr>>;

/// Where the ports of a Service lead clients on a node: at its ClusterIPs to that node's endpoints where the Service says so,
/// at its other addresses to every endpoint, as kube-proxy leads pods of its own node whatever `externalTrafficPolicy`
/// says. kube-proxy never changes the family.
#[must_use]
pub fn ends(cluster: &Cluster, service: &Service, node: &str) -> Ends {
    let mut ends = Ends::new();
    for address in frontend_addresses(service) {
        for port in &service.ports {
            let frontend = Frontend { address, protocol: port.protocol, port: port.port };
            let found = behind(cluster, service, port, address, node);
            if !found.is_empty() {
                ends.entry(frontend).or_default().extend(found);
            }
        }
    }
    ends
}

fn behind(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    address: IpAddr,
    node: &str,
) -> BTreeSet<SocketAddr> {
    let is_local = service.internal == TrafficPolicy::Local && service.cluster_ips.contains(&address);
    let within = if is_local { Within::Node(node) } else { Within::Cluster };
    let found = backends(cluster, service, Through::Port(port), within).into_iter();
    let of_family = found.filter(|backend| backend.address.is_ipv4() == address.is_ipv4());
    of_family
        .filter_map(|backend| match backend.traffic {
            Traffic::Port { number, .. } => Some(SocketAddr::new(backend.address, number)),
            _ => None,
        })
        .collect()
}

/// Where the ports of all Services lead. Several Services may have the same frontend (`externalIPs`, a shared load
/// balancer): kube-proxy chooses one of them, and no order says which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    by_service: BTreeMap<ObjectKey, Ends>,
    by_frontend: BTreeMap<Frontend, BTreeSet<ObjectKey>>,
}

impl Leads {
    /// Takes what [`ends`] says of a Service now (nothing: it is gone), and tells whether anything differs.
    pub fn update(&mut self, service: &ObjectKey, now: Ends) -> bool {
        let former = self.by_service.get(service);
        if former.map_or(now.is_empty(), |former| *former == now) {
            return false;
        }
        for frontend in self.by_service.remove(service).unwrap_or_default().into_keys() {
            self.strike(frontend, service);
        }
        for frontend in now.keys() {
            self.by_frontend.entry(*frontend).or_default().insert(service.clone());
        }
        if !now.is_empty() {
            self.by_service.insert(service.clone(), now);
        }
        true
    }

    fn strike(&mut self, frontend: Frontend, service: &ObjectKey) {
        let Some(services) = self.by_frontend.get_mut(&frontend) else { return };
        services.remove(service);
        if services.is_empty() {
            self.by_frontend.remove(&frontend);
        }
    }

    /// Every frontend that leads somewhere, in order, with its Services.
    pub fn iter(&self) -> impl Iterator<Item = (Frontend, &BTreeSet<ObjectKey>)> {
        self.by_frontend.iter().map(|(&frontend, services)| (frontend, services))
    }

    /// Whether some port of an address leads somewhere.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let first = Frontend { address, protocol: Protocol::ALL[0], port: 0 };
        self.by_frontend.range(first..).next().is_some_and(|(frontend, _)| frontend.address == address)
    }

    /// The addresses with a port that several Services have.
    #[must_use]
    pub fn contested(&self) -> BTreeSet<IpAddr> {
        let contested = self.by_frontend.iter().filter(|(_, services)| services.len() > 1);
        contested.map(|(frontend, _)| frontend.address).collect()
    }

    /// The backends behind a frontend, of all its Services, sorted.
    #[must_use]
    pub fn backends(&self, frontend: Frontend) -> BTreeSet<SocketAddr> {
        let services = self.by_frontend.get(&frontend).into_iter().flatten();
        services.filter_map(|service| self.by_service.get(service)?.get(&frontend)).flatten().copied().collect()
    }
}
