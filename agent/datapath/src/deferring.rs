//! The addresses to which egress is judged at the exit hooks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podgate_common::{Addr4, Addr6, deferring};

use crate::apply::epoch_of;
use crate::table::Partial;
use crate::{Datapath, Error};

/// Where egress to a Service's address is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceEgress {
    /// Where the packet really goes.
    Exit,
    /// Where it leaves the pod, by all backends behind the port: as [`Datapath::lead`] was told. Another port is judged as
    /// that of any address.
    Source,
    /// The same, but another port is denied: not every one had room.
    SourceShort,
}

/// Why egress to an address is not judged as to any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deferring {
    /// It is this host's own: judged where the packet really goes, except for what [`ServiceEgress`] has for the pod's hook.
    pub host: bool,
    /// It is a Service's.
    pub service: Option<ServiceEgress>,
}

impl Deferring {
    const fn bits(self) -> u32 {
        let service = match self.service {
            None => 0,
            Some(ServiceEgress::Exit) => deferring::SERVICE,
            Some(ServiceEgress::Source) => deferring::FRONTENDS,
            Some(ServiceEgress::SourceShort) => deferring::FRONTENDS | deferring::SHORT,
        };
        service | if self.host { deferring::HOST } else { 0 }
    }
}

/// What one address is to have: nothing, to be forgotten.
type Entry = (IpAddr, Option<Deferring>);

impl Datapath {
    /// Changes which addresses defer: `None` for those that do no longer. Flows to an address of which something else is
    /// said are judged again; those to one that ceases to stay deferred until they end.
    ///
    /// # Errors
    /// The kernel refused a write; what was written stays. Doing the same again is harmless.
    pub fn defer(&mut self, changes: &BTreeMap<IpAddr, Option<Deferring>>) -> Result<(), Error> {
        self.write_deferring(changes).map_err(|(_, error)| error)
    }

    fn write_deferring(&mut self, changes: &BTreeMap<IpAddr, Option<Deferring>>) -> Result<(), Partial> {
        let changes = || changes.iter().map(|(&address, &deferring)| (address, deferring));
        let (keys4, bits4) = puts(changes().filter_map(only4));
        let (keys6, bits6) = puts(changes().filter_map(only6));
        // Room first.
        self.maps.deferring4.delete(&deletions(changes().filter_map(only4)))?;
        self.maps.deferring6.delete(&deletions(changes().filter_map(only6)))?;
        self.maps.deferring4.put(&keys4, &bits4)?;
        self.maps.deferring6.put(&keys6, &bits6)?;
        let put = changes().filter(|(_, deferring)| deferring.is_some());
        self.bump(put.map(|(address, _)| epoch_of(address)).collect())
    }
}

fn only4((address, deferring): Entry) -> Option<(Addr4, Option<Deferring>)> {
    match address {
        IpAddr::V4(address) => Some((Addr4::from_octets(address.octets()), deferring)),
        IpAddr::V6(_) => None,
    }
}

fn only6((address, deferring): Entry) -> Option<(Addr6, Option<Deferring>)> {
    match address {
        IpAddr::V6(address) => Some((Addr6::from_octets(address.octets()), deferring)),
        IpAddr::V4(_) => None,
    }
}

fn puts<K>(entries: impl Iterator<Item = (K, Option<Deferring>)>) -> (Vec<K>, Vec<u32>) {
    entries.filter_map(|(key, deferring)| Some((key, deferring?.bits()))).unzip()
}

fn deletions<K>(entries: impl Iterator<Item = (K, Option<Deferring>)>) -> Vec<K> {
    entries.filter(|(_, deferring)| deferring.is_none()).map(|(key, _)| key).collect()
}
