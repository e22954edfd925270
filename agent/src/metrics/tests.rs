use std::collections::{BTreeMap, BTreeSet};

use podgate_source::ErrorClass;

use super::collector::FROM_START;
use super::names;
use super::*;
use podgate_engine::status::{
    AllowStatus, AnomalyStatus, AttributionStatus, ClusterEnforcement, ClusterPoliciesStatus, ClusterRuleStatus,
    CounterStatus, DenialStatus, DeviceStatus, InterfaceStatus, PodState, PodStatus, ProblemCount, RepairStatus,
    ServicesAt, ServicesStatus, SourceErrorStatus, SourceStatus, TableStatus, UntaggedStatus,
};

fn pod(name: &str, counters: Vec<CounterStatus>) -> PodStatus {
    PodStatus {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: String::new(),
        addresses: vec![],
        state: PodState::Enforced,
        problem: None,
        interface: Some(InterfaceStatus { name: "veth0".to_owned(), index: 3 }),
        ingress_isolated: true,
        egress_isolated: false,
        audited: vec!["ingress".to_owned()],
        policies: vec![],
        guards: vec![],
        counters,
    }
}

fn counter(reason: &str, packets: u64) -> CounterStatus {
    CounterStatus {
        direction: "ingress".to_owned(),
        verdict: "denied".to_owned(),
        reason: reason.to_owned(),
        packets,
        bytes: packets * 100,
    }
}

fn allowed(reason: &str, packets: u64) -> CounterStatus {
    CounterStatus { verdict: "allowed".to_owned(), ..counter(reason, packets) }
}

fn device((name, hooked): (&str, bool)) -> DeviceStatus {
    DeviceStatus { name: name.to_owned(), index: 2, hooked, error: None }
}

fn attribution() -> AttributionStatus {
    let [namespace, direction] = ["shop", "ingress"].map(str::to_owned);
    AttributionStatus {
        denials: vec![DenialStatus {
            namespace: namespace.clone(),
            policies: vec!["a".to_owned(), "b".to_owned()],
            direction: direction.clone(),
            verdict: "denied".to_owned(),
            reason: "no_rule".to_owned(),
            packets: 5,
        }],
        other_denials: 6,
        allows: vec![AllowStatus { namespace, policy: "a".to_owned(), direction, rule: Some(1), flows: 7 }],
        other_allows: 8,
        cluster_rules: vec![ClusterRuleStatus {
            policy: "guard".to_owned(),
            tier: "Admin".to_owned(),
            action: "Deny".to_owned(),
            direction: "egress".to_owned(),
            rule: 2,
            count: 9,
        }],
        other_cluster_rules: 10,
    }
}

pub(super) fn full_status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        ready: true,
        hook: "tcx".to_owned(),
        policies: 4,
        cluster_policies: ClusterPoliciesStatus {
            enforcement: ClusterEnforcement::Off,
            objects: 6,
            ..ClusterPoliciesStatus::default()
        },
        pods: vec![pod("api", vec![counter("no_rule", 7), counter("vlan", 2), allowed("established", 4)])],
        no_endpoint: vec![counter("no_endpoint", 1)],
        sources: vec![SourceStatus {
            resource: "Pod".to_owned(),
            synced: true,
            objects: 9,
            failing_seconds: None,
            error: None,
            last_error: None,
            errors: vec![SourceErrorStatus {
                class: "forbidden".to_owned(),
                count: 3,
                last_unix_seconds: 1_800_000_000,
            }],
        }],
        problem_counts: vec![ProblemCount { kind: "invalid".to_owned(), current: 2, met: 5 }],
        anomalies: vec![AnomalyStatus { kind: "extra_interface".to_owned(), message: String::new() }],
        tables: vec![TableStatus { name: "groups".to_owned(), entries: 5, capacity: 10 }],
        repairs: RepairStatus { hooks: 3, ..RepairStatus::default() },
        attribution: attribution(),
        events_lost: 11,
        flows_lost: 12,
        services: ServicesStatus {
            judged_at: ServicesAt::Source,
            frontends: 7,
            frontends_denied: 9,
            addresses: 3,
            left_out: 1,
            devices: [("eth0", true), ("odd0", false), ("odd1", false)].map(device).to_vec(),
            allowed: 6,
            denied: 8,
            untagged: UntaggedStatus { takeover: 13, changing: 14, standing: 2 },
            ..ServicesStatus::default()
        },
        ..Status::default()
    }
}

