//! What the agent tells of itself: one document for the admin socket, the metrics and `podgate status`.

mod text;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub(crate) use text::render;

/// The agent's state at one moment. Lists are ordered, so that two documents can be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The agent's version.
    pub(crate) version: String,
    /// The node it enforces.
    pub(crate) node: String,
    /// Seconds since the agent started.
    pub(crate) uptime_seconds: u64,
    /// Whether sources are synced, everything is applied and every pod of this node is bound to its interface.
    pub(crate) ready: bool,
    /// Why not, a line each.
    pub(crate) not_ready: Vec<String>,
    /// The hook in use: `tcx` or `clsact`.
    pub(crate) hook: String,
    /// NetworkPolicies known, those that select no pod of this node included.
    pub(crate) policies: usize,
    /// Every pod of this node that policies can select.
    pub(crate) pods: Vec<PodStatus>,
    /// Verdicts on interfaces that have no endpoint.
    pub(crate) no_endpoint: Vec<CounterStatus>,
    /// Where objects come from.
    pub(crate) source: String,
    /// How its resources are doing.
    pub(crate) sources: Vec<SourceStatus>,
    /// Objects that are left out or held at their last good version.
    pub(crate) problems: Vec<ProblemStatus>,
    /// How many problems there are of each kind; every kind is there.
    pub(crate) problem_counts: Vec<ProblemCount>,
    /// How full the kernel's tables are.
    pub(crate) tables: Vec<TableStatus>,
    /// What looks wrong about interfaces and addresses.
    pub(crate) anomalies: Vec<AnomalyStatus>,
    /// How applying to the kernel goes.
    pub(crate) apply: ApplyStatus,
    /// What somebody else has changed and was put right.
    #[serde(default)]
    pub(crate) repairs: RepairStatus,
    /// What is judged where packets leave the host.
    pub(crate) services: ServicesStatus,
    /// How long interfaces of pods were there before they were enforced.
    #[serde(default)]
    pub(crate) window: WindowStatus,
    /// Which policies are behind what was counted.
    #[serde(default)]
    pub(crate) attribution: AttributionStatus,
    /// Drop events that the kernel did not emit, for the rate limit or a full ring. The drops are counted all the same.
    pub(crate) events_lost: u64,
    /// Allowed flows that it did not report, likewise.
    #[serde(default)]
    pub(crate) flows_lost: u64,
    /// The last dropped packets that were reported, oldest first.
    pub(crate) recent_drops: Vec<DropStatus>,
}

/// What policies have denied and allowed since the agent started, as finely as `--metrics-attribution` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttributionStatus {
    /// Packets that were denied, or would have been, by the policies that isolated the pod.
    pub(crate) denials: Vec<DenialStatus>,
    /// Those that there was no room for.
    pub(crate) other_denials: u64,
    /// Flows that rules have allowed.
    pub(crate) allows: Vec<AllowStatus>,
    /// Those that there was no room for, or whose rules are gone.
    pub(crate) other_allows: u64,
}

/// What a set of policies has denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DenialStatus {
    /// The namespace of the pod and of the policies.
    pub(crate) namespace: String,
    /// The policies' names; empty where only namespaces are told, or where no policy is behind it.
    pub(crate) policies: Vec<String>,
    /// `ingress` or `egress`.
    pub(crate) direction: String,
    /// `denied` or `would_deny`.
    pub(crate) verdict: String,
    /// Why.
    pub(crate) reason: String,
    /// Packets as on the wire.
    pub(crate) packets: u64,
}

