//! What kubectl tells of the cluster.

use super::Check;

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Names of custom resources.
    pub(crate) resources: Result<Vec<String>, String>,
    /// DaemonSets, as namespace/name.
    pub(crate) daemon_sets: Result<Vec<String>, String>,
    /// kube-proxy's configuration.
    pub(crate) proxy: Result<String, String>,
}

/// Custom resources of those who enforce policies.
const RESOURCES: [(&str, &str); 5] = [
    ("ciliumnetworkpolicies.cilium.io", "Cilium"),
    ("felixconfigurations.crd.projectcalico.org", "Calico"),
    ("antreaagentinfos.crd.antrea.io", "Antrea"),
    ("policyendpoints.networking.k8s.aws", "the policy agent of Amazon VPC CNI"),
    ("egressfirewalls.k8s.ovn.org", "OVN-Kubernetes"),
];

/// How the names of DaemonSets of those who enforce policies begin.
const DAEMON_SETS: [&str; 9] =
    ["calico", "canal", "cilium", "anetd", "antrea", "kube-router", "azure-npm", "ovnkube", "weave-net"];

/// Looks at the cluster.
pub(crate) fn examine_cluster(cluster: &Cluster) -> Vec<Check> {
    vec![resources(cluster), daemon_sets(cluster), kube_proxy(cluster)]
}

fn resources(cluster: &Cluster) -> Check {
    let name = "custom-resources";
    let names = match &cluster.resources {
        Ok(names) => names,
        Err(why) => return Check::not_checked(name, why.as_str()),
    };
    match RESOURCES.iter().find(|(resource, _)| names.iter().any(|name| name == resource)) {
        // They stay when who made them is gone, and those of Amazon's are there where nothing is enforced.
        Some((resource, of)) => Check::warning(
            name,
            format!("{resource} is there, of {of}: it may enforce policies"),
            "see that its enforcement is off: docs/install/README.md, Who enforces already",
        ),
        None => Check::ok(name, "none of another enforcer"),
    }
}

fn daemon_sets(cluster: &Cluster) -> Check {
    let name = "daemon-sets";
    let names = match &cluster.daemon_sets {
        Ok(names) => names,
        Err(why) => return Check::not_checked(name, why.as_str()),
    };
    let is_enforcers = |name: &&String| {
        let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        DAEMON_SETS.iter().any(|word| name.starts_with(word))
    };
    match names.iter().find(is_enforcers) {
        Some(found) => Check::fault(
            name,
            format!("{found} is there: two enforcers drop what either of them denies"),
            "turn its enforcement off, or don't install podgate: docs/install/README.md",
        ),
        None => Check::ok(name, "none of another enforcer"),
    }
}

fn kube_proxy(cluster: &Cluster) -> Check {
    let name = "kube-proxy-configuration";
    match &cluster.proxy {
        Ok(configuration) => {
            let mode = configuration.lines().find_map(|line| line.strip_prefix("mode:"));
            let mode = mode.map(|mode| mode.trim().trim_matches('"')).filter(|mode| !mode.is_empty());
            Check::ok(name, format!("its mode is {}", mode.unwrap_or("the default, iptables")))
        }
        Err(why) => {
            Check::not_checked(name, format!("{why}; a replacement of kube-proxy in sockets or XDP is not supported"))
        }
    }
}
