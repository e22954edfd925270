//! The addresses at which clients reach Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::services::{Service, ServiceForm};

/// The addresses of all Services, kept up to date one Service at a time. Several Services may have the same address
/// (`externalIPs`, a shared load balancer): it stays until the last of them is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontends {
    /// The rank that each Service with an address gives it, at least one.
    ranks: BTreeMap<IpAddr, Vec<Rank>>,
}

/// Which addresses matter most where there is no room for all. The API server hands out cluster IPs, each once; whoever writes a
/// Service may name any external IPs, and as many as an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A cluster IP.
    ClusterIp,
    /// Another address, of a Service that has this many.
    OneOf(usize),
}

impl Frontends {
    /// Takes a Service as it was before a change (`None`: it is new) and as it is after it (`None`: it is gone), and tells
    /// whether [`Self::addresses`] differ now. What was passed as `new` must be passed as `old` of the Service's next
    /// change.
    pub fn update(&mut self, old: Option<&Service>, new: Option<&Service>) -> bool {
        let (old, new) = (old.map(ranked).unwrap_or_default(), new.map(ranked).unwrap_or_default());
        let mut differs = false;
        for (&address, &rank) in new.iter().filter(|(address, rank)| old.get(address) != Some(rank)) {
            differs |= self.change(address, |ranks| ranks.push(rank));
        }
        for (&address, &rank) in old.iter().filter(|(address, rank)| new.get(address) != Some(rank)) {
            differs |= self.change(address, |ranks| {
                if let Some(index) = ranks.iter().position(|it| *it == rank) {
                    ranks.swap_remove(index);
                }
            });
        }
        differs
    }

    /// The addresses, sorted, each once, with the best rank that a Service gives it.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, Rank)> + '_ {
        self.ranks.iter().filter_map(|(address, ranks)| Some((*address, best(ranks)?)))
    }

    /// Changes the ranks of an address; whether it has come or gone, or its best rank differs.
    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Vec<Rank>)) -> bool {
        let ranks = self.ranks.entry(address).or_default();
        let before = best(ranks);
        change(ranks);
        let after = best(ranks);
        if after.is_none() {
            self.ranks.remove(&address);
        }
        before != after
    }
}

fn best(ranks: &[Rank]) -> Option<Rank> {
    ranks.iter().min().copied()
}

/// The addresses of a Service with their ranks.
fn ranked(service: &Service) -> BTreeMap<IpAddr, Rank> {
    let addresses = frontends(service);
    let other = Rank::OneOf(addresses.len());
    let rank = |address| if service.cluster_ips.contains(address) { Rank::ClusterIp } else { other };
    addresses.iter().map(|address| (*address, rank(address))).collect()
}

/// The addresses at which clients reach a Service itself. kube-proxy serves none for headless and ExternalName Services
/// (`proxyutil.ShouldSkipService`), whatever else they say, and leaves some to other programs.
#[must_use]
pub fn frontends(service: &Service) -> BTreeSet<IpAddr> {
    match service.form {
        ServiceForm::Headless | ServiceForm::ExternalName | ServiceForm::OtherProxy => BTreeSet::new(),
        ServiceForm::Virtual => {
            let lists = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
            let served = |address: &IpAddr| is_unicast(*address) && service.has_family_of(*address);
            lists.into_iter().flatten().copied().filter(served).collect()
        }
    }
}

/// Whether a Service elsewhere may have an address. The API server refuses any other among the external IPs
/// (`ValidateNonSpecialIP`), but takes what it is told as a load balancer's.
fn is_unicast(address: IpAddr) -> bool {
    let broadcast = IpAddr::from([u8::MAX; 4]);
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || address == broadcast)
}
