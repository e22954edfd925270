//! Valid policies: what they mean.

use podgate_policy::model::{
    IpBlock, Isolation, Namespaces, Operator, Peer, Peers, PortMatch, PortSpec, Ports, Protocol, Requirement, Rule,
    Selector,
};

use crate::{only_policy, parse, policy, problems, sound};

const NOTHING: Isolation = Isolation::Restricted(vec![]);

fn directions(spec: &str) -> (Isolation, Isolation) {
    let loaded = sound(&policy(spec));
    let policy = only_policy(&loaded);
    (policy.ingress.clone(), policy.egress.clone())
}

fn ingress_rules(rules: &str) -> Vec<Rule> {
    match directions(&format!("{{podSelector: {{}}, ingress: {rules}}}")) {
        (Isolation::Restricted(rules), Isolation::Unaffected) => rules,
        other => panic!("{other:?}"),
    }
}

fn anything() -> Isolation {
    Isolation::Restricted(vec![Rule { peers: Peers::Any, ports: Ports::Any }])
}

fn requirement(key: &str, operator: Operator) -> Requirement {
    Requirement { key: key.into(), operator }
}

fn label(key: &str, value: &str) -> Selector {
    Selector::new(vec![requirement(key, Operator::In(vec![value.into()]))])
}

#[test]
fn policy_types_absent_without_egress_rules_affect_ingress_only() {
    for spec in ["{}", "{podSelector: {}}", "{policyTypes: []}", "{egress: []}", "{egress: }", "", "{ingress: []}"] {
        assert_eq!(directions(spec), (NOTHING, Isolation::Unaffected), "{spec}");
    }
}

#[test]
fn policy_types_absent_with_egress_rules_affect_both_directions() {
    assert_eq!(directions("{egress: [{}]}"), (NOTHING, anything()));
}

#[test]
fn rules_of_a_direction_that_is_no_policy_type_have_no_effect() {
    assert_eq!(directions("{policyTypes: [Egress], ingress: [{}]}"), (Isolation::Unaffected, NOTHING));
    assert_eq!(directions("{policyTypes: [Ingress], egress: [{}]}"), (NOTHING, Isolation::Unaffected));
    assert_eq!(directions("{policyTypes: [Ingress, Ingress]}"), (NOTHING, Isolation::Unaffected));
}

#[test]
fn empty_rule_allows_everything_and_no_rule_nothing() {
    assert_eq!(directions("{ingress: [{}]}"), (anything(), Isolation::Unaffected));
    assert_eq!(directions("{ingress: [{from: [], ports: []}]}"), (anything(), Isolation::Unaffected));
    assert_eq!(directions("{ingress: [{from: , ports: }]}"), (anything(), Isolation::Unaffected));
}

#[test]
fn pod_selector_that_is_empty_or_absent_selects_all_pods() {
    for spec in [
        "{podSelector: {}}",
        "{}",
        "{podSelector: {matchLabels: }}",
        "{podSelector: }",
        "{podSelector: {matchExpressions: []}}",
    ] {
        assert_eq!(only_policy(&sound(&policy(spec))).pod_selector, Selector::default(), "{spec}");
    }
}

#[test]
fn labels_and_expressions_of_a_selector_must_all_hold() {
    let spec = "{podSelector: {matchLabels: {app: web}, matchExpressions: [\
                {key: tier, operator: NotIn, values: [b, a, b]}, {key: x.io/y, operator: Exists}, \
                {key: z, operator: DoesNotExist, values: []}]}}";
    let expected = Selector::new(vec![
        requirement("app", Operator::In(vec!["web".into()])),
        requirement("tier", Operator::NotIn(vec!["a".into(), "b".into()])),
        requirement("x.io/y", Operator::Exists),
        requirement("z", Operator::DoesNotExist),
    ]);
    assert_eq!(only_policy(&sound(&policy(spec))).pod_selector, expected);
}

#[test]
fn two_selectors_in_one_element_are_one_peer_and_in_two_elements_two() {
    let own = Peer::Pods { namespaces: Namespaces::Own, pods: label("app", "web") };
    let everywhere = Peer::Pods { namespaces: Namespaces::Matching(Selector::default()), pods: Selector::default() };
    let both = Peer::Pods { namespaces: Namespaces::Matching(label("env", "prod")), pods: label("app", "web") };
    let rules = ingress_rules(
        "[{from: [{podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {}}]}, \
          {from: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {matchLabels: {env: prod}}}]}]",
    );
    assert_eq!(
        rules.into_iter().map(|rule| rule.peers).collect::<Vec<_>>(),
        [Peers::Listed(vec![own, everywhere]), Peers::Listed(vec![both])]
    );
}

