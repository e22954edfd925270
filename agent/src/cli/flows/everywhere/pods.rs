//! Where agents are, as kubectl tells.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Its phase, or `Terminating`, as `kubectl get pods` has it.
    state: String,
}

impl Agent {
    /// Why it can't be asked, if it can't.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { node, namespace, name, state } = self;
        (state != "Running").then(|| format!("node {node}: its agent {namespace}/{name} is {state}"))
    }
}

/// The agents, at most one for each node unless several run there: of a node where one runs, those that don't are left out.
///
/// # Errors
/// kubectl can't be run, or fails.
pub(super) fn list(mut kubectl: Command, labels: &str) -> anyhow::Result<Vec<Agent>> {
    kubectl.args(["get", "pods", "--all-namespaces", "--selector", labels, "--output", "json"]);
    let output = kubectl.output().context("--all-nodes needs kubectl, which cannot be run")?;
    if !output.status.success() {
        bail!("kubectl get pods: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let list: Value = serde_json::from_slice(&output.stdout).context("kubectl get pods printed no JSON")?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(one_for_each_node(items.iter().map(agent).collect()))
}

/// The nodes on which an agent could run; none where that may not be asked.
pub(super) fn nodes(mut kubectl: Command) -> Vec<String> {
    kubectl.args([
        "get",
        "nodes",
        "--selector",
        "kubernetes.io/os=linux",
        "--output",
        "jsonpath={.items[*].metadata.name}",
    ]);
    let Some(output) = kubectl.output().ok().filter(|output| output.status.success()) else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn agent(pod: &Value) -> Agent {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ends = !pod["metadata"]["deletionTimestamp"].is_null();
    Agent {
        node: text(&pod["spec"]["nodeName"]),
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        state: if ends { "Terminating".to_owned() } else { text(&pod["status"]["phase"]) },
    }
}

fn one_for_each_node(agents: BTreeSet<Agent>) -> Vec<Agent> {
    let running: BTreeSet<String> = agents.iter().filter(|it| it.fault().is_none()).map(|it| it.node.clone()).collect();
    agents.into_iter().filter(|it| it.fault().is_none() || !running.contains(&it.node)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_node_where_an_agent_runs_its_predecessors_are_left_out() {
        let pod = |node: &str, name: &str, phase: &str| json!({"metadata": {"namespace": "podgate", "name": name}, "spec": {"nodeName": node}, "status": {"phase": phase}});
        let mut ending = pod("a", "a-1", "Running");
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let pods = [ending, pod("a", "a-2", "Running"), pod("b", "b-1", "Pending")];
        let agents = one_for_each_node(pods.iter().map(agent).collect());
        let told: Vec<_> = agents.iter().map(|agent| (agent.name.as_str(), agent.fault())).collect();
        let pending = "node b: its agent podgate/b-1 is Pending".to_owned();
        assert_eq!(told, [("a-2", None), ("b-1", Some(pending))]);
    }
}
