//! The core of enforcement, end to end: the agent on a node, YAML in a directory, real sockets on both families. These
//! cases use nothing that is not on every kernel that podgate claims to run on, and run on each of them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use podgate_lab::{Agent, Connection, Lab, Manifests, Node, Pod, Probe, Result, RunningAgent, Seen, Wiring};

const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// The server lets the client in on port 80.
const SERVE_CLIENT: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: serve-client }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: client } } }]
      ports: [{ protocol: TCP, port: 80 }, { protocol: UDP, port: 80 }]
"#;

/// Nothing enters or leaves the server.
const CLOSE_SERVER: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: serve-client }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress, Egress]
"#;

const POLICY: &str = "policy.yaml";

/// A node with a client, a server and a stranger, and the agent at work.
struct Shop {
    client: Pod,
    server: Pod,
    stranger: Pod,
    manifests: Manifests,
    agent: Option<RunningAgent>,
    start: Agent,
    node: Node,
    lab: Lab,
}

impl Shop {
    fn open(name: &str, policy: &str, arguments: &[&str]) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node-1")?;
        let pod = |name| node.pod(&format!("shop/{name}"), Wiring::Routed);
        let (client, server, stranger) = (pod("client")?, pod("server")?, pod("stranger")?);
        for served in [&client, &server] {
            for port in [80, 81] {
                served.serve_tcp(port)?.detach();
                served.serve_udp(port)?.detach();
            }
        }
        let manifests = Manifests::new(&lab, "manifests")?;
        let labelled = |pod: &Pod| pod.manifest().label("app", &pod.name().name);
        manifests.write_pods("pods.yaml", &[labelled(&client), labelled(&server), labelled(&stranger)])?;
        manifests.write(POLICY, policy)?;
        let start = Agent::new(env!("CARGO_BIN_EXE_podgate")).manifests(manifests.path());
        let start = arguments.iter().fold(start, |agent, argument| agent.arg(argument));
        let agent = Some(start.start_ready(&lab, &node)?);
        Ok(Self { client, server, stranger, manifests, agent, start, node, lab })
    }

    fn agent(&mut self) -> RunningAgent {
        self.agent.take().expect("the agent runs")
    }

    /// What the server sees of the policy: its port 80 for the client, and nothing else.
    fn expect_serve_client(&self) -> Result<()> {
        for address in self.server.addresses().both() {
            self.client.expect(Probe::tcp(address, 80), Seen::Answered)?;
            self.client.expect(Probe::udp(address, 80), Seen::Answered)?;
            for denied in [Probe::tcp(address, 81), Probe::udp(address, 81), Probe::ping(address)] {
                self.client.expect(denied, Seen::Silence)?;
            }
            self.stranger.expect(Probe::tcp(address, 80), Seen::Silence)?;
            self.stranger.expect(Probe::udp(address, 80), Seen::Silence)?;
        }
        Ok(())
    }

    fn connect(&self, to: IpAddr) -> Result<Connection> {
        let listener = self.server.listen(0)?;
        let port = listener.local_addr().map_or(0, |address| address.port());
        Connection::open_to(&self.client, &listener, SocketAddr::new(to, port), 0)
    }
}

fn works_both_ways(connection: &mut Connection) -> bool {
    connection.client_reaches_server(LIMIT) && connection.server_reaches_client(LIMIT)
}

#[test]
fn a_rule_allows_its_peers_and_ports_and_nothing_else() -> Result<()> {
    Shop::open("rule", SERVE_CLIENT, &[])?.expect_serve_client()
}

#[test]
fn clsact_filters_enforce_as_well() -> Result<()> {
    Shop::open("clsact", SERVE_CLIENT, &["--hook", "clsact"])?.expect_serve_client()
}

#[test]
fn an_isolated_pod_can_open_nothing_that_no_rule_allows() -> Result<()> {
    let shop = Shop::open("egress", SERVE_CLIENT, &[])?;
    for address in shop.client.addresses().both() {
        for probe in [Probe::tcp(address, 80), Probe::udp(address, 80), Probe::ping(address)] {
            shop.server.expect(probe, Seen::Silence)?;
        }
    }
    Ok(())
}

#[test]
fn pods_that_no_policy_selects_are_open() -> Result<()> {
    let shop = Shop::open("open", SERVE_CLIENT, &[])?;
    for address in shop.client.addresses().both() {
        for probe in [Probe::tcp(address, 81), Probe::udp(address, 81), Probe::ping(address)] {
            shop.stranger.expect(probe, Seen::Answered)?;
        }
    }
    Ok(())
}

#[test]
fn the_node_reaches_an_isolated_pod() -> Result<()> {
    let shop = Shop::open("node", CLOSE_SERVER, &[])?;
    for address in shop.server.addresses().both() {
        shop.client.expect(Probe::tcp(address, 80), Seen::Silence)?;
        for probe in [Probe::tcp(address, 80), Probe::udp(address, 80), Probe::ping(address)] {
            shop.node.expect(probe, Seen::Answered)?;
        }
    }
    Ok(())
}

#[test]
fn a_pod_is_open_again_when_its_last_policy_is_removed() -> Result<()> {
    let shop = Shop::open("removal", CLOSE_SERVER, &[])?;
    for probe in shop.server.addresses().both().map(Probe::ping) {
        shop.client.expect(probe, Seen::Silence)?;
    }
    shop.manifests.remove(POLICY)?;
    for probe in shop.server.addresses().both().map(Probe::ping) {
        shop.client.expect(probe, Seen::Answered)?;
    }
    Ok(())
}

