//! From the status to metric families.

use std::collections::BTreeMap;
use std::fmt::Error;

use podgate_common::{Direction, Reason};
use podgate_source::ErrorClass;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::names::{self, Metric};
use podgate_engine::ANOMALY_KINDS;
use podgate_engine::Durations;
use podgate_engine::status::{
    AllowStatus, AnomalyStatus, AttributionStatus, ClusterEnforcement, ClusterRuleStatus, CounterStatus, DenialStatus,
    PodState, PodStatus, RepairStatus, ServicesAt, SourceStatus, Status, UntaggedStatus,
};

/// The reason under which every pod's packets have a series from its start, in each direction, so that a rate sees the
/// first packet that its policies deny. Any other series begins with its first packet: most pods never have most of
/// them.
pub(super) const FROM_START: Reason = Reason::NoRule;

/// Labels of one series.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Encodes one status.
#[derive(Debug)]
pub(super) struct StatusCollector {
    pub(super) status: Status,
    pub(super) durations: Durations,
}

impl Collector for StatusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        self.verdicts(encoder)?;
        self.attribution(encoder)?;
        self.tables(encoder)?;
        self.endpoints(encoder)?;
        self.apply(encoder)?;
        self.services(encoder)?;
        self.sources(encoder)?;
        self.agent(encoder)
    }
}

impl StatusCollector {
    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let series: Vec<(Labels<'_>, Count)> = verdict_series(&self.status);
        family(encoder, &names::VERDICTS, series.iter().map(|(labels, count)| (labels.clone(), count.packets)))?;
        let bytes = series.into_iter().filter(|(_, count)| count.packets > 0);
        family(encoder, &names::VERDICT_BYTES, bytes.map(|(labels, count)| (labels, count.bytes)))
    }

    fn attribution(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let AttributionStatus { denials, other_denials, allows, other_allows, cluster_rules, other_cluster_rules } =
            &self.status.attribution;
        let sets: Vec<String> = denials.iter().map(|denial| denial.policies.join(",")).collect();
        let denied =
            denials.iter().zip(&sets).map(|(denial, policies)| (denial_labels(denial, policies), denial.packets));
        let rest = (*other_denials > 0).then(|| (vec![("namespace", ""), ("policies", "")], *other_denials));
        family(encoder, &names::DENIALS, denied.chain(rest))?;
        let indexes: Vec<Option<String>> =
            allows.iter().map(|allow| allow.rule.map(|index| index.to_string())).collect();
        let allowed =
            allows.iter().zip(&indexes).map(|(allow, index)| (allow_labels(allow, index.as_deref()), allow.flows));
        let rest = (*other_allows > 0).then(|| (vec![("namespace", ""), ("policy", "")], *other_allows));
        family(encoder, &names::ALLOWS, allowed.chain(rest))?;
        let indexes: Vec<String> = cluster_rules.iter().map(|rule| rule.rule.to_string()).collect();
        let rules =
            cluster_rules.iter().zip(&indexes).map(|(rule, index)| (cluster_rule_labels(rule, index), rule.count));
        let rest = (*other_cluster_rules > 0).then(|| (vec![("policy", "")], *other_cluster_rules));
        family(encoder, &names::CLUSTER_RULES, rules.chain(rest))
    }

    fn tables(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let tables = &self.status.tables;
        let label = |name| vec![("table", name)];
        family(encoder, &names::TABLE_ENTRIES, tables.iter().map(|table| (label(table.name.as_str()), table.entries)))?;
        family(encoder, &names::TABLE_CAPACITY, tables.iter().map(|table| (label(table.name.as_str()), table.capacity)))
    }

