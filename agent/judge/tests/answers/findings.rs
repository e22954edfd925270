//! What `check` finds in policies, and what it leaves alone.

use std::collections::BTreeSet;

use podgate_judge::check::{Severity, Unjudged, check, unjudged};
use podgate_policy::cluster::Written;
use podgate_policy::model::{Direction, Pod, Protocol};

use crate::service_world::{ips, leads, service};
use crate::world::{
    World, anything, block, egress, host_on, ingress, key, matching, named, one, peers, pods, pods_in, policy, ports,
    serving,
};

use Protocol::{Tcp, Udp};

/// Web and API in the shop, a prober in monitoring; namespaces are known.
pub(crate) fn shop() -> World {
    World::default()
        .namespace("shop", "kubernetes.io/metadata.name=shop,team=shop")
        .namespace("monitoring", "kubernetes.io/metadata.name=monitoring,purpose=monitoring")
        .pod_with("shop/web", "app=web", "10.0.0.1", serving(&[("http", Tcp, 80)]))
        .pod_with("shop/api", "app=api", "10.0.0.2", serving(&[("grpc", Tcp, 8080), ("http3", Udp, 8080)]))
        .pod("monitoring/prober", "app=prober", "10.0.1.1")
}

pub(crate) fn written() -> Written {
    Written { namespaces: true, ..Written::default() }
}

/// The findings, a line for each.
pub(crate) fn found(world: &World, written: &Written) -> Vec<String> {
    let line = |it: podgate_judge::check::Finding| {
        format!("{} {} {}: {}: {}; {}", it.severity, it.rule.name(), it.object, it.field, it.why, it.instead)
    };
    check(&world.cluster, written).into_iter().map(line).collect()
}

#[track_caller]
pub(crate) fn expect(world: &World, expected: &[&str]) {
    assert_eq!(found(world, &written()), expected);
}

#[test]
fn policies_that_do_what_they_say_are_left_alone() {
    let dns = || pods_in(matching("kubernetes.io/metadata.name=kube-system"), matching("k8s-app=kube-dns"));
    let world = shop()
        .policy(policy("shop/nothing", ""))
        .policy(ingress("shop/deny", "", vec![]))
        .policy(ingress("shop/web", "app=web", vec![anything()]))
        .policy(ingress(
            "shop/api",
            "app=api",
            vec![peers(vec![
                pods(matching("app=web")),
                pods_in(matching("purpose=monitoring"), matching("")),
                block("10.0.0.0/8", &["10.0.0.0/24"]),
                block("0.0.0.0/0", &[]),
            ])],
        ))
        .policy(egress("shop/dns", "", vec![peers(vec![dns()])]))
        .policy(egress("shop/web-out", "app=web", vec![peers(vec![pods(matching("app=api"))])]));
    // The pods of kube-system are not given, so what selects them may be right.
    expect(&world, &[]);
}

#[test]
fn a_policy_that_selects_nothing_names_the_labels_that_there_are() {
    let world = shop().policy(ingress("shop/p", "app=queue", vec![]));
    expect(
        &world,
        &["warning policy-selects-nothing shop/p: spec.podSelector: no pod of namespace shop has app=queue; \
           use labels of the pods that are meant: there, app is api, web"],
    );
}

#[test]
fn a_policy_for_host_network_pods_alone_is_told_why_it_has_no_effect() {
    let world = shop().pod_with("shop/agent", "app=agent", "192.0.2.1", host_on("node-1"));
    expect(
        &world.policy(ingress("shop/p", "app=agent", vec![])),
        &["warning policy-selects-nothing shop/p: spec.podSelector: the policy selects only host-network pods \
           (shop/agent), which no policy isolates; protect these by other means: they are processes of their node"],
    );
}

#[test]
fn a_policy_for_all_pods_where_there_are_only_host_network_pods_waits_for_others() {
    let world = shop().pod_with("system/agent", "app=agent", "192.0.2.1", host_on("node-1"));
    expect(
        &world.policy(ingress("system/p", "", vec![])),
        &["note policy-selects-nothing system/p: spec.podSelector: the policy selects only host-network pods \
           (system/agent), which no policy isolates; protect these by other means: they are processes of their node"],
    );
}