#[test]
fn a_connection_is_cut_when_a_policy_begins_to_deny_it_and_lives_again_when_it_is_removed() -> Result<()> {
    let shop = Shop::open("cut", "", &[])?;
    let mut connections = Vec::new();
    for address in shop.server.addresses().both() {
        connections.push(shop.connect(address)?);
    }
    assert!(connections.iter_mut().all(works_both_ways));
    shop.manifests.write(POLICY, CLOSE_SERVER)?;
    for address in shop.server.addresses().both() {
        shop.client.expect(Probe::tcp(address, 80), Seen::Silence)?;
    }
    for connection in &mut connections {
        assert!(!connection.client_reaches_server(PAUSE), "a cut connection carries nothing in");
        assert!(!connection.server_reaches_client(PAUSE), "a cut connection carries nothing out");
    }
    shop.manifests.remove(POLICY)?;
    assert!(connections.iter_mut().all(works_both_ways), "a connection that is allowed again goes on");
    Ok(())
}

#[test]
fn a_connection_that_policies_go_on_allowing_is_not_disturbed() -> Result<()> {
    let allow_all = SERVE_CLIENT.replace("ports: [{ protocol: TCP, port: 80 }, { protocol: UDP, port: 80 }]", "");
    let shop = Shop::open("undisturbed", &allow_all, &[])?;
    let mut connections = Vec::new();
    for address in shop.server.addresses().both() {
        connections.push(shop.connect(address)?);
    }
    shop.manifests.write(POLICY, allow_all.replace("[Ingress, Egress]", "[Ingress]"))?;
    for address in shop.client.addresses().both() {
        shop.server.expect(Probe::ping(address), Seen::Answered)?;
    }
    assert!(connections.iter_mut().all(works_both_ways));
    Ok(())
}

#[test]
fn enforcement_goes_on_while_the_agent_is_dead_and_after_its_return() -> Result<()> {
    let mut shop = Shop::open("crash", SERVE_CLIENT, &[])?;
    shop.expect_serve_client()?;
    shop.agent().kill()?;
    shop.expect_serve_client()?;
    shop.agent = Some(shop.start.start_ready(&shop.lab, &shop.node)?);
    shop.expect_serve_client()?;
    let status = shop.agent().terminate()?;
    assert!(status.success(), "{status}");
    shop.expect_serve_client()
}

#[test]
fn every_denied_packet_is_counted_by_pod_direction_and_verdict() -> Result<()> {
    let mut shop = Shop::open("counters", CLOSE_SERVER, &[])?;
    shop.stranger.expect(Probe::ping(shop.server.ip4()), Seen::Silence)?;
    let agent = shop.agent();
    let denied = |agent: &RunningAgent| -> Result<f64> {
        let labels = [("direction", "ingress"), ("verdict", "denied"), ("namespace", "shop"), ("pod", "server")];
        Ok(agent.metrics()?.sum("podgate_verdicts_total", &labels))
    };
    let before = denied(&agent)?;
    for _ in 0..3 {
        assert_eq!(shop.stranger.probe(Probe::ping(shop.server.ip6())), Seen::Silence);
    }
    assert_eq!(denied(&agent)? - before, 3.0);
    Ok(())
}

/// The server may use the client's port 80, and nothing else.
const ASK_CLIENT: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: ask-client }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress, Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { app: client } } }]
      ports: [{ protocol: TCP, port: 80 }, { protocol: UDP, port: 80 }]
"#;

#[test]
fn what_a_pod_sends_to_a_services_address_is_judged_where_it_enters_a_pod() -> Result<()> {
    for hook in ["auto", "clsact"] {
        let mut shop = Shop::open("service", ASK_CLIENT, &["--hook", hook])?;
        // The client's own addresses as the Service's: nothing needs to translate them.
        let addresses = shop.client.addresses().both().map(|address| format!("'{address}'")).join(", ");
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ namespace: shop, name: api }}\n\
             spec: {{ clusterIPs: [{addresses}], ports: [{{ port: 80 }}] }}"
        );
        shop.manifests.write("service.yaml", service)?;
        let deadline = Instant::now() + LIMIT;
        while shop.agent.as_ref().expect("it runs").metrics()?.sum("podgate_service_addresses", &[]) < 2.0 {
            assert!(Instant::now() < deadline, "the agent does not know the Service");
        }
        for address in shop.client.addresses().both() {
            for probe in [Probe::tcp(address, 80), Probe::udp(address, 80)] {
                shop.server.expect(probe, Seen::Answered)?;
            }
            for probe in [Probe::tcp(address, 81), Probe::udp(address, 81), Probe::ping(address)] {
                shop.server.expect(probe, Seen::Silence)?;
            }
        }
        let metrics = shop.agent().metrics()?;
        let judged = |verdict| metrics.sum("podgate_exit_judgements_total", &[("verdict", verdict)]);
        assert!(judged("allowed") >= 4.0 && judged("denied") >= 6.0, "{} {}", judged("allowed"), judged("denied"));
    }
    Ok(())
}

#[test]
fn a_pod_that_may_open_nothing_reaches_its_own_node() -> Result<()> {
    let shop = Shop::open("own-node", CLOSE_SERVER, &[])?;
    for address in [shop.node.ip4(), shop.node.ip6()] {
        shop.server.expect(Probe::ping(address), Seen::Answered)?;
    }
    for address in shop.client.addresses().both() {
        shop.server.expect(Probe::ping(address), Seen::Silence)?;
    }
    Ok(())
}
