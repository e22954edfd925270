//! The ports of a packet in fragments: the first one has them, and leaves them for the others.

use podgate_common::{FragmentKey, FragmentPorts, NetPort, Reason};

use crate::clock;
use crate::endpoint::Endpoint;
use crate::family::Family;
use crate::maps;
use crate::packet::Packet;
use crate::parse::FragmentId;
use crate::rules;

/// What the first fragment says about the later ones, in one word, so that it crosses a function call of the BPF
/// machine: the flow's ports, the protocol, and a mark that it was there.
#[derive(Clone, Copy)]
pub(crate) struct FirstFragment(u64);

impl FirstFragment {
    const PRESENT: u64 = 1 << 63;
    const MISSING: Self = Self(0);

    #[inline(always)]
    pub(crate) fn new(local: NetPort, remote: NetPort, protocol: u8) -> Self {
        let (local, remote) = (u64::from(local.to_network()), u64::from(remote.to_network()));
        Self(Self::PRESENT | u64::from(protocol) << 32 | remote << 16 | local)
    }

    #[inline(always)]
    pub(crate) const fn local(self) -> NetPort {
        NetPort::from_network(self.0 as u16)
    }

    #[inline(always)]
    pub(crate) const fn remote(self) -> NetPort {
        NetPort::from_network((self.0 >> 16) as u16)
    }

    #[inline(always)]
    pub(crate) const fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Whether it has been seen.
    #[inline(always)]
    pub(crate) const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }
}

#[inline(always)]
fn fragment_key<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
) -> Result<FragmentKey<F>, Reason> {
    let FragmentId { id, protocol } = F::fragment_id(packet)?;
    let (source, destination) = F::ends(packet)?;
    let (direction, slot) = (endpoint.direction as u8, endpoint.slot as u16);
    Ok(FragmentKey { source, destination, id, protocol, direction, slot })
}

#[inline(never)]
pub(crate) fn ports_of_first<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
) -> FirstFragment {
    let Ok(key) = fragment_key::<F, L3>(packet, endpoint) else { return FirstFragment::MISSING };
    // SAFETY: copied at once; in the worst case the element is another packet's by now, whose ports are then judged.
    let Some(first) = (unsafe { F::fragments().get(key) }) else { return FirstFragment::MISSING };
    if (clock::jiffies() as u32).wrapping_sub(first.seen) >= rules::FRAGMENT * maps::HZ.load() {
        return FirstFragment::MISSING;
    }
    FirstFragment::new(first.local_port, first.remote_port, first.protocol)
}

#[inline(never)]
pub(crate) fn remember_first<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    first: FirstFragment,
) -> Result<(), Reason> {
    let ports = FragmentPorts {
        local_port: first.local(),
        remote_port: first.remote(),
        seen: clock::jiffies() as u32,
        protocol: first.protocol(),
        reserved: [0; 3],
    };
    let key = fragment_key::<F, L3>(packet, endpoint)?;
    F::fragments().insert(key, ports, 0).map_err(|_| Reason::FlowTable)
}
