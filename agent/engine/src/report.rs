//! From the engine's state and what the kernel counted to the status.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use podgate_common::Counter;
use podgate_datapath::{CounterKey, Exits, Lost};
use podgate_host::binding::{Anomaly, PodId};
use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::evaluate::{cluster_mode, guarding, in_force, is_audited, isolating};
use podgate_policy::model::{self, Mode, Pod};
use podgate_policy::plan::Subject;
use podgate_source::{ClusterPolicies, ErrorClass, Errors, KnownClusterPolicies, ProblemKind, ResourceStatus};

use super::anomalies::{
    describe, describe_departed, describe_isolated, describe_refused, describe_unhooked, describe_unsupported, device,
    no_veth,
};
use super::at_source::AtSource;
use super::endpoints::{Endpoint, NO_SLOT, Stage};
use super::state::State;
use crate::status::{
    AnomalyStatus, ApplyStatus, AttributionStatus, ClusterEnforcement, ClusterPoliciesStatus, CounterStatus,
    DeviceStatus, GuardStatus, InterfaceStatus, LastErrorStatus, PodState, PodStatus, PolicyStatus, ProblemCount,
    ProblemStatus, ServicesAt, ServicesStatus, SourceErrorStatus, SourceStatus, Status, TableStatus, UntaggedStatus,
    WindowStatus,
};

/// What the kernel counted for one slot, direction and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// What was counted; slot 0: interfaces without an endpoint.
    pub(super) key: CounterKey,
    /// Packets and bytes.
    pub(super) counter: Counter,
}

/// What is read from the kernel for a status.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Counters above zero, in order.
    pub(super) counts: Vec<Count>,
    /// Use of the kernel's tables.
    pub(super) tables: Vec<TableStatus>,
    /// What the programs had no room for.
    pub(super) lost: Lost,
    /// What the exit hooks have seen.
    pub(super) exits: Exits,
}

