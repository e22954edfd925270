//! What `check` finds where one end allows what the other does not.

use podgate_judge::check::{Finding, check};
use podgate_policy::model::{Pod, Protocol, Rule, Workload};

use crate::findings::{expect, shop, written};
use crate::world::{
    World, anything, block, egress, ingress, matching, named, one, peers, pods, pods_in, ports, serving,
};

use Protocol::{Tcp, Udp};

/// Peers on ports.
fn on(peer: podgate_policy::model::Peer, port: podgate_policy::model::PortMatch) -> Rule {
    Rule { ports: ports(vec![port]).ports, ..peers(vec![peer]) }
}

fn dns() -> Rule {
    ports(vec![one(Udp, 53)])
}

/// The web may open connections to the API's port.
fn web_out() -> podgate_policy::model::Policy {
    egress("shop/web", "app=web", vec![on(pods(matching("app=api")), one(Tcp, 8080)), dns()])
}

const FOUND: &str = "warning one-sided shop/web: spec.egress[0].to[0].podSelector: the rule lets pod shop/web open connections \
                     to pod shop/api on TCP/8080, but ingress of pod shop/api is isolated by shop/deny, and no rule there allows \
                     them; allow it in ingress of pod shop/api too";

fn only(world: &World) -> Finding {
    let mut findings = check(&world.cluster, &written());
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

#[test]
fn an_egress_rule_whose_ingress_is_missing_is_told_with_the_policy_that_is_missing() {
    let world = shop().policy(web_out()).policy(ingress("shop/deny", "", vec![]));
    expect(&world, &[FOUND]);
    let yaml = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: api-from-web
spec:
  podSelector:
    matchLabels:
      app: api
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app: web
      ports:
        - protocol: TCP
          port: 8080
";
    assert_eq!(only(&world).yaml.as_deref(), Some(yaml));
}

#[test]
fn what_the_other_end_allows_on_that_port_is_left_alone() {
    let with = |rule| shop().policy(web_out()).policy(ingress("shop/deny", "", vec![rule]));
    expect(&with(on(pods(matching("app=web")), one(Tcp, 8080))), &[]);
    expect(&with(on(pods(matching("app=web")), named(Tcp, "grpc"))), &[]);
    expect(&with(peers(vec![block("10.0.0.1/32", &["10.0.0.1/32"]), pods(matching("app=web"))])), &[]);
    expect(&with(anything()), &[]);
    let other_protocol = with(on(pods(matching("app=web")), one(Udp, 8080)));
    let back = "warning one-sided shop/deny: spec.ingress[0].from[0].podSelector: the rule lets pod shop/api take connections from \
                pod shop/web on UDP/8080, but egress of pod shop/web is isolated by shop/web, and no rule there allows them; \
                allow it in egress of pod shop/web too";
    expect(&other_protocol, &[back, FOUND]);
    // Nobody isolates the API.
    expect(&shop().policy(web_out()), &[]);
}

#[test]
fn an_ingress_rule_whose_egress_is_missing_is_told_across_namespaces() {
    let prober = pods_in(matching("purpose=monitoring"), matching("app=prober"));
    let world = shop().policy(ingress("shop/api", "app=api", vec![on(prober, named(Tcp, "grpc"))])).policy(egress(
        "monitoring/out",
        "",
        vec![dns()],
    ));
    expect(
        &world,
        &[
            "warning one-sided shop/api: spec.ingress[0].from[0].podSelector: the rule lets pod shop/api take connections from pod \
           monitoring/prober on TCP/grpc, but egress of pod monitoring/prober is isolated by monitoring/out, and no rule there \
           allows them; allow it in egress of pod monitoring/prober too",
        ],
    );
    let yaml = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: monitoring
  name: prober-to-api
spec:
  podSelector:
    matchLabels:
      app: prober
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: shop
          podSelector:
            matchLabels:
              app: api
      ports:
        - protocol: TCP
          port: grpc
";
    assert_eq!(only(&world).yaml.as_deref(), Some(yaml));
}

#[test]
fn where_some_of_the_pods_pass_the_others_may_be_kept_out_on_purpose() {
    let world = shop()
        .policy(egress("shop/all", "", vec![peers(vec![pods(matching("app=api"))]), dns()]))
        .pod("shop/batch", "app=batch", "10.0.0.3")
        .policy(ingress("shop/api", "app=api", vec![peers(vec![pods(matching("app=web"))])]));
    expect(&world, &[]);
}

#[test]
fn rules_for_everybody_and_for_blocks_promise_nothing() {
    let with = |rule| shop().policy(egress("shop/web", "app=web", vec![rule])).policy(ingress("shop/deny", "", vec![]));
    expect(&with(anything()), &[]);
    expect(&with(peers(vec![block("10.0.0.0/16", &[])])), &[]);
}

#[test]
fn a_workload_without_addresses_is_judged_by_its_labels_and_selected_by_those_that_stay() {
    let of = |labels: &str, name: &str, port: u16| {
        let (labels, name) = (labels.to_owned(), name.to_owned());
        move |pod: &mut Pod| {
            pod.labels = crate::world::pairs(&labels).collect();
            pod.workload = Some(Workload { kind: "Deployment".into(), name: name.as_str().into() });
            pod.addresses.clear();
            serving(&[("http", Tcp, port)])(pod);
        }
    };
    let web = of("app.kubernetes.io/name=web,app.kubernetes.io/version=1.0,pod-template-hash=5d4f", "web", 80);
    let db = of("app=db,pod-template-hash=77c9,tier=back", "db", 5432);
    let both = World::default()
        .namespace("shop", "kubernetes.io/metadata.name=shop")
        .pod_with("shop/web-5d4f-x", "", "10.0.0.1", web)
        .pod_with("shop/db-77c9-y", "", "10.0.0.2", db)
        .policy(egress("shop/web", "", vec![on(pods(matching("app=db")), one(Tcp, 5432)), dns()]));
    let world = both.clone().policy(ingress("shop/deny", "", vec![]));
    expect(
        &world,
        &[
            "warning one-sided shop/web: spec.egress[0].to[0].podSelector: the rule lets Deployment shop/web open connections \
           to Deployment shop/db on TCP/5432, but ingress of Deployment shop/db is isolated by shop/deny, and no rule there \
           allows them; allow it in ingress of Deployment shop/db too",
        ],
    );
    let yaml = only(&world).yaml.unwrap_or_default();
    assert!(!yaml.contains("hash") && !yaml.contains("version"), "{yaml}");
    assert!(yaml.contains("app.kubernetes.io/name: web") && yaml.contains("app: db"), "{yaml}");
    // An address may turn out to be in the block.
    expect(&both.policy(ingress("shop/deny", "", vec![peers(vec![block("10.0.0.0/8", &[])])])), &[]);
}
