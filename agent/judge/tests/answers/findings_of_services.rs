//! What `check` finds where policies mistake Services for pods: ports, addresses, DNS, the API server, and clients outside.

use std::collections::{BTreeMap, BTreeSet};

use podgate_judge::check::{Checked, check_all};
use podgate_policy::cluster::Written;
use podgate_policy::model::{Pod, PortMatch, Protocol, Rule};
use podgate_policy::services::TrafficPolicy;

use crate::findings::{expect, found, shop, written};
use crate::service_world::{by_hand, endpoint, leads, leads_to_name, service, slice};
use crate::world::{
    World, anything, block, egress, host_on, ingress, key, matching, one, peers, pods, pods_in, policy, ports,
};

use Protocol::{Tcp, Udp};

fn dns() -> Rule {
    ports(vec![one(Udp, 53)])
}

fn on(port: PortMatch) -> Rule {
    Rule { ports: ports(vec![port]).ports, ..peers(vec![pods(matching("app=api"))]) }
}

fn with_service() -> World {
    let ports = vec![leads("", Tcp, 80, 8080), leads_to_name("named", Tcp, 81, "grpc")];
    shop().service(service("shop/api", "app=api", "10.96.0.20", ports))
}

fn service_port(policy: &str, field: &str, port: u16) -> String {
    format!(
        "warning service-port shop/{policy}: {field}: TCP {port} is the port of Service shop/api, which leads to port 8080 of its \
         pods: policies judge the pods' own port, so the rule does not allow what comes through the Service; write the pods' \
         port 8080, or its name grpc"
    )
}

#[test]
fn a_port_of_a_service_is_told_with_the_pods_own() {
    let out = |port| with_service().policy(egress("shop/web", "app=web", vec![on(one(Tcp, port)), dns()]));
    expect(&out(80), &[&service_port("web", "spec.egress[0].ports[0].port", 80)]);
    expect(&out(81), &[&service_port("web", "spec.egress[0].ports[0].port", 81)]);
    expect(&out(8080), &[]);
    // No Service has it: a port that a container need not declare.
    expect(&out(9000), &[]);
    let inward = with_service().policy(ingress("shop/in", "app=api", vec![ports(vec![one(Tcp, 80)])]));
    expect(&inward, &[&service_port("in", "spec.ingress[0].ports[0].port", 80)]);
}

#[test]
fn a_port_of_a_service_beside_the_pods_own_does_no_harm() {
    let both = Rule { ports: ports(vec![one(Tcp, 80), one(Tcp, 8080)]).ports, ..on(one(Tcp, 80)) };
    expect(&with_service().policy(egress("shop/web", "app=web", vec![both, dns()])), &[]);
    // Somebody outside may listen there.
    let outside = Rule {
        ports: ports(vec![one(Tcp, 80)]).ports,
        ..peers(vec![pods(matching("app=api")), block("192.0.2.0/24", &[])])
    };
    expect(&with_service().policy(egress("shop/web", "app=web", vec![outside, dns()])), &[]);
}

/// DNS behind its Service, which leads to this port.
fn with_dns(service_name: &str, labels: &str, target: u16) -> World {
    let namespace = key(service_name).namespace.to_string();
    shop()
        .namespace(&namespace, &format!("kubernetes.io/metadata.name={namespace}"))
        .pod_with(&format!("{namespace}/dns"), labels, "10.0.9.1", |pod: &mut Pod| pod.node = Some("node-2".into()))
        .service(service(service_name, labels, "10.96.0.10", vec![leads("dns", Udp, 53, target)]))
}

#[test]
fn dns_is_allowed_by_the_port_that_its_service_leads_to() {
    let asking = |world: World, namespace: &str, port| {
        let name = format!("kubernetes.io/metadata.name={namespace}");
        let rule =
            Rule { ports: ports(vec![one(Udp, port)]).ports, ..peers(vec![pods_in(matching(&name), matching(""))]) };
        world.policy(egress("shop/p", "app=web", vec![rule]))
    };
    let kube_dns = || with_dns("kube-system/kube-dns", "k8s-app=kube-dns", 5353);
    expect(&asking(kube_dns(), "kube-system", 5353), &[]);
    let without = |instead: &str| {
        format!(
            "warning egress-without-dns shop/p: spec.egress: egress of shop/web is isolated by shop/p, and no rule allows the \
             cluster's DNS, so names can't be resolved; allow UDP and TCP {instead}: policies judge the port that the Service \
             leads to, not its own"
        )
    };
    expect(
        &asking(kube_dns(), "kube-system", 53),
        &[
            &without("5353 to the pods with k8s-app=kube-dns in namespace kube-system"),
            "warning service-port shop/p: spec.egress[0].ports[0].port: UDP 53 is the port of Service kube-system/kube-dns, which \
             leads to port 5353 of its pods: policies judge the pods' own port, so the rule does not allow what comes through \
             the Service; write the pods' port 5353",
        ],
    );
    let openshift = || with_dns("openshift-dns/dns-default", "dns=default", 5353);
    expect(&asking(openshift(), "openshift-dns", 5353), &[]);
    let other = asking(openshift(), "monitoring", 5353);
    expect(&other, &[&without("5353 to the pods with dns=default in namespace openshift-dns")]);
}

