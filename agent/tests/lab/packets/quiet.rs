//! A denied packet is dropped without a word.

use std::net::IpAddr;

use podgate_lab::{LinkSocket, Pod, Probe, Result, Seen, Wiring};

use super::{Pair, STAYS_AWAY, ends_of, link};
use crate::support::{Questions, deny_all, tcp, udp};

/// A port that nobody serves.
const CLOSED: u16 = 9;

/// What comes back to a pod that asks the other on served ports and others: any IP packet to its own address counts, from
/// whomever it is.
fn hears(from: &Pod, hearing: &mut LinkSocket, to: &Pod) -> Option<Vec<u8>> {
    let to = to.addresses().both();
    let probes: Vec<Probe> = [tcp(to, 80), udp(to, 80), tcp(to, CLOSED), udp(to, CLOSED)].concat();
    Questions::new().silent(from, probes).ask();
    let own: [IpAddr; 2] = from.addresses().both();
    hearing.catch(STAYS_AWAY, |frame| ends_of(frame).is_some_and(|(_, to)| own.contains(&to) && !is_discovery(frame)))
}

/// Neighbour solicitations and advertisements.
fn is_discovery(frame: &[u8]) -> bool {
    const ICMPV6: u8 = 58;
    frame[12..14] == [0x86, 0xdd] && frame[20] == ICMPV6 && (133..=137).contains(&frame[54])
}

#[test]
fn a_packet_denied_at_the_pod_that_it_is_for_gets_no_answer() -> Result<()> {
    let pair = Pair::started("quiet-in", Wiring::Ptp, &deny_all("shop", "{matchLabels: {app: server}}"))?;
    assert_eq!(hears(&pair.client, &mut link(&pair.client)?, &pair.server), None);
    Ok(())
}

#[test]
fn a_packet_denied_at_the_pod_that_sends_it_gets_no_answer() -> Result<()> {
    let pair = Pair::started("quiet-out", Wiring::Ptp, &deny_all("shop", "{matchLabels: {app: client}}"))?;
    assert_eq!(hears(&pair.client, &mut link(&pair.client)?, &pair.server), None);
    Ok(())
}

#[test]
fn an_allowed_packet_to_a_port_that_nobody_serves_is_refused() -> Result<()> {
    let mut pair = Pair::started("refused", Wiring::Ptp, &deny_all("shop", "{}"))?;
    let open = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                metadata: {namespace: shop, name: open}\nspec: {podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Ingress, Egress]}\n";
    pair.world.write("open.yaml", open)?;
    let to = pair.server.addresses().both();
    let refused = [tcp(to, CLOSED), udp(to, CLOSED)].concat();
    Questions::new().expect(&pair.client, refused, Seen::Refused).ask();
    Ok(())
}
