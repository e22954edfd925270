//! What `--keep` leaves, and how to look around in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use podgate_lab::RunningAgent;

use super::shop::Shop;

/// Where a Prometheus listens in the node's network namespace, beside the agent.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// For a Prometheus in the node's network namespace. The labels of the metrics are those of the pods that packets belong to.
const CONFIGURATION: &str = "\
global: {scrape_interval: 5s}
scrape_configs:
  - job_name: podgate
    honor_labels: true
    static_configs: [{targets: ['127.0.0.1:9417'], labels: {node: node-1}}]
";

/// What is asked of it: packets that were dropped, whose and why.
const DROPPED: &str =
    r#"sum by (namespace, pod, direction, reason) (podgate_verdicts_total{verdict="denied", pod!=""}) > 0"#;

/// Lets lab and agent run on, and says how to look around.
pub(super) fn leave(shop: &mut Shop, agent: RunningAgent, podgate: &Path) -> Result<()> {
    let directory = shop.lab.directory().to_owned();
    let configuration = directory.join("prometheus.yml");
    fs::write(&configuration, CONFIGURATION).with_context(|| format!("write {}", configuration.display()))?;
    let socket = agent.socket().display().to_string();
    agent.detach();
    shop.lab.keep()?;
    let (podgate, node, frontend) = (podgate.display(), shop.node.netns(), shop.namespace("shop/frontend").netns());
    let manifests = shop.manifests.path().display();
    let database = shop.address("shop/database", false);
    println!("\nThe lab stays up. Have something dropped: it ends after 3 seconds without an answer.");
    println!("  ip netns exec {frontend} timeout 3 bash -c ': < /dev/tcp/{database}/5432'; echo $?");
    println!("See it, and ask why:");
    println!("  {podgate} status --socket {socket}");
    println!("  {podgate} explain -f {manifests} --from shop/frontend --to pod/shop/database --port 5432");
    println!("See it in Prometheus (`apt-get install prometheus`), some seconds after its start:");
    println!(
        "  ip netns exec {node} prometheus --config.file={} --storage.tsdb.path={} --web.listen-address={PROMETHEUS} \
         --log.level=error &",
        configuration.display(),
        directory.join("prometheus").display()
    );
    println!("  ip netns exec {node} promtool query instant http://{PROMETHEUS} '{DROPPED}'");
    println!("Change the policies, and the agent follows:");
    println!("  ls {manifests}");
    println!("Look at the network:");
    println!("  ip netns exec {node} ip -brief link");
    println!("Remove all of it, Prometheus too, with `cargo xtask demo --remove`.");
    Ok(())
}