#[test]
fn dns_pods_that_are_yet_to_come_count_by_the_port_of_their_service() {
    let mut world = with_dns("kube-system/kube-dns", "k8s-app=kube-dns", 5353);
    let mut pod = Pod::clone(&world.cluster.pods[&key("kube-system/dns")]);
    pod.addresses.clear();
    world.cluster.pods.insert(pod.key.clone(), pod.into());
    let name = "kubernetes.io/metadata.name=kube-system";
    let rule = || peers(vec![pods_in(matching(name), matching(""))]);
    let with = |rule| world.clone().policy(egress("shop/p", "app=web", vec![rule]));
    expect(&with(Rule { ports: ports(vec![one(Udp, 5353)]).ports, ..rule() }), &[]);
    expect(&with(peers(vec![block("10.0.0.0/8", &[])])), &[]);
    assert_eq!(found(&with(Rule { ports: ports(vec![one(Tcp, 443)]).ports, ..rule() }), &written()).len(), 1);
}

fn to_block(world: World, cidr: &str) -> World {
    world.policy(egress("shop/p", "app=web", vec![peers(vec![block(cidr, &[])]), dns()]))
}

#[test]
fn the_api_servers_cluster_ip_is_told_with_its_own_addresses() {
    let known = || {
        let ports = vec![leads("https", Tcp, 443, 6443)];
        shop().service(by_hand("default/kubernetes", "10.96.0.1", ports))
    };
    let finding = |instead: &str| {
        format!(
            "warning api-server-by-service-ip shop/p: spec.egress[0].to[0].ipBlock.cidr: 10.96.0.1/32 is the ClusterIP of Service \
             default/kubernetes, which is replaced by an address of the API server before policies see a packet; allow the API \
             server's own addresses{instead}"
        )
    };
    let look_up =
        " and port, which kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes shows";
    expect(&to_block(known(), "10.96.0.1/32"), &[&finding(look_up)]);
    let listed = known().slice(slice("default/kubernetes", 0, &[("https", Tcp, 6443)], vec![endpoint("192.0.2.10")]));
    expect(&to_block(listed, "10.96.0.1/32"), &[&finding(": ipBlock 192.0.2.10/32 with TCP 6443")]);
}

#[test]
fn the_usual_cluster_ip_of_the_api_server_is_a_note_where_no_service_is_known() {
    expect(
        &to_block(shop(), "10.43.0.1/32"),
        &[
            "note api-server-by-service-ip shop/p: spec.egress[0].to[0].ipBlock.cidr: 10.43.0.1/32 is in many clusters the ClusterIP \
           of Service default/kubernetes, which is replaced by an address of the API server before policies see a packet; allow \
           the API server's own addresses and port, which kubectl get endpointslices -n default -l \
           kubernetes.io/service-name=kubernetes shows",
        ],
    );
    expect(&to_block(shop(), "10.43.0.2/32"), &[]);
    expect(&to_block(with_service(), "10.43.0.1/32"), &[]);
}

