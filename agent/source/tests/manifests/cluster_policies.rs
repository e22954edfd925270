//! ClusterNetworkPolicies: what is understood of them, and what becomes of the rest.

use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols, Tier,
};
use podgate_policy::model::{Operator, Protocol, Requirement, Selector};

use crate::{parse, policy, problems, sound};

/// The policy `guard` with this spec.
fn guard(spec: &str) -> String {
    let head = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: guard}\n";
    format!("{head}spec: {{{spec}}}\n")
}

const HEAD: &str = "tier: Admin, priority: 5, subject: {namespaces: {}}";

/// The policy with one ingress rule of this text.
fn ingress(rule: &str) -> String {
    guard(&format!("{HEAD}, ingress: [{{{rule}}}]"))
}

fn only(text: &str) -> ClusterPolicy {
    let loaded = parse(text);
    let mut policies = loaded.cluster.cluster_policies.iter();
    let policy = policies.next().unwrap_or_else(|| panic!("{:#?}", loaded.problems));
    ClusterPolicy::clone(policy)
}

fn only_rule(text: &str) -> ClusterRule {
    only(text).ingress.remove(0)
}

fn label(key: &str, value: &str) -> Selector {
    Selector::new(vec![Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) }])
}

fn closed(action: Action, matches: Matches) -> ClusterRule {
    ClusterRule { name: None, action, matches }
}

#[test]
fn everything_of_a_policy_is_kept() {
    let text = guard(
        "tier: Baseline, priority: 1000, subject: {pods: {podSelector: {matchLabels: {app: db}}}}, \
         ingress: [{name: in, action: Accept, from: [{namespaces: {matchLabels: {team: a}}}, \
         {pods: {namespaceSelector: {matchLabels: {team: b}}, podSelector: {}}}]}], \
         egress: [{action: Pass, to: [{networks: [10.1.2.3/8, 10.0.0.0/8, '::/0']}, {nodes: {}}], protocols: \
         [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {range: {start: 1, end: 9}}}}, \
         {destinationNamedPort: web}]}]",
    );
    let pods = |namespaces, pods| ClusterPeer::Pods(PodSelection { namespaces, pods });
    let network = |text: &str| text.parse().expect("a block");
    let expected = ClusterPolicy {
        name: "guard".into(),
        tier: Tier::Baseline,
        priority: 1000,
        subject: PodSelection { namespaces: Selector::default(), pods: label("app", "db") },
        ingress: vec![ClusterRule {
            name: Some("in".into()),
            action: Action::Accept,
            matches: Matches::Some {
                peers: vec![
                    pods(label("team", "a"), Selector::default()),
                    pods(label("team", "b"), Selector::default()),
                ],
                protocols: Protocols::Any,
            },
        }],
        egress: vec![ClusterRule {
            name: None,
            action: Action::Pass,
            matches: Matches::Some {
                peers: vec![
                    ClusterPeer::Networks(vec![network("10.0.0.0/8"), network("::/0")]),
                    ClusterPeer::Nodes(Selector::default()),
                ],
                protocols: Protocols::Listed(vec![
                    ProtocolMatch::Range { protocol: Protocol::Tcp, first: 80, last: 80 },
                    ProtocolMatch::Range { protocol: Protocol::Udp, first: 1, last: 9 },
                    ProtocolMatch::Named("web".into()),
                ]),
            },
        }],
        audit: false,
    };
    assert_eq!(sound(&text).cluster.cluster_policies.get("guard").map(|policy| &**policy), Some(&expected));
}

#[test]
fn a_rule_that_is_not_understood_fails_closed_in_its_place() {
    let known = "from: [{namespaces: {}}]";
    for wrong in [
        "from: [{namespaces: {}}, {serviceAccounts: {}}]",
        "from: [{namespaces: {}}, {}]",
        "from: [{namespaces: {}}, null]",
        "from: [{namespaces: {}, pods: {podSelector: {}}}]",
        "from: [{namespaces: {matchLabel: {a: b}}}]",
        "from: [{namespaces: {matchExpressions: [{key: a, operator: Is}]}}]",
        "from: [{pods: {namespaceSelector: {}}}]",
        "from: [{networks: [10.0.0.0/8]}]",
        "from: []",
        "from: {}",
        "to: [{namespaces: {}}]",
        &format!("{known}, protocols: []"),
        &format!("{known}, protocols: [{{icmp: {{}}}}]"),
        &format!("{known}, protocols: [{{tcp: {{}}}}]"),
        &format!("{known}, protocols: [{{tcp: {{destinationPort: {{number: 80, range: {{start: 1, end: 2}}}}}}}}]"),
        &format!("{known}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}, udp: {{}}}}]"),
        &format!("{known}, protocols: [{{destinationNamedPort: ''}}]"),
        &format!("{known}, ports: [{{port: 80}}]"),
        &format!("{known}, {known}"),
        &format!("{known}, name: {{}}"),
    ] {
        let rule = |action: &str| only_rule(&ingress(&format!("action: {action}, {wrong}")));
        assert_eq!(rule("Accept"), closed(Action::Accept, Matches::Nothing), "{wrong}");
        for action in ["Deny", "Pass", "Log"] {
            assert_eq!(rule(action), closed(Action::Deny, Matches::Everything), "{action}, {wrong}");
        }
    }
    assert_eq!(only_rule(&ingress(known)), closed(Action::Deny, Matches::Everything), "without an action");
    assert_eq!(only_rule(&guard(&format!("{HEAD}, ingress: [null]"))), closed(Action::Deny, Matches::Everything));
}

