//! What is known of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use podgate_datapath::Examined;
use podgate_engine::status::Status;
use podgate_host::netlink::Unsupported;

/// Why something is not known.
pub(crate) type Known<T> = Result<T, String>;

/// What is known of a node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The kernel, and what is pinned.
    pub(crate) kernel: Examined,
    /// Where podgate pins.
    pub(crate) bpffs: PathBuf,
    /// What the kernel is locked down for: `none`, `integrity`, `confidentiality`.
    pub(crate) lockdown: Option<String>,
    /// Seconds since 1970, by the node's clock.
    pub(crate) clock: u64,
    /// The network namespace that this runs in.
    pub(crate) host: Known<Host>,
    /// The networks of the container runtime, and the plugin.
    pub(crate) cni: Cni,
    /// Names of processes, as far as they are seen.
    pub(crate) processes: Known<BTreeSet<String>>,
    /// Whether a server of k3s runs that was not told to leave policies alone, as far as that is seen.
    pub(crate) k3s_enforces: bool,
    /// What others have pinned on the BPF file system, by name.
    pub(crate) bpf_names: BTreeSet<String>,
    /// What kube-proxy says its mode is.
    pub(crate) proxy_mode: Known<String>,
    /// How many network namespaces the runtime shows; `None`: its directory is not there.
    pub(crate) namespaces: Option<usize>,
    /// Settings of the kernel, by their path below /proc/sys.
    pub(crate) settings: BTreeMap<String, String>,
    /// What the agent says.
    pub(crate) agent: Known<Status>,
    /// The version of the doctor.
    pub(crate) version: String,
    /// What the API says, if the agent does not tell.
    pub(crate) api: Known<Vec<Resource>>,
    /// What this node is called, if that was told.
    pub(crate) node_name: Option<String>,
}

/// A network namespace, as netlink tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Names of all devices.
    pub(crate) devices: BTreeSet<String>,
    /// How many veths lead to other network namespaces.
    pub(crate) veths: usize,
    /// Whether any of these has an IPv6 address that is not link-local.
    pub(crate) has_ipv6_pods: bool,
    /// Devices that podgate can't enforce on.
    pub(crate) unsupported: Vec<Unsupported>,
    /// Veths with programs of others at their hooks.
    pub(crate) other_programs: Known<Vec<String>>,
}

/// The networks of the container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cni {
    /// The directory of networks.
    pub(crate) conf: PathBuf,
    /// Whether it is there.
    pub(crate) has_conf: bool,
    /// The network that is used; `None`: there is none. An error: it can't be read.
    pub(crate) chain: Known<Option<Chain>>,
    /// Whether `podgate cni install` was run.
    pub(crate) is_installed: bool,
    /// Where the plugin's binary is to be.
    pub(crate) binary: PathBuf,
    /// The binary.
    pub(crate) found: Binary,
}

/// The network that the runtime uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its file.
    pub(crate) file: PathBuf,
    /// The types of its plugins, in order.
    pub(crate) plugins: Vec<String>,
}

impl Chain {
    /// Whether a plugin of this type is in it.
    pub(crate) fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|its| its == plugin)
    }
}

/// What is in the place of the plugin's binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    /// There is no directory of plugins to look into.
    NoDirectory,
    /// Nothing.
    Missing,
    /// Something that can't be executed.
    NotExecutable,
    /// The same binary as the doctor's.
    Same,
    /// Another one.
    Other,
}

/// A resource of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) name: String,
    /// How many objects were read; `None`: reading has not ended.
    pub(crate) objects: Option<usize>,
    pub(crate) error: Option<String>,
}