#[test]
fn a_namespace_without_pods_may_be_meant_or_misspelt() {
    let world = shop().policy(ingress("later/p", "", vec![])).policy(ingress("monitorng/p", "", vec![]));
    expect(
        &world,
        &[
            "note policy-selects-nothing later/p: spec.podSelector: there are no pods in namespace later; move the \
             policy to the namespace of the pods it is meant for, unless they are yet to come",
            "warning policy-selects-nothing monitorng/p: spec.podSelector: there are no pods in namespace monitorng; \
             did you mean namespace monitoring?",
        ],
    );
}

#[test]
fn labels_that_almost_exist_are_named() {
    let world = shop()
        .policy(ingress("shop/case", "app=Web", vec![]))
        .policy(ingress("shop/key", "App=web", vec![]))
        .policy(ingress("shop/swapped", "app=wbe", vec![]));
    expect(
        &world,
        &[
            "warning label-typo shop/case: spec.podSelector: no pod of namespace shop has the label app=Web; did you mean app=web?",
            "warning label-typo shop/key: spec.podSelector: no pod of namespace shop has the label App; did you mean app?",
            "warning label-typo shop/swapped: spec.podSelector: no pod of namespace shop has the label app=wbe; did you mean app=web?",
        ],
    );
}

#[test]
fn rules_that_policy_types_leaves_out_are_an_error() {
    let world = shop().policy(ingress("shop/p", "app=web", vec![]));
    let ineffective = BTreeSet::from([(key("shop/p"), Direction::Egress)]);
    assert_eq!(
        found(&world, &Written { ineffective, ..written() }),
        [
            "error rules-without-type shop/p: spec.policyTypes: the policy has egress rules, but policyTypes leaves Egress \
          out, so they neither isolate nor allow; add Egress to policyTypes, or remove spec.egress"
        ]
    );
}

#[test]
fn a_stand_in_for_an_invalid_policy_is_not_looked_at() {
    let world = shop().policy(egress("shop/p", "app=nobody", vec![])).policy(egress("shop/q", "", vec![]));
    let unsound = BTreeSet::from([key("shop/p"), key("shop/q")]);
    assert_eq!(found(&world, &Written { unsound, ..written() }), [""; 0]);
}

#[test]
fn a_rule_beside_one_that_allows_everything_is_told_by_which() {
    let narrow = || ports(vec![one(Tcp, 80)]);
    let own = shop().policy(ingress("shop/p", "app=web", vec![narrow(), anything()]));
    let shadowed = |field: &str, by: &str| {
        format!(
            "warning rule-shadowed shop/p: {field}: the rule has no effect: {by} allows all ingress of the same pods; remove \
             the rule that allows everything, if this one is meant to restrict; else remove this one"
        )
    };
    expect(&own, &[&shadowed("spec.ingress[0]", "shop/p ingress[1]")]);

    let others = || {
        shop().policy(ingress("shop/p", "", vec![narrow()])).policy(ingress("shop/web", "app=web", vec![anything()]))
    };
    expect(&others(), &[]);
    let all = others().policy(ingress("shop/api", "app=api", vec![anything()]));
    expect(&all, &[&shadowed("spec.ingress[0]", "shop/api ingress[0], shop/web ingress[0]")]);
}

#[test]
fn a_named_port_must_be_served_by_some_pod_concerned() {
    let inbound =
        |protocol, name| shop().policy(ingress("shop/p", "app=api", vec![ports(vec![named(protocol, name)])]));
    expect(&inbound(Tcp, "grpc"), &[]);
    let finding = |protocol: Protocol, name: &str, instead: &str| {
        format!(
            "warning port-not-served shop/p: spec.ingress[0].ports[0].port: shop/api, the only pod concerned, has no {protocol} \
             container port named {name}; {instead}"
        )
    };
    expect(&inbound(Tcp, "http3"), &[&finding(Tcp, "http3", "the name is one of a UDP port: write protocol: UDP")]);
    expect(&inbound(Tcp, "gprc"), &[&finding(Tcp, "gprc", "did you mean grpc?")]);
    expect(
        &inbound(Tcp, "admin"),
        &[&finding(Tcp, "admin", "use a name that the pods have (grpc), or the port's number")],
    );
}

