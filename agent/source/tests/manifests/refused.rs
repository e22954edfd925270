//! Invalid policies: each mistake is named with object, field and what is expected, and nothing is ever allowed because of it.

use podgate_policy::model::{Isolation, Selector};

use crate::{only_policy, parse, policy, problems};

/// A mistake in the spec, the field that is named and what is said about it.
const MISTAKES: &[(&str, &str, &str)] = &[
    // blocks
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}",
        "spec.ingress[0].from[0].ipBlock.cidr",
        r#""10.0.0.0" is not a block (no prefix length): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}",
        "spec.ingress[0].from[0].ipBlock.cidr",
        r#""10.0.0.0/33" is not a block (the prefix is longer than the address): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}",
        "spec.ingress[0].from[0].ipBlock.cidr",
        r#""010.0.0.0/8" is not a block (numbers have no leading zeros): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}",
        "spec.ingress[0].from[0].ipBlock.cidr",
        r#""::ffff:10.0.0.0/104" is not a block (IPv4-mapped IPv6 is not accepted): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    (
        "{ingress: [{from: [{ipBlock: {}}]}]}",
        "spec.ingress[0].from[0].ipBlock.cidr",
        r#""" is not a block (no prefix length): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    (
        "{egress: [{}, {to: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 11.0.0.0/16]}}]}]}",
        "spec.egress[1].to[1].ipBlock.except[1]",
        "11.0.0.0/16 does not lie strictly inside cidr 10.0.0.0/8: expected a smaller part of it",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "10.0.0.0/8 does not lie strictly inside cidr 10.0.0.0/8: expected a smaller part of it",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [0.0.0.0/0]}}]}]}",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "0.0.0.0/0 does not lie strictly inside cidr 10.0.0.0/8: expected a smaller part of it",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: '2001:db8::/32', except: [10.0.0.0/8]}}]}]}",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "10.0.0.0/8 does not lie strictly inside cidr 2001:db8::/32: expected a smaller part of it",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: '::/0', except: [0.0.0.0/1]}}]}]}",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "0.0.0.0/1 does not lie strictly inside cidr ::/0: expected a smaller part of it",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]}]}",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        r#""x" is not a block (no prefix length): expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64"#,
    ),
    // peers
    (
        "{ingress: [{from: [{}]}]}",
        "spec.ingress[0].from[0]",
        "empty peer: expected podSelector, namespaceSelector or ipBlock",
    ),
    (
        "{ingress: [{from: [{podSelector: }]}]}",
        "spec.ingress[0].from[0]",
        "empty peer: expected podSelector, namespaceSelector or ipBlock",
    ),
    (
        "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
        "spec.egress[0].to[0]",
        "ipBlock beside a selector: expected either, or two elements of the list",
    ),
    (
        "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]}]}",
        "spec.egress[0].to[0]",
        "ipBlock beside a selector: expected either, or two elements of the list",
    ),
    ("{ingress: [{from: [null]}]}", "spec.ingress[0].from[0]", "invalid type: null, expected NetworkPolicyPeer"),
    ("{ingress: [null]}", "spec.ingress[0]", "invalid type: null, expected NetworkPolicyIngressRule"),
    ("{ingress: {from: []}}", "spec.ingress", "invalid type: map, expected a sequence"),
    // ports
    ("{ingress: [{ports: [{port: 0}]}]}", "spec.ingress[0].ports[0].port", "0 is not a port: expected 1 to 65535"),
    (
        "{ingress: [{ports: [{port: 70000}]}]}",
        "spec.ingress[0].ports[0].port",
        "70000 is not a port: expected 1 to 65535",
    ),
    ("{ingress: [{ports: [{port: -1}]}]}", "spec.ingress[0].ports[0].port", "-1 is not a port: expected 1 to 65535"),
    (
        "{ingress: [{ports: [{port: 99999999999}]}]}",
        "spec.ingress[0].ports[0].port",
        "invalid value: integer `99999999999`, expected a 32-bit integer",
    ),
    (
        "{ingress: [{ports: [{port: 80.5}]}]}",
        "spec.ingress[0].ports[0].port",
        "invalid type: floating point `80.5`, expected a number or a string",
    ),
    (
        "{ingress: [{ports: [{port: true}]}]}",
        "spec.ingress[0].ports[0].port",
        "invalid type: boolean `true`, expected a number or a string",
    ),
    (
        "{ingress: [{ports: [{port: 200, endPort: 100}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "100 is below port: expected 200 or more",
    ),
    (
        "{ingress: [{ports: [{port: 200, endPort: 70000}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "70000 is not a port: expected 1 to 65535",
    ),
    (
        "{ingress: [{ports: [{endPort: 100}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "endPort without port: expected the first port of the range in port",
    ),
    (
        "{ingress: [{ports: [{port: http, endPort: 100}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "endPort beside a named port: expected a number in port",
    ),
    (
        "{ingress: [{ports: [{port: '80'}]}]}",
        "spec.ingress[0].ports[0].port",
        r#""80" is not a valid port name: expected at most 15 lower case letters, digits and single '-' between them, at least one letter"#,
    ),
    (
        "{ingress: [{ports: [{port: ''}]}]}",
        "spec.ingress[0].ports[0].port",
        r#""" is not a valid port name: expected at most 15 lower case letters, digits and single '-' between them, at least one letter"#,
    ),
    (
        "{ingress: [{ports: [{protocol: tcp}]}]}",
        "spec.ingress[0].ports[0].protocol",
        r#""tcp" is not a protocol: expected TCP, UDP or SCTP"#,
    ),
    (
        "{ingress: [{ports: [{protocol: ICMP}]}]}",
        "spec.ingress[0].ports[0].protocol",
        r#""ICMP" is not a protocol: expected TCP, UDP or SCTP"#,
    ),
    (
        "{ingress: [{ports: [{protocol: ''}]}]}",
        "spec.ingress[0].ports[0].protocol",
        r#""" is not a protocol: expected TCP, UDP or SCTP"#,
    ),
    // policy types
    (
        "{policyTypes: [ingress]}",
        "spec.policyTypes[0]",
        r#""ingress" is not a policy type: expected Ingress or Egress"#,
    ),
    ("{policyTypes: [no]}", "spec.policyTypes[0]", "invalid type: boolean `false`, expected a string"),
    ("{policyTypes: [Ingress, Egress, Ingress]}", "spec.policyTypes", "3 policy types: expected at most two"),
    ("{policyTypes: Ingress}", "spec.policyTypes", "invalid type: string \"Ingress\", expected a sequence"),
    // selectors
    (
        "{podSelector: {matchLabels: {a b: c}}}",
        r#"spec.podSelector.matchLabels["a b"]"#,
        r#""a b" is not a valid label key: expected an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"#,
    ),
    (
        "{podSelector: {matchLabels: {a: b c}}}",
        r#"spec.podSelector.matchLabels["a"]"#,
        r#""b c" is not a valid label value: expected at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, or nothing"#,
    ),
    (
        "{podSelector: {matchLabels: {a: 1}}}",
        "spec.podSelector.matchLabels.a",
        "invalid type: integer `1`, expected a string",
    ),
    (
        "{ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: /a, operator: Exists}]}}]}]}",
        "spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].key",
        r#""/a" is not a valid label key: expected an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"#,
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: Equals, values: [b]}]}}",
        "spec.podSelector.matchExpressions[0].operator",
        r#""Equals" is not an operator: expected In, NotIn, Exists or DoesNotExist"#,
    ),
    (
        "{podSelector: {matchExpressions: [{key: a}]}}",
        "spec.podSelector.matchExpressions[0].operator",
        r#""" is not an operator: expected In, NotIn, Exists or DoesNotExist"#,
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "spec.podSelector.matchExpressions[0].values",
        "missing: In needs at least one value",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}",
        "spec.podSelector.matchExpressions[0].values",
        "missing: NotIn needs at least one value",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
        "spec.podSelector.matchExpressions[0].values",
        "not allowed: Exists takes no values",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In, values: [b, 'c d']}]}}",
        "spec.podSelector.matchExpressions[0].values[1]",
        r#""c d" is not a valid label value: expected at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, or nothing"#,
    ),
    // fields
    ("{ingress: [{form: [{podSelector: {}}]}]}", "spec.ingress[0].form", "unknown field: expected one of from, ports"),
    ("{egress: [{from: []}]}", "spec.egress[0].from", "unknown field: expected one of to, ports"),
    (
        "{podselector: {}}",
        "spec.podselector",
        "unknown field: expected one of podSelector, policyTypes, ingress, egress",
    ),
    (
        "{ingress: [{from: [{podSelector: {}, podSelctor: {}}]}]}",
        "spec.ingress[0].from[0].podSelctor",
        "unknown field: expected one of podSelector, namespaceSelector, ipBlock",
    ),
    ("{ingress: [{from: [{podSelector: {}}], from: []}]}", "spec.ingress[0].from", "the key is given twice: keep one"),
    ("[]", "spec", "invalid type: sequence, expected NetworkPolicySpec"),
];

