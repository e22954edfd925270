//! The incidents of the documentation, from the symptom to the policy.

use crate::support::{api_serves_web, podgate, policy, result, shop_with};

/// Runs the commands that the documentation gives, and asks for what they must name.
#[track_caller]
fn follow(policies: &str, steps: &[(&[&str], i32, &str)]) {
    let shop = shop_with(policies);
    assert!(steps.len() <= 3);
    for (arguments, status, says) in steps {
        let (its, text) = result(&podgate(shop.path(), arguments));
        assert_eq!(its, Some(*status), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?} does not say {says:?}:\n{text}");
    }
}

fn explain<'a>(from: &'a str, to: &'a str, port: &'a str) -> [&'a str; 9] {
    ["explain", "-f", ".", "--from", from, "--to", to, "--port", port]
}

const CHECK: &[&str] = &["check", "-f", "."];

#[test]
fn dns_is_blocked_by_egress_isolation() {
    let policies = policy(
        "web-out",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], \
          egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}",
    );
    let mut ask = explain("shop/web", "svc/kube-system/kube-dns", "53").to_vec();
    ask.extend(["--protocol", "UDP"]);
    follow(
        &policies,
        &[
            (&ask, 1, "egress of shop/web: denied, isolated by shop/web-out; no rule matches"),
            (CHECK, 1, "warning egress-without-dns: NetworkPolicy shop/web-out: spec.egress\n"),
        ],
    );
}

#[test]
fn a_label_is_wrong() {
    let policies = policy(
        "api",
        "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {app: Web}}}]}]}",
    );
    follow(
        &policies,
        &[
            (&explain("shop/web", "pod/shop/api", "8080"), 1, "from[0] podSelector {app=Web}: shop/web has app=web"),
            (CHECK, 1, "instead: did you mean app=web?"),
        ],
    );
}

#[test]
fn a_label_of_a_namespace_is_wrong() {
    let policies = policy(
        "api",
        "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}]}",
    );
    follow(
        &policies,
        &[
            (&explain("monitoring/prober", "pod/shop/api", "8080"), 1, "its namespace has no label name"),
            (CHECK, 1, "use the label that every namespace has: kubernetes.io/metadata.name: monitoring"),
        ],
    );
}

#[test]
fn a_named_port_does_not_match() {
    let policies = policy("api", "{podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: http}]}]}");
    follow(
        &policies,
        &[
            (
                &explain("shop/web", "pod/shop/api", "8080"),
                1,
                "ports allow only TCP/http (which shop/api does not serve)",
            ),
            (CHECK, 1, "warning port-not-served: NetworkPolicy shop/api: spec.ingress[0].ports[0].port\n"),
        ],
    );
}

#[test]
fn a_service_leads_to_a_pod_that_is_not_allowed() {
    let policies = api_serves_web()
        + &policy(
            "web-out",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}, \
          {to: [{ipBlock: {cidr: 10.96.0.20/32}}]}]}",
        );
    follow(
        &policies,
        &[
            (&explain("shop/web", "svc/shop/api", "80"), 1, "denied at shop/api (10.0.0.2 TCP/8080)"),
            (CHECK, 1, "warning block-of-services: NetworkPolicy shop/web-out: spec.egress[1].to[0].ipBlock.cidr\n"),
        ],
    );
}
