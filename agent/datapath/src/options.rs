//! How the datapath is loaded.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where bpffs objects of podgate live unless told otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/podgate";

/// How the programs are hung on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// TCX where the kernel has it (6.6 and later), after a filter that is made sooner; else clsact.
    #[default]
    Auto,
    /// TCX links, first in their chain.
    Tcx,
    /// Filters of preference 1 at the clsact qdisc.
    Clsact,
}

/// What [`crate::Datapath::load`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory on a bpffs below which maps, programs and links are pinned, so that enforcement outlives the
    /// process; it is created, and so is the bpffs if the permissions allow. `None`: nothing is pinned, and dropping
    /// the [`crate::Datapath`] detaches everything.
    pub bpffs: Option<PathBuf>,
    /// How to attach.
    pub hook: Hook,
    /// Events about denials per second, endpoint and CPU; 0: none.
    pub event_rate: u32,
    /// Events about allowed flows per second, endpoint and CPU; 0: none.
    pub flow_rate: u32,
    /// Entries of maps that shall differ from [`podgate_common::map::ALL`], by map name.
    pub capacities: BTreeMap<String, u32>,
    /// Whether the programs log every verdict through the `log` crate at trace level. Costs much per packet.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bpffs: Some(PathBuf::from(DEFAULT_BPFFS)),
            hook: Hook::Auto,
            event_rate: 10,
            flow_rate: 10,
            capacities: BTreeMap::new(),
            trace: false,
        }
    }
}