#[test]
fn every_mistake_is_named_with_object_field_and_what_is_expected() {
    for (spec, field, message) in MISTAKES {
        let expected = format!(
            "net.yaml, document 1: NetworkPolicy shop/p: {field}: {message}; \
             until it is valid, its pods are isolated and none of its rules count"
        );
        assert_eq!(problems(&policy(spec)), [expected], "{spec}");
    }
}

#[test]
fn no_mistake_allows_anything() {
    for (spec, ..) in MISTAKES {
        // A rule that allows everything beside the mistake must not count either.
        let loaded = parse(&policy(spec).replace("ingress: [", "ingress: [{}, "));
        let policy = only_policy(&loaded);
        let allows = |isolation: &Isolation| matches!(isolation, Isolation::Restricted(rules) if !rules.is_empty());
        assert!(!allows(&policy.ingress) && !allows(&policy.egress), "{spec}");
        assert!(
            policy.ingress != Isolation::Unaffected || policy.egress != Isolation::Unaffected,
            "{spec} must isolate in some direction"
        );
    }
}

#[test]
fn all_mistakes_of_a_policy_are_named() {
    let text = policy(
        "{podSelector: {matchLabels: {a: 'b c'}}, policyTypes: [Both], ingress: [{form: []}, {ports: [{port: 0}, {port: yes}]}], \
         egress: [{to: [{}, {ipBlock: {cidr: x, except: [x1]}}]}]}",
    );
    let fields: Vec<_> = parse(&text).problems.into_iter().filter_map(|problem| problem.field).collect();
    assert_eq!(
        fields,
        [
            "spec.egress[0].to[0]",
            "spec.egress[0].to[1].ipBlock.cidr",
            "spec.egress[0].to[1].ipBlock.except[0]",
            "spec.ingress[0].form",
            "spec.ingress[1].ports[0].port",
            "spec.ingress[1].ports[1].port",
            r#"spec.podSelector.matchLabels["a"]"#,
            "spec.policyTypes[0]",
        ]
    );
}

