//! `podgate agent`: the settings of the agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use podgate_datapath::DEFAULT_BPFFS;
use podgate_policy::model::ObjectKey;

use crate::agent;
use crate::http::Readers;
use crate::logging;

/// Enforce the policies of the pods on this node
///
/// Watches policies, pods and namespaces, finds the host side of each pod's veth pair and enforces there. Enforcement
/// stays in the kernel while the agent is stopped, restarted or upgraded. Needs root, or the capabilities CAP_BPF,
/// CAP_NET_ADMIN and CAP_PERFMON, and a mounted BPF file system.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    /// This node's name in Kubernetes: its pods are enforced, those of other nodes are peers [env: also NODE_NAME]
    #[arg(long, env = "PODGATE_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,

    /// Read Kubernetes YAML files from this directory, and follow their changes, instead of asking the Kubernetes API
    #[arg(long, env = "PODGATE_MANIFESTS", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub(crate) manifests: Option<PathBuf>,

    /// How to reach the Kubernetes API from outside a cluster; inside one, the service account is used
    #[arg(long, env = "PODGATE_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Where /metrics is served, with /healthz and /readyz; `[::]` is every address of both families, as far as the node has
    /// them
    #[arg(long, env = "PODGATE_METRICS_LISTEN", value_name = "ADDR:PORT", default_value = "[::]:9417")]
    pub(crate) metrics_listen: SocketAddr,

    /// File with the token that clients must show to read /metrics (`Authorization: Bearer TOKEN`); read for each
    /// request. Without it, and without --metrics-public, only the node itself may read
    #[arg(long, env = "PODGATE_METRICS_TOKEN_FILE", value_name = "FILE", conflicts_with = "metrics_public")]
    metrics_token_file: Option<PathBuf>,

    /// Let everyone who reaches --metrics-listen read /metrics, pods included. It shows names of pods and policies of
    /// all namespaces, and their traffic
    #[arg(long, env = "PODGATE_METRICS_PUBLIC")]
    metrics_public: bool,

    /// Where /healthz and /readyz are served for probes: an address that no pod reaches
    #[arg(long, env = "PODGATE_HEALTH_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:9419")]
    pub(crate) health_listen: SocketAddr,

    /// The socket that `podgate status` talks to; only the agent's user may open it
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,

    /// File in which the agent records the interfaces that it enforces, for the next agent; it should not outlive a
    /// reboot [default: beside the socket, named *.bindings]
    #[arg(long, env = "PODGATE_BINDINGS", value_name = "FILE")]
    bindings: Option<PathBuf>,

    /// Where programs and tables are pinned, so that they outlive the agent: a directory of a BPF file system
    #[arg(long, env = "PODGATE_BPFFS", value_name = "DIR", default_value = DEFAULT_BPFFS)]
    pub(crate) bpffs: PathBuf,

    /// How programs are attached
    #[arg(long, env = "PODGATE_HOOK", value_enum, default_value = "auto")]
    pub(crate) hook: Hook,

    /// What happens to open connections that policies no longer allow
    #[arg(long, env = "PODGATE_LIVE_CONNECTIONS", value_enum, default_value = "cut")]
    pub(crate) live_connections: LiveConnections,

    /// Where egress of isolated pods to Services is judged
    #[arg(long, env = "PODGATE_SERVICES", value_enum, default_value = "exit")]
    pub(crate) services: JudgedAt,

    /// What happens with ClusterNetworkPolicies
    #[arg(long, env = "PODGATE_CLUSTER_POLICIES", value_enum, default_value = "off")]
    pub(crate) cluster_policies: ClusterPolicies,

    /// A pod that may send packets with source addresses that are not its own, because it routes for others; repeatable
    #[arg(long, env = "PODGATE_ALLOW_FOREIGN_SOURCE", value_name = "NS/POD", value_delimiter = ',', value_parser = object_key)]
    pub(crate) allow_foreign_source: Vec<ObjectKey>,

    /// What happens at an interface that looks like a pod's until its pod is known
    #[arg(long, env = "PODGATE_UNKNOWN_PODS", value_enum, default_value = "allow")]
    pub(crate) unknown_pods: UnknownPods,

    /// The runtime's directory of networks, where the CNI plugin is put back into the list if somebody else writes that anew;
    /// nothing is done where `podgate cni install` was not
    #[arg(long, env = "PODGATE_CNI_CONF_DIR", value_name = "DIR")]
    pub(crate) cni_conf_dir: Option<PathBuf>,

    /// How many seconds a starting pod waits for its object to come from the API, if the CNI plugin is used. After
    /// that it starts isolated until the object comes
    #[arg(long, env = "PODGATE_CNI_POD_WAIT", value_name = "SECONDS", default_value_t = 5)]
    cni_pod_wait: u32,

    /// How many dropped packets per second are reported one by one, for each pod and CPU; all are counted
    #[arg(long, env = "PODGATE_EVENT_RATE", value_name = "N", default_value_t = 10)]
    pub(crate) event_rate: u32,

    /// How many allowed flows per second are reported one by one, for each pod and CPU; 0: none
    #[arg(long, env = "PODGATE_FLOW_RATE", value_name = "N", default_value_t = 10)]
    pub(crate) flow_rate: u32,

    /// How many of the last flows are kept for `podgate flows`
    #[arg(long, env = "PODGATE_FLOW_BUFFER", value_name = "N", default_value_t = 2048)]
    pub(crate) flow_buffer: u32,

    /// In how much detail /metrics shows which policies deny and allow; more detail makes more series
    #[arg(long, env = "PODGATE_METRICS_ATTRIBUTION", value_enum, default_value = "policy")]
    pub(crate) metrics_attribution: Attribution,

    /// Maximum number of series of denials, and of allows, by policy; anything beyond is counted together
    #[arg(long, env = "PODGATE_METRICS_ATTRIBUTION_SERIES", value_name = "N", default_value_t = 1000)]
    pub(crate) metrics_attribution_series: u32,

    /// Put all policies into audit mode: what they deny passes and is reported, as if their namespaces had the annotation
    /// podgate.io/audit: "true"
    #[arg(long, env = "PODGATE_AUDIT")]
    pub(crate) audit: bool,

    /// Makes a table of the kernel with another number of entries, such as `addresses4=200000`; repeatable. `podgate status`
    /// lists the tables
    #[arg(long, env = "PODGATE_TABLE_ENTRIES", value_name = "TABLE=N", value_delimiter = ',', value_parser = table_entries)]
    pub(crate) table_entries: Vec<(String, u32)>,

    /// The format of log lines
    #[arg(long, env = "PODGATE_LOG_FORMAT", value_enum, default_value = "text")]
    pub(crate) log_format: logging::LogFormat,

    /// What is logged: error, warn, info, debug, trace, or by target, as in `info,podgate::drop=debug` [env: also RUST_LOG]
    #[arg(long, env = "PODGATE_LOG_LEVEL", value_name = "FILTER")]
    pub(crate) log_level: Option<String>,

    /// Log every verdict of the eBPF programs, under the target podgate_ebpf; slow, for debugging only
    #[arg(long, env = "PODGATE_DATAPATH_LOG")]
    pub(crate) datapath_log: bool,
}

