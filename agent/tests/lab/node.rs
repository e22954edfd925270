//! The node's own traffic, and what only looks like it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use podgate_lab::{Node, Outside, Pod, Probe, Result, Seen, Wiring};
use serde_json::{Value, json};

use crate::packets::ARRIVES;
use crate::support::{Questions, World, deny_all, everything, ping, policy, serve, tcp};

const OUTSIDE: [IpAddr; 2] = [Outside::IP4, Outside::IP6];
/// Addresses that the node has beside the one of its uplink.
const MORE: [&str; 2] = ["192.0.2.77", "2001:db8:77::77"];

fn addresses(node: &Node) -> [IpAddr; 2] {
    [node.ip4(), node.ip6()]
}

/// A node with a pod of each wiring, all of them in the namespace `shop`, where everything is denied, and the agent.
fn closed_pods(name: &str) -> Result<(World, Vec<Pod>)> {
    let mut world = World::new(name)?;
    let mut pods = Vec::new();
    for wiring in Wiring::ALL {
        pods.push(world.pod(&format!("shop/{wiring}"), wiring)?);
    }
    world.write("policies.yaml", &deny_all("shop", "{}"))?;
    world.run_agent(&[])?;
    Ok((world, pods))
}

/// Lets these addresses in.
fn allow(addresses: [IpAddr; 2]) -> String {
    let [ip4, ip6] = addresses;
    let peers = format!("[{{ipBlock: {{cidr: {ip4}/32}}}}, {{ipBlock: {{cidr: '{ip6}/128'}}}}]");
    policy("shop", "allow", &format!("podSelector: {{}}\ningress: [{{from: {peers}}}]"))
}

#[test]
fn processes_of_the_node_reach_pods_that_deny_everything() -> Result<()> {
    let (world, pods) = closed_pods("node-to-pods")?;
    let mut questions = Questions::new();
    for pod in &pods {
        questions = questions
            .answered(&world.node, everything(pod.addresses().both(), 80))
            .silent(world.lab.outside(), everything(pod.addresses().both(), 80));
    }
    questions.ask();
    Ok(())
}

#[test]
fn processes_of_the_node_reach_pods_from_any_address_of_the_node() -> Result<()> {
    let (world, pods) = closed_pods("any-address")?;
    world.node.ip(&[format!("addr add {} dev lo", MORE[0]), format!("addr add {} dev lo nodad", MORE[1])])?;
    let more = MORE.map(|address| address.parse::<IpAddr>().expect("it is an address"));
    // The kernel makes the route of a new IPv6 address in the background.
    more.iter().try_for_each(|address| world.node.expect(Probe::ping(*address), Seen::Answered))?;
    let sources = [more, addresses(&world.node)].concat();
    let mut questions = Questions::new();
    for (pod, &source) in pods.iter().flat_map(|pod| sources.iter().map(move |source| (pod, source))) {
        let to = if source.is_ipv4() { pod.ip4() } else { pod.ip6() };
        for probe in [Probe::tcp(to, 80), Probe::udp(to, 80), Probe::ping(to)] {
            questions = questions.expect_from(&world.node, source, probe, Seen::Answered);
        }
    }
    questions.ask();
    Ok(())
}

#[test]
fn traffic_that_the_node_forwards_is_not_the_nodes_own() -> Result<()> {
    let (mut world, pods) = closed_pods("forwarded")?;
    let open = world.pod("other/open", Wiring::Bridge)?;
    let mut questions = Questions::new();
    for pod in &pods {
        questions = questions
            .silent(world.lab.outside(), everything(pod.addresses().both(), 80))
            .silent(&open, everything(pod.addresses().both(), 80));
    }
    questions.ask();
    Ok(())
}

#[test]
fn forwarded_traffic_with_the_nodes_address_as_its_source_is_judged_by_that_address() -> Result<()> {
    let (mut world, pods) = closed_pods("masqueraded")?;
    for (family, address) in [("ip", world.node.ip4()), ("ip6", world.node.ip6())] {
        let rules = format!(
            "add table {family} nat; add chain {family} nat post {{ type nat hook postrouting priority 100; }}; \
             add rule {family} nat post iifname eth0 snat to {address}"
        );
        world.node.output("nft", &[&rules])?;
    }
    let ask = |world: &World, expected| {
        let questions = pods.iter().fold(Questions::new(), |questions, pod| {
            questions.expect(world.lab.outside(), everything(pod.addresses().both(), 80), expected)
        });
        questions.ask();
    };
    ask(&world, Seen::Silence);
    world.write("allow.yaml", &allow(OUTSIDE))?;
    ask(&world, Seen::Silence);
    world.write("allow.yaml", &allow(addresses(&world.node)))?;
    ask(&world, Seen::Answered);
    Ok(())
}

