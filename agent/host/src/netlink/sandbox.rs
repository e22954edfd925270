//! The host's end of the veth into a network namespace that a CNI plugin is told of.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use super::Error;
use super::message::Link;
use super::socket::Asker;
use super::view::Mac;

/// The host's end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its ifindex on the host.
    pub ifindex: u32,
    /// Its name on the host.
    pub name: String,
    /// The host's id of the namespace its peer is in.
    pub netns_id: i32,
    /// The Ethernet address of its peer, as it is now.
    pub peer_mac: Option<Mac>,
    /// Whether it is a port of a bridge, or of what switches like one. A VRF only routes.
    pub is_port: bool,
}

/// Finds the host's end of the veth into the namespace that an open file stands for: of several the one that is named,
/// else the first that was made. `None`: no veth of the calling thread's namespace leads there.
///
/// # Errors
/// The kernel does not answer, or the file stands for no network namespace.
pub fn host_end(namespace: BorrowedFd<'_>, named: &[String]) -> Result<Option<HostEnd>, Error> {
    let mut asker = Asker::new()?;
    // The kernel gives a namespace its id when it first tells of the veth, so the veths come first.
    let links = asker.links()?;
    let Some(id) = asker.namespace_id(namespace)? else { return Ok(None) };
    let vrfs: BTreeSet<u32> =
        links.iter().filter(|link| link.kind.as_deref() == Some("vrf")).map(|link| link.ifindex).collect();
    let Some(chosen) = choose(links, id, named) else { return Ok(None) };
    let is_port = chosen.master.is_some_and(|master| !vrfs.contains(&master));
    let peer_mac = asker.mac(id, chosen.peer)?;
    Ok(Some(HostEnd { ifindex: chosen.ifindex, name: chosen.name, netns_id: id, peer_mac, is_port }))
}

/// The indexes of all interfaces of the calling thread's namespace.
///
/// # Errors
/// The kernel does not answer.
pub fn ifindexes() -> Result<BTreeSet<u32>, Error> {
    Ok(Asker::new()?.links()?.into_iter().map(|link| link.ifindex).collect())
}

fn choose(links: Vec<Link>, netns_id: i32, named: &[String]) -> Option<Link> {
    let into = |link: &Link| link.kind.as_deref() == Some("veth") && link.netns_id == Some(netns_id);
    links.into_iter().filter(into).min_by_key(|link| (!named.contains(&link.name), link.ifindex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, kind: &str, netns_id: Option<i32>) -> Link {
        Link {
            ifindex,
            name: format!("if{ifindex}"),
            kind: Some(kind.to_owned()),
            loopback: false,
            ethernet: true,
            up: true,
            master: None,
            peer: 2,
            netns_id,
            xdp: false,
            mac: None,
        }
    }

    #[test]
    fn the_veth_that_the_plugin_named_is_taken_if_it_leads_there() {
        let links = || {
            vec![
                link(3, "veth", Some(7)),
                link(4, "veth", Some(7)),
                link(5, "veth", Some(8)),
                link(6, "macvlan", Some(7)),
                link(7, "veth", None),
            ]
        };
        let chosen = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(ToString::to_string).collect();
            choose(links(), 7, &named).map(|link| link.ifindex)
        };
        assert_eq!(chosen(&["cni0", "if4"]), Some(4));
        assert_eq!(chosen(&["if5", "if6", "if7"]), Some(3));
        assert_eq!(choose(links(), 9, &[]), None);
    }
}