    fn endpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let pods = &self.status.pods;
        let unfit = pods.iter().filter(|pod| pod.state == PodState::Unfit).count();
        let without = pods.iter().filter(|pod| pod.state == PodState::NoInterface).count();
        single(encoder, &names::POLICIES, self.status.policies as u64)?;
        let known = &self.status.cluster_policies;
        let objects = |enforcement| if enforcement == known.enforcement { known.objects as u64 } else { 0 };
        let by_enforcement = ClusterEnforcement::ALL.map(|it| (vec![("enforcement", it.as_str())], objects(it)));
        family(encoder, &names::CLUSTER_POLICIES, by_enforcement.into_iter())?;
        family(
            encoder,
            &names::ENDPOINTS,
            by_isolation(pods).into_iter().map(|(name, n)| (vec![("isolation", name)], n)),
        )?;
        let audited = ["ingress", "egress"].map(|direction| {
            let pods = pods.iter().filter(|pod| pod.audited.iter().any(|it| it == direction));
            (vec![("direction", direction)], pods.count() as u64)
        });
        family(encoder, &names::AUDITED, audited.into_iter())?;
        single(encoder, &names::UNFIT, unfit as u64)?;
        single(encoder, &names::WITHOUT_INTERFACE, without as u64)?;
        let anomalies = by_kind(&self.status.anomalies);
        family(encoder, &names::ANOMALIES, anomalies.into_iter().map(|(kind, n)| (vec![("kind", kind)], n)))
    }

    fn apply(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        single(encoder, &names::APPLY_ERRORS, self.status.apply.errors)?;
        let RepairStatus { hooks, pins, tables } = self.status.repairs;
        let repairs = [("hooks", hooks), ("pins", pins), ("tables", tables)];
        family(encoder, &names::REPAIRS, repairs.into_iter().map(|(what, n)| (vec![("what", what)], n)))?;
        single(encoder, &names::APPLY_PENDING, self.status.apply.pending as u64)?;
        self.durations.apply.encode(descriptor(encoder, &names::APPLY_DURATION)?)?;
        self.durations.change.encode(descriptor(encoder, &names::CHANGE_DURATION)?)?;
        self.durations.window.encode(descriptor(encoder, &names::WINDOW)?)
    }

    fn services(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let services = &self.status.services;
        single(encoder, &names::SERVICE_ADDRESSES, services.addresses as u64)?;
        single(encoder, &names::SERVICE_ADDRESSES_LEFT_OUT, services.left_out as u64)?;
        single(encoder, &names::SERVICES_AT_SOURCE, u64::from(services.judged_at == ServicesAt::Source))?;
        let frontends = [("judged", services.frontends as u64), ("denied", services.frontends_denied as u64)];
        family(encoder, &names::FRONTENDS, frontends.into_iter().map(|(verdict, n)| (vec![("verdict", verdict)], n)))?;
        let hooked = services.devices.iter().filter(|device| device.hooked).count() as u64;
        let devices = [("true", hooked), ("false", services.devices.len() as u64 - hooked)];
        family(encoder, &names::DEVICES, devices.into_iter().map(|(hooked, n)| (vec![("hooked", hooked)], n)))?;
        let exits = [("allowed", services.allowed), ("denied", services.denied)];
        family(encoder, &names::EXITS, exits.into_iter().map(|(verdict, n)| (vec![("verdict", verdict)], n)))?;
        let UntaggedStatus { takeover, changing, standing } = services.untagged;
        let untagged = [("takeover", takeover), ("changing", changing), ("standing", standing)];
        family(encoder, &names::EXITS_UNTAGGED, untagged.into_iter().map(|(hooks, n)| (vec![("hooks", hooks)], n)))
    }

    fn sources(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let synced = self
            .status
            .sources
            .iter()
            .map(|source| (vec![("resource", source.resource.as_str())], u64::from(source.synced)));
        family(encoder, &names::SOURCE_SYNCED, synced)?;
        let failing =
            self.status.sources.iter().map(|source| {
                (vec![("resource", source.resource.as_str())], source.failing_seconds.unwrap_or_default())
            });
        family(encoder, &names::SOURCE_FAILING, failing)?;
        let sources = &self.status.sources;
        family(encoder, &names::SOURCE_ERRORS, sources.iter().flat_map(errors_by_class))?;
        family(encoder, &names::SOURCE_LAST_ERROR, sources.iter().flat_map(last_by_class))?;
        let problems = &self.status.problem_counts;
        let label = |kind| vec![("kind", kind)];
        family(encoder, &names::PROBLEMS, problems.iter().map(|it| (label(it.kind.as_str()), it.current)))?;
        family(encoder, &names::PROBLEMS_MET, problems.iter().map(|it| (label(it.kind.as_str()), it.met)))
    }

    fn agent(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        single(encoder, &names::READY, u64::from(self.status.ready))?;
        let lost = [("denied", self.status.events_lost), ("allowed", self.status.flows_lost)];
        family(encoder, &names::EVENTS_LOST, lost.into_iter().map(|(verdict, n)| (vec![("verdict", verdict)], n)))?;
        let labels = [("version", self.status.version.as_str()), ("hook", self.status.hook.as_str())];
        descriptor(encoder, &names::BUILD)?.encode_info(&labels)
    }
}

/// How often a resource could not be read, every class of errors present.
fn errors_by_class(source: &SourceStatus) -> impl Iterator<Item = (Labels<'_>, u64)> {
    ErrorClass::ALL.into_iter().map(|class| {
        let errors = source.errors.iter().find(|errors| errors.class == class.as_str());
        (error_labels(source, class.as_str()), errors.map_or(0, |errors| errors.count))
    })
}

fn last_by_class(source: &SourceStatus) -> impl Iterator<Item = (Labels<'_>, u64)> {
    source.errors.iter().map(|errors| (error_labels(source, &errors.class), errors.last_unix_seconds))
}

fn error_labels<'a>(source: &'a SourceStatus, class: &'a str) -> Labels<'a> {
    vec![("resource", &source.resource), ("class", class)]
}