/// What a rule, a policy or a namespace's policies have allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowStatus {
    /// The policy's namespace.
    pub(crate) namespace: String,
    /// Its name; empty where only namespaces are told.
    pub(crate) policy: String,
    /// `ingress` or `egress`.
    pub(crate) direction: String,
    /// The rule's index; none where only policies are told.
    pub(crate) rule: Option<usize>,
    /// Flows.
    pub(crate) flows: u64,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodStatus {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its UID; empty where a file leaves it out.
    pub(crate) uid: String,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether it is enforced.
    pub(crate) state: PodState,
    /// Why it is not, or not as its policies say.
    pub(crate) problem: Option<String>,
    /// The host side of its veth pair.
    pub(crate) interface: Option<InterfaceStatus>,
    /// Whether ingress policies isolate it.
    pub(crate) ingress_isolated: bool,
    /// Whether egress policies isolate it.
    pub(crate) egress_isolated: bool,
    /// The directions in which only policies in audit mode isolate it: what they deny passes.
    #[serde(default)]
    pub(crate) audited: Vec<String>,
    /// The policies that select it.
    pub(crate) policies: Vec<PolicyStatus>,
    /// Its verdicts, those that never happened left out.
    pub(crate) counters: Vec<CounterStatus>,
}

/// Whether a pod is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PodState {
    /// As its policies say.
    Enforced,
    /// It has no address yet, so no interface can be found.
    NoAddress,
    /// Its interface has not been found.
    NoInterface,
    /// Its policies are not applied yet, or could not be.
    Pending,
    /// Its policies do not fit into the tables: it is isolated altogether.
    Unfit,
}

/// The host side of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InterfaceStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its ifindex.
    pub(crate) index: u32,
}

/// A policy that selects a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyStatus {
    /// Its name; its namespace is the pod's.
    pub(crate) name: String,
    /// The directions it isolates.
    pub(crate) directions: Vec<String>,
    /// Whether it is in audit mode.
    #[serde(default)]
    pub(crate) audit: bool,
}

/// What was counted under one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CounterStatus {
    /// `ingress` or `egress`.
    pub(crate) direction: String,
    /// `allowed`, `denied` or `deferred`.
    pub(crate) verdict: String,
    /// Why.
    pub(crate) reason: String,
    /// Packets as on the wire.
    pub(crate) packets: u64,
    /// Bytes from the Ethernet header on.
    pub(crate) bytes: u64,
}

/// The state of one watched resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    /// The resource, or `manifests`.
    pub(crate) resource: String,
    /// Whether its objects have been read completely.
    pub(crate) synced: bool,
    /// How many objects of it are known.
    pub(crate) objects: usize,
    /// Seconds for which reading it has failed, if it does.
    pub(crate) failing_seconds: Option<u64>,
    /// The last error, while it lasts.
    pub(crate) error: Option<String>,
    /// The last error, also when it is over.
    #[serde(default)]
    pub(crate) last_error: Option<LastErrorStatus>,
    /// Errors since the agent started, by class; classes that have not come up are not there.
    #[serde(default)]
    pub(crate) errors: Vec<SourceErrorStatus>,
}

/// The last error of a watched resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastErrorStatus {
    /// Seconds since.
    pub(crate) seconds_ago: u64,
    /// What sort of error it was.
    pub(crate) class: String,
    /// The error in words.
    pub(crate) message: String,
}

/// How often a watched resource could not be read for errors of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceErrorStatus {
    /// The class.
    pub(crate) class: String,
    /// How often.
    pub(crate) count: u64,
    /// When it was the last time, in seconds since 1970.
    pub(crate) last_unix_seconds: u64,
}

/// An object that could not be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProblemStatus {
    /// What sort of problem it is.
    pub(crate) kind: String,
    /// File and document, or the API.
    pub(crate) origin: String,
    /// The object, where it could be told.
    pub(crate) object: String,
    /// The field.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
    /// What podgate did about it.
    pub(crate) effect: String,
}

/// How often a kind of problem came up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemCount {
    /// The kind.
    pub(crate) kind: String,
    /// How many there are now, among those listed.
    pub(crate) current: u64,
    /// How many were met since the start.
    pub(crate) met: u64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableStatus {
    /// Its name.
    pub(crate) name: String,
    /// Entries in use.
    pub(crate) entries: u64,
    /// Entries it has room for.
    pub(crate) capacity: u64,
}

/// Something that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AnomalyStatus {
    /// What sort of thing.
    pub(crate) kind: String,
    /// What exactly.
    pub(crate) message: String,
}

