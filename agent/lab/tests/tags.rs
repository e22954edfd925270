//! Foreign tags cross from one network namespace to another, so that tests which send them show something.

use std::net::SocketAddr;
use std::time::Duration;

use podgate_lab::{Answer, ChainPosition, ForeignLink, Hook, Lab, Probe, Result, Seen, Wiring};

#[test]
fn the_number_that_a_program_writes_into_a_packet_arrives_with_it() -> Result<()> {
    let lab = Lab::new("tags")?;
    let node = lab.node("node")?;
    let (client, server) = (node.pod("client", Wiring::Ptp)?, node.pod("server", Wiring::Ptp)?);
    server.serve_tcp(80)?.detach();
    for (own, to) in client.addresses().both().into_iter().zip(server.addresses().both()) {
        let probe = Probe::tcp(to, 80);
        // Neighbours are known from here on: what asks for them carries no number.
        client.expect(probe, Seen::Answered)?;
        let from_host = &client.host_interface().name;
        let untagged =
            ForeignLink::attach(&node, from_host, Hook::Ingress, ChainPosition::First, Answer::ShotUntagged)?;
        let ask = |port| client.probe_from(probe, Some(SocketAddr::new(own, port)), Duration::from_secs(1));
        assert_eq!(ask(4000), Seen::Silence, "without a number");
        let _tagging = ForeignLink::attach(&client, "eth0", Hook::Egress, ChainPosition::Last, Answer::TagByPort)?;
        assert_eq!(ask(4001), Seen::Answered, "with the number 4001");
        drop(untagged);
    }
    Ok(())
}