impl State {
    /// The status, as far as state and kernel tell it.
    pub(super) fn status(&self, reading: Reading, wall_clock: SystemTime) -> Status {
        let not_ready = self.not_ready(wall_clock);
        let mut counters = by_slot(&reading.counts);
        // What is isolated without a slot is counted in one of its own, behind the last.
        let shared = counters.remove(&self.endpoints.limit()).unwrap_or_default();
        let no_endpoint = sum(counters.remove(&0).unwrap_or_default(), shared);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node().to_string(),
            ready: not_ready.is_empty(),
            not_ready,
            policies: self.cluster.policies.len(),
            cluster_policies: self.source.as_ref().map(|source| known(&source.cluster_policies)).unwrap_or_default(),
            pods: self.pods(&counters),
            no_endpoint,
            source: self.source.as_ref().map(|source| source.source.to_string()).unwrap_or_default(),
            sources: self.sources(wall_clock),
            problems: self.problems(),
            problem_counts: self.problem_counts(),
            tables: self.tables(reading.tables),
            anomalies: self.anomalies(),
            apply: ApplyStatus { pending: self.pending(), errors: self.errors, error: self.planning.error().cloned() },
            repairs: self.repairs,
            filtered_interfaces: self.links.awaited(),
            services: self.services(reading.exits),
            window: self.window(),
            events_lost: reading.lost.denied,
            flows_lost: reading.lost.allowed,
            attribution: self.attribution_status(reading.lost.rules),
            ..Status::default()
        }
    }

    /// The networked pods of this node.
    fn local_pods(&self) -> impl Iterator<Item = &Pod> {
        self.local
            .iter()
            .filter_map(|key| self.cluster.pods.get(key))
            .map(|pod| &**pod)
            .filter(|pod| pod.is_networked())
    }

    fn pods(&self, counters: &BTreeMap<u32, Vec<CounterStatus>>) -> Vec<PodStatus> {
        let mut endpoints = BTreeMap::new();
        for (slot, endpoint) in self.endpoints.iter() {
            if let Some(pod) = endpoint.tenant.pod() {
                endpoints.entry(pod).or_insert((slot, endpoint));
            }
        }
        let of_pod = |pod| endpoints.get(&PodId::of(pod)).copied();
        self.local_pods().map(|pod| self.pod(pod, of_pod(pod), counters)).collect()
    }

    fn pod(
        &self,
        pod: &Pod,
        endpoint: Option<(u32, &Endpoint)>,
        counters: &BTreeMap<u32, Vec<CounterStatus>>,
    ) -> PodStatus {
        let id = PodId::of(pod);
        let (state, problem) = self.pod_state(pod, &id, endpoint);
        let [ingress, egress] = model::Direction::ALL.map(|direction| self.isolation(pod, direction));
        let audited = [ingress, egress].into_iter().zip(model::Direction::ALL);
        let audited = audited.filter(|(mode, _)| *mode == Some(Mode::Audited)).map(|(_, it)| it.to_string());
        PodStatus {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            uid: pod.uid.to_string(),
            addresses: pod.addresses.clone(),
            state,
            problem,
            interface: endpoint.map(|(_, endpoint)| self.interface(endpoint.tenant.ifindex)),
            ingress_isolated: ingress == Some(Mode::Enforced),
            egress_isolated: egress == Some(Mode::Enforced),
            audited: audited.collect(),
            policies: self.selecting(pod),
            guards: self.guards(pod),
            counters: endpoint.and_then(|(slot, _)| counters.get(&slot)).cloned().unwrap_or_default(),
        }
    }

    fn pod_state(&self, pod: &Pod, id: &PodId, endpoint: Option<(u32, &Endpoint)>) -> (PodState, Option<String>) {
        if let Some((slot, endpoint)) = endpoint {
            return match (endpoint.stage, self.unfit_of(slot)) {
                (Stage::Attached, None) => (PodState::Enforced, endpoint.error.clone()),
                (Stage::Attached, unfit) => (PodState::Unfit, unfit),
                _ => (PodState::Pending, endpoint.error.clone().or_else(|| self.planning.error().cloned())),
            };
        }
        if let Some(waiting) = self.endpoints.waiting().find(|waiting| waiting.tenant.pod() == Some(id)) {
            let (state, what) = if waiting.confined {
                (PodState::Unfit, "isolated altogether")
            } else {
                (PodState::Pending, "not isolated yet")
            };
            return (state, Some(waiting.error.clone().unwrap_or_else(|| format!("{what}: {NO_SLOT}"))));
        }
        if pod.addresses.is_empty() {
            return (PodState::NoAddress, None);
        }
        (PodState::NoInterface, self.without_interface(id))
    }

    /// Why a pod has no interface, if that is known.
    fn without_interface(&self, id: &PodId) -> Option<String> {
        let view = self.view.as_ref()?;
        self.bindings.anomalies().iter().find_map(|anomaly| match anomaly {
            Anomaly::PodWithoutVeth { pod, cause } if pod == id => Some(no_veth(cause, view)),
            _ => None,
        })
    }

    /// What the tables have no room for of a slot's policies.
    fn unfit_of(&self, slot: u32) -> Option<String> {
        let unfit = self
            .planning
            .unfit
            .iter()
            .find(|unfit| matches!(unfit.subject, Subject::Endpoint { slot: it, .. } if it == slot))?;
        let Subject::Endpoint { direction, .. } = unfit.subject else { return None };
        Some(format!("{direction} is isolated altogether: {}", unfit.shortage()))
    }

    fn interface(&self, index: u32) -> InterfaceStatus {
        let name = self.view.as_ref().map(|view| device(view, index));
        InterfaceStatus { name: name.unwrap_or_else(|| format!("interface {index}")), index }
    }

    /// How policies isolate a pod in a direction, if they do.
    fn isolation(&self, pod: &Pod, direction: model::Direction) -> Option<Mode> {
        let (mode, policies) = in_force(&self.cluster, pod, direction);
        (!policies.is_empty()).then_some(mode)
    }

    /// The policies that select a pod.
    fn selecting(&self, pod: &Pod) -> Vec<PolicyStatus> {
        let mut policies: BTreeMap<&str, PolicyStatus> = BTreeMap::new();
        for direction in model::Direction::ALL {
            for policy in isolating(&self.cluster, pod, direction) {
                let name = &policy.key.name;
                let audit = is_audited(&self.cluster, policy);
                let new = || PolicyStatus { name: name.to_string(), directions: Vec::new(), audit };
                policies.entry(name).or_insert_with(new).directions.push(direction.to_string());
            }
        }
        policies.into_values().collect()
    }

    /// The ClusterNetworkPolicies that judge packets of a pod.
    fn guards(&self, pod: &Pod) -> Vec<GuardStatus> {
        let guarding = model::Direction::ALL.map(|direction| (direction, guarding(&self.cluster, pod, direction)));
        let status = |policy: &ClusterPolicy| GuardStatus {
            name: policy.name.to_string(),
            tier: policy.tier.to_string(),
            directions: guarding
                .iter()
                .filter(|(_, guards)| guards.iter().any(|guard| guard.name == policy.name))
                .map(|(direction, _)| direction.to_string())
                .collect(),
            audit: cluster_mode(&self.cluster, policy) == Mode::Audited,
        };
        let guards = self.cluster.cluster_policies.iter().map(|policy| status(policy));
        guards.filter(|guard| !guard.directions.is_empty()).collect()
    }

    fn sources(&self, wall_clock: SystemTime) -> Vec<SourceStatus> {
        let resources = self.source.iter().flat_map(|source| &source.resources);
        resources.map(|(name, resource)| source(name, resource, wall_clock)).collect()
    }

    fn problems(&self) -> Vec<ProblemStatus> {
        let problems = self.source.iter().flat_map(|source| &source.problems);
        let status = problems.map(|problem| ProblemStatus {
            kind: problem.kind.as_str().to_owned(),
            origin: problem.origin.to_string(),
            object: problem.object.clone().unwrap_or_default(),
            field: problem.field.clone().unwrap_or_default(),
            message: problem.message.clone(),
            effect: problem.effect.to_string(),
        });
        status.collect()
    }

    fn problem_counts(&self) -> Vec<ProblemCount> {
        let count = |kind: ProblemKind| ProblemCount {
            kind: kind.as_str().to_owned(),
            current: self.source.iter().flat_map(|it| &it.problems).filter(|problem| problem.kind == kind).count()
                as u64,
            met: self.source.as_ref().and_then(|it| it.problems_met.get(&kind)).copied().unwrap_or_default(),
        };
        ProblemKind::ALL.into_iter().map(count).collect()
    }

    /// The kernel's tables, and those that only the planner knows to be limited.
    fn tables(&self, kernel: Vec<TableStatus>) -> Vec<TableStatus> {
        let planned = self.planning.usage().iter().map(|usage| TableStatus {
            name: usage.table.as_str().to_owned(),
            entries: u64::from(usage.used),
            capacity: u64::from(usage.capacity),
        });
        let tables: BTreeMap<_, _> = planned.chain(kernel).map(|table| (table.name.clone(), table)).collect();
        tables.into_values().collect()
    }

    fn anomalies(&self) -> Vec<AnomalyStatus> {
        let Some(view) = &self.view else { return Vec::new() };
        let bindings = self.bindings.anomalies().iter().map(|anomaly| describe(anomaly, view));
        let unhooked = self.devices().filter_map(|device| Some(describe_unhooked(&device.name, &device.error?)));
        let isolated = self.endpoints.iter().filter_map(|(_, endpoint)| describe_isolated(&endpoint.tenant, view));
        let isolated = isolated.chain(self.departed.iter().map(describe_departed));
        let refused = self.services.at_source.iter().flat_map(AtSource::refused).map(describe_refused);
        let unsupported = view.unsupported();
        let unsupported = unsupported.iter().map(describe_unsupported);
        bindings.chain(unsupported).chain(unhooked).chain(isolated).chain(refused).collect()
    }

    fn services(&self, exits: Exits) -> ServicesStatus {
        let (addresses, host_addresses) = self.services.deferral.counts();
        let at_source = self.services.at_source.as_ref();
        ServicesStatus {
            judged_at: if at_source.is_some() { ServicesAt::Source } else { ServicesAt::Exit },
            frontends: at_source.map_or(0, AtSource::judged),
            frontends_denied: at_source.map_or(0, |at_source| at_source.refused().len()),
            addresses,
            host_addresses,
            left_out: self.services.deferral.left_out(),
            devices: self.devices().collect(),
            allowed: exits.allowed,
            denied: exits.denied,
            untagged: UntaggedStatus {
                takeover: exits.others_tag,
                changing: self.tags.told().changing,
                standing: self.tags.told().standing,
            },
        }
    }

    /// `without_room`: allows by rules that the programs had no counter for.
    fn attribution_status(&self, without_room: u64) -> AttributionStatus {
        let status = self.attribution.status();
        AttributionStatus { other_allows: status.other_allows + without_room, ..status }
    }

    fn window(&self) -> WindowStatus {
        let (interfaces, longest) = self.enforcement_delays.summary();
        WindowStatus { interfaces, longest_seconds: longest.as_secs_f64() }
    }

    fn devices(&self) -> impl Iterator<Item = DeviceStatus> {
        self.guards.iter().map(|(index, guarded)| DeviceStatus {
            name: self.interface(index).name,
            index,
            hooked: guarded.held.is_some(),
            error: guarded.error.clone(),
        })
    }
}