pub(super) fn text(status: Status) -> String {
    let durations = Durations::default();
    durations.apply.observe(0.01);
    durations.window.observe(0.02);
    encode(status, durations).unwrap()
}

/// Samples by name and labels, as they stand in the text.
pub(super) fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

fn verdict(direction: &str, verdict: &str, reason: &str) -> String {
    format!(
        r#"podgate_verdicts_total{{direction="{direction}",verdict="{verdict}",reason="{reason}",namespace="shop",pod="api"}}"#
    )
}

#[test]
fn every_family_of_the_table_is_exposed_once_with_its_help() {
    let text = text(full_status());
    let helps: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    let expected: Vec<_> = names::ALL.iter().map(|metric| format!("{} {}", metric.name, metric.help)).collect();
    assert_eq!(helps.iter().collect::<BTreeSet<_>>().len(), helps.len());
    assert_eq!(BTreeSet::from_iter(helps.iter().map(ToString::to_string)), BTreeSet::from_iter(expected));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_was_counted_is_exposed_under_its_pod() {
    let text = text(full_status());
    let samples = samples(&text);
    assert_eq!(samples.get(verdict("ingress", "denied", "no_rule").as_str()), Some(&7.0));
    assert_eq!(samples.get(verdict("ingress", "denied", "vlan").as_str()), Some(&2.0));
    let bytes = verdict("ingress", "denied", "no_rule").replace("verdicts_total", "verdict_bytes_total");
    assert_eq!(samples.get(bytes.as_str()), Some(&700.0));
    let nobody =
        r#"podgate_verdicts_total{direction="ingress",verdict="denied",reason="no_endpoint",namespace="",pod=""}"#;
    assert_eq!(samples.get(nobody), Some(&1.0));
}

#[test]
fn a_pod_without_a_packet_has_the_series_of_denials_without_a_rule_and_no_others() {
    let text = text(Status { pods: vec![pod("api", vec![])], ..Status::default() });
    let samples = samples(&text);
    let found = samples.into_iter().filter(|(name, _)| name.starts_with("podgate_verdict"));
    let wanted = ["ingress", "egress"]
        .map(|direction| (verdict(direction, FROM_START.verdict().as_str(), FROM_START.as_str()), 0.0));
    assert_eq!(found.map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(), wanted.into());
}

#[test]
fn what_is_exposed_of_500_pods_fits_into_300_kilobytes() {
    let of = |index: usize| {
        let name = format!("checkout-frontend-7d9c5b6f8d-{index:05}");
        PodStatus { namespace: "payments-production".to_owned(), ..pod(&name, vec![]) }
    };
    // What happens in most clusters: a tenth of the pods has all kinds of traffic, the others have none lately.
    let counters = ["established", "rule", "not_isolated", "no_rule"].map(|reason| counter(reason, 1_234_567));
    let busy = |index: usize| PodStatus { counters: counters.to_vec(), ..of(index) };
    let pods: Vec<_> = (0..500).map(|index| if index % 10 == 0 { busy(index) } else { of(index) }).collect();
    let text = text(Status { pods, ..full_status() });
    assert!(text.len() <= 300_000, "{} bytes", text.len());
    assert_eq!(samples(&text).keys().filter(|name| name.starts_with("podgate_verdicts")).count(), 1151);
}

#[test]
fn state_is_mirrored() {
    let text = text(full_status());
    let samples = samples(&text);
    let expected = [
        (r#"podgate_table_entries{table="groups"}"#, 5.0),
        (r#"podgate_table_capacity{table="groups"}"#, 10.0),
        (
            r#"podgate_policy_denials_total{namespace="shop",policies="a,b",direction="ingress",verdict="denied",reason="no_rule"}"#,
            5.0,
        ),
        (r#"podgate_policy_denials_total{namespace="",policies=""}"#, 6.0),
        (r#"podgate_rule_flows_total{namespace="shop",policy="a",direction="ingress",rule="1"}"#, 7.0),
        (r#"podgate_rule_flows_total{namespace="",policy=""}"#, 8.0),
        (r#"podgate_cluster_rules_total{policy="guard",tier="Admin",direction="egress",rule="2",action="Deny"}"#, 9.0),
        (r#"podgate_cluster_rules_total{policy=""}"#, 10.0),
        (r#"podgate_endpoints_audited{direction="ingress"}"#, 1.0),
        (r#"podgate_endpoints_audited{direction="egress"}"#, 0.0),
        ("podgate_change_duration_seconds_count", 0.0),
        ("podgate_policies", 4.0),
        (r#"podgate_cluster_policies{enforcement="enforced"}"#, 0.0),
        (r#"podgate_cluster_policies{enforcement="off"}"#, 6.0),
        (r#"podgate_endpoints{isolation="ingress"}"#, 1.0),
        (r#"podgate_endpoints{isolation="both"}"#, 0.0),
        ("podgate_pods_without_interface", 0.0),
        (r#"podgate_anomalies{kind="extra_interface"}"#, 1.0),
        (r#"podgate_anomalies{kind="duplicate_address"}"#, 0.0),
        ("podgate_apply_errors_total", 0.0),
        (r#"podgate_repairs_total{what="hooks"}"#, 3.0),
        (r#"podgate_repairs_total{what="tables"}"#, 0.0),
        ("podgate_apply_duration_seconds_count", 1.0),
        ("podgate_enforcement_window_seconds_sum", 0.02),
        (r#"podgate_source_synced{resource="Pod"}"#, 1.0),
        (r#"podgate_source_failing_seconds{resource="Pod"}"#, 0.0),
        (r#"podgate_source_errors_total{resource="Pod",class="forbidden"}"#, 3.0),
        (r#"podgate_source_errors_total{resource="Pod",class="unreachable"}"#, 0.0),
        (r#"podgate_source_last_error_timestamp_seconds{resource="Pod",class="forbidden"}"#, 1_800_000_000.0),
        (r#"podgate_problems{kind="invalid"}"#, 2.0),
        (r#"podgate_problems_met_total{kind="invalid"}"#, 5.0),
        ("podgate_service_addresses", 3.0),
        ("podgate_service_addresses_left_out", 1.0),
        ("podgate_services_at_source", 1.0),
        (r#"podgate_frontends{verdict="judged"}"#, 7.0),
        (r#"podgate_frontends{verdict="denied"}"#, 9.0),
        (r#"podgate_devices{hooked="true"}"#, 1.0),
        (r#"podgate_devices{hooked="false"}"#, 2.0),
        (r#"podgate_exit_judgements_total{verdict="allowed"}"#, 6.0),
        (r#"podgate_exit_judgements_total{verdict="denied"}"#, 8.0),
        (r#"podgate_exit_untagged_total{hooks="takeover"}"#, 13.0),
        (r#"podgate_exit_untagged_total{hooks="changing"}"#, 14.0),
        (r#"podgate_exit_untagged_total{hooks="standing"}"#, 2.0),
        ("podgate_ready", 1.0),
        (r#"podgate_events_lost_total{verdict="denied"}"#, 11.0),
        (r#"podgate_events_lost_total{verdict="allowed"}"#, 12.0),
        (r#"podgate_build_info{version="0.1.0",hook="tcx"}"#, 1.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{text}");
    }
}

#[test]
fn a_resource_has_as_many_error_series_as_there_are_classes_and_a_time_for_those_that_came_up() {
    let text = text(full_status());
    let samples = samples(&text);
    let count = |name: &str| samples.keys().filter(|series| series.starts_with(name)).count();
    assert_eq!(count("podgate_source_errors_total"), ErrorClass::ALL.len());
    assert_eq!(count("podgate_source_last_error_timestamp_seconds"), 1);
}

/// What is exposed of a status in which everything has a value.
pub(crate) fn sample() -> String {
    text(full_status())
}
