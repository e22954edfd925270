//! The distribution's Prometheus scrapes the agent, with the rules of the chart; the dashboard's queries are asked of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Pod, Probe, Result, Seen, Wiring};
use serde_json::Value;

use crate::render::{list, root};
use crate::support::{World, deny_all, until};

/// Where Prometheus listens, in the node's namespace.
const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// How long it may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// The agents as podmonitor.yaml has them scraped, but more often.
const CONFIGURATION: &str = "
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [rules.yaml]
scrape_configs:
  - job_name: podgate
    honor_labels: true
    static_configs:
      - targets: ['127.0.0.1:9417']
        labels: { node: node-1 }
";

/// Panels that show nothing while nothing is wrong.
const QUIET: [&str; 3] =
    ["Would be denied, by policy", "Nodes where something is not enforced", "Last error of each source"];

/// A Prometheus on the node. Dropped, it is killed.
struct Prometheus {
    child: Child,
}

impl Prometheus {
    /// Starts it; `None`, and a loud word, where it is not installed.
    fn start(world: &World) -> Option<Self> {
        let directory = world.lab.directory().join("prometheus");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("prometheus.yaml"), CONFIGURATION).unwrap();
        fs::copy(root().join("deploy/chart/files/rules.yaml"), directory.join("rules.yaml")).unwrap();
        let mut command = world.node.command("prometheus");
        command.arg("--config.file").arg(directory.join("prometheus.yaml"));
        command.arg("--storage.tsdb.path").arg(directory.join("data"));
        command.args(["--web.listen-address", &PROMETHEUS.to_string(), "--log.level", "warn"]);
        match command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn() {
            Ok(child) => Some(Self { child }),
            Err(error) => {
                eprintln!("SKIPPED: prometheus can't be started ({error}), so the agent was not scraped");
                None
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The data of an answer of Prometheus' API.
fn ask(world: &World, path: &str) -> Result<Value> {
    let answer = world.node.get(PROMETHEUS, path)?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body));
    assert_eq!(body["status"], "success", "{path}: {body}");
    Ok(body["data"].clone())
}

/// The series that a query has now, each a set of labels and a value.
fn query(world: &World, query: &str) -> Result<Vec<(Value, f64)>> {
    let data = ask(world, &format!("/api/v1/query?query={}", escaped(query)))?;
    let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
    Ok(list(&data["result"]).iter().map(|series| (series["metric"].clone(), value(series))).collect())
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The dashboard's panels with their queries, for all nodes and namespaces.
fn panels() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("deploy/chart/files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let filled_in = |query: &str| {
        let values = [
            ("$__rate_interval", "10s"),
            ("$__range", "1m"),
            ("$cluster", ".*"),
            ("$job", "podgate"),
            ("$node", ".*"),
            ("$namespace", ".*"),
        ];
        values.into_iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    };
    let panels = list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row");
    let queries = |panel: &Value| {
        list(&panel["targets"]).iter().map(|target| filled_in(target["expr"].as_str().unwrap())).collect()
    };
    panels.map(|panel| (panel["title"].as_str().unwrap().to_owned(), queries(panel))).collect()
}

/// Knocks on the server's closed doors until Prometheus has seen some of it.
fn be_denied(world: &World, client: &Pod, server: &Pod) -> Result<()> {
    let seen =
        |query_text: &str| -> Result<bool> { Ok(query(world, query_text)?.iter().any(|(_, value)| *value > 0.0)) };
    until("Prometheus has scraped denials", || {
        assert_eq!(client.probe(Probe::tcp(server.ip4(), 80)), Seen::Silence);
        let by_pod = seen("rate(podgate_verdicts_total{verdict=\"denied\",pod=\"server\"}[10s])")?;
        // The series of a policy begins with its first denial.
        Ok(by_pod && seen("rate(podgate_policy_denials_total{verdict=\"denied\"}[10s])")?)
    })
}

#[test]
fn prometheus_scrapes_the_agent_and_the_dashboard_shows_what_happens() -> Result<()> {
    let mut world = World::started("monitored", &[])?;
    let (client, server) = (world.pod("shop/client", Wiring::Ptp)?, world.pod("shop/server", Wiring::Bridge)?);
    world.write("deny.yaml", &deny_all("shop", "{matchLabels: {app: server}}"))?;
    let Some(_prometheus) = Prometheus::start(&world) else { return Ok(()) };
    wait_until_scraped(&world)?;
    be_denied(&world, &client, &server)?;

    for (title, queries) in panels() {
        let answers: Vec<_> = queries.iter().map(|text| query(&world, text)).collect::<Result<_>>()?;
        let empty = answers.iter().all(Vec::is_empty);
        assert_eq!(empty, QUIET.contains(&title.as_str()), "{title}: {answers:?}");
    }
    let first = |title: &str| -> Result<Vec<(Value, f64)>> {
        let (_, queries) = panels().into_iter().find(|(found, _)| found == title).unwrap();
        query(&world, &queries[0])
    };
    assert_eq!(first("Nodes that enforce everything")?[0].1, 1.0);
    assert_eq!(first("Nodes that do not")?[0].1, 0.0);
    assert_eq!(first("Pods without enforcement")?[0].1, 0.0);
    let dropped: Vec<_> = first("Dropped, by reason")?.into_iter().filter(|(_, rate)| *rate > 0.0).collect();
    assert_eq!(dropped.iter().map(|(labels, _)| labels["reason"].as_str()).collect::<Vec<_>>(), [Some("no_rule")]);
    let affected = first("Who is affected")?;
    let [(labels, packets)] = &affected[..] else { panic!("{affected:?}") };
    assert_eq!(
        (&labels["namespace"], &labels["pod"], &labels["direction"]),
        (&Value::from("shop"), &Value::from("server"), &Value::from("ingress"))
    );
    assert!(*packets > 0.0, "{packets}");

    let groups = ask(&world, "/api/v1/rules")?;
    let rules: Vec<_> = list(&groups["groups"]).iter().flat_map(|group| list(&group["rules"])).collect();
    assert!(rules.len() > 10 && rules.iter().all(|rule| rule["health"] != "err"), "{groups}");
    until("the rule has recorded", || Ok(query(&world, "podgate:denied:rate5m{pod=\"server\"}")?.len() == 1))?;
    let alerts = query(&world, "ALERTS{alertstate=\"firing\"}")?;
    assert_eq!(alerts, [], "nothing is wrong here");
    Ok(())
}

fn wait_until_scraped(world: &World) -> Result<()> {
    let deadline = Instant::now() + START;
    let up = || -> Result<bool> {
        let ready = world.node.get(PROMETHEUS, "/-/ready")?.status == 200;
        Ok(ready && query(world, "up")?.iter().any(|(_, value)| *value == 1.0))
    };
    // It does not listen at first.
    while !up().unwrap_or(false) {
        assert!(Instant::now() < deadline, "Prometheus has not scraped the agent in {START:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