#[test]
fn a_named_port_of_egress_means_the_pods_that_the_rule_leads_to() {
    let outbound = |peer, name| {
        let mut rule = peers(vec![peer]);
        rule.ports = ports(vec![named(Tcp, name)]).ports;
        shop().policy(egress("shop/p", "app=web", vec![rule, ports(vec![one(Udp, 53)])]))
    };
    expect(&outbound(pods(matching("app=api")), "grpc"), &[]);
    expect(&outbound(block("10.0.0.0/8", &[]), "grpc"), &[]);
    expect(
        &outbound(pods(matching("")), "admin"),
        &[
            "warning port-not-served shop/p: spec.egress[0].ports[0].port: none of the 2 pods concerned (shop/api, shop/web) \
           has a TCP container port named admin; use a name that the pods have (grpc, http), or the port's number",
        ],
    );
    // Nobody serves a name there, but the pods of kube-system are not given.
    let hidden = pods_in(matching("kubernetes.io/metadata.name=kube-system"), matching(""));
    expect(&outbound(hidden, "admin"), &[]);
}

#[test]
fn blocks_of_pods_are_told_by_size_or_by_the_nodes_own_blocks() {
    let with = |cidr| shop().policy(ingress("shop/p", "app=web", vec![peers(vec![block(cidr, &[])])]));
    let finding = |why: &str| {
        format!(
            "warning block-of-pods shop/p: spec.ingress[0].from[0].ipBlock.cidr: {why}; use podSelector and \
             namespaceSelector: addresses of pods change when they are made anew"
        )
    };
    expect(&with("10.0.0.2/32"), &[&finding("10.0.0.2/32 is made of pod addresses: shop/api")]);
    expect(&with("10.0.0.0/24"), &[&finding("10.0.0.0/24 is made of pod addresses: shop/api, shop/web")]);
    expect(&with("10.0.0.0/16"), &[]);
    expect(&with("192.0.2.0/24"), &[]);
    let mut on_node = with("10.9.0.0/20").node("node-1", "192.0.2.9");
    let mut node = podgate_policy::services::Node::clone(&on_node.cluster.nodes["node-1"]);
    node.pod_cidrs = vec!["10.9.0.0/16".parse().unwrap()];
    on_node.cluster.nodes.insert("node-1".into(), node.into());
    expect(&on_node, &[&finding("10.9.0.0/20 lies within the pods' addresses of node node-1")]);
}

#[test]
fn blocks_of_cluster_ips_are_told() {
    let with = |cidr| {
        let api = service("shop/api", "app=api", "10.96.0.20", vec![leads("", Tcp, 80, 8080)]);
        let rules = vec![peers(vec![block(cidr, &[])]), ports(vec![one(Udp, 53)])];
        shop().service(api).policy(egress("shop/p", "app=web", rules))
    };
    let finding = |cidr: &str| {
        format!(
            "warning block-of-services shop/p: spec.egress[0].to[0].ipBlock.cidr: {cidr} is made of addresses of Services: \
             shop/api; policies judge the pods behind them, by their own addresses and ports; select the pods behind the \
             Services, and their own ports"
        )
    };
    expect(&with("10.96.0.20/32"), &[&finding("10.96.0.20/32")]);
    expect(&with("10.96.0.0/12"), &[&finding("10.96.0.0/12")]);
    expect(&with("10.0.0.0/8"), &[]);
    expect(&with("203.0.113.0/24"), &[]);
}

/// A world with DNS pods behind their Service, on a node of their own.
fn with_dns(world: World) -> World {
    let on_node_2 = |pod: &mut Pod| pod.node = Some("node-2".into());
    world
        .namespace("kube-system", "kubernetes.io/metadata.name=kube-system")
        .pod_with("kube-system/coredns", "k8s-app=kube-dns", "10.0.9.1", on_node_2)
        .service(service("kube-system/kube-dns", "k8s-app=kube-dns", "10.96.0.10", vec![leads("dns", Udp, 53, 53)]))
}

