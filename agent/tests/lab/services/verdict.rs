//! Every address of a Service, and every kind of backend.

use std::net::SocketAddr;

use podgate_lab::{Fate, Load, Outside, Result, Service, ServicePort, Transport, Wiring};

use super::shop::{
    BALANCER_IPS, BOTH, CLUSTER_IPS, EXTERNAL_IPS, NODE_PORT, PORT, Plan, Shop, TARGET, egress, ips, make,
    to_open_backends,
};
use crate::cluster_policies::guard;
use crate::support::labelled;

const OPEN: [&str; 2] = ["near-open", "far-open"];
const EVERY: [&str; 4] = ["near-open", "near-closed", "far-open", "far-closed"];

#[test]
fn without_policies_every_backend_answers() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::new("services-open", plan)?;
        shop.start_agents(&[])?;
        shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 60), &EVERY)?;
    }
    Ok(())
}

#[test]
fn what_goes_to_a_service_is_judged_by_the_backend_that_it_reaches() -> Result<()> {
    for plan in Plan::ALL {
        let shop = Shop::started("services", plan, &to_open_backends())?;
        let addresses = [CLUSTER_IPS, EXTERNAL_IPS, BALANCER_IPS].map(ips);
        let mut loads: Vec<_> = addresses.into_iter().flat_map(|to| shop.loads(to, PORT, 60)).collect();
        loads.extend(shop.loads(shop.node_ips(), NODE_PORT, 60));
        shop.assert_judged(&loads, &OPEN)?;
    }
    Ok(())
}

#[test]
fn a_guard_that_denies_backends_denies_the_way_to_them_through_their_service() -> Result<()> {
    let mut shop = Shop::new("guarded-service", Plan::ROUTED_NFTABLES)?;
    shop.start_agents(&["--cluster-policies", "auto"])?;
    let client = "pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}";
    let ports = "protocols: [{tcp: {destinationPort: {number: 8080}}}, {udp: {destinationPort: {number: 8080}}}]";
    let closed = "pods: {namespaceSelector: {}, podSelector: {matchLabels: {access: closed}}}";
    let rule = format!("{{action: Deny, to: [{{{closed}}}], {ports}}}");
    shop.set_policies(&guard("guard", "Admin", 1, &format!("subject: {{{client}}}, egress: [{rule}]")))?;
    shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 60), &OPEN)
}

#[test]
fn a_rule_speaks_of_the_backends_port_and_not_of_the_services() -> Result<()> {
    let mut shop = Shop::new("target-port", Plan::ROUTED_NFTABLES)?;
    shop.start_agents(&[])?;
    let ports = |number| egress(&format!("ports: [{{port: {number}}}, {{port: {number}, protocol: UDP}}]"));
    for (policies, allowed) in [(ports(PORT), &EVERY[..0]), (ports(TARGET), &EVERY)] {
        shop.set_policies(&policies)?;
        shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 60), allowed)?;
    }
    Ok(())
}

#[test]
fn a_named_port_is_each_backends_own_number() -> Result<()> {
    let mut shop = Shop::new("named-port", Plan::ROUTED_NFTABLES)?;
    // Both serve TARGET, but only one of them calls it by the name that the rule speaks of.
    for (name, number) in [("near-open", TARGET), ("far-open", 9090)] {
        let pod = shop.pod(name).clone();
        let object = labelled(&pod).label("access", "open");
        shop.world.declare(&object.port("web", "TCP", number).port("web-udp", "UDP", number), &pod)?;
    }
    shop.start_agents(&[])?;
    let open = "to: [{podSelector: {matchLabels: {access: open}}}]";
    shop.set_policies(&egress(&format!("{open}, ports: [{{port: web}}, {{port: web-udp, protocol: UDP}}]")))?;
    shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 60), &["near-open"])
}

#[test]
fn a_port_of_the_node_that_leads_to_a_pod_is_judged_by_the_pod() -> Result<()> {
    let mut shop = Shop::new("host-port", Plan::TUNNELLED_IPTABLES)?;
    for (name, transport, port) in [("near-open", Transport::Tcp, 8001), ("near-closed", Transport::Udp, 8002)] {
        shop.world.node.host_port(shop.pod(name), port, transport, TARGET)?;
    }
    shop.world.write("policies.yaml", &to_open_backends())?;
    shop.start_agents(&[])?;
    let load = |transport, port, address| shop.load(transport, SocketAddr::new(address, port), 20);
    let mut loads: Vec<_> = shop.node_ips().map(|address| load(Transport::Tcp, 8001, address)).into();
    loads.extend(shop.node_ips().map(|address| load(Transport::Udp, 8002, address)));
    shop.assert_judged(&loads, &["near-open"])
}