/// How applying to the kernel goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApplyStatus {
    /// Operations that wait to be applied.
    pub(crate) pending: usize,
    /// Failures since the agent started.
    pub(crate) errors: u64,
    /// The last failure, until everything is applied again.
    pub(crate) error: Option<String>,
}

/// What somebody else has changed in the kernel, and was put right, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepairStatus {
    /// Interfaces at whose hooks programs were missing, or not first.
    pub(crate) hooks: u64,
    /// Times that something was not pinned any more.
    pub(crate) pins: u64,
    /// Entries of tables.
    pub(crate) tables: u64,
}

/// Where egress to Services is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServicesAt {
    /// Where packets leave the host or enter a pod, by the real destination.
    #[default]
    Exit,
    /// Where packets leave their pod, by all backends.
    Source,
}

/// Egress to Services and to the host's own addresses: judged where packets leave the host or enter a pod, unless
/// Services are judged at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServicesStatus {
    /// Where egress to Services is judged.
    pub(crate) judged_at: ServicesAt,
    /// Ports of Services' addresses that are judged at the source.
    pub(crate) frontends: usize,
    /// Those to which egress is denied at the source, because they have too many backends or the tables no room.
    pub(crate) frontends_denied: usize,
    /// Addresses of Services: cluster IPs, external IPs, load balancers'.
    pub(crate) addresses: usize,
    /// Addresses of the host, at which NodePorts and hostPorts are served too.
    pub(crate) host_addresses: usize,
    /// Addresses that the tables have no room for: egress to them is judged as to any other address.
    pub(crate) left_out: usize,
    /// The devices by which packets leave the host, without the interfaces of pods.
    pub(crate) devices: Vec<DeviceStatus>,
    /// Packets that were judged there and went on.
    pub(crate) allowed: u64,
    /// Packets that were judged there and dropped.
    pub(crate) denied: u64,
    /// Packets of pods that came there without a tag of this agent's: they were judged by the interface that they came from.
    pub(crate) untagged: UntaggedStatus,
}

/// Packets without their tag, by what is known of the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UntaggedStatus {
    /// They had the tag of another start of the agent, while one took over from the other.
    pub(crate) takeover: u64,
    /// They had none, while hooks were put on interfaces or went with them; since the start of the agent.
    pub(crate) changing: u64,
    /// They had none although all hooks stood, so something on their way clears it; since the start of the agent.
    pub(crate) standing: u64,
}

/// How long interfaces of pods were there before they were enforced, since the start of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowStatus {
    /// How many interfaces appeared and were enforced.
    pub(crate) interfaces: u64,
    /// The longest time, in seconds.
    pub(crate) longest_seconds: f64,
}

/// A device that is no pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its ifindex.
    pub(crate) index: u32,
    /// Whether what leaves by it is judged.
    pub(crate) hooked: bool,
    /// Why not.
    pub(crate) error: Option<String>,
}

/// A dropped packet that was reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DropStatus {
    /// Seconds before this document was made.
    pub(crate) seconds_ago: f64,
    /// `ingress` or `egress`, seen from the pod that was enforced.
    pub(crate) direction: String,
    /// Why.
    pub(crate) reason: String,
    /// The enforced pod, as namespace/name.
    pub(crate) pod: String,
    /// The sender.
    pub(crate) source: EndStatus,
    /// The receiver.
    pub(crate) destination: EndStatus,
    /// TCP, UDP, SCTP, ICMP, ICMPv6, a protocol number, or empty for what is not IP.
    pub(crate) protocol: String,
    /// TCP's flags, ICMP's type and code.
    pub(crate) detail: String,
    /// Bytes from the Ethernet header on.
    pub(crate) length: u32,
}

/// One end of a dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndStatus {
    /// Its address, where the packet was understood as IP.
    pub(crate) address: Option<IpAddr>,
    /// Its port, for protocols with ports.
    pub(crate) port: Option<u16>,
    /// The pod as namespace/name or the node that has this address, where one is known.
    pub(crate) name: Option<String>,
}
