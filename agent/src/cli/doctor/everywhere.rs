//! All nodes: `podgate doctor -o json` run in every agent's pod, and what kubectl tells of the cluster.

use std::process::ExitCode;

use serde::Serialize;

use super::{FAILED, Report, exit_status};
use crate::cli::everywhere::{Agents, Asked, Silence, ask, get};
use crate::cli::output::{Format, print, print_json};
use crate::doctor::{Check, Cluster, examine_cluster, render};

/// What a node says.
#[derive(Debug, Serialize)]
struct Answer {
    node: String,
    checks: Option<Vec<Check>>,
    /// Why there are none.
    error: Option<String>,
}

/// What is told of a cluster.
#[derive(Debug, Serialize)]
struct Everything {
    cluster: Vec<Check>,
    nodes: Vec<Answer>,
}

/// Asks all agents that are asked for, and prints what they say.
///
/// # Errors
/// There is no agent at all, or kubectl can't list them.
pub(super) fn run(agents: &Agents, output: Format) -> anyhow::Result<ExitCode> {
    let nodes: Vec<Answer> = ask::<Report>(agents, "doctor")?.into_iter().map(answer).collect();
    let told = Everything { cluster: examine_cluster(&cluster(agents)), nodes };
    match output {
        Format::Text => print(&text(&told, !agents.named().is_empty()))?,
        Format::Json => print_json(&told)?,
    }
    let all = told.nodes.iter().flat_map(|node| node.checks.iter().flatten()).chain(&told.cluster);
    let all: Vec<Check> = all.cloned().collect();
    let is_silent = told.nodes.iter().any(|node| node.checks.is_none());
    Ok(ExitCode::from(if is_silent { FAILED } else { exit_status(&all) }))
}

fn answer(asked: Asked<Report>) -> Answer {
    let (checks, error) = match asked.answer {
        Ok(report) => (Some(report.checks), None),
        Err(Silence::NoAgent) => (None, Some("has no agent".to_owned())),
        Err(Silence::Failed(why)) => (None, Some(why)),
    };
    Answer { node: asked.node, checks, error }
}

/// Each node, and the cluster first. `all`: also what is as it should be.
fn text(told: &Everything, all: bool) -> String {
    let nodes = told.nodes.iter().map(|node| match (&node.checks, &node.error) {
        (Some(checks), _) => render(&node.node, checks, all),
        (None, error) => format!("{}: NO ANSWER: {}\n", node.node, error.as_deref().unwrap_or_default()),
    });
    render("cluster", &told.cluster, all) + &nodes.collect::<String>()
}

fn cluster(agents: &Agents) -> Cluster {
    let get = |arguments: &[&str]| {
        let told = get(agents.kubectl(), arguments).map_err(|error| format!("{error:#}"));
        told.map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let daemon_sets = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}";
    let proxy = ["configmap", "kube-proxy", "--namespace", "kube-system", "--output", "jsonpath={.data.config\\.conf}"];
    Cluster {
        resources: get(&["customresourcedefinitions", "--output", "jsonpath={.items[*].metadata.name}"]).map(words),
        daemon_sets: get(&["daemonsets", "--all-namespaces", "--output", daemon_sets]).map(words),
        proxy: get(&proxy),
    }
}