/// The counters of both.
fn sum(mut all: Vec<CounterStatus>, more: Vec<CounterStatus>) -> Vec<CounterStatus> {
    for counter in more {
        let same = |it: &&mut CounterStatus| it.direction == counter.direction && it.reason == counter.reason;
        match all.iter_mut().find(same) {
            Some(known) => {
                known.packets += counter.packets;
                known.bytes += counter.bytes;
            }
            None => all.push(counter),
        }
    }
    all
}

fn by_slot(counts: &[Count]) -> BTreeMap<u32, Vec<CounterStatus>> {
    let mut slots: BTreeMap<u32, Vec<CounterStatus>> = BTreeMap::new();
    for count in counts {
        slots.entry(count.key.slot).or_default().push(CounterStatus {
            direction: count.key.direction.as_str().to_owned(),
            verdict: count.key.reason.verdict().as_str().to_owned(),
            reason: count.key.reason.as_str().to_owned(),
            packets: count.counter.packets,
            bytes: count.counter.bytes,
        });
    }
    slots
}

fn known(policies: &KnownClusterPolicies) -> ClusterPoliciesStatus {
    let enforcement = match policies.setting {
        ClusterPolicies::Off => ClusterEnforcement::Off,
        ClusterPolicies::Auto => ClusterEnforcement::Enforced,
    };
    let KnownClusterPolicies { served, objects, ref error, .. } = *policies;
    ClusterPoliciesStatus { enforcement, served, objects, error: error.clone() }
}

fn source(name: &str, resource: &ResourceStatus, wall_clock: SystemTime) -> SourceStatus {
    let since = |time| wall_clock.duration_since(time).unwrap_or_default().as_secs();
    SourceStatus {
        resource: name.to_owned(),
        synced: resource.stale(wall_clock).is_none(),
        objects: resource.objects,
        failing_seconds: resource.failing_since.map(since),
        error: resource.failure().map(|error| error.message.clone()),
        last_error: resource.last_error.as_ref().map(|error| LastErrorStatus {
            seconds_ago: since(error.at),
            class: error.class.as_str().to_owned(),
            message: error.message.clone(),
        }),
        errors: resource.errors.iter().map(|(class, errors)| source_errors(*class, *errors)).collect(),
    }
}

fn source_errors(class: ErrorClass, Errors { count, last }: Errors) -> SourceErrorStatus {
    let last_unix_seconds = last.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    SourceErrorStatus { class: class.as_str().to_owned(), count, last_unix_seconds }
}
