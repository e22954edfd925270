//! Every metric with its help text, in the order in which they are exposed.

use prometheus_client::metrics::MetricType;

/// A metric family.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its name; a counter's samples carry `_total` behind it.
    pub(crate) name: &'static str,
    /// What it means.
    pub(crate) help: &'static str,
    /// Its type.
    pub(crate) kind: MetricType,
}

/// Declares metrics and the list of all.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(pub(crate) const $constant: Metric = Metric { name: $name, help: $help, kind: MetricType::$kind };)*

        /// Every metric family.
        #[cfg(test)]
        pub(crate) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    VERDICTS = Counter "podgate_verdicts",
        "Packets judged, by direction, verdict, reason and pod, as on the wire: a GSO packet counts as its segments.";
    VERDICT_BYTES = Counter "podgate_verdict_bytes",
        "Bytes of the packets judged, from the Ethernet header on, by direction, verdict, reason and pod.";
    DENIALS = Counter "podgate_policy_denials",
        "Packets denied, or that would be but for audit mode, by the policies that isolate the pod, since the agent started. \
        Without policies: beyond the limit of series (no namespace either), or not by policy.";
    ALLOWS = Counter "podgate_rule_flows",
        "Flows that a rule allowed, since the agent started. A packet judged alone counts as one. Empty namespace: beyond \
        the limit of series.";
    CLUSTER_RULES = Counter "podgate_cluster_rules",
        "Flows that a rule of a ClusterNetworkPolicy accepted, and packets that it denied, or would but for audit mode, since \
        the agent started. Empty policy: beyond the limit of series.";
    AUDITED = Gauge "podgate_endpoints_audited",
        "Pods of this node that only policies in audit mode isolate, by direction: what these deny passes.";
    TABLE_ENTRIES = Gauge "podgate_table_entries", "Entries in use of a table in the kernel.";
    TABLE_CAPACITY = Gauge "podgate_table_capacity", "Entries a table in the kernel has room for.";
    POLICIES = Gauge "podgate_policies", "NetworkPolicies known, whether or not they select a pod of this node.";
    CLUSTER_POLICIES = Gauge "podgate_cluster_policies", "ClusterNetworkPolicies that there are, by whether they are enforced.";
    ENDPOINTS = Gauge "podgate_endpoints",
        "Enforced pods of this node, by the directions in which NetworkPolicies isolate them. Guarded: by none, and \
        ClusterNetworkPolicies judge them.";
    UNFIT = Gauge "podgate_endpoints_unfit",
        "Pods of this node that are isolated altogether because their policies do not fit into the tables.";
    WITHOUT_INTERFACE = Gauge "podgate_pods_without_interface",
        "Pods of this node whose interface is not found: they are not enforced.";
    ANOMALIES = Gauge "podgate_anomalies", "Interfaces and addresses that look wrong, by kind.";
    APPLY_ERRORS = Counter "podgate_apply_errors", "Failures to apply a change to the kernel; each is tried again.";
    REPAIRS = Counter "podgate_repairs",
        "Repairs of what another program changed in the kernel: hooks, pins, entries of tables.";
    APPLY_PENDING = Gauge "podgate_apply_pending", "Changes of the kernel's tables that wait to be applied, and pods that have gone and are enforced still. Changes that are not planned yet count as one.";
    APPLY_DURATION = Histogram "podgate_apply_duration_seconds",
        "Time to compile a change and to apply it to the kernel, in seconds.";
    WINDOW = Histogram "podgate_enforcement_window_seconds",
        "Time between the appearance of a pod's interface and its enforcement, in seconds.";
    CHANGE_DURATION = Histogram "podgate_change_duration_seconds",
        "Time between the arrival of changed objects in the agent and their being in force in the kernel, in seconds.";
    SOURCE_SYNCED = Gauge "podgate_source_synced", "Whether the objects of a resource are complete: 1 or 0.";
    SOURCE_FAILING = Gauge "podgate_source_failing_seconds",
        "For how long a resource could not be read, for want of permission or connection: what was known is enforced.";
    SOURCE_ERRORS = Counter "podgate_source_errors",
        "Attempts to read a resource that failed, since the agent started, by class of error; every class is there.";
    SOURCE_LAST_ERROR = Gauge "podgate_source_last_error_timestamp_seconds",
        "When reading a resource failed the last time with an error of a class, in seconds since 1970: the largest of a \
        resource is its last error. Classes that have not come up since the agent started are not there.";
    PROBLEMS = Gauge "podgate_problems", "Objects that are left out or held at their last good version, by kind of problem.";
    PROBLEMS_MET = Counter "podgate_problems_met", "Problems met in objects since the start, by kind.";
    SERVICE_ADDRESSES = Gauge "podgate_service_addresses",
        "Addresses of Services: egress to them is judged by the backend that a packet really goes to.";
    SERVICE_ADDRESSES_LEFT_OUT = Gauge "podgate_service_addresses_left_out",
        "Addresses of Services that the tables have no room for: egress to them is judged as to any other address.";
    SERVICES_AT_SOURCE = Gauge "podgate_services_at_source",
        "Whether egress to Services is judged where it leaves the pod, by all backends, as --services=source asks: 1 or 0.";
    FRONTENDS = Gauge "podgate_frontends",
        "Ports of Services that are judged where packets leave the pod, by verdict: judged, or denied because the \
        tables have no room.";
    DEVICES = Gauge "podgate_devices",
        "Devices by which packets leave the node, without pods' interfaces: whether egress to Services is judged there.";
    EXITS = Counter "podgate_exit_judgements",
        "Packets to Services judged where they leave the node or enter a pod, by verdict.";
    EXITS_UNTAGGED = Counter "podgate_exit_untagged",
        "Packets of pods that came to an exit hook without the agent's tag, by how hooks were: taken over from another agent, \
        changing with interfaces, or standing: then something on the packets' way clears it.";
    READY = Gauge "podgate_ready", "Whether the agent is ready, as /readyz says: 1 or 0.";
    EVENTS_LOST = Counter "podgate_events_lost",
        "Denials, and allowed flows, that `podgate flows` does not show, for the rate limit or a full ring. They are counted.";
    BUILD = Info "podgate_build", "The version that runs.";
}
