//! The agent, and what it needs of the API.

use podgate_engine::status::{SourceStatus, Status};

use super::facts::Resource;
use super::{Check, Facts};
use crate::cni::NAME;

/// Whether the agent answers and is ready.
pub(super) fn answers(facts: &Facts) -> Check {
    let name = "agent";
    match &facts.agent {
        // Before podgate is installed, that is as it should be.
        Err(why) if !is_installed(facts) => {
            Check::not_checked(name, format!("{why} (nothing of podgate is on this node yet)"))
        }
        Err(why) if !facts.kernel.missing.is_empty() => Check::not_checked(name, format!("{why}: run this as root")),
        Err(why) => Check::fault(
            name,
            why.as_str(),
            "start it; why it ended: kubectl -n podgate-system logs POD -c agent --previous, or its journal",
        ),
        Ok(status) if status.ready => Check::ok(name, "it answers, and is ready"),
        Ok(status) => Check::fault(
            name,
            format!("it answers, and is not ready: {}", status.not_ready.join("; ")),
            "see \"The agent is not ready\" in docs/troubleshooting.md",
        ),
    }
}

/// Whether podgate has left something on the node.
fn is_installed(facts: &Facts) -> bool {
    let is_chained = facts.cni.chain.iter().flatten().any(|chain| chain.has(NAME));
    facts.cni.is_installed || is_chained || facts.kernel.pinned != Ok(false)
}

/// Whether the agent is of the doctor's version.
pub(super) fn version(facts: &Facts) -> Check {
    let (name, ours) = ("agent-version", &facts.version);
    match &facts.agent {
        Err(_) => Check::not_checked(name, "the agent does not answer"),
        Ok(status) if status.version == *ours => Check::ok(name, format!("{ours}, as this podgate")),
        Ok(status) => Check::warning(
            name,
            format!("the agent is {}, this podgate {ours}", status.version),
            "use the agent's binary, or replace the agent",
        ),
    }
}

/// What the API lets be read: by the agent, else by whoever runs the doctor.
fn resources(facts: &Facts) -> Result<Vec<Resource>, String> {
    let Ok(status) = &facts.agent else { return facts.api.clone() };
    let resource = |source: &SourceStatus| Resource {
        name: source.resource.clone(),
        objects: source.synced.then_some(source.objects),
        error: source.error.clone(),
    };
    Ok(status.sources.iter().map(resource).collect())
}

/// Whether the API can be read.
pub(super) fn api(facts: &Facts) -> Check {
    let name = "api";
    let remedy =
        "grant get, list and watch to the agent's service account (deploy/base), and check the route to the server";
    let resources = match resources(facts) {
        Ok(resources) => resources,
        Err(why) => return Check::not_checked(name, why),
    };
    let failing: Vec<String> =
        resources.iter().filter_map(|it| Some(format!("{}: {}", it.name, it.error.as_deref()?))).collect();
    if !failing.is_empty() {
        return Check::fault(name, failing.join("; "), remedy);
    }
    let unread: Vec<&str> = resources.iter().filter(|it| it.objects.is_none()).map(|it| it.name.as_str()).collect();
    if !unread.is_empty() {
        return Check::fault(name, format!("no answer yet about {}", unread.join(", ")), remedy);
    }
    let read: Vec<String> =
        resources.iter().map(|it| format!("{} {}", it.objects.unwrap_or_default(), it.name)).collect();
    Check::ok(name, format!("read: {}", read.join(", ")))
}

/// Whether the node's name is that of a Node.
pub(super) fn node_name(facts: &Facts) -> Check {
    let check = "node-name";
    let told = facts.agent.as_ref().ok().map(|status| &status.node).or(facts.node_name.as_ref());
    let Some(node) = told else {
        return Check::not_checked(check, "no agent answers, and --node-name is not given");
    };
    let says_so = |status: &Status| status.not_ready.iter().any(|reason| reason.starts_with(&format!("node {node}:")));
    let nodes = if facts.agent.as_ref().is_ok_and(says_so) { Some(0) } else { read_nodes(facts) };
    match nodes {
        None => Check::not_checked(check, format!("whether there is a Node {node} was not read")),
        Some(0) => Check::fault(
            check,
            format!("there is no Node {node}, so no pod is enforced"),
            "give the agent the name that kubectl get nodes shows, by --node-name or NODE_NAME",
        ),
        Some(_) => Check::ok(check, format!("there is a Node {node}")),
    }
}

/// How many Nodes of this name were read, if it was looked for them.
fn read_nodes(facts: &Facts) -> Option<usize> {
    resources(facts).ok()?.into_iter().find(|resource| resource.name == "Node")?.objects
}
