//! Datagrams larger than the MTU, through a Service.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use podgate_lab::{Pod, Result};

use super::shop::{CLUSTER_IPS, PORT, Plan, Shop, ips, received, to_open_backends};
use crate::packets::{ARRIVES, STAYS_AWAY};

/// Three fragments in either family.
const LARGE: usize = 4000;

/// What comes back for a large datagram.
fn answer(client: &Pod, to: IpAddr, limit: Duration) -> Option<Vec<u8>> {
    let own = if to.is_ipv4() { client.ip4() } else { client.ip6() };
    let socket = client.run(|| UdpSocket::bind((own, 0))).expect("the address is the pod's own");
    let question = vec![7; LARGE];
    socket.connect(SocketAddr::new(to, PORT)).and_then(|()| socket.send(&question)).expect("the kernel takes it");
    socket.set_read_timeout(Some(limit)).expect("the limit is not zero");
    let mut heard = vec![0; LARGE + 100];
    let length = socket.recv(&mut heard).ok()?;
    heard.truncate(length);
    Some(heard)
}

#[test]
fn every_fragment_of_a_datagram_gets_the_verdict_of_the_backend() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::started("service-fragments", plan, &to_open_backends())?;
        for (name, is_open) in [("near-open", true), ("near-closed", false), ("far-open", true), ("far-closed", false)]
        {
            shop.set(&shop.api_of([name]))?;
            let expected = [&shop.backends[name].identity.to_be_bytes()[..], &[7; LARGE]].concat();
            for address in ips(CLUSTER_IPS) {
                let before = received(&[shop.pod(name)])?;
                let heard = answer(&shop.client, address, if is_open { ARRIVES } else { STAYS_AWAY });
                assert_eq!(heard, is_open.then(|| expected.clone()), "{name} at {address} {plan:?}");
                assert_eq!(received(&[shop.pod(name)])? != before, is_open, "{name} at {address} {plan:?}");
            }
        }
    }
    Ok(())
}
