//! A cluster made with kind: two nodes, and `ptp` in the place of kind's own network, which enforces policies itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xshell::cmd;

use crate::workspace::{shell, target};

const NAME: &str = "podgate-e2e";

const CONFIGURATION: &str = "
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking: { disableDefaultCNI: true }
nodes: [{ role: control-plane }, { role: worker }]
";

/// A node, as far as its neighbours must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: String,
    address: String,
    pods: String,
}

/// A cluster that was made here.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Makes it, with these images on its nodes.
    pub(crate) fn create(images: &[PathBuf]) -> Result<Self> {
        let cluster = Self { kubeconfig: target().join("e2e.kubeconfig") };
        let (shell, kubeconfig) = (shell()?, &cluster.kubeconfig);
        let create = cmd!(shell, "kind create cluster --name {NAME} --kubeconfig {kubeconfig} --config -");
        create.stdin(CONFIGURATION).run().context("make a cluster with kind, which needs Docker or Podman")?;
        let prepare = || -> Result<()> {
            for image in images {
                cmd!(shell, "kind load image-archive {image} --name {NAME}").run()?;
            }
            let nodes = cmd!(shell, "kubectl --kubeconfig {kubeconfig} get nodes -o json").quiet().read()?;
            connect(&nodes_of(&serde_json::from_str(&nodes)?))
        };
        prepare().inspect_err(|_| cluster.remove()).context("prepare the cluster's nodes")?;
        Ok(cluster)
    }

    /// How to reach it.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Says how to go on with it.
    pub(crate) fn keep(&self) {
        println!("the cluster is left: KUBECONFIG={}; `kind delete cluster --name {NAME}`", self.kubeconfig.display());
    }

    /// Removes it.
    pub(crate) fn remove(&self) {
        let Ok(shell) = shell() else { return };
        let kubeconfig = &self.kubeconfig;
        if let Err(error) = cmd!(shell, "kind delete cluster --name {NAME} --kubeconfig {kubeconfig}").run() {
            eprintln!("the cluster could not be removed: {error}");
        }
    }
}

fn nodes_of(list: &Value) -> Vec<Node> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    let node = |item: &Value| {
        let addresses = item["status"]["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
        Node {
            name: text(&item["metadata"]["name"]),
            address: internal.map(|address| text(&address["address"])).unwrap_or_default(),
            pods: text(&item["spec"]["podCIDR"]),
        }
    };
    items.iter().map(node).collect()
}

/// The network of a node's pods, of plugins that are in kind's node image. Nothing is masqueraded: `ptp` would hide pods from
/// those of other nodes behind their node's address, and policies would see a node where a pod asks.
fn network(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "e2e",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": node.pods }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// Gives each node its network, and routes to the others' pods.
fn connect(nodes: &[Node]) -> Result<()> {
    let shell = shell()?;
    for node in nodes {
        let name = &node.name;
        let write = cmd!(shell, "docker exec -i {name} cp /dev/stdin /etc/cni/net.d/10-e2e.conflist");
        write.stdin(network(node).to_string()).run()?;
        for Node { address, pods, .. } in nodes.iter().filter(|other| *other != node) {
            cmd!(shell, "docker exec {name} ip route replace {pods} via {address}").run()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_its_name_its_own_address_and_that_of_its_pods() {
        let list = json!({ "items": [{
            "metadata": { "name": "a" },
            "spec": { "podCIDR": "10.244.1.0/24" },
            "status": { "addresses": [
                { "type": "Hostname", "address": "a" }, { "type": "InternalIP", "address": "172.18.0.2" },
            ]},
        }]});
        let node = Node { name: "a".into(), address: "172.18.0.2".into(), pods: "10.244.1.0/24".into() };
        let ptp = &network(&node)["plugins"][0];
        assert_eq!((&ptp["ipam"]["ranges"][0][0]["subnet"], &ptp["ipMasq"]), (&json!("10.244.1.0/24"), &Value::Null));
        assert_eq!(nodes_of(&list), [node]);
    }
}