#[test]
fn a_deny_with_names_of_domains_denies_everything() {
    let text = guard(&format!("{HEAD}, egress: [{{action: Deny, to: [{{domainNames: [a.example]}}]}}]"));
    assert_eq!(only(&text).egress, [closed(Action::Deny, Matches::Everything)]);
    let expected = "net.yaml, document 1: ClusterNetworkPolicy guard: spec.egress[0].to[0].domainNames: not supported by podgate: \
                    expected networks with the addresses of these names; until it is understood, the rule denies everything from \
                    its place on";
    assert_eq!(problems(&text), [expected]);
}

#[test]
fn the_other_rules_stand_and_each_mistake_says_what_became_of_its_rule() {
    let text = guard(&format!(
        "{HEAD}, ingress: [{{action: Accept, from: [{{namspaces: {{}}}}]}}, {{action: Accept, from: [{{namespaces: {{}}}}]}}, \
         {{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{number: 0}}}}}}]}}]"
    ));
    let matches: Vec<_> = only(&text).ingress.iter().map(|rule| matches!(rule.matches, Matches::Some { .. })).collect();
    assert_eq!(matches, [false, true, false]);
    let head = "net.yaml, document 1: ClusterNetworkPolicy guard: spec.ingress";
    assert_eq!(
        problems(&text),
        [
            format!(
                "{head}[0].from[0].namspaces: unknown field: expected one of namespaces, pods; until it is understood, the rule \
                 accepts nothing"
            ),
            format!(
                "{head}[2].protocols[0].tcp.destinationPort.number: 0: expected 1 to 65535; until it is understood, the rule \
                 denies everything from its place on"
            ),
        ]
    );
}

#[test]
fn a_policy_of_which_it_is_not_known_whom_or_when_it_judges_is_left_out_loudly() {
    for (wrong, field) in [
        ("tier: Adminn, priority: 5, subject: {namespaces: {}}", "spec.tier"),
        ("priority: 5, subject: {namespaces: {}}", "spec.tier"),
        ("tier: Admin, priority: 1001, subject: {namespaces: {}}", "spec.priority"),
        ("tier: Admin, priority: '5', subject: {namespaces: {}}", "spec.priority"),
        ("tier: Admin, priority: 5", "spec.subject"),
        ("tier: Admin, priority: 5, subject: {nodes: {}}", "spec.subject.nodes"),
        (
            "tier: Admin, priority: 5, subject: {namespaces: {matchLabels: {'a b': c}}}",
            "spec.subject.namespaces.matchLabels[\"a b\"]",
        ),
        ("tier: Admin, priority: 5, subject: {namespaces: {}}, schedule: night", "spec.schedule"),
        ("tier: Admin, tier: Admin, priority: 5, subject: {namespaces: {}}", "spec.tier"),
        ("tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: {}", "spec.ingress"),
    ] {
        let loaded = parse(&guard(wrong));
        assert!(loaded.cluster.cluster_policies.is_empty(), "{wrong}");
        let found = loaded.problems.iter().any(|it| {
            it.field.as_deref() == Some(field) && it.effect == podgate_source::Effect::LeftOut && !it.is_passed_over()
        });
        assert!(found, "{wrong}: {:#?}", loaded.problems);
    }
    let other_version = guard(HEAD).replace("v1alpha2", "v1beta9");
    assert!(parse(&other_version).cluster.cluster_policies.is_empty());
    assert_eq!(parse(&guard(HEAD).replace("name: guard", "labels: {}")).cluster.cluster_policies.len(), 0);
}

#[test]
fn what_is_wrong_beside_the_spec_leaves_the_policy_in_force() {
    let text = guard(HEAD).replace(
        "name: guard",
        "name: guard, namespace: shop, lables: {}, annotations: {podgate.io/audit: 'yes', podgate.io/audit: 'yes'}",
    );
    let loaded = parse(&text);
    let fields: Vec<_> = loaded.problems.iter().filter_map(|it| it.field.clone()).collect();
    assert_eq!(
        fields,
        [
            "metadata.annotations[\"podgate.io/audit\"]",
            "metadata.annotations[\"podgate.io/audit\"]",
            "metadata.lables",
            "metadata.namespace"
        ]
    );
    assert!(!only(&text).audit);
    let audited = guard(HEAD).replace("name: guard", "name: guard, annotations: {podgate.io/audit: 'true'}");
    assert!(sound(&audited).cluster.cluster_policies.get("guard").is_some_and(|policy| policy.audit));
}

#[test]
fn kinds_of_the_same_name_are_never_taken_for_it() {
    for api_version in ["crd.antrea.io/v1beta1", "networking.k8s.aws/v1alpha1"] {
        let loaded = parse(&guard(HEAD).replace("policy.networking.k8s.io/v1alpha2", api_version));
        assert!(loaded.cluster.cluster_policies.is_empty(), "{api_version}");
        let foreign: Vec<_> = loaded.foreign.iter().map(|it| format!("{}: {:?}", it.kind, it.names)).collect();
        assert_eq!(foreign, ["ClusterNetworkPolicy: [\"guard\"]"], "{api_version}");
    }
}

#[test]
fn a_policy_given_twice_counts_once_and_stands_beside_network_policies() {
    let text = [guard(HEAD), policy("{podSelector: {}}"), guard(HEAD)].join("---\n");
    let loaded = parse(&text);
    assert_eq!((loaded.cluster.cluster_policies.len(), loaded.cluster.policies.len()), (1, 1));
    let expected = "net.yaml, document 3: ClusterNetworkPolicy guard: defined already in net.yaml, document 1, which counts: \
                    expected one definition; left out";
    assert_eq!(problems(&text), [expected]);
}
