//! Verdicts of all pairs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::{prop_assert_eq, proptest};

use podgate_judge::matrix::{PortChoice, Row, matrix, render};
use podgate_judge::routes;
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Traffic, verdict};
use podgate_policy::model::{Pod, Protocol};

use crate::cases::cases;
use crate::random;
use crate::world::{
    World, block, egress, host_on, ingress, key, matching, named, one, peers, pods, pods_in, ports, serving,
};

use Protocol::{Tcp, Udp};

fn listed(ports: &[(Protocol, u16)]) -> PortChoice {
    PortChoice::Listed(ports.iter().copied().collect())
}

/// The matrix as its definition says, pair by pair.
fn by_definition(cluster: &Cluster, choice: &PortChoice) -> Vec<Row> {
    let pods: Vec<&Pod> = cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.is_networked()).collect();
    let mut rows = Vec::new();
    for (from, to) in pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to))) {
        let ports = match choice {
            PortChoice::Listed(ports) => ports.clone(),
            PortChoice::ContainerPorts => to.ports.iter().map(|port| (port.protocol, port.number)).collect(),
            PortChoice::Each(ports) => ports.get(&to.key).cloned().unwrap_or_default(),
        };
        let row = |(protocol, port)| {
            let allowed = pair_is_allowed(cluster, from, to, Traffic::Port { protocol, number: port });
            Row { from: from.key.clone().into(), to: to.key.clone().into(), protocol, port, allowed }
        };
        rows.extend(ports.into_iter().map(row));
    }
    rows
}

fn pair_is_allowed(cluster: &Cluster, from: &Pod, to: &Pod, traffic: Traffic) -> bool {
    let routes = routes(&from.addresses, &to.addresses);
    let passes = |&(source, target): &(_, _)| {
        verdict(cluster, &Party::pod_at(from, source), &Party::pod_at(to, target), traffic).is_allowed()
    };
    from.key == to.key || !routes.is_empty() && routes.iter().all(passes)
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn matrix_of_listed_ports_is_the_verdict_of_every_pair(world in random::contested()) {
        let choice = listed(&[(Tcp, 53), (Tcp, 80), (Udp, 80), (Udp, 81)]);
        prop_assert_eq!(matrix(&world.cluster, &choice), by_definition(&world.cluster, &choice));
    }

    #[test]
    fn what_is_judged_of_a_group_is_the_verdict_of_every_pair_of_its_pods(world in random::replicated()) {
        let choice = listed(&[(Tcp, 53), (Tcp, 80), (Udp, 80), (Udp, 81)]);
        prop_assert_eq!(matrix(&world.cluster, &choice), by_definition(&world.cluster, &choice));
        let choice = PortChoice::ContainerPorts;
        prop_assert_eq!(matrix(&world.cluster, &choice), by_definition(&world.cluster, &choice));
    }

    #[test]
    fn matrix_of_container_ports_is_the_verdict_of_every_pair(world in random::cluster()) {
        let choice = PortChoice::ContainerPorts;
        prop_assert_eq!(matrix(&world.cluster, &choice), by_definition(&world.cluster, &choice));
    }
}

fn shop() -> World {
    let mut sql = peers(vec![pods(matching("app=api"))]);
    sql.ports = ports(vec![named(Tcp, "sql")]).ports;
    World::default()
        .pod("shop/api", "app=api", "10.0.0.2")
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 5432), ("metrics", Tcp, 9100)]))
        .pod("web/front", "app=front", "10.0.0.1")
        .policy(ingress("shop/db", "app=db", vec![sql]))
        .policy(egress("web/front", "app=front", vec![peers(vec![block("10.0.0.2/32", &[])])]))
}

#[test]
fn rows_of_a_cluster_are_sorted_and_complete() {
    let row = |from: &str, to: &str, allowed| {
        let (from, to) = (key(from).into(), key(to).into());
        Row { from, to, protocol: Tcp, port: 5432, allowed }
    };
    assert_eq!(
        matrix(&shop().cluster, &listed(&[(Tcp, 5432)])),
        [
            row("shop/api", "shop/api", true),
            row("shop/api", "shop/db", true),
            row("shop/api", "web/front", true),
            row("shop/db", "shop/api", true),
            row("shop/db", "shop/db", true),
            row("shop/db", "web/front", true),
            row("web/front", "shop/api", true),
            row("web/front", "shop/db", false),
            row("web/front", "web/front", true),
        ]
    );
}

#[test]
fn container_ports_are_asked_of_their_pod_alone() {
    let asked: BTreeSet<_> = matrix(&shop().cluster, &PortChoice::ContainerPorts)
        .into_iter()
        .map(|row| (row.to.name, row.protocol, row.port))
        .collect();
    assert_eq!(asked, BTreeSet::from([(key("shop/db"), Tcp, 5432), (key("shop/db"), Tcp, 9100)]));
}

#[test]
fn host_network_pods_are_left_out() {
    let world = shop().pod_with("shop/agent", "", "192.168.0.1", host_on("node-1"));
    let choice = listed(&[(Tcp, 80)]);
    assert_eq!(matrix(&world.cluster, &choice), matrix(&shop().cluster, &choice));
}

#[test]
fn dual_stack_pair_is_allowed_if_both_families_are() {
    let half = World::default()
        .pod("a/from", "", "10.0.0.1,fd00::1")
        .pod("a/to", "app=to", "10.0.0.2,fd00::2")
        .policy(ingress("a/to", "app=to", vec![peers(vec![block("10.0.0.0/8", &[])])]));
    let allowed = |world: &World| {
        let rows = matrix(&world.cluster, &listed(&[(Tcp, 80)]));
        rows.into_iter().find(|row| row.from.name == key("a/from") && row.to.name == key("a/to")).map(|row| row.allowed)
    };
    assert_eq!(allowed(&half), Some(false));
    assert_eq!(allowed(&half.clone().pod("a/from", "", "10.0.0.1")), Some(true), "only the allowed family in common");
    assert_eq!(allowed(&half.pod("a/to", "app=other", "fd00::2").pod("a/from", "", "10.0.0.1")), Some(false), "none");
}

