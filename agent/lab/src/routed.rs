//! Pods as routed /32 and /128 without a bridge.

use crate::error::Result;
use crate::namespace::Namespace;
use crate::pod::Link;
use crate::wiring::Addresses;

/// Link-local, so the same on every node and in no one's range.
const GATEWAY4: &str = "169.254.1.1";
const GATEWAY6: &str = "fe80::1";

pub(crate) fn add(node: &Namespace, pod: &Namespace, number: u8, addresses: Addresses) -> Result<Link> {
    let host = format!("pod{number}");
    let Addresses { ip4, ip6 } = addresses;
    node.ip(&[
        format!("link add {host} type veth peer name eth0 netns {}", pod.netns()),
        format!("addr add {GATEWAY6}/64 dev {host} nodad"),
        format!("link set {host} up"),
        format!("route add {ip4}/32 dev {host}"),
        format!("route add {ip6}/128 dev {host}"),
    ])?;
    node.set(&format!("ipv4/conf/{host}/proxy_arp"), "1")?;
    node.set(&format!("ipv4/neigh/{host}/proxy_delay"), "0")?;
    pod.ip(&[
        format!("addr add {ip4}/32 dev eth0"),
        format!("addr add {ip6}/128 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
        format!("route add {GATEWAY4} dev eth0 scope link"),
        format!("route add default via {GATEWAY4} dev eth0"),
        format!("route add ::/0 via {GATEWAY6} dev eth0"),
    ])?;
    Ok(Link { host_interface: host, addresses })
}
