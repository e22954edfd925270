//! podgate itself on the cluster, and the pods between which is asked.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use crate::workspace::root;

/// The namespace of the server.
pub(crate) const A: &str = "podgate-e2e-a";
/// Another namespace.
pub(crate) const B: &str = "podgate-e2e-b";

/// The pods: namespace, name, whether on the host's network. `near` shares the server's node, `far` doesn't.
const PODS: [(&str, &str, bool); 5] =
    [(A, "server", false), (A, "client", false), (A, "stranger", false), (B, "guest", false), (A, "far-host", true)];

/// Where podgate is.
pub(crate) const SYSTEM: &str = "podgate-system";

/// Applies podgate and the pods, and waits for all of them.
pub(crate) fn deploy(kubectl: &Kubectl) -> Result<()> {
    let overlay = root().join("deploy/overlays/kind").display().to_string();
    kubectl.run(&["apply", "-k", &overlay])?;
    kubectl.rolled_out(SYSTEM, "daemonset/podgate")?;
    let nodes = kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])?;
    let nodes: Vec<&str> = nodes.split_whitespace().collect();
    ensure!(nodes.len() > 1, "two nodes are needed, there are {nodes:?}");
    kubectl.apply(&objects([nodes[0], nodes[1]]))?;
    for namespace in [A, B] {
        let wait = ["--namespace", namespace, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=180s"];
        kubectl.run(&wait).context("the pods start")?;
    }
    Ok(())
}

/// Removes what [`deploy`] has made, as far as it goes.
pub(crate) fn remove(kubectl: &Kubectl) {
    let overlay = root().join("deploy/overlays/kind").display().to_string();
    for arguments in
        [vec!["delete", "namespace", A, B, "--ignore-not-found"], vec!["delete", "-k", &overlay, "--ignore-not-found"]]
    {
        if let Err(error) = kubectl.run(&arguments) {
            eprintln!("{error:#}");
        }
    }
}

/// Prints what helps to understand a failure.
pub(crate) fn show(kubectl: &Kubectl) {
    let logs = ["--namespace", SYSTEM, "logs", "daemonset/podgate", "--all-containers", "--tail=200"];
    for arguments in [&["get", "pods", "--all-namespaces", "-o", "wide"][..], &logs] {
        println!("{}", kubectl.run(arguments).unwrap_or_else(|error| format!("{error:#}")));
    }
}

/// Namespaces, pods and Services, as documents that kubectl takes.
fn objects(nodes: [&str; 2]) -> String {
    let namespaces =
        [A, B].map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    // Clients are on the other node than the server, but for the stranger: so both ways are taken.
    let pods = PODS.map(|(namespace, name, host)| {
        let near = matches!(name, "server" | "stranger");
        pod(namespace, name, nodes[usize::from(!near)], host)
    });
    let services = [(A, "server"), (B, "guest")].map(|(namespace, name)| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": namespace, "name": name },
            "spec": { "selector": { "app": name }, "ports": [{ "port": 8080, "targetPort": 80 }] },
        })
    });
    let all: Vec<Value> = namespaces.into_iter().chain(pods).chain(services).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string()
}

fn pod(namespace: &str, name: &str, node: &str, host: bool) -> Value {
    // On the host's network the ports are the node's.
    let ports = if host { ["8480", "8481"] } else { ["80", "81"] };
    let mut container = json!({
        "name": "xtask",
        "image": concat!("localhost/podgate-e2e:", env!("CARGO_PKG_VERSION")),
        "imagePullPolicy": "Never",
        "args": ["serve", "--tcp", ports[0], "--tcp", ports[1], "--udp", ports[0]],
    });
    if !host {
        // The kubelet's probes, which no policy may stop.
        container["readinessProbe"] = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 2 });
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
        "spec": {
            "nodeName": node,
            "hostNetwork": host,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [container],
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_server_is_asked_from_its_own_node_and_from_another() {
        let list: Value = serde_json::from_str(&objects(["one", "two"])).unwrap();
        let pods = list["items"].as_array().unwrap().iter().filter(|object| object["kind"] == "Pod");
        let nodes: BTreeMap<_, _> = pods
            .map(|pod| (pod["metadata"]["name"].as_str().unwrap(), pod["spec"]["nodeName"].as_str().unwrap()))
            .collect();
        let expected =
            [("server", "one"), ("stranger", "one"), ("client", "two"), ("far-host", "two"), ("guest", "two")];
        assert_eq!(nodes, BTreeMap::from(expected));
    }
}