#[test]
fn clients_that_come_with_the_address_of_a_node_are_not_known_by_a_block() {
    let from =
        |world: World, cidr: &str| world.policy(ingress("shop/p", "app=api", vec![peers(vec![block(cidr, &[])])]));
    let exposed = |world: &World| found(world, &Written { exposed: BTreeSet::from([key("shop/api")]), ..written() });
    let expected = "warning clients-masqueraded shop/p: spec.ingress[0].from[0].ipBlock.cidr: clients of Service shop/api come with \
                    the address of the node that forwards them (externalTrafficPolicy: Cluster), and 203.0.113.0/24 is no node's, \
                    so those that it names are kept out; set externalTrafficPolicy: Local in Service shop/api, so that clients keep \
                    their addresses; or allow the nodes' addresses here, and name the clients in its loadBalancerSourceRanges";
    let public = || from(with_service(), "203.0.113.0/24");
    assert_eq!(exposed(&public()), [expected]);
    // Within the cluster alone, nobody is masqueraded.
    expect(&public(), &[]);
    // Private addresses may be those of nodes, until nodes are known.
    let private = || from(with_service(), "192.168.7.0/24");
    assert_eq!(exposed(&private()), [""; 0]);
    assert_eq!(
        exposed(&private().node("node-1", "192.168.1.4")),
        [expected.replace("203.0.113.0/24", "192.168.7.0/24")]
    );
    assert_eq!(exposed(&private().node("node-1", "192.168.7.4")), [""; 0]);
    // Nodes are let in by another rule, or everybody is.
    assert_eq!(
        exposed(&public().policy(ingress("shop/q", "app=api", vec![anything()]))).len(),
        1,
        "rule-shadowed alone"
    );
    let mut local = public();
    let mut service = podgate_policy::services::Service::clone(&local.cluster.services[&key("shop/api")]);
    service.external = TrafficPolicy::Local;
    local.cluster.services.insert(key("shop/api"), service.into());
    assert_eq!(exposed(&local), [""; 0]);
}

#[test]
fn a_policy_without_a_spec_is_told_what_it_does() {
    let world = shop().policy(ingress("shop/p", "", vec![]));
    let written = Written { empty: BTreeSet::from([key("shop/p")]), ..written() };
    assert_eq!(
        found(&world, &written),
        [
            "warning empty-spec shop/p: spec: there is nothing in it, so the policy selects every pod of namespace shop and denies \
          all ingress; write what is meant: podSelector: {} with policyTypes: [Ingress], if all ingress is to be denied"
        ]
    );
}

#[test]
fn pods_that_no_policy_isolates_are_told_by_namespace_but_for_the_clusters_own() {
    let lines = |world: &World| -> Vec<String> {
        let Checked { findings, ignored } = check_all(&world.cluster, &written());
        assert_eq!(ignored, []);
        findings
            .iter()
            .map(|it| format!("{} {} {}: {}: {}", it.severity, it.rule.name(), it.object, it.field, it.why))
            .collect()
    };
    let world = shop().pod("kube-system/dns", "k8s-app=kube-dns", "10.0.9.1").pod_with(
        "monitoring/agent",
        "app=agent",
        "192.0.2.1",
        host_on("node-1"),
    );
    assert_eq!(lines(&world), [""; 0]);
    assert_eq!(
        lines(&world.policy(ingress("shop/p", "app=web", vec![])).policy(policy("monitoring/none", ""))),
        [
            "note not-isolated monitoring: metadata.name: no policy isolates any pod of namespace monitoring, so everybody reaches \
             them, and they reach everybody",
            "note not-isolated shop: metadata.name: no policy isolates pod shop/api, so everybody reaches these, and they reach \
             everybody",
        ]
    );
}

#[test]
fn an_annotation_ignores_a_finding_for_a_reason_and_nothing_without_one() {
    let world = shop().policy(ingress("shop/p", "app=queue", vec![]));
    let with = |text: &str| {
        let written = Written { ignored: BTreeMap::from([(key("shop/p"), text.to_owned())]), ..written() };
        let Checked { findings, ignored } = check_all(&world.cluster, &written);
        let names =
            |all: Vec<podgate_judge::check::Finding>| -> Vec<_> { all.iter().map(|it| it.rule.name()).collect() };
        let reasons: Vec<_> = ignored.into_iter().map(|(finding, reason)| (finding.rule.name(), reason)).collect();
        let wrong = findings.iter().find(|it| it.rule.name() == "ignore-without-effect");
        let wrong = wrong.map(|it| format!("{} {}: {}; {}", it.severity, it.field, it.why, it.instead));
        (names(findings), reasons, wrong)
    };
    let reason = || "the queue comes: next month".to_owned();
    let open = "not-isolated";
    assert_eq!(
        with("\n policy-selects-nothing:  the queue comes: next month \n\n"),
        (vec![open, open], vec![("policy-selects-nothing", reason())], None)
    );
    let field = "metadata.annotations[\"podgate.io/check-ignore\"]";
    let without = format!(
        "warning {field}: policy-selects-nothing is not ignored, since no reason is given; write policy-selects-nothing: REASON"
    );
    let wrong = vec!["ignore-without-effect", "policy-selects-nothing", open, open];
    assert_eq!(with("policy-selects-nothing"), (wrong.clone(), vec![], Some(without)));
    let unknown = format!(
        "warning {field}: \"policy-selects-nothin\" is not the name of a finding, so nothing is ignored by it; did you mean \
         policy-selects-nothing?"
    );
    assert_eq!(with("policy-selects-nothin: soon"), (wrong, vec![], Some(unknown)));
}