#[test]
fn a_flow_of_the_nodes_own_lets_nobody_in_whom_the_node_gives_its_address_and_port() -> Result<()> {
    const PORT: u16 = 40_000;
    let (world, pods) = closed_pods("nodes-port")?;
    for (family, address) in [("ip", world.node.ip4()), ("ip6", world.node.ip6())] {
        let to = SocketAddr::new(address, PORT);
        let rules = format!(
            "add table {family} nat; add chain {family} nat post {{ type nat hook postrouting priority 100; }}; \
             add rule {family} nat post iifname eth0 meta l4proto udp snat to {to}"
        );
        world.node.output("nft", &[&rules])?;
    }
    let of_family = |pod: &Pod, source: IpAddr| if source.is_ipv4() { pod.ip4() } else { pod.ip6() };
    for (pod, source) in pods.iter().flat_map(|pod| addresses(&world.node).map(|source| (pod, source))) {
        let probe = Probe::udp(of_family(pod, source), 80);
        let from = Some(SocketAddr::new(source, PORT));
        assert_eq!(world.node.probe_from(probe, from, ARRIVES), Seen::Answered, "{probe:?}");
    }
    // Connection tracking forgets flows of UDP before podgate does.
    world.node.output("conntrack", &["-F"])?;
    let questions = pods.iter().fold(Questions::new(), |questions, pod| {
        questions.silent(world.lab.outside(), pod.addresses().both().map(|address| Probe::udp(address, 80)))
    });
    questions.ask();
    Ok(())
}

#[test]
fn another_node_is_judged_by_its_address() -> Result<()> {
    let (mut world, pods) = closed_pods("other-node")?;
    let other = world.lab.node("node-2")?;
    let ask = |expected| {
        let questions = pods.iter().fold(Questions::new(), |questions, pod| {
            questions.expect(&other, everything(pod.addresses().both(), 80), expected)
        });
        questions.ask();
    };
    ask(Seen::Silence);
    world.write("allow.yaml", &allow(addresses(&world.node)))?;
    ask(Seen::Silence);
    world.write("allow.yaml", &allow(addresses(&other)))?;
    ask(Seen::Answered);
    Ok(())
}

/// The object of a host-network pod in the namespace `shop`.
fn host_pod(name: &str, node: &Node) -> Value {
    let addresses: Vec<Value> = addresses(node).iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": "host"}},
        "spec": {"nodeName": node.name(), "hostNetwork": true, "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIP": node.ip4(), "podIPs": addresses},
    })
}

#[test]
fn a_host_network_pod_is_never_a_subject() -> Result<()> {
    let (mut world, pods) = closed_pods("host-network")?;
    world.write("host.yaml", &host_pod("host", &world.node).to_string())?;
    serve(&world.node)?;
    serve(world.lab.outside())?;
    Questions::new()
        .answered(world.lab.outside(), everything(addresses(&world.node), 80))
        .answered(&world.node, [tcp(OUTSIDE, 80), ping(OUTSIDE)].concat())
        .answered(&world.node, everything(pods[0].addresses().both(), 80))
        .ask();
    let status = world.status()?;
    let names: Vec<&Value> = status["pods"].as_array().into_iter().flatten().map(|pod| &pod["name"]).collect();
    assert_eq!(names, ["bridge", "ptp", "routed"]);
    Ok(())
}

#[test]
fn a_host_network_pod_is_as_a_peer_not_its_nodes_address() -> Result<()> {
    let (mut world, pods) = closed_pods("host-peer")?;
    let other = world.lab.node("node-2")?;
    let from = "[{podSelector: {matchLabels: {app: host}}}]";
    let allow = policy("shop", "allow", &format!("podSelector: {{}}\ningress: [{{from: {from}}}]"));
    world.write("allow.yaml", &[allow, host_pod("host", &other).to_string()].join("\n---\n"))?;
    let pod = &pods[0];
    Questions::new().silent(&other, everything(pod.addresses().both(), 80)).ask();
    Ok(())
}

#[test]
fn a_pod_gets_no_answer_from_a_loopback_address_of_its_node() -> Result<()> {
    let mut world = World::new("loopback")?;
    let pod = world.pod("shop/curious", Wiring::Routed)?;
    world.run_agent(&["--metrics-public"])?;
    // The node lets in what is for a loopback address, and the pod sends it there.
    for namespace in [&*world.node, &*pod] {
        namespace.set("ipv4/conf/all/route_localnet", "1")?;
    }
    pod.ip(&["addr del 127.0.0.1/8 dev lo", "route add 127.0.0.1 via 169.254.1.1 dev eth0"])?;
    for port in [9417, 9419] {
        let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(world.node.get(server, "/readyz")?.status, 200);
        let mut stream = pod.run(|| TcpStream::connect_timeout(&server, ARRIVES)).expect("the node lets it in");
        stream.set_read_timeout(Some(ARRIVES)).expect("the limit is not zero");
        // The other end may have closed it before this is sent.
        drop(stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n"));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert_eq!(String::from_utf8_lossy(&answer), "", "port {port}");
    }
    Ok(())
}
