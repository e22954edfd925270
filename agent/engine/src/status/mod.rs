//! What the agent tells of itself: one document for the admin socket, the metrics and `podgate status`.

mod cluster_policies;
mod text;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use cluster_policies::{ClusterEnforcement, ClusterPoliciesStatus};
pub use text::{View, line, render};

use crate::flows::Connection;

/// The agent's state at one moment. Lists are ordered, so that two documents can be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node it enforces.
    pub node: String,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Whether sources are synced, everything is applied and every pod of this node is bound to its interface.
    pub ready: bool,
    /// Why not, a line each.
    pub not_ready: Vec<String>,
    /// The hook in use: `tcx` or `clsact`.
    pub hook: String,
    /// Interfaces whose programs are filters until TCX links take their place.
    #[serde(default)]
    pub filtered_interfaces: usize,
    /// NetworkPolicies known, those that select no pod of this node included.
    pub policies: usize,
    /// ClusterNetworkPolicies, and whether they are enforced.
    #[serde(default)]
    pub cluster_policies: ClusterPoliciesStatus,
    /// Every pod of this node that policies can select.
    pub pods: Vec<PodStatus>,
    /// Verdicts on interfaces that have no endpoint.
    pub no_endpoint: Vec<CounterStatus>,
    /// Where objects come from.
    pub source: String,
    /// How its resources are doing.
    pub sources: Vec<SourceStatus>,
    /// Objects that are left out or held at their last good version.
    pub problems: Vec<ProblemStatus>,
    /// How many problems there are of each kind; every kind is there.
    pub problem_counts: Vec<ProblemCount>,
    /// How full the kernel's tables are.
    pub tables: Vec<TableStatus>,
    /// What looks wrong about interfaces and addresses.
    pub anomalies: Vec<AnomalyStatus>,
    /// How applying to the kernel goes.
    pub apply: ApplyStatus,
    /// What somebody else has changed and was put right.
    #[serde(default)]
    pub repairs: RepairStatus,
    /// What is judged where packets leave the host.
    pub services: ServicesStatus,
    /// How long interfaces of pods were there before they were enforced.
    #[serde(default)]
    pub window: WindowStatus,
    /// Which policies are behind what was counted.
    #[serde(default)]
    pub attribution: AttributionStatus,
    /// Drop events that the kernel did not emit, for the rate limit or a full ring. The drops are counted all the same.
    pub events_lost: u64,
    /// Allowed flows that it did not report, likewise.
    #[serde(default)]
    pub flows_lost: u64,
    /// The last dropped packets that were reported, oldest first.
    pub recent_drops: Vec<DropStatus>,
}

/// What policies have denied and allowed since the agent started, as finely as `--metrics-attribution` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributionStatus {
    /// Packets that were denied, or would have been, by the policies that isolated the pod.
    pub denials: Vec<DenialStatus>,
    /// Those that there was no room for.
    pub other_denials: u64,
    /// Flows that rules have allowed.
    pub allows: Vec<AllowStatus>,
    /// Those that there was no room for, or whose rules are gone.
    pub other_allows: u64,
    /// What rules of ClusterNetworkPolicies have decided.
    #[serde(default)]
    pub cluster_rules: Vec<ClusterRuleStatus>,
    /// What there was no room for of that.
    #[serde(default)]
    pub other_cluster_rules: u64,
}

/// What a rule of a ClusterNetworkPolicy has decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRuleStatus {
    /// The policy's name.
    pub policy: String,
    /// Its tier: `Admin` or `Baseline`; empty if the policy was gone when it was counted.
    pub tier: String,
    /// What the rule does: `Accept` or `Deny`; empty likewise.
    pub action: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// The rule's index.
    pub rule: usize,
    /// Flows that it accepted, or packets that it denied, or would have in audit mode.
    pub count: u64,
}