/// The default of `--socket`, for the agent and for `podgate status`.
pub(crate) const DEFAULT_SOCKET: &str = "/run/podgate/podgate.sock";

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hook {
    /// TCX where the kernel has it (6.6 and later), else clsact
    Auto,
    /// TCX links
    Tcx,
    /// Filters of a clsact queueing discipline
    Clsact,
}

/// What happens to open connections that policies no longer allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LiveConnections {
    /// They are cut with their next packet
    Cut,
    /// They may end by themselves
    Keep,
}

/// Where egress to Services is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JudgedAt {
    /// Where packets leave the node or enter a pod, by the backend that they really go to
    Exit,
    /// Where packets leave the pod, and allowed only if all backends of the Service are: for nodes with devices that cannot
    /// be hooked, or where another program clears podgate's tag
    Source,
}

/// What happens with ClusterNetworkPolicies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterPolicies {
    /// They are enforced, where the cluster has the kind
    Auto,
    /// They are not enforced, and only counted
    Off,
}

/// How finely is told which policies are behind what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attribution {
    /// Not at all
    None,
    /// By namespace
    Namespace,
    /// Allows by policy, denials by the policies that isolate the pod
    Policy,
    /// Allows by rule, denials by the policies that isolate the pod
    Rule,
}

/// What happens at an interface that looks like a pod's until its pod is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownPods {
    /// Everything passes
    Allow,
    /// Only what the node itself sends, and answers to it, passes
    Isolate,
}

/// The file of bindings: the given one, else the one beside the socket.
pub(crate) fn bindings(given: Option<&PathBuf>, socket: &Path) -> PathBuf {
    given.cloned().unwrap_or_else(|| socket.with_extension("bindings"))
}

impl AgentArgs {
    /// The node's name, from the flag or the variable that deployments set from `spec.nodeName`.
    pub(crate) fn node_name(&self) -> anyhow::Result<String> {
        let name = self.node_name.clone().or_else(|| std::env::var("NODE_NAME").ok());
        name.filter(|name| !name.is_empty()).context("--node-name is needed: this node's name in Kubernetes")
    }

    /// The file in which the agent records the interfaces that it enforces.
    pub(crate) fn bindings(&self) -> PathBuf {
        bindings(self.bindings.as_ref(), &self.socket)
    }

    /// Who may read the metrics.
    pub(crate) fn metrics_readers(&self) -> Readers {
        match &self.metrics_token_file {
            Some(file) => Readers::Token(file.clone()),
            None if self.metrics_public => Readers::Anyone,
            None => Readers::Node,
        }
    }

    /// How long a pod that the CNI plugin announces is waited for.
    pub(crate) fn cni_pod_wait(&self) -> Duration {
        Duration::from_secs(self.cni_pod_wait.into())
    }

    /// The tables of another size, under their names in the kernel.
    pub(crate) fn table_entries(&self) -> BTreeMap<String, u32> {
        self.table_entries.iter().map(|(name, entries)| (name.to_uppercase(), *entries)).collect()
    }

    /// Runs the agent until it is told to end.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        logging::init(self.log_format, self.log_level.as_deref(), self.datapath_log)?;
        agent::run(self)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses `NS/NAME`.
pub(crate) fn object_key(text: &str) -> Result<ObjectKey, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err("expected NAMESPACE/POD".to_owned()),
    }
}

/// Parses `TABLE=N`.
fn table_entries(text: &str) -> Result<(String, u32), String> {
    let parsed = text.split_once('=').and_then(|(name, entries)| Some((name.to_owned(), entries.parse().ok()?)));
    parsed.ok_or_else(|| "expected TABLE=N, such as addresses4=200000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_sizes_are_numbers() {
        assert_eq!(table_entries("rows=64"), Ok(("rows".to_owned(), 64)));
        for bad in ["rows", "rows=", "rows=many", "rows=-1"] {
            assert!(table_entries(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn object_keys_need_both_parts() {
        assert_eq!(object_key("shop/web"), Ok(ObjectKey::new("shop", "web")));
        for bad in ["", "web", "/web", "shop/", "shop/web/x"] {
            assert!(object_key(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