fn without_dns(severity: Severity, pods: &str, by: &str, dns: &str) -> String {
    format!(
        "{severity} egress-without-dns shop/p: spec.egress: egress of {pods} is isolated by {by}, and no rule allows {dns}, so \
         names can't be resolved; allow UDP and TCP 53 to the pods with k8s-app=kube-dns in namespace kube-system"
    )
}

#[test]
fn egress_without_dns_is_found_by_the_verdict_for_the_dns_pods() {
    let to_api = || egress("shop/p", "app=web", vec![peers(vec![pods(matching("app=api"))])]);
    let finding = without_dns(Severity::Warning, "shop/web", "shop/p", "the cluster's DNS");
    expect(&with_dns(shop()).policy(to_api()), &[&finding]);

    let allowing = |peer| egress("shop/q", "", vec![peers(vec![peer])]);
    let all_of = |labels| pods_in(matching("kubernetes.io/metadata.name=kube-system"), matching(labels));
    expect(&with_dns(shop()).policy(to_api()).policy(allowing(all_of("k8s-app=kube-dns"))), &[]);
    expect(&with_dns(shop()).policy(to_api()).policy(allowing(block("10.0.0.0/8", &[]))), &[]);
    let wrong_address = with_dns(shop()).policy(egress("shop/p", "", vec![peers(vec![block("172.16.0.0/12", &[])])]));
    expect(&wrong_address, &[&without_dns(Severity::Warning, "shop/api, shop/web", "shop/p", "the cluster's DNS")]);
}

#[test]
fn dns_pods_themselves_need_no_dns() {
    expect(
        &with_dns(shop()).policy(egress("kube-system/p", "k8s-app=kube-dns", vec![ports(vec![one(Tcp, 443)])])),
        &[],
    );
}

#[test]
fn pods_that_may_open_nothing_at_all_need_no_names() {
    let world = with_dns(shop()).policy(egress("shop/p", "app=web", vec![]));
    expect(&world, &[&without_dns(Severity::Note, "shop/web", "shop/p", "the cluster's DNS")]);
}

#[test]
fn where_dns_is_not_known_any_server_will_do() {
    let with = |rule| shop().policy(egress("shop/p", "app=web", vec![rule]));
    expect(&with(ports(vec![one(Udp, 53)])), &[]);
    expect(&with(peers(vec![block("192.0.2.53/32", &[])])), &[]);
    expect(&with(peers(vec![pods_in(matching(""), matching(""))])), &[]);
    expect(
        &with(peers(vec![pods(matching("app=api"))])),
        &[&without_dns(Severity::Warning, "shop/web", "shop/p", "port 53 of any DNS server")],
    );
    expect(
        &with(ports(vec![one(Tcp, 443)])),
        &[&without_dns(Severity::Warning, "shop/web", "shop/p", "port 53 of any DNS server")],
    );
}

#[test]
fn node_local_dns_is_reached_whatever_policies_say() {
    let world = with_dns(shop()).policy(egress("shop/p", "app=web", vec![ports(vec![one(Tcp, 443)])]));
    let local = |pod: &mut Pod| {
        pod.host_network = true;
        pod.addresses = ips("192.0.2.1");
    };
    expect(&world.pod_with("kube-system/local", "k8s-app=node-local-dns", "192.0.2.1", local), &[]);
}

#[test]
fn without_pods_or_namespaces_nothing_is_said_of_what_selects_them() {
    let mut world = shop().policy(ingress(
        "shop/p",
        "app=queue",
        vec![peers(vec![pods(matching("app=nobody")), pods_in(matching("team=nobody"), matching(""))])],
    ));
    world.cluster.pods.clear();
    assert_eq!(found(&world, &Written::default()), [""; 0]);
    assert_eq!(unjudged(&world.cluster, &Written::default()), [Unjudged::Pods, Unjudged::Namespaces]);
    assert_eq!(unjudged(&shop().cluster, &written()), []);
}
