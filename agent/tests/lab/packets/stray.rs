//! Packets that a bridge gives to a pod for which their destination is not meant.

use std::net::{IpAddr, SocketAddr};

use podgate_lab::{Result, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, carries, link};
use crate::evidence::datagram;
use crate::support::policy;

const PAYLOAD: &[u8] = b"for whoever has the Ethernet address";

/// Destinations that are no pod's, and the Ethernet address of the group that they are; `None`: the server's.
const ELSEWHERE: [(&str, Option<[u8; 6]>); 6] = [
    ("203.0.113.9", None),
    ("2001:db8:203::9", None),
    ("203.0.113.9", Some([0xff; 6])),
    ("255.255.255.255", Some([0xff; 6])),
    ("224.0.0.1", Some([1, 0, 0x5e, 0, 0, 1])),
    ("ff02::1", Some([0x33, 0x33, 0, 0, 0, 1])),
];

fn egress(to: &str) -> String {
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]";
    policy("shop", "client", &format!("{client}\negress: [{to}]"))
}

/// Whether what the client sends there enters the server.
fn arrive(pair: &Pair, limit: std::time::Duration) -> Result<Vec<bool>> {
    let (sending, mut arriving) = (link(&pair.client)?, link(&pair.server)?);
    let arrives = |(to, group): (&str, Option<[u8; 6]>)| {
        let to: IpAddr = to.parse().expect("it is an address");
        let from = if to.is_ipv4() { pair.client.ip4() } else { pair.client.ip6() };
        let macs = [pair.client.interface().mac, group.unwrap_or(pair.server.interface().mac)];
        sending.send(&datagram(macs, SocketAddr::new(from, 4000), SocketAddr::new(to, 53), PAYLOAD))?;
        Ok(arriving.catch(limit, |frame| carries(frame, PAYLOAD)).is_some())
    };
    ELSEWHERE.into_iter().map(arrives).collect()
}

#[test]
fn what_a_pod_may_send_elsewhere_enters_no_pod_that_it_may_not_speak_to() -> Result<()> {
    let mut pair = Pair::new("stray", Wiring::Bridge)?;
    let [cidr4, cidr6] = pair.world.node.pod_cidrs();
    let block = |all: &str, except: &str| format!("{{ipBlock: {{cidr: '{all}', except: ['{except}']}}}}");
    let world = egress(&format!("{{to: [{}, {}]}}", block("0.0.0.0/0", &cidr4), block("::/0", &cidr6)));
    pair.world.write("policies.yaml", &world)?;
    pair.world.run_agent(&[])?;
    assert_eq!(arrive(&pair, STAYS_AWAY)?, [false; 6]);
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [("no_rule".to_owned(), 6)].into());
    // Who may speak to everybody may do it so, too.
    pair.world.write("policies.yaml", &egress("{}"))?;
    assert_eq!(arrive(&pair, ARRIVES)?, [true; 6]);
    Ok(())
}