/// What a set of policies has denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialStatus {
    /// The namespace of the pod and of the policies.
    pub namespace: String,
    /// The policies' names; empty where only namespaces are told, or where no policy is behind it.
    pub policies: Vec<String>,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `denied` or `would_deny`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// Packets as on the wire.
    pub packets: u64,
}

/// What a rule, a policy or a namespace's policies have allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowStatus {
    /// The policy's namespace.
    pub namespace: String,
    /// Its name; empty where only namespaces are told.
    pub policy: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// The rule's index; none where only policies are told.
    pub rule: Option<usize>,
    /// Flows.
    pub flows: u64,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where a file leaves it out.
    pub uid: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is enforced.
    pub state: PodState,
    /// Why it is not, or not as its policies say.
    pub problem: Option<String>,
    /// The host side of its veth pair.
    pub interface: Option<InterfaceStatus>,
    /// Whether ingress policies isolate it.
    pub ingress_isolated: bool,
    /// Whether egress policies isolate it.
    pub egress_isolated: bool,
    /// The directions in which only policies in audit mode isolate it: what they deny passes.
    #[serde(default)]
    pub audited: Vec<String>,
    /// The NetworkPolicies that select it.
    pub policies: Vec<PolicyStatus>,
    /// The ClusterNetworkPolicies that judge its packets, in the order in which they are asked.
    #[serde(default)]
    pub guards: Vec<GuardStatus>,
    /// Its verdicts, those that never happened left out.
    pub counters: Vec<CounterStatus>,
}

/// Whether a pod is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
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
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its ifindex.
    pub index: u32,
}

/// A policy that selects a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its name; its namespace is the pod's.
    pub name: String,
    /// The directions it isolates.
    pub directions: Vec<String>,
    /// Whether it is in audit mode.
    #[serde(default)]
    pub audit: bool,
}

/// A ClusterNetworkPolicy that judges packets of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardStatus {
    /// Its name.
    pub name: String,
    /// Its tier: `Admin` or `Baseline`.
    pub tier: String,
    /// The directions for which it has rules.
    pub directions: Vec<String>,
    /// Whether it is in audit mode.
    pub audit: bool,
}

/// What was counted under one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterStatus {
    /// `ingress` or `egress`.
    pub direction: String,
    /// `allowed`, `denied` or `deferred`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// Packets as on the wire.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

/// The state of one watched resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The resource, or `manifests`.
    pub resource: String,
    /// Whether its objects have been read completely.
    pub synced: bool,
    /// How many objects of it are known.
    pub objects: usize,
    /// Seconds for which reading it has failed, if it does.
    pub failing_seconds: Option<u64>,
    /// The last error, while it lasts.
    pub error: Option<String>,
    /// The last error, also when it is over.
    #[serde(default)]
    pub last_error: Option<LastErrorStatus>,
    /// Errors since the agent started, by class; classes that have not come up are not there.
    #[serde(default)]
    pub errors: Vec<SourceErrorStatus>,
}

/// The last error of a watched resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastErrorStatus {
    /// Seconds since.
    pub seconds_ago: u64,
    /// What sort of error it was.
    pub class: String,
    /// The error in words.
    pub message: String,
}

/// How often a watched resource could not be read for errors of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceErrorStatus {
    /// The class.
    pub class: String,
    /// How often.
    pub count: u64,
    /// When it was the last time, in seconds since 1970.
    pub last_unix_seconds: u64,
}

/// An object that could not be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProblemStatus {
    /// What sort of problem it is.
    pub kind: String,
    /// File and document, or the API.
    pub origin: String,
    /// The object, where it could be told.
    pub object: String,
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What podgate did about it.
    pub effect: String,
}

/// How often a kind of problem came up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemCount {
    /// The kind.
    pub kind: String,
    /// How many there are now, among those listed.
    pub current: u64,
    /// How many were met since the start.
    pub met: u64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries it has room for.
    pub capacity: u64,
}

/// Something that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AnomalyStatus {
    /// What sort of thing.
    pub kind: String,
    /// What exactly.
    pub message: String,
}

