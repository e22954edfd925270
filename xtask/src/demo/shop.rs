//! The three-tier example as a lab: pods, servers in them, and the agent on their node.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use podgate_lab::{
    Agent, Lab, Manifests, Namespace, Node, Outside, Pod, PodName, Probe, Proxy, ProxyMode, RunningAgent, Seen,
    Service, Wiring,
};
use serde_json::{Value, json};

use super::{dns, services};
use crate::workspace::{find, root};

/// The name of the demo's labs, by which those that it kept are found.
pub(super) const LAB: &str = "demo";

const EXAMPLE: &str = "deploy/examples/three-tier";
const NODE: &str = "node-1";

/// A pod of the demo, with the ports on which it answers.
struct Tier {
    name: &'static str,
    wiring: Wiring,
    tcp: &'static [u16],
    udp: &'static [u16],
}

const DNS: &str = "kube-system/kube-dns";
const TIERS: [Tier; 6] = [
    Tier { name: "shop/frontend", wiring: Wiring::Ptp, tcp: &[8080], udp: &[] },
    Tier { name: "shop/api", wiring: Wiring::Bridge, tcp: &[8080, 8443], udp: &[8080] },
    Tier { name: "shop/database", wiring: Wiring::Ptp, tcp: &[5432], udp: &[] },
    Tier { name: "monitoring/prober", wiring: Wiring::Ptp, tcp: &[], udp: &[] },
    Tier { name: "elsewhere/stranger", wiring: Wiring::Bridge, tcp: &[], udp: &[] },
    Tier { name: DNS, wiring: Wiring::Routed, tcp: &[], udp: &[] },
];

/// The lab with everything that runs in it.
pub(crate) struct Shop {
    pub(crate) lab: Lab,
    pub(crate) node: Node,
    pub(crate) manifests: Manifests,
    proxy: Proxy,
    services: Vec<String>,
    pods: BTreeMap<&'static str, Pod>,
}

impl Shop {
    /// Makes node, pods and servers, and the manifests of namespaces and pods, without a policy.
    pub(crate) fn open() -> Result<Self> {
        let lab = Lab::new(LAB)?;
        let node = lab.node(NODE)?;
        let manifests = Manifests::new(&lab, "manifests")?;
        let proxy = Proxy::new(&node, ProxyMode::Nftables)?;
        let mut shop = Self { lab, node, manifests, proxy, services: Vec::new(), pods: BTreeMap::new() };
        for tier in &TIERS {
            let pod = shop.node.pod(tier.name, tier.wiring)?;
            serve(&pod, tier.tcp, tier.udp)?;
            shop.pods.insert(tier.name, pod);
        }
        serve(shop.lab.outside(), &[443], &[])?;
        shop.serve_dns()?;
        shop.copy("0-namespaces.yaml")?;
        shop.write_pods(&|_| ())?;
        shop.wait_for_servers()?;
        Ok(shop)
    }

    /// Starts the agent with the example's manifests.
    pub(crate) fn start_agent(&self, podgate: &Path) -> Result<RunningAgent> {
        let agent = Agent::new(podgate).manifests(self.manifests.path());
        Ok(agent.start_ready(&self.lab, &self.node)?)
    }

