//! Where agents are, as kubectl tells.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::run;

/// How long the API may take: kubectl itself waits for ever for one that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Agent {
    pub(in crate::cli) node: String,
    pub(in crate::cli) namespace: String,
    pub(in crate::cli) name: String,
    /// Its phase, or `Terminating`, as `kubectl get pods` has it.
    state: String,
}

impl Agent {
    /// Why it can't be asked, if it can't.
    pub(in crate::cli) fn fault(&self) -> Option<String> {
        self.not_running().map(|state| format!("node {}: {state}", self.node))
    }

    /// What it does instead of running.
    pub(in crate::cli) fn not_running(&self) -> Option<String> {
        let Self { namespace, name, state, .. } = self;
        (state != "Running").then(|| format!("its agent {namespace}/{name} is {state}"))
    }
}

/// The agents, at most one for each node unless several run there: of a node where one runs, those that don't are left out.
///
/// # Errors
/// kubectl can't be run, or fails.
pub(super) fn list(kubectl: Command, labels: &str) -> anyhow::Result<Vec<Agent>> {
    let listed = get(kubectl, &["pods", "--all-namespaces", "--selector", labels, "--output", "json"])?;
    let list: Value = serde_json::from_slice(&listed).context("kubectl get pods printed no JSON")?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(one_for_each_node(items.iter().map(agent).collect()))
}

/// The nodes on which an agent could run.
///
/// # Errors
/// kubectl can't be run, or fails, as where nodes may not be listed.
pub(super) fn nodes(kubectl: Command) -> anyhow::Result<Vec<String>> {
    let names = "jsonpath={.items[*].metadata.name}";
    let listed = get(kubectl, &["nodes", "--selector", "kubernetes.io/os=linux", "--output", names])?;
    Ok(String::from_utf8_lossy(&listed).split_whitespace().map(str::to_owned).collect())
}

/// What `kubectl get` prints.
///
/// # Errors
/// kubectl can't be run, or fails.
pub(in crate::cli) fn get(mut kubectl: Command, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    kubectl.arg("get").args(arguments);
    match run(kubectl, PATIENCE) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            bail!("kubectl get {}: no answer in {} s", arguments[0], PATIENCE.as_secs())
        }
        Err(error) => Err(error).context("--all-nodes and --node need kubectl, which cannot be run"),
        Ok(ended) if ended.status.success() => Ok(ended.stdout),
        Ok(ended) => bail!("kubectl get {}: {}", arguments[0], ended.complaint),
    }
}

/// What to beware of where agents are found in several namespaces: anybody may give a pod their labels.
pub(super) fn doubt(agents: &[Agent]) -> Option<String> {
    let namespaces: BTreeSet<&str> = agents.iter().map(|agent| agent.namespace.as_str()).collect();
    (namespaces.len() > 1).then(|| {
        let namespaces: Vec<_> = namespaces.into_iter().collect();
        format!(
            "pods with the labels of agents are in the namespaces {}: whoever makes pods in one of them can speak for a node",
            namespaces.join(", ")
        )
    })
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

    #[test]
    fn agents_in_several_namespaces_are_doubted() {
        let in_namespace = |namespace: &str| agent(&json!({"metadata": {"namespace": namespace, "name": "x"}}));
        assert_eq!(doubt(&[in_namespace("podgate"), in_namespace("podgate")]), None);
        let told = doubt(&[in_namespace("podgate"), in_namespace("guest")]).unwrap_or_default();
        assert!(told.contains("are in the namespaces guest, podgate:"), "{told}");
    }
}