#[test]
fn block_with_host_bits_set_is_masked_and_its_exceptions_too() {
    let rules = ingress_rules(
        "[{from: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.9.9.9/16, 10.2.0.0/16, 10.9.0.0/16]}}, {ipBlock: {cidr: '::/0'}}]}]",
    );
    let block = |cidr: &str, except: &[&str]| {
        let parse = |text: &str| text.parse().expect("a block");
        Peer::Block(IpBlock { cidr: parse(cidr), except: except.iter().copied().map(parse).collect() })
    };
    let expected = vec![block("10.0.0.0/8", &["10.2.0.0/16", "10.9.0.0/16"]), block("::/0", &[])];
    assert_eq!(rules, [Rule { peers: Peers::Listed(expected), ports: Ports::Any }]);
}

#[test]
fn ports_are_numbers_ranges_names_or_all_of_a_protocol() {
    let rules = ingress_rules(
        "[{ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 1000, endPort: 2000}, {port: 7, endPort: 7}, \
          {port: http}, {protocol: SCTP}, {}, {port: 1, endPort: 65535}]}]",
    );
    let range = |protocol, first, last| PortMatch { protocol, port: PortSpec::Range { first, last } };
    let all = |protocol| PortMatch { protocol, port: PortSpec::All };
    let expected = vec![
        range(Protocol::Tcp, 80, 80),
        range(Protocol::Udp, 53, 53),
        range(Protocol::Tcp, 1000, 2000),
        range(Protocol::Tcp, 7, 7),
        PortMatch { protocol: Protocol::Tcp, port: PortSpec::Named("http".into()) },
        all(Protocol::Sctp),
        all(Protocol::Tcp),
        range(Protocol::Tcp, 1, 65535),
    ];
    assert_eq!(rules, [Rule { peers: Peers::Any, ports: Ports::Listed(expected) }]);
}

#[test]
fn missing_namespace_is_default() {
    let loaded = sound("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}}");
    assert_eq!(only_policy(&loaded).key.to_string(), "default/p");
}

#[test]
fn what_the_server_adds_to_a_policy_is_accepted() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: shop\n  uid: x\n  \
                resourceVersion: '7'\n  generation: 1\n  creationTimestamp: '2024-01-01T00:00:00Z'\n  \
                annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}\n  managedFields: [{manager: kubectl, \
                operation: Apply, apiVersion: v1, time: '2024-01-01T00:00:00Z', fieldsType: FieldsV1, fieldsV1: {'f:spec': {}}}]\n\
                spec: {podSelector: {}}\nstatus: {}\n";
    sound(text);
}

/// What stands in the annotations of a NetworkPolicy and of its namespace, and whether each is in audit mode.
fn audited(policy: &str, namespace: &str) -> ((bool, bool), Vec<String>) {
    let annotated = |kind: &str, rest: &str, value: &str| {
        format!("{{{kind}, metadata: {{{rest}, annotations: {{podgate.io/audit: {value}}}}}}}")
    };
    let policy = annotated("apiVersion: networking.k8s.io/v1, kind: NetworkPolicy", "name: p, namespace: shop", policy);
    let namespace = annotated("apiVersion: v1, kind: Namespace", "name: shop", namespace);
    let text = format!("{policy}\n---\n{namespace}\n");
    let loaded = parse(&text);
    ((only_policy(&loaded).audit, loaded.cluster.namespaces["shop"].audit), problems(&text))
}

#[test]
fn audit_mode_is_an_annotation_of_a_policy_or_a_namespace() {
    assert_eq!(audited("'true'", "'false'"), ((true, false), vec![]));
    assert_eq!(audited("'false'", "'true'"), ((false, true), vec![]));
}

#[test]
fn a_mistake_in_the_annotation_leaves_policies_in_force_and_is_told() {
    let (found, problems) = audited("'yes'", "'True'");
    assert_eq!(found, (false, false));
    let message = "is neither \"true\" nor \"false\": nothing is in audit mode by it";
    assert!(problems.len() == 2 && problems.iter().all(|problem| problem.contains(message)), "{problems:?}");
}

#[test]
fn an_invalid_policy_is_in_force_whatever_its_annotation_says() {
    let loaded = parse(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop, \
         annotations: {podgate.io/audit: 'true'}}, spec: {podSelector: {}, policyTypes: [Both]}}",
    );
    assert!(!only_policy(&loaded).audit);
}