fn denial_labels<'a>(denial: &'a DenialStatus, policies: &'a str) -> Labels<'a> {
    vec![
        ("namespace", &denial.namespace),
        ("policies", policies),
        ("direction", &denial.direction),
        ("verdict", &denial.verdict),
        ("reason", &denial.reason),
    ]
}

/// As finely as is told.
fn allow_labels<'a>(allow: &'a AllowStatus, rule: Option<&'a str>) -> Labels<'a> {
    let mut labels: Labels<'a> = vec![("namespace", &allow.namespace), ("policy", &allow.policy)];
    labels.push(("direction", &allow.direction));
    labels.extend(rule.map(|rule| ("rule", rule)));
    labels
}

fn cluster_rule_labels<'a>(rule: &'a ClusterRuleStatus, index: &'a str) -> Labels<'a> {
    vec![
        ("policy", &rule.policy),
        ("tier", &rule.tier),
        ("direction", &rule.direction),
        ("rule", index),
        ("action", &rule.action),
    ]
}

/// Packets and bytes of one series.
#[derive(Clone, Copy, Default)]
struct Count {
    packets: u64,
    bytes: u64,
}

/// Every verdict series, the packets without an endpoint under empty names.
fn verdict_series(status: &Status) -> Vec<(Labels<'_>, Count)> {
    let pods = status.pods.iter().filter(|pod| pod.interface.is_some());
    let of_pods = pods.flat_map(|pod| {
        let counts = from_start().chain(counted(&pod.counters)).collect::<BTreeMap<_, _>>();
        counts.into_iter().map(|series| with_pod(series, &pod.namespace, &pod.name))
    });
    let of_none = counted(&status.no_endpoint).collect::<BTreeMap<_, _>>();
    of_pods.chain(of_none.into_iter().map(|series| with_pod(series, "", ""))).collect()
}

/// Direction, verdict and reason.
type Judged<'a> = [&'a str; 3];

/// The series that a pod has before its first packet.
fn from_start<'a>() -> impl Iterator<Item = (Judged<'a>, Count)> {
    let judged = |direction: Direction| [direction.as_str(), FROM_START.verdict().as_str(), FROM_START.as_str()];
    Direction::ALL.into_iter().map(move |direction| (judged(direction), Count::default()))
}

fn counted(counters: &[CounterStatus]) -> impl Iterator<Item = (Judged<'_>, Count)> {
    counters.iter().map(|counter| {
        let judged = [counter.direction.as_str(), counter.verdict.as_str(), counter.reason.as_str()];
        (judged, Count { packets: counter.packets, bytes: counter.bytes })
    })
}

fn with_pod<'a>(
    ([direction, verdict, reason], count): (Judged<'a>, Count),
    namespace: &'a str,
    pod: &'a str,
) -> (Labels<'a>, Count) {
    let labels = vec![
        ("direction", direction),
        ("verdict", verdict),
        ("reason", reason),
        ("namespace", namespace),
        ("pod", pod),
    ];
    (labels, count)
}

/// Enforced pods by isolation, every value present.
fn by_isolation(pods: &[PodStatus]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from([("none", 0), ("guarded", 0), ("ingress", 0), ("egress", 0), ("both", 0)]);
    for pod in pods.iter().filter(|pod| matches!(pod.state, PodState::Enforced | PodState::Unfit)) {
        let name = match (pod.ingress_isolated, pod.egress_isolated) {
            (false, false) if pod.guards.is_empty() => "none",
            (false, false) => "guarded",
            (true, false) => "ingress",
            (false, true) => "egress",
            (true, true) => "both",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Anomalies by kind, every kind present.
fn by_kind(anomalies: &[AnomalyStatus]) -> BTreeMap<&str, u64> {
    let mut counts: BTreeMap<&str, u64> = ANOMALY_KINDS.into_iter().map(|kind| (kind, 0)).collect();
    for anomaly in anomalies {
        *counts.entry(&anomaly.kind).or_default() += 1;
    }
    counts
}

fn descriptor<'e>(encoder: &'e mut DescriptorEncoder<'_>, metric: &'e Metric) -> Result<MetricEncoder<'e>, Error> {
    encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)
}

/// A family without labels.
fn single(encoder: &mut DescriptorEncoder<'_>, metric: &Metric, value: u64) -> Result<(), Error> {
    sample(metric, value, descriptor(encoder, metric)?)
}

/// A family with one sample for each set of labels.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    series: impl Iterator<Item = (Labels<'a>, u64)>,
) -> Result<(), Error> {
    let mut encoder = descriptor(encoder, metric)?;
    for (labels, value) in series {
        sample(metric, value, encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

fn sample(metric: &Metric, value: u64, encoder: MetricEncoder<'_>) -> Result<(), Error> {
    match metric.kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}
