use super::*;
use crate::status::{
    AnomalyStatus, CounterStatus, InterfaceStatus, LastErrorStatus, PolicyStatus, ProblemStatus, ServicesAt,
    ServicesStatus, TableStatus, UntaggedStatus,
};

fn pod(name: &str, state: PodState) -> PodStatus {
    let interface = InterfaceStatus { name: format!("veth-{name}"), index: 7 };
    PodStatus {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: String::new(),
        addresses: vec!["10.1.0.3".parse().unwrap()],
        state,
        problem: None,
        interface: (state != PodState::NoInterface).then_some(interface),
        ingress_isolated: true,
        egress_isolated: false,
        audited: vec![],
        policies: vec![PolicyStatus { name: "deny".to_owned(), directions: vec!["ingress".to_owned()], audit: false }],
        guards: vec![],
        counters: vec![
            counter("allowed", "rule", 5),
            counter("denied", "no_rule", 3),
            counter("denied", "cut", 4),
            counter("denied", "malformed", 1),
            counter("denied", "vlan", 2),
        ],
    }
}

fn counter(verdict: &str, reason: &str, packets: u64) -> CounterStatus {
    CounterStatus {
        direction: "ingress".to_owned(),
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        packets,
        bytes: packets * 60,
    }
}

fn status(pods: Vec<PodStatus>) -> Status {
    Status { node: "node-a".to_owned(), ready: true, pods, ..Status::default() }
}

fn first_line(status: &Status) -> String {
    render(status, &View::default()).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_first_line_says_that_all_is_well() {
    assert_eq!(
        first_line(&status(vec![pod("api", PodState::Enforced)])),
        "node-a: enforcing 1 pod, 1 isolated, for 0s, ready"
    );
}

#[test]
fn interfaces_that_wait_for_their_links_are_counted() {
    let about = |filtered_interfaces| {
        let status = Status { hook: "tcx".to_owned(), filtered_interfaces, ..status(vec![]) };
        render(&status, &View::default()).lines().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(about(0), "  podgate , tcx hooks, up 0s, 0 policies known");
    let waiting =
        "  podgate , tcx hooks (3 interfaces still by filters, until their links come), up 0s, 0 policies known";
    assert_eq!(about(3), waiting);
}

#[test]
fn what_is_in_audit_mode_is_listed() {
    let mut pod = pod("api", PodState::Enforced);
    (pod.ingress_isolated, pod.egress_isolated, pod.audited) = (true, false, vec!["egress".to_owned()]);
    pod.policies[0].audit = true;
    let text = render(&status(vec![pod]), &View::default());
    let line = "  IN AUDIT MODE, what these deny passes unless another policy denies it: shop/deny\n";
    assert!(text.contains(line) && text.contains("ingress,egress (audit)"), "{text}");
}

#[test]
fn the_first_lines_say_what_is_wrong() {
    let mut status = status(vec![pod("api", PodState::Enforced), pod("web", PodState::NoInterface)]);
    (status.ready, status.uptime_seconds) = (false, 7_384);
    status.not_ready = vec!["1 pod without interface: shop/web".to_owned()];
    let text = render(&status, &View::default());
    let lines: Vec<_> = text.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "node-a: enforcing 1 of 2 pods, 1 isolated, for 2h 3m, NOT READY: 1 pod without interface: shop/web",
            "  ! 1 pod without interface: shop/web"
        ]
    );
}

#[test]
fn one_line_tells_what_is_judged_at_the_exit_and_what_is_in_the_way_of_it() {
    let mut status = status(vec![]);
    status.services = ServicesStatus { addresses: 1, host_addresses: 4, allowed: 5, ..ServicesStatus::default() };
    let line = |status: &Status| render(status, &View::default()).lines().nth(2).unwrap_or_default().to_owned();
    let expected = "  egress to 1 address of Services and 4 of this node is judged at the exit, by the real destination: \
                    5 allowed, 0 denied";
    assert_eq!(line(&status), expected);
    status.services.untagged = UntaggedStatus { takeover: 140, changing: 9, standing: 0 };
    let replaced = "; 149 came without this agent's tag while agents or pods' interfaces were replaced, judged by where they \
                    came from";
    assert_eq!(line(&status), format!("{expected}{replaced}"), "nobody is accused");
    status.services = ServicesStatus {
        untagged: UntaggedStatus { standing: 2, ..UntaggedStatus::default() },
        left_out: 3,
        ..status.services
    };
    let more = "; 2 LOST THEIR TAG while nothing was replaced, judged by where they came from: something on their way clears \
                it; NO ROOM for 3 more addresses";
    assert_eq!(line(&status), format!("{expected}{more}"));
}

#[test]
fn one_line_tells_what_is_judged_at_the_source() {
    let mut status = status(vec![]);
    status.services = ServicesStatus {
        judged_at: ServicesAt::Source,
        frontends: 3,
        addresses: 2,
        host_addresses: 4,
        denied: 1,
        ..ServicesStatus::default()
    };
    let line = |status: &Status| render(status, &View::default()).lines().nth(2).unwrap_or_default().to_owned();
    let expected = "  egress to 2 addresses of Services, with 3 ports, is judged where it leaves the pod, by all backends; \
                    to 4 of this node at the exit, by the real destination: 0 allowed, 1 denied";
    assert_eq!(line(&status), expected);
    status.services.frontends_denied = 1;
    assert_eq!(line(&status), format!("{expected}; 1 port of Services DENIED because the tables have no room"));
}

