//! SCTP through a Service.

use podgate_lab::{Result, Service, ServicePort, Transport};

use super::shop::{CLUSTER_IPS, PORT, Plan, Shop, TARGET, egress, ips};
use crate::packets::sctp::{init, packet};
use crate::packets::{ARRIVES, STAYS_AWAY, carries, ends_of, link};

/// What stays of the packet when its ports are translated: from the verification tag on, without the checksum.
const CHUNK: usize = 12;

#[test]
fn sctp_is_judged_by_the_backend_that_it_reaches() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::new("service-sctp", plan)?;
        // The packets are made by hand, without a checksum.
        shop.world.node.set("netfilter/nf_conntrack_checksum", "0")?;
        let open = "to: [{podSelector: {matchLabels: {access: open}}}]";
        shop.world.write("policies.yaml", &egress(&format!("{open}, ports: [{{port: 8080, protocol: SCTP}}]")))?;
        shop.start_agents(&[])?;
        let client = link(&shop.client)?;
        for (port, (name, is_open)) in (4000..).zip([("near-open", true), ("near-closed", false), ("far-open", true)]) {
            let backends = ServicePort::new(Transport::Sctp, PORT).to(shop.pod(name).backends(TARGET));
            shop.set(&Service::new("shop/api").cluster_ips(ips(CLUSTER_IPS)).port(backends))?;
            let mut server = link(shop.pod(name))?;
            let clients = shop.client.addresses().both();
            for ((from, service), backend) in
                clients.into_iter().zip(ips(CLUSTER_IPS)).zip(shop.pod(name).addresses().both())
            {
                let message = init(port, PORT);
                client.send(&packet(&shop.client, from, service, &message))?;
                let limit = if is_open { ARRIVES } else { STAYS_AWAY };
                let arrives =
                    |frame: &[u8]| ends_of(frame) == Some((from, backend)) && carries(frame, &message[CHUNK..]);
                assert_eq!(server.catch(limit, arrives).is_some(), is_open, "{name} at {service} {plan:?}");
            }
        }
    }
    Ok(())
}