#[test]
fn a_headless_services_pods_are_judged_as_pods() -> Result<()> {
    let mut shop = Shop::started("headless", Plan::BOUND, &to_open_backends())?;
    let backends: Vec<SocketAddr> = EVERY.iter().flat_map(|name| shop.pod(name).backends(TARGET)).collect();
    let ports = BOTH.map(|transport| ServicePort::new(transport, TARGET).to(backends.iter().copied()));
    let headless = ports.into_iter().fold(Service::new("shop/headless"), Service::port);
    shop.world.write("headless.yaml", &headless.manifests())?;
    for name in EVERY {
        let loads = shop.loads(shop.pod(name).addresses().both(), TARGET, 5);
        let expected = match OPEN.contains(&name) {
            true => Fate::Answered(shop.backends[name].identity),
            false => Fate::Silence,
        };
        assert_eq!(fates(&shop, &loads)?, [expected; 20], "{name}");
    }
    Ok(())
}

#[test]
fn a_backend_outside_of_the_cluster_is_judged_by_its_address() -> Result<()> {
    let mut shop = Shop::empty("outside-backend", Plan::ROUTED_NFTABLES)?;
    let outside = shop.world.lab.outside().clone();
    for transport in BOTH {
        outside.count(transport, TARGET, 9)?.detach();
    }
    let services = [
        (CLUSTER_IPS, [Outside::IP4, Outside::IP6], "shop/open"),
        (EXTERNAL_IPS, [Outside::OTHER_IP4, Outside::OTHER_IP6], "shop/closed"),
    ];
    for (own, backends, name) in services {
        let at = backends.map(|address| SocketAddr::new(address, TARGET));
        let service = Service::new(name).cluster_ips(ips(own)).port(ServicePort::new(Transport::Tcp, PORT).to(at));
        shop.set(&service)?;
    }
    let [ip4, ip6] = [Outside::IP4, Outside::IP6];
    let rule = format!("to: [{{ipBlock: {{cidr: {ip4}/32}}}}, {{ipBlock: {{cidr: '{ip6}/128'}}}}]");
    shop.world.write("policies.yaml", &egress(&format!("{rule}, ports: [{{port: {TARGET}}}]")))?;
    shop.start_agents(&[])?;
    let loads = |to| ips(to).map(|address| shop.load(Transport::Tcp, SocketAddr::new(address, PORT), 10));
    assert_eq!(fates(&shop, &loads(CLUSTER_IPS))?, [Fate::Answered(9); 20]);
    assert_eq!(fates(&shop, &loads(EXTERNAL_IPS))?, [Fate::Silence; 20]);
    Ok(())
}

/// What came of each of the client's attempts.
fn fates(shop: &Shop, loads: &[Load]) -> Result<Vec<Fate>> {
    Ok(make(&shop.client, loads)?.concat().iter().map(|attempt| attempt.fate).collect())
}

#[test]
fn client_and_backends_may_be_wired_differently() -> Result<()> {
    let [ptp, bridge, routed] = Wiring::ALL;
    for (client, backends) in [(ptp, bridge), (bridge, routed), (routed, ptp), (bridge, ptp)] {
        let mut shop = Shop::empty("services-mixed", Plan { wiring: client, ..Plan::ROUTED_NFTABLES })?;
        shop.backend("near-open", backends, "open")?;
        shop.backend("near-closed", backends, "closed")?;
        shop.set(&shop.api())?;
        shop.world.write("policies.yaml", &to_open_backends())?;
        shop.start_agents(&[])?;
        shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 40), &["near-open"])?;
    }
    Ok(())
}

#[test]
fn a_bridge_that_shows_its_frames_to_nobody_hides_no_service() -> Result<()> {
    let mut shop = Shop::empty("services-no-bridge-filter", Plan::TUNNELLED_IPTABLES)?;
    for key in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        shop.world.node.set(key, "0")?;
    }
    // Backends on the client's bridge would answer it directly, with their own address.
    for (name, access) in [("near-open", "open"), ("near-closed", "closed"), ("far-open", "open")] {
        shop.backend(name, Wiring::Ptp, access)?;
    }
    shop.set(&shop.api())?;
    shop.world.write("policies.yaml", &to_open_backends())?;
    shop.start_agents(&[])?;
    shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 40), &OPEN)
}
