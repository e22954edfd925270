//! Connections that are older than their pod's isolation. The programs have seen nothing of them, and whatever the pod's own
//! sockets say may be made up by the pod. So at the moment before isolation begins, those that connection tracking knows get
//! entries among the flows, which are outdated from the start: policy judges each by who opened it.
//!
//! Where nothing is tracked, or for what was opened in the same moment, the programs believe the pod's sockets for as long
//! as [`TRUST_SECONDS`], and only where there was a time before isolation.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use podgate_common::{
    Addr4, Addr6, Direction, Flow, FlowKey4, FlowKey6, FlowPorts, Holder, NetPort, Stamp, VERDICT_NONE, place,
    protocol, state,
};
use podgate_host::netlink::conntrack::{self, Connection, Connections};

use crate::apply::epoch_of;
use crate::identity::Identity;
use crate::maps::FlowTable;
use crate::{Datapath, Error, hz};

/// How long the programs believe the sockets of a pod whose isolation begins: two to three seconds.
pub(crate) const TRUST_SECONDS: u64 = 3;

/// How long what connection tracking said is used, for many pods that are isolated at once.
const FRESH: Duration = Duration::from_secs(1);

/// What connection tracking said, and when.
#[derive(Debug, Default)]
pub(crate) struct Tracked(Option<(Instant, Connections)>);

impl Tracked {
    fn of(&mut self, address: IpAddr) -> &[Connection] {
        let is_fresh = self.0.as_ref().is_some_and(|(read, _)| read.elapsed() < FRESH);
        if !is_fresh {
            let connections = conntrack::connections().unwrap_or_else(|error| {
                log::warn!("reading tracked connections: {error}; some that are older than isolation may stall");
                Connections::new()
            });
            self.0 = Some((Instant::now(), connections));
        }
        self.0.as_ref().and_then(|(_, connections)| connections.get(&address)).map_or(&[], Vec::as_slice)
    }
}

impl Datapath {
    /// Enters the connections of an endpoint that connection tracking knows, for the generation that is about to begin.
    ///
    /// # Errors
    /// The kernel refused a write.
    pub(crate) fn enter_older(&mut self, slot: u32, generation: u32) -> Result<(), Error> {
        let Identity { address4, address6, .. } = self.slots.endpoint(slot)?.identity.clone();
        let (flows4, flows6) = (&self.maps.flows4, &self.maps.flows6);
        let mut enter = |address: IpAddr| {
            let epoch = |connection: &Connection| self.epochs[epoch_of(connection.remote) as usize];
            let entry = |connection: &Connection| entry(connection, generation, epoch(connection));
            let connections = self.tracked.of(address);
            match address {
                IpAddr::V4(_) => put(flows4, connections, |it| Some((key4(slot, it)?, entry(it)))),
                IpAddr::V6(_) => put(flows6, connections, |it| Some((key6(slot, it)?, entry(it)))),
            }
        };
        address4.map_or(Ok(()), |address| enter(address.into()))?;
        address6.map_or(Ok(()), |address| enter(address.into()))
    }
}

fn put<K: aya::Pod>(
    flows: &FlowTable<K, Flow>,
    connections: &[Connection],
    entry: impl Fn(&Connection) -> Option<(K, Flow)>,
) -> Result<(), Error> {
    let (keys, values): (Vec<K>, Vec<Flow>) = connections.iter().filter_map(entry).unzip();
    flows.put(&keys, &values)
}

/// The entry of a connection, outdated as long as the remote address has not this epoch's complement.
fn entry(connection: &Connection, generation: u32, epoch: u32) -> Flow {
    let opened = if connection.opened == Direction::Egress { state::OPENED_EGRESS } else { 0 };
    Flow {
        stamp: Stamp::new(generation, !epoch),
        seen: hz::jiffies_a_while_ago(),
        state: opened | state::ANSWERED,
        rule: VERDICT_NONE,
    }
}

fn key4(slot: u32, connection: &Connection) -> Option<FlowKey4> {
    let IpAddr::V4(remote) = connection.remote else { return None };
    let holder = Holder::new(protocol::TCP, place::POD, slot);
    Some(FlowKey4 { remote: Addr4::from_octets(remote.octets()), ports: ports(connection), holder })
}

fn key6(slot: u32, connection: &Connection) -> Option<FlowKey6> {
    let IpAddr::V6(remote) = connection.remote else { return None };
    let holder = Holder::new(protocol::TCP, place::POD, slot);
    Some(FlowKey6 { remote: Addr6::from_octets(remote.octets()), ports: ports(connection), holder })
}

fn ports(connection: &Connection) -> FlowPorts {
    FlowPorts::new(NetPort::new(connection.local_port), NetPort::new(connection.remote_port))
}
