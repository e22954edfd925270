//! The ports of Services that are judged where packets leave the pod, by all of their backends.

mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use podgate_common::{Addr4, Addr6, Backend4, Backend6, BackendKey, FrontendKey4, FrontendKey6, MAX_BACKENDS, NetPort};
use podgate_policy::services::Frontend;

pub(crate) use self::sets::Sets;
use self::sets::{Step, Target};
use crate::apply::{epoch_of, protocol_number};
use crate::table::Table;
use crate::{Datapath, Error};

/// Backends of one family, at least one and at most [`MAX_BACKENDS`].
pub type Backends = Arc<[SocketAddr]>;

/// Where a port of a Service leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To one of these: allowed where policy allows them all.
    Backends(Backends),
    /// To backends that the tables have no room for: denied.
    Unknown,
}

impl Datapath {
    /// Changes where frontends lead: `None` for those that are none any more. Each packet is judged by the old backends or
    /// by the new ones; flows to a frontend that leads elsewhere are judged again, also whenever
    /// [`Self::apply`] invalidates the address of one of its backends. Only addresses count that [`Self::defer`] has
    /// been told of as judged at the source. Where something is replaced it blocks for a grace period.
    ///
    /// # Errors
    /// The kernel refused a write. What was done stays; doing the same again ends it, and clears up.
    pub fn lead(&mut self, changes: &BTreeMap<Frontend, Option<Lead>>) -> Result<(), Error> {
        for step in self.sets.plan(changes) {
            self.take_step(&step)?;
            self.sets.done(&step);
        }
        Ok(())
    }

    fn take_step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Fill(set) => self.fill(*set),
            Step::Switch(frontend, Some(target)) => self.put_frontend(frontend, *target),
            Step::Switch(frontend, None) => self.delete_frontend(frontend),
            Step::Raise(addresses) => {
                self.bump(addresses.iter().copied().map(epoch_of).collect()).map_err(|(_, error)| error)
            }
            Step::Grace => self.wait(),
            Step::Empty(set) => self.empty(*set),
        }
    }

    fn fill(&mut self, set: u32) -> Result<(), Error> {
        let backends = self.sets.backends(set);
        let (keys4, values4): (Vec<_>, Vec<_>) = indexed(set, &backends).filter_map(backend4).unzip();
        let (keys6, values6): (Vec<_>, Vec<_>) = indexed(set, &backends).filter_map(backend6).unzip();
        let put = self.maps.backends4.put(&keys4, &values4);
        put.and_then(|()| self.maps.backends6.put(&keys6, &values6)).map_err(|(_, error)| error)
    }

    fn empty(&mut self, set: u32) -> Result<(), Error> {
        let backends = self.sets.backends(set);
        let keys: (Vec<_>, Vec<_>) = indexed(set, &backends).partition(|(_, backend)| backend.is_ipv4());
        delete(&mut self.maps.backends4, keys.0)?;
        delete(&mut self.maps.backends6, keys.1)
    }

    fn put_frontend(&mut self, frontend: &Frontend, target: Target) -> Result<(), Error> {
        let value = match target {
            Target::Set(set) => {
                podgate_common::Frontend { set, backends: self.sets.backends(set).len().try_into().unwrap_or(u32::MAX) }
            }
            Target::Unknown => podgate_common::Frontend { set: u32::MAX, backends: MAX_BACKENDS + 1 },
        };
        match key(frontend) {
            Key::V4(key) => self.maps.frontends4.put_one(key, value),
            Key::V6(key) => self.maps.frontends6.put_one(key, value),
        }
    }

    fn delete_frontend(&mut self, frontend: &Frontend) -> Result<(), Error> {
        match key(frontend) {
            Key::V4(key) => self.maps.frontends4.delete(&[key]),
            Key::V6(key) => self.maps.frontends6.delete(&[key]),
        }
        .map_err(|(_, error)| error)
    }
}

/// A key of one of the two tables of frontends.
enum Key {
    V4(FrontendKey4),
    V6(FrontendKey6),
}

fn key(frontend: &Frontend) -> Key {
    let (port, protocol) = (NetPort::new(frontend.port), protocol_number(frontend.protocol));
    match frontend.address {
        IpAddr::V4(address) => Key::V4(FrontendKey4 { address: Addr4::from_octets(address.octets()), port, protocol }),
        IpAddr::V6(address) => Key::V6(FrontendKey6 { address: Addr6::from_octets(address.octets()), port, protocol }),
    }
}

fn indexed(set: u32, backends: &Backends) -> impl Iterator<Item = (BackendKey, SocketAddr)> {
    (0..).zip(backends.iter().copied()).map(move |(index, backend)| (BackendKey { set, index }, backend))
}

fn backend4((key, backend): (BackendKey, SocketAddr)) -> Option<(BackendKey, Backend4)> {
    let SocketAddr::V4(at) = backend else { return None };
    let (address, port) = (Addr4::from_octets(at.ip().octets()), NetPort::new(at.port()));
    Some((key, Backend4 { address, port, reserved: 0 }))
}

fn backend6((key, backend): (BackendKey, SocketAddr)) -> Option<(BackendKey, Backend6)> {
    let SocketAddr::V6(at) = backend else { return None };
    let (address, port) = (Addr6::from_octets(at.ip().octets()), NetPort::new(at.port()));
    Some((key, Backend6 { address, port, reserved: 0 }))
}

fn delete<V: aya::Pod + Default>(
    table: &mut Table<BackendKey, V>,
    entries: Vec<(BackendKey, SocketAddr)>,
) -> Result<(), Error> {
    let keys: Vec<_> = entries.into_iter().map(|(key, _)| key).collect();
    table.delete(&keys).map_err(|(_, error)| error)
}
