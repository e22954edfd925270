//! podgate's hands in the kernel: eBPF programs and maps, TC hooks.
//!
//! ```text
//!  Identity ─► identify ─┐                               ┌─► counters, usage
//!  [Op] ─────► apply ────┼─► maps ◄── programs ──────────┼─► drain_events, lost, rules
//!  slot ─────► attach ───┘              ▲                └─► test_run
//!                                       └── TC hooks of veths: TCX links, or clsact filters
//! ```
//!
//! [`Datapath`] is the only thing here that touches the kernel's tables; what it decides (slots, generations, records,
//! places of interfaces, grouping of operations) stands in modules of its own that know no kernel.
//!
//! # A pod's life
//! [`Datapath::identify`] → [`Datapath::apply`] with an `Op::Switch` of its slot → [`Datapath::attach`]; at its end
//! [`Datapath::release`]. A slot that is attached before it is switched lets everything pass.
//!
//! # Services
//! [`Datapath::guard`] every device that is no pod's, then tell with [`Datapath::defer`] which addresses are Services' and
//! the host's own: egress to them is judged where the packet leaves the host or enters a pod. Or, to be judged where it leaves
//! the pod, tell with [`Datapath::lead`] to which backends Services lead.
//!
//! # Restarts
//! With [`Options::bpffs`] set, hooks stay at work when the process ends. The next [`Datapath::load`] makes tables and
//! programs of its own, over the flows and counters that are there; [`Datapath::attach`] puts them in the place of the
//! former, interface by interface, in one step each; [`Datapath::finish_takeover`] clears the interfaces that are nobody's
//! any more.
//!
//! # Permissions
//! CAP_BPF, without which the kernel refuses the hash maps; CAP_PERFMON, without which its verifier refuses the
//! programs; CAP_NET_ADMIN, without which it refuses programs that are classifiers, and hooks. A test proves that these
//! three are enough. Beside them, write access to a mounted bpffs: mounting one takes CAP_SYS_ADMIN. Nothing is looked
//! up by id, which would take CAP_SYS_ADMIN too.

mod apply;
mod attach;
mod audit;
mod calls;
mod cleanup;
mod datapath;
mod deferring;
mod error;
mod examine;
mod forbidden;
mod frontends;
mod guard;
mod hooking;
mod hz;
mod identity;
mod interfaces;
mod kept;
mod load;
mod maps;
mod offline;
mod older;
mod options;
mod own;
mod pins;
mod preflight;
mod read;
mod sk_buff;
mod slots;
mod sys;
mod table;
mod test_run;
#[cfg(test)]
mod tests;

pub use audit::Audited;
pub use calls::Calls;
pub use cleanup::{Removed, remove_everything};
pub use datapath::{Datapath, FormerSlot};
pub use deferring::{Deferring, ServiceEgress};
pub use error::{ApplyError, Error};
pub use examine::{Examined, Features, examine, interfaces_with_other_programs};
pub use frontends::{Backends, Lead};
pub use guard::{Arrivals, Guard, LinkLayer};
pub use hooking::{Attacher, HookReport, HookTask};
pub use hz::boot_time;
pub use identity::Identity;
pub use offline::{Given, Offline};
pub use options::{DEFAULT_BPFFS, Hook, Options};
pub use own::{OnLink, OnLinks};
pub use pins::ensure_bpffs;
pub use read::{CounterKey, Exits, Lost, TableUsage};
pub use test_run::{PortWalk, Tagged, TestContext, TestRun, empty_program, test_run};
