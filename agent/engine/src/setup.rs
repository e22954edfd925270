//! What the engine starts with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podgate_datapath::FormerSlot;
use podgate_host::binding::{Bindings, Remembered};
use podgate_policy::model::ObjectKey;
use podgate_policy::tables::Limits;

use super::at_source::ServiceRoom;
use super::attribution::Settings;
use super::memory::Enforced;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node.
    pub node: Arc<str>,
    /// Whether connections that a change of policy denies may end in peace.
    pub keep: bool,
    /// Pods that may send packets with source addresses that are not their own.
    pub routing: BTreeSet<ObjectKey>,
    /// Where egress to Services is judged.
    pub services: Services,
    /// How finely is told which policies are behind what is counted.
    pub attribution: Settings,
    /// Whether all policies are in audit mode.
    pub audit: bool,
    /// Whether interfaces that look like pods' are isolated until the pod is known.
    pub isolate_unknown: bool,
}

/// Where egress to Services is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// Where packets leave the host or enter a pod, by the backend that they go to.
    Exit,
    /// Where they leave the pod, by all backends, for which there is this room.
    Source(ServiceRoom),
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In the tables that the planner fills.
    pub limits: Limits,
    /// Slots, slot 0 included, which is never given.
    pub slots: u32,
    /// Services' and own addresses, of each family.
    pub addresses: usize,
}

impl Left {
    /// The bindings as they were.
    pub(super) fn bindings(&self, isolate_unknown: bool) -> Bindings {
        let mut bindings = Bindings::resume(self.remembered());
        let handed_over = self.enforced.iter().flat_map(|enforced| &enforced.handed_over);
        handed_over.for_each(|handed| bindings.recall(handed.into()));
        if isolate_unknown {
            bindings.isolate_unknown();
        }
        bindings
    }

    /// What each interface was enforced for, by ifindex. The kernel's own tables remember interfaces and addresses of whatever
    /// had a slot, which is not let go of; those alone are left out that were isolated as long as nobody knew whose they are.
    fn remembered(&self) -> BTreeMap<u32, Remembered> {
        let isolated = self.enforced.as_ref().map(|enforced| &enforced.isolated);
        let of_kernel = self.slots.iter().filter(|slot| isolated.is_none_or(|it| !it.contains(&slot.ifindex)));
        let of_kernel = of_kernel.map(|slot| {
            let addresses = slot.addresses.iter().copied().collect();
            (slot.ifindex, Remembered { pod: None, addresses, firm: false })
        });
        let of_file = self.enforced.iter().flat_map(|enforced| &enforced.interfaces);
        of_kernel.chain(of_file.map(|(&ifindex, interface)| (ifindex, interface.into()))).collect()
    }
}

/// What the agent before this one has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What it enforced; `None`: that is not known.
    pub enforced: Option<Enforced>,
    /// The slots that it gave.
    pub slots: Vec<FormerSlot>,
}
