//! Enforcement is the same whatever the wiring and the hook.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podgate_lab::{Outside, Pod, Probe, Result, Wiring};

use crate::support::{Questions, World, everything, policy, tcp, udp};

const OUTSIDE: [IpAddr; 2] = [Outside::IP4, Outside::IP6];

/// The client may ask the server on port 80, and the outside anything; the outside may ask the server anything. Nothing
/// else goes in or out of either.
fn policies() -> String {
    let outside = "[{ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: '2001:db8:100::/64'}}]";
    let ports = "[{protocol: TCP, port: 80}, {protocol: UDP, port: 80}]";
    let select = |app: &str| format!("{{podSelector: {{matchLabels: {{app: {app}}}}}}}");
    let deny = policy("shop", "deny-all", "podSelector: {}\npolicyTypes: [Ingress, Egress]");
    let server = format!(
        "podSelector: {{matchLabels: {{app: server}}}}\n\
         ingress: [{{from: [{}], ports: {ports}}}, {{from: {outside}}}]",
        select("client")
    );
    let client = format!(
        "podSelector: {{matchLabels: {{app: client}}}}\npolicyTypes: [Egress]\n\
         egress: [{{to: [{}], ports: {ports}}}, {{to: {outside}}}]",
        select("server")
    );
    [deny, policy("shop", "server", &server), policy("shop", "client", &client)].join("---\n")
}

/// A client, a server and a stranger that no policy selects, and the outside, which serves too.
struct Cast {
    world: World,
    client: Pod,
    server: Pod,
    stranger: Pod,
}

impl Cast {
    fn new(name: &str, wirings: [Wiring; 3], hook: &str) -> Result<Self> {
        let mut world = World::new(name)?;
        crate::support::serve(world.lab.outside())?;
        let [client, server, stranger] = wirings;
        let client = world.pod("shop/client", client)?;
        let server = world.pod("shop/server", server)?;
        let stranger = world.pod("other/stranger", stranger)?;
        world.write("policies.yaml", &policies())?;
        world.run_agent(&["--hook", hook])?;
        Ok(Self { world, client, server, stranger })
    }

    /// Denied packets without a rule: into the client, out of it, into the server, out of it, and any for the stranger.
    fn denied(&mut self) -> Result<Vec<BTreeMap<String, u64>>> {
        let mut denied = Vec::new();
        for pod in [&self.client, &self.server, &self.stranger] {
            for direction in ["ingress", "egress"] {
                denied.push(self.world.denied(pod, direction)?);
            }
        }
        Ok(denied)
    }
}

/// Asks every question twice and looks at the counters in between: what is allowed works at once and again, what is denied
/// is denied again, and each denied packet is counted once, where it was dropped.
fn enforces(wirings: [Wiring; 3], hook: &str) -> Result<()> {
    let mut cast = Cast::new(&format!("{hook}-{}", wirings[0]), wirings, hook)?;
    for round in 1..=2 {
        let outside = cast.world.lab.outside();
        let (client, server) = (cast.client.addresses().both(), cast.server.addresses().both());
        let beside_rule: Vec<Probe> = [&tcp(server, 81)[..], &udp(server, 81), &everything(server, 80)[4..]].concat();
        Questions::new()
            .answered(&cast.client, [tcp(server, 80), udp(server, 80)].concat())
            .answered(&cast.client, everything(OUTSIDE, 80))
            .answered(outside, everything(server, 80))
            .answered(outside, everything(cast.stranger.addresses().both(), 80))
            .answered(&cast.stranger, everything(OUTSIDE, 81))
            .silent(&cast.client, beside_rule)
            .silent(&cast.server, everything(client, 80))
            .silent(&cast.server, everything(OUTSIDE, 80))
            .silent(&cast.stranger, everything(server, 80))
            .silent(outside, everything(client, 80))
            .ask();
        let no_rule = |packets: u64| BTreeMap::from([("no_rule".to_owned(), packets * round)]);
        let none = BTreeMap::new();
        assert_eq!(
            cast.denied()?,
            [no_rule(6), no_rule(6), no_rule(6), no_rule(12), none.clone(), none],
            "into and out of client, server and stranger in round {round}"
        );
    }
    Ok(())
}

#[test]
fn policies_hold_on_ptp_by_tcx() -> Result<()> {
    enforces([Wiring::Ptp; 3], "tcx")
}

#[test]
fn policies_hold_on_ptp_by_clsact() -> Result<()> {
    enforces([Wiring::Ptp; 3], "clsact")
}

#[test]
fn policies_hold_on_a_bridge_by_tcx() -> Result<()> {
    enforces([Wiring::Bridge; 3], "tcx")
}

#[test]
fn policies_hold_on_a_bridge_by_clsact() -> Result<()> {
    enforces([Wiring::Bridge; 3], "clsact")
}

#[test]
fn policies_hold_on_routed_veths_by_tcx() -> Result<()> {
    enforces([Wiring::Routed; 3], "tcx")
}

#[test]
fn policies_hold_on_routed_veths_by_clsact() -> Result<()> {
    enforces([Wiring::Routed; 3], "clsact")
}

#[test]
fn policies_hold_between_pods_of_different_wirings_on_one_node() -> Result<()> {
    enforces([Wiring::Routed, Wiring::Bridge, Wiring::Ptp], "auto")
}
