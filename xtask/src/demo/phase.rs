//! The demo's phases: what changes, in order.

use anyhow::Result;

use super::shop::{Shop, relabel};

/// A change of the manifests.
pub(crate) struct Phase {
    pub(crate) title: &'static str,
    pub(crate) change: fn(&mut Shop) -> Result<()>,
}

const POLICIES: [&str; 5] =
    ["default-deny.yaml", "allow-dns.yaml", "frontend-to-api.yaml", "api-to-database.yaml", "allow-monitoring.yaml"];

/// Every phase, in the order of the columns of the table of questions.
pub(crate) const PHASES: [Phase; 9] = [
    Phase { title: "no policy: everything is open", change: |_| Ok(()) },
    Phase {
        title: "add default-deny.yaml: the shop's pods are closed, to the node's kubelet alone they answer",
        change: |shop| shop.copy(POLICIES[0]),
    },
    Phase { title: "add allow-dns.yaml: the shop may ask kube-dns", change: |shop| shop.copy(POLICIES[1]) },
    Phase { title: "add frontend-to-api.yaml: TCP and UDP on port 8080", change: |shop| shop.copy(POLICIES[2]) },
    Phase { title: "add api-to-database.yaml: the port named postgres", change: |shop| shop.copy(POLICIES[3]) },
    Phase {
        title: "add allow-monitoring.yaml: the prober reaches everything, by ping too",
        change: |shop| shop.copy(POLICIES[4]),
    },
    Phase {
        title: "edit frontend-to-api.yaml: port 8443 in place of 8080",
        change: |shop| shop.copy_edited(POLICIES[2], "port: 8080", "port: 8443"),
    },
    Phase {
        title: "undo that, and relabel the database pod: app=archive, no backend of its Service any more",
        change: |shop| {
            shop.copy(POLICIES[2])?;
            shop.write_pods(&|pod| relabel(pod, "database", "app", "archive"))
        },
    },
    Phase {
        title: "undo that too, and remove every policy: everything is open again",
        change: |shop| {
            shop.write_pods(&|_| ())?;
            Ok(POLICIES.iter().try_for_each(|file| shop.manifests.remove(file))?)
        },
    },
];