/// How applying to the kernel goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyStatus {
    /// Operations that wait to be applied. Those that are not planned yet count as one.
    pub pending: usize,
    /// Failures since the agent started.
    pub errors: u64,
    /// The last failure, until everything is applied again.
    pub error: Option<String>,
}

/// What somebody else has changed in the kernel, and was put right, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairStatus {
    /// Interfaces at whose hooks programs were missing, or not first.
    pub hooks: u64,
    /// Times that something was not pinned any more.
    pub pins: u64,
    /// Entries of tables.
    pub tables: u64,
}

/// Where egress to Services is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServicesAt {
    /// Where packets leave the host or enter a pod, by the real destination.
    #[default]
    Exit,
    /// Where packets leave their pod, by all backends.
    Source,
}

/// Egress to Services and to the host's own addresses: judged where packets leave the host or enter a pod, unless
/// Services are judged at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesStatus {
    /// Where egress to Services is judged.
    pub judged_at: ServicesAt,
    /// Ports of Services' addresses that are judged at the source.
    pub frontends: usize,
    /// Those to which egress is denied at the source, because they have too many backends or the tables no room.
    pub frontends_denied: usize,
    /// Addresses of Services: cluster IPs, external IPs, load balancers'.
    pub addresses: usize,
    /// Addresses of the host, at which NodePorts and hostPorts are served too.
    pub host_addresses: usize,
    /// Addresses that the tables have no room for: egress to them is judged as to any other address.
    pub left_out: usize,
    /// The devices by which packets leave the host, without the interfaces of pods.
    pub devices: Vec<DeviceStatus>,
    /// Packets that were judged there and went on.
    pub allowed: u64,
    /// Packets that were judged there and dropped.
    pub denied: u64,
    /// Packets of pods that came there without a tag of this agent's: they were judged by the interface that they came from.
    pub untagged: UntaggedStatus,
}

/// Packets without their tag, by what is known of the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntaggedStatus {
    /// They had the tag of another start of the agent, while one took over from the other.
    pub takeover: u64,
    /// They had none, while hooks were put on interfaces or went with them; since the start of the agent.
    pub changing: u64,
    /// They had none although all hooks stood, so something on their way clears it; since the start of the agent.
    pub standing: u64,
}

/// How long interfaces of pods were there before they were enforced, since the start of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// How many interfaces appeared and were enforced.
    pub interfaces: u64,
    /// The longest time, in seconds.
    pub longest_seconds: f64,
}

/// A device that is no pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Its ifindex.
    pub index: u32,
    /// Whether what leaves by it is judged.
    pub hooked: bool,
    /// Why not.
    pub error: Option<String>,
}

/// A dropped packet that was reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropStatus {
    /// Seconds before this document was made.
    pub seconds_ago: f64,
    /// `ingress` or `egress`, seen from the pod that was enforced.
    pub direction: String,
    /// Why.
    pub reason: String,
    /// The rule that denies it, if one does.
    #[serde(default)]
    pub rule: Option<String>,
    /// The enforced pod, as namespace/name.
    pub pod: String,
    /// The sender.
    pub source: EndStatus,
    /// The receiver.
    pub destination: EndStatus,
    /// TCP, UDP, SCTP, ICMP, ICMPv6, a protocol number, or empty for what is not IP.
    pub protocol: String,
    /// TCP's flags, ICMP's type and code.
    pub detail: String,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// What the packet is to its connection.
    #[serde(default)]
    pub connection: Connection,
    /// Whether it goes to the end that opened the connection.
    #[serde(default)]
    pub reply: bool,
}

/// One end of a dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndStatus {
    /// Its address, where the packet was understood as IP.
    pub address: Option<IpAddr>,
    /// Its port, for protocols with ports.
    pub port: Option<u16>,
    /// The pod as namespace/name or the node that has this address, where one is known.
    pub name: Option<String>,
}