#[test]
fn few_pods_make_a_table_for_each_port() {
    let rows = matrix(&shop().cluster, &listed(&[(Tcp, 5432), (Udp, 53)]));
    assert_eq!(
        render(&rows),
        "\
rows: from, columns: to; + allowed, - denied

TCP/5432
               1  2  3
 1  shop/api   +  +  +
 2  shop/db    +  +  +
 3  web/front  +  -  +

UDP/53
               1  2  3
 1  shop/api   +  -  +
 2  shop/db    +  +  +
 3  web/front  +  -  +
"
    );
}

#[test]
fn table_has_no_column_for_pods_that_were_not_asked() {
    let rows = matrix(&shop().cluster, &PortChoice::ContainerPorts);
    assert_eq!(
        render(&rows).lines().take(7).collect::<Vec<_>>(),
        [
            "rows: from, columns: to; + allowed, - denied",
            "",
            "TCP/5432",
            "               2",
            " 1  shop/api   +",
            " 2  shop/db    +",
            " 3  web/front  -",
        ]
    );
}

/// Three apps of five replicas: everybody reaches `api`, which alone reaches `db`; nobody reaches `batch`.
fn replicas() -> World {
    let name = |app: &str, index: usize| format!("{}/{app}-{index}", if app == "api" { "web" } else { "shop" });
    let apps = ["api", "db", "batch"].into_iter().zip(0..);
    let world = apps.flat_map(|(app, block)| (0..5).map(move |index| (app, block, index))).fold(
        World::default(),
        |world, (app, block, index)| {
            world.pod(&name(app, index), &format!("app={app}"), &format!("10.0.{block}.{index}"))
        },
    );
    world
        .policy(ingress("shop/db", "app=db", vec![peers(vec![block("10.0.0.0/24", &[]), pods(matching("app=db"))])]))
        .policy(ingress("shop/batch", "app=batch", vec![]))
}

#[test]
fn many_pods_make_lists_of_equal_sources() {
    let rows = matrix(&replicas().cluster, &listed(&[(Tcp, 80)]));
    assert_eq!(
        render(&rows),
        "\
TCP/80
  shop/batch-0, shop/batch-1, shop/batch-2, shop/batch-3, shop/batch-4 from no other pod
  shop/db-0, shop/db-1, shop/db-2, shop/db-3, shop/db-4 from shop/db-0, shop/db-1, shop/db-2, shop/db-3, shop/db-4, \
         web/*
  web/* from every pod
"
    );
}

#[test]
fn lists_name_a_namespaces_only_pod_and_ignore_that_a_pod_reaches_itself() {
    let whole = |namespace: &str| peers(vec![pods_in(matching(&format!("name={namespace}")), matching(""))]);
    let others = (0..12).fold(World::default().namespace("shop", "name=shop"), |world, index| {
        world.pod(&format!("shop/pod-{index:02}"), "", &format!("10.0.0.{index}"))
    });
    let world = others
        .namespace("one", "name=one")
        .pod("one/pod", "", "10.0.1.1")
        .pod("other/pod", "", "10.0.1.2")
        .policy(ingress("shop/from-one", "", vec![whole("one"), ports(vec![one(Udp, 1)])]))
        .pod("shop/pod-00", "app=special", "10.0.0.0")
        .policy(ingress("shop/special", "app=special", vec![whole("shop")]))
        .policy(ingress("one/closed", "", vec![]))
        .policy(ingress("other/closed", "", vec![]));
    let text = render(&matrix(&world.cluster, &listed(&[(Tcp, 80)])));
    let wanted = [
        "TCP/80",
        "  one/pod, other/pod from no other pod",
        "  shop/pod-00 from one/pod, shop/*",
        "  shop/pod-01, shop/pod-02, shop/pod-03, shop/pod-04, shop/pod-05, shop/pod-06, shop/pod-07, shop/pod-08, \
         shop/pod-09, shop/pod-10, shop/pod-11 from one/pod",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
}

/// Two rules and an egress policy for each of 50 apps of ten pods.
fn large() -> World {
    let world = (0..500).fold(World::default().namespace("big", ""), |world, index| {
        let (app, high, low) = (index / 10, index / 250, index % 250);
        let address = format!("10.0.{high}.{low},fd00::{high}:{low:x}");
        world.pod(&format!("big/pod-{index}"), &format!("app={app}"), &address)
    });
    (0..50).fold(world, |world, app| {
        let from = |app: usize| peers(vec![pods(matching(&format!("app={}", app % 50)))]);
        let selects = format!("app={app}");
        let web = ports(vec![one(Tcp, 80), one(Tcp, 443)]);
        world.policy(ingress(&format!("big/in-{app}"), &selects, vec![from(app + 1), web.clone()])).policy(egress(
            &format!("big/out-{app}"),
            &selects,
            vec![from(app + 49), from(app), web],
        ))
    })
}

#[test]
fn matrix_of_five_hundred_pods_takes_seconds() {
    let start = Instant::now();
    let rows = matrix(&large().cluster, &listed(&[(Tcp, 80), (Tcp, 81), (Udp, 53)]));
    assert_eq!(rows.len(), 500 * 500 * 3);
    // It takes a fifth of a second: only work that grows in another order goes beyond the limit on a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