#[test]
fn problems_show_in_the_first_line_and_in_a_section_of_one_line_each() {
    let mut status = status(vec![]);
    status.problems.push(ProblemStatus {
        kind: "invalid".to_owned(),
        origin: "a.yaml, document 2".to_owned(),
        object: "NetworkPolicy shop/api".to_owned(),
        field: "spec".to_owned(),
        message: "two\nlines".to_owned(),
        effect: "left out".to_owned(),
    });
    assert_eq!(first_line(&status), "node-a: enforcing 0 pods, 0 isolated, for 0s, ready, 1 problem");
    let text = render(&status, &View::default());
    let section: Vec<_> =
        text.lines().skip_while(|line| *line != "PROBLEMS").take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        section,
        [
            "PROBLEMS",
            "  ORIGIN              OBJECT                  FIELD  PROBLEM    EFFECT",
            "  a.yaml, document 2  NetworkPolicy shop/api  spec   two\u{fffd}lines  left out",
        ]
    );
}

#[test]
fn the_last_error_of_a_source_is_there_also_when_it_is_over() {
    let source = |resource: &str, error: Option<&str>, last: Option<&str>| SourceStatus {
        resource: resource.to_owned(),
        synced: true,
        objects: 3,
        failing_seconds: error.map(|_| 61),
        error: error.map(str::to_owned),
        last_error: last.map(|message| LastErrorStatus {
            seconds_ago: 3660,
            class: "server_error".to_owned(),
            message: message.to_owned(),
        }),
        errors: vec![],
    };
    let sources = vec![
        source("Namespace", None, None),
        source("Node", Some("refused"), Some("refused")),
        source("Pod", None, Some("refused")),
    ];
    let text = render(&Status { sources, ..status(vec![]) }, &View::default());
    let rows: Vec<_> = text.lines().skip_while(|line| *line != "SOURCES").skip(2).collect();
    let expected = [
        "  Namespace  yes     3        -            -",
        "  Node       yes     3        1m 1s        refused",
        "  Pod        yes     3        -            over; 1h 1m ago: refused",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_pod_is_one_line_with_its_packets_by_direction() {
    let text = render(&status(vec![pod("api", PodState::Enforced)]), &View::default());
    let mut lines = text.lines().skip_while(|line| *line != "PODS");
    let line = lines.find(|line| line.starts_with("  shop/api")).unwrap_or_default();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells, ["shop/api", "enforced", "veth-api", "10.1.0.3", "ingress", "5/0", "10/0", "deny"]);
}

#[test]
fn every_reason_for_drops_is_listed_the_most_frequent_first() {
    let text = render(&status(vec![pod("api", PodState::Enforced)]), &View::default());
    let section = text.lines().skip_while(|line| *line != "DENIED").skip(2).take_while(|line| !line.is_empty());
    let reasons: Vec<_> = section.filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(reasons, ["cut", "no_rule", "vlan", "malformed"]);
}

#[test]
fn what_is_wrong_is_counted_in_the_first_line() {
    let mut status = status(vec![]);
    let table = |name: &str, entries| TableStatus { name: name.to_owned(), entries, capacity: 100 };
    status.tables = vec![table("rows", 90), table("groups", 85), table("flows4", 100)];
    status.anomalies = vec![AnomalyStatus { kind: "x".to_owned(), message: "y".to_owned() }; 2];
    status.services.untagged.standing = 3;
    let expected =
        "node-a: enforcing 0 pods, 0 isolated, for 0s, ready, 2 anomalies, 2 tables nearly full, 3 lost tags";
    assert_eq!(first_line(&status), expected, "a flow table may be full");
    status.ready = false;
    status.not_ready = vec!["x".repeat(150), "another".to_owned(), "more".to_owned()];
    let reason = format!("NOT READY: {}… (and 2 more), 2 anomalies", "x".repeat(100));
    assert!(first_line(&status).contains(&reason), "{}", first_line(&status));
}

#[test]
fn tables_are_shown_when_they_fill_up_or_are_asked_for() {
    let mut status = status(vec![]);
    let table = |name: &str, entries| TableStatus { name: name.to_owned(), entries, capacity: 100 };
    status.tables = vec![table("a", 80), table("b", 79), table("c", 0), table("d", 69), table("flows4", 99)];
    let rows = |view: View| -> Vec<String> {
        let text = render(&status, &view);
        let rows = text.lines().skip_while(|line| *line != "TABLES").skip(2);
        rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let nearly = ["a 80 100 NEARLY FULL", "b 79 100", "flows4 99 100 the oldest entries go"];
    assert_eq!(rows(View::default()), nearly);
    let all = [nearly[0], nearly[1], "d 69 100", nearly[2]];
    assert_eq!(rows(View { tables: true, ..View::default() }), all);
}

#[test]
fn durations_have_two_units_at_most() {
    assert_eq!([0, 59, 61, 3600, 90_061].map(duration), ["0s", "59s", "1m 1s", "1h", "1d 1h"]);
}