    /// Pods that an agent enforces, with how they are wired.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The Services with their addresses.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, [IpAddr; 2])> {
        let address = |name, v6| services::cluster_ip(name, v6);
        self.services
            .iter()
            .filter_map(move |name| Some((name.as_str(), [address(name, false)?, address(name, true)?])))
    }

    /// The namespace of an end of a question.
    pub(crate) fn namespace(&self, end: &str) -> &Namespace {
        match end {
            "node" => &self.node,
            "outside" => self.lab.outside(),
            pod => &self.pods[pod],
        }
    }

    /// The address of an end of a question.
    pub(crate) fn address(&self, end: &str, v6: bool) -> IpAddr {
        if let Some(address) = end.strip_prefix("Service ").and_then(|name| services::cluster_ip(name, v6)) {
            return address;
        }
        match (end, v6) {
            ("outside", false) => Outside::IP4,
            ("outside", true) => Outside::IP6,
            (pod, false) => self.pods[pod].ip4(),
            (pod, true) => self.pods[pod].ip6(),
        }
    }

    /// Copies a file of the example into the manifests.
    pub(crate) fn copy(&self, file: &str) -> Result<()> {
        self.copy_edited(file, "", "")
    }

    /// Copies a file of the example with one text in place of another.
    pub(crate) fn copy_edited(&self, file: &str, old: &str, new: &str) -> Result<()> {
        let text = example(file)?;
        let text = if old.is_empty() { text } else { text.replace(old, new) };
        Ok(self.manifests.write(file, text)?)
    }

    /// Writes the example's pods with the node and the addresses that they have here, as the API server would show them,
    /// after a change of the objects. Services follow their labels.
    pub(crate) fn write_pods(&mut self, change: &dyn Fn(&mut Value)) -> Result<()> {
        let mut pods: Vec<Value> = serde_saphyr::from_multiple(&example("pods.yaml")?).context("read pods.yaml")?;
        for pod in &mut pods {
            self.place(pod)?;
            change(pod);
        }
        pods.push(self.pods[DNS].manifest().label("k8s-app", "kube-dns").json());
        let documents: Vec<String> = pods.iter().map(Value::to_string).collect();
        self.manifests.write("pods.yaml", documents.join("\n---\n"))?;
        self.write_services(&pods)
    }

    fn write_services(&mut self, pods: &[Value]) -> Result<()> {
        let services = services::all(&example("services.yaml")?, pods)?;
        let documents: Vec<String> = services.iter().map(Service::manifests).collect();
        self.manifests.write("services.yaml", documents.join("\n---\n"))?;
        self.services = services.iter().map(|service| service.name().to_string()).collect();
        Ok(services.into_iter().try_for_each(|service| self.proxy.set(service))?)
    }

    fn place(&self, object: &mut Value) -> Result<()> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let name = PodName { namespace: text("namespace"), name: text("name") };
        let Some(pod) = self.pods.values().find(|pod| *pod.name() == name) else {
            bail!("pods.yaml has a pod {}/{} that the demo does not make", name.namespace, name.name);
        };
        let here = pod.manifest().json();
        object["spec"]["nodeName"] = here["spec"]["nodeName"].clone();
        object["metadata"]["uid"] = here["metadata"]["uid"].clone();
        object["status"] = here["status"].clone();
        Ok(())
    }

    fn serve_dns(&self) -> Result<()> {
        let dnsmasq = find("dnsmasq").context("dnsmasq is missing: run `cargo xtask setup`")?;
        let mut command = self.pods[DNS].command(dnsmasq);
        let record = format!("--address=/{}/{}", dns::NAME, dns::ADDRESS);
        command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"]);
        command.args(["--pid-file=", &record]);
        start(&mut command)
    }

    /// A server that is still starting would look like a denial.
    fn wait_for_servers(&self) -> Result<()> {
        for tier in &TIERS {
            let address = self.address(tier.name, false);
            for &port in tier.tcp {
                self.node.expect(Probe::tcp(address, port), Seen::Answered)?;
            }
        }
        Ok(())
    }
}

fn example(file: &str) -> Result<String> {
    let path: PathBuf = root().join(EXAMPLE).join(file);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Runs this program's own echo server in a namespace, so that it stays when the demo ends and the lab is kept.
fn serve(namespace: &Namespace, tcp: &[u16], udp: &[u16]) -> Result<()> {
    if tcp.is_empty() && udp.is_empty() {
        return Ok(());
    }
    let program = env::current_exe().context("find the path of this program")?;
    let mut command = namespace.command(program);
    command.arg("serve");
    for (option, ports) in [("--tcp", tcp), ("--udp", udp)] {
        command.args(ports.iter().map(|port| format!("{option}={port}")));
    }
    start(&mut command)
}

/// The lab ends it.
fn start(command: &mut Command) -> Result<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().with_context(|| format!("start {:?}", quiet.get_program()))?;
    Ok(())
}

/// Changes a label of one pod.
pub(crate) fn relabel(object: &mut Value, pod: &str, key: &str, value: &str) {
    if object["metadata"]["name"] == pod {
        object["metadata"]["labels"][key] = json!(value);
    }
}
