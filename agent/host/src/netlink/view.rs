//! What netlink tells of the host, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The host as it is now: its devices, its addresses, and the veths that lead into other network namespaces.
///
/// "Host" is the network namespace in which [`watch`](super::watch()) was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    /// The veths whose peer is in another network namespace, by ifindex.
    pub veths: BTreeMap<u32, Veth>,
    /// Every other device of the host, by ifindex.
    pub devices: BTreeMap<u32, Device>,
    /// Every address of the host, with its devices. Loopback and link-local addresses included.
    pub local_addresses: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// The devices that carry a default route, in any table, of either family. Routes learned from router
    /// advertisements do not count: where the host accepts those on its veths, any pod could send one.
    pub default_route_devices: BTreeSet<u32>,
    /// The devices towards the API servers.
    pub api_server_devices: BTreeSet<u32>,
}

/// The host's end of a veth pair whose other end is in another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Its ifindex on the host.
    pub ifindex: u32,
    /// Its name on the host.
    pub name: String,
    /// The id, relative to the host's, of the namespace its peer is in; negative while that namespace goes away.
    pub netns_id: i32,
    /// The peer's ifindex there.
    pub peer_index: u32,
    /// Every address of the peer's namespace, on whichever interface, loopback and link-local ones left out.
    /// IPv6 addresses count while they are tentative and after duplicate address detection failed, too.
    pub peer_addresses: BTreeSet<IpAddr>,
    /// Those of them that are on the peer itself.
    pub interface_addresses: BTreeSet<IpAddr>,
    /// The IPv6 link-local addresses on the peer.
    pub link_local_addresses: BTreeSet<Ipv6Addr>,
    /// The addresses that the namespace showed first, per family: what was there when it was first seen or, if that
    /// was nothing, what came first. A CNI plugin gives a pod its addresses before anything runs in it, so what comes
    /// later is the pod's own doing. Kept when the addresses go away.
    pub first_addresses: BTreeSet<IpAddr>,
    /// Those of `peer_addresses` for which duplicate address detection failed: some neighbour answered for them.
    pub duplicate_addresses: BTreeSet<IpAddr>,
    /// Whether it is up.
    pub up: bool,
    /// The ifindex of the device it is a port of.
    pub master: Option<u32>,
    /// Whether an XDP program is attached to it.
    pub xdp: bool,
    /// The Ethernet address of its peer.
    pub peer_mac: Option<Mac>,
}

/// A device of the host that is not a veth into another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its ifindex.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its kind as `ip -details link` shows it (`bridge`, `vxlan`, `netkit`, …); `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Whether its packets begin with an Ethernet header; those of many tunnels begin with the IP header.
    pub ethernet: bool,
    /// The ifindex of the device of this host that it is based on, as a VLAN is on the device that carries it.
    pub lower: Option<u32>,
    /// Whether it is up.
    pub up: bool,
    /// The ifindex of the device it is a port of.
    pub master: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
}

/// A device whose traffic passes the TC hooks by, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Its ifindex.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: UnsupportedReason,
}

/// Why a device's traffic passes the TC hooks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnsupportedReason {
    /// It is a netkit device: pods behind it have no veth.
    Netkit,
    /// An XDP program on the veth sees, drops and redirects packets before TC does.
    Xdp,
}

impl fmt::Display for UnsupportedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netkit => "netkit devices are not supported, only veth",
            Self::Xdp => "an XDP program on the veth can bypass the TC hooks",
        })
    }
}

impl HostView {
    /// The devices that podgate can't enforce on as it should, in order of ifindex.
    #[must_use]
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let netkit = self.devices.values().filter(|device| device.kind.as_deref() == Some("netkit")).map(|device| {
            Unsupported { ifindex: device.ifindex, name: device.name.clone(), reason: UnsupportedReason::Netkit }
        });
        let xdp = self.veths.values().filter(|veth| veth.xdp).map(|veth| Unsupported {
            ifindex: veth.ifindex,
            name: veth.name.clone(),
            reason: UnsupportedReason::Xdp,
        });
        let mut all: Vec<_> = netkit.chain(xdp).collect();
        all.sort();
        all
    }
}
