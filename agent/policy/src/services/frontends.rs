//! The addresses at which clients reach Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::services::{Service, ServiceForm};

/// The addresses of all Services, kept up to date one Service at a time. Several Services may have the same address
/// (`externalIPs`, a shared load balancer): it stays until the last of them is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontends {
    /// How many Services have each address, at least 1.
    counts: BTreeMap<IpAddr, usize>,
}

impl Frontends {
    /// Takes a Service as it was before a change (`None`: it is new) and as it is after it (`None`: it is gone), and tells
    /// whether [`Self::addresses`] differ now. What was passed as `new` must be passed as `old` of the Service's next
    /// change.
    pub fn update(&mut self, old: Option<&Service>, new: Option<&Service>) -> bool {
        let (old, new) = (old.map(frontends).unwrap_or_default(), new.map(frontends).unwrap_or_default());
        let mut differs = false;
        for address in new.difference(&old) {
            differs |= self.add(*address);
        }
        for address in old.difference(&new) {
            differs |= self.remove(*address);
        }
        differs
    }

    /// The addresses, sorted, each once.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + '_ {
        self.counts.keys().copied()
    }

    /// Counts a Service with this address; whether it is the first.
    fn add(&mut self, address: IpAddr) -> bool {
        let count = self.counts.entry(address).or_default();
        *count += 1;
        *count == 1
    }

    /// Counts a Service with this address no more; whether it was the last.
    fn remove(&mut self, address: IpAddr) -> bool {
        let Some(count) = self.counts.get_mut(&address) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.counts.remove(&address);
        }
        last
    }
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