#[test]
fn names_are_checked() {
    for (metadata, object, field, message) in [
        (
            "{namespace: shop}",
            "shop/(unnamed object 1 of net.yaml)",
            "metadata.name",
            "missing: expected the object's name",
        ),
        (
            "{generateName: p-}",
            "default/(unnamed object 1 of net.yaml)",
            "metadata.name",
            "missing: expected the object's name; generateName makes none outside the API",
        ),
        (
            "{name: P, namespace: shop}",
            "shop/\"P\"",
            "metadata.name",
            "\"P\" is not a valid name: expected at most 253 lower case letters, digits, '-' and '.', \
             each part beginning and ending with a letter or digit",
        ),
        (
            "{name: p, namespace: a.b}",
            "a.b/p",
            "metadata.namespace",
            "\"a.b\" is not a valid name: expected at most 63 lower case letters, digits and '-', \
             beginning and ending with a letter or digit",
        ),
        (
            "{name: 7}",
            "default/(unnamed object 1 of net.yaml)",
            "metadata.name",
            "invalid type: integer `7`, expected a string",
        ),
        ("{name: p, lables: {a: b}}", "default/p", "metadata.lables", "unknown field"),
    ] {
        let text = format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}}}");
        let expected = format!(
            "net.yaml, document 1: NetworkPolicy {object}: {field}: {message}; \
             until it is valid, its pods are isolated and none of its rules count"
        );
        assert_eq!(problems(&text), [expected], "{metadata}");
        assert_eq!(only_policy(&parse(&text)).pod_selector, Selector::default());
    }
}

#[test]
fn wrong_version_or_kind_of_a_policy_is_named_and_isolates() {
    for (api_version, kind, field, message) in [
        (
            "networking.k8s.io/v1beta1",
            "NetworkPolicy",
            "apiVersion",
            "\"networking.k8s.io/v1beta1\": expected networking.k8s.io/v1",
        ),
        ("extensions/v1beta1", "NetworkPolicy", "apiVersion", "\"extensions/v1beta1\": expected networking.k8s.io/v1"),
        ("''", "NetworkPolicy", "apiVersion", "missing: expected networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "Networkpolicy", "kind", "\"Networkpolicy\": expected NetworkPolicy"),
    ] {
        let text =
            format!("{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: p}}, spec: {{ingress: [{{}}]}}}}");
        let loaded = parse(&text);
        let found: Vec<_> =
            loaded.problems.iter().map(|problem| (problem.field.as_deref(), problem.message.as_str())).collect();
        assert_eq!(found, [(Some(field), message)]);
        assert_eq!(only_policy(&loaded).ingress, Isolation::Restricted(vec![]));
    }
}
