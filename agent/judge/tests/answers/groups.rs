//! Which pods are alike, what they are called, and that every answer about them is the answer about each.

use proptest::prelude::{prop_assert_eq, proptest};

use podgate_judge::check::{Finding, Rule, check};
use podgate_judge::diff::{Comparison, diff, render};
use podgate_judge::expectations::{Expectation, Expected, Group as Named, Source, Target, judge};
use podgate_judge::explain::Asked;
use podgate_judge::groups::Parties;
use podgate_judge::matrix::{Matrix, PortChoice, Row, render as render_matrix};
use podgate_policy::cluster::Written;
use podgate_policy::model::{Pod, Protocol, Workload};

use crate::cases::cases;
use crate::random;
use crate::world::{World, block, egress, ingress, key, matching, peers, pods, pods_in, serving};

use Protocol::{Tcp, Udp};

fn ports() -> PortChoice {
    PortChoice::Listed([(Tcp, 80), (Udp, 53)].into())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_diff_of_groups_is_that_of_every_pod(old in random::replicated(), new in random::replicated()) {
        let (old, new) = (old.cluster, new.cluster);
        let each = (random::all_different(&old), random::all_different(&new));
        for choice in [ports(), PortChoice::ContainerPorts] {
            prop_assert_eq!(diff(&old, &new, &choice), diff(&each.0, &each.1, &choice));
        }
        // The same pods under other policies.
        let changed = podgate_policy::cluster::Cluster { policies: new.policies, ..old.clone() };
        prop_assert_eq!(diff(&old, &changed, &ports()), diff(&each.0, &random::all_different(&changed), &ports()));
    }

    #[test]
    fn an_expectation_fails_for_as_many_pairs(world in random::replicated()) {
        let group = |namespace: &str| Named { namespace: namespace.into(), pods: matching("") };
        for (from, to) in [("a", "a"), ("a", "b"), ("b", "a")] {
            for expected in [Expected::Allow, Expected::Deny] {
                let (from, to) = (Source::Pods(group(from)), Target::Pods(group(to)));
                let expectation = Expectation { from, to, asked: Asked::Number(Tcp, 80), expected };
                let count = |parties| {
                    let judgement = judge(&world.cluster, &expectation, parties);
                    (judgement.is_met(), judgement.pairs, judgement.wrong_pairs())
                };
                prop_assert_eq!(count(Parties::Groups), count(Parties::Pods));
            }
        }
    }

    #[test]
    fn findings_about_groups_are_those_about_every_pod(world in random::replicated()) {
        let written = Written { namespaces: true, ..Written::default() };
        // These name workloads, where pods are of any: in words they differ.
        let found = |cluster: &podgate_policy::cluster::Cluster| -> Vec<_> {
            let in_words = |it: Finding| match it.rule {
                Rule::OneSided | Rule::DeniesDns | Rule::DeniesApiServer | Rule::NetworksCoverPods => Finding { why: String::new(), instead: String::new(), yaml: None, ..it },
                _ => it,
            };
            check(cluster, &written).into_iter().map(in_words).collect()
        };
        prop_assert_eq!(found(&world.cluster), found(&random::all_different(&world.cluster)));
    }
}

/// A pod of a workload.
fn replica(world: World, name: &str, of: &str, address: &str, change: impl FnOnce(&mut Pod)) -> World {
    world.pod_with(name, "app=web", address, |pod| {
        pod.workload = Some(Workload { kind: "Deployment".into(), name: of.into() });
        change(pod);
    })
}

/// Two replicas, and whoever is given.
fn with(name: &str, of: &str, address: &str, change: impl FnOnce(&mut Pod)) -> World {
    let world = replica(World::default(), "shop/web-1", "web", "10.0.0.1", |_| {});
    replica(replica(world, "shop/web-2", "web", "10.0.0.2", |_| {}), name, of, address, change)
}

fn named(world: &World) -> Vec<String> {
    Matrix::new(&world.cluster, &ports(), &mut |_, _| {}).parties().map(|it| it.group.to_string()).collect()
}

#[test]
fn replicas_of_a_workload_are_one_whatever_labels_nobody_asks_for_they_have() {
    let labelled = |pod: &mut Pod| drop(pod.labels.insert("pod-index".into(), "3".into()));
    let world = with("shop/web-3", "web", "10.0.0.3", labelled);
    assert_eq!(named(&world), ["shop/web (3 pods)"]);
    let asked = world.policy(ingress("shop/third", "pod-index=3", vec![]));
    assert_eq!(named(&asked), ["shop/web (2 pods)", "shop/web-3"]);
}

#[test]
fn replicas_that_a_policy_or_a_port_tells_apart_are_not_one() {
    let apart = ["shop/web (2 pods)", "shop/web-3"];
    let near = |policy| named(&with("shop/web-3", "web", "10.0.0.3", |_| {}).policy(policy));
    let from = |cidr: &str, except: &[&str]| peers(vec![block(cidr, except)]);
    assert_eq!(near(ingress("shop/other", "app=other", vec![from("10.0.0.0/24", &[])])), ["shop/web (3 pods)"]);
    assert_eq!(near(egress("shop/other", "app=other", vec![from("10.0.0.3/32", &[])])), apart);
    assert_eq!(near(ingress("far/other", "app=other", vec![from("10.0.0.0/24", &["10.0.0.3/32"])])), apart);
    let http = with("shop/web-3", "web", "10.0.0.3", serving(&[("http", Tcp, 80)]));
    assert_eq!(named(&http), apart);
    assert_eq!(named(&with("shop/web-3", "web", "fd00::3", |_| {})), apart);
    let contested = with("shop/web-3", "web", "10.0.0.3", |_| {}).pod("shop/other", "", "10.0.0.3");
    assert_eq!(named(&contested), ["shop/other", "shop/web (2 pods)", "shop/web-3"]);
}

#[test]
fn pods_without_a_workload_are_one_by_their_labels_and_called_by_the_first() {
    let world = World::default()
        .pod("shop/api-1", "app=api", "10.0.0.1")
        .pod("shop/api-2", "app=api", "10.0.0.2")
        .pod("shop/api-3", "app=api,more=1", "10.0.0.3")
        .pod("web/api-4", "app=api", "10.0.0.4");
    assert_eq!(named(&world), ["shop/api-1 (2 pods)", "shop/api-3", "web/api-4"]);
}

#[test]
fn a_name_that_two_would_have_is_nobodys() {
    let other = with("shop/web-3", "web", "10.1.0.3", |_| {});
    let other = replica(other, "shop/web-4", "web", "10.1.0.4", |_| {});
    let split = other.policy(egress("shop/other", "app=other", vec![peers(vec![block("10.1.0.0/24", &[])])]));
    assert_eq!(named(&split), ["shop/web-1 (2 pods)", "shop/web-3 (2 pods)"]);
    let pod = with("shop/web", "web", "10.0.0.3", serving(&[("http", Tcp, 80)]));
    assert_eq!(named(&pod), ["shop/web", "shop/web-1 (2 pods)"]);
}

/// Web's replicas don't reach each other, and api's do.
fn closed() -> World {
    with("shop/api-1", "api", "10.0.0.3", |pod| drop(pod.labels.insert("app".into(), "api".into()))).policy(ingress(
        "shop/web",
        "app=web",
        vec![peers(vec![pods(matching("app=api"))])],
    ))
}

#[test]
fn a_group_as_both_ends_means_two_of_its_pods() {
    let world = closed();
    let choice = PortChoice::Listed([(Tcp, 80)].into());
    let matrix = Matrix::new(&world.cluster, &choice, &mut |_, _| {});
    let row = |row: &Row| (row.from.to_string(), row.to.to_string(), row.allowed);
    let rows: Vec<_> = matrix.rows().map(|it| row(&it)).collect();
    let expected = [
        ("shop/api-1", "shop/api-1", true),
        ("shop/api-1", "shop/web (2 pods)", true),
        ("shop/web (2 pods)", "shop/api-1", true),
        ("shop/web (2 pods)", "shop/web (2 pods)", false),
    ];
    assert_eq!(rows, expected.map(|(from, to, allowed)| (from.to_owned(), to.to_owned(), allowed)));
    let text = "\
rows: from, columns: to; + allowed, - denied

TCP/80
                       1  2
 1  shop/api-1         +  +
 2  shop/web (2 pods)  +  -
";
    assert_eq!(render_matrix(&matrix.rows().collect::<Vec<_>>()), text);
}

#[test]
fn lists_tell_whether_pods_of_a_group_reach_each_other() {
    let world = (0..12).fold(closed(), |world, index| {
        world.pod(&format!("web/pod-{index}"), &format!("number={index}"), &format!("10.2.0.{index}"))
    });
    let choice = PortChoice::Listed([(Tcp, 80)].into());
    let rows: Vec<_> = Matrix::new(&world.cluster, &choice, &mut |_, _| {}).rows().collect();
    assert_eq!(
        render_matrix(&rows),
        "TCP/80\n  shop/api-1, web/* from every pod\n  shop/web (2 pods) from shop/api-1\n"
    );
}

#[test]
fn a_group_that_everybody_else_reaches_is_not_reached_by_every_pod() {
    let far = |pod: &mut Pod| pod.labels = [("far".into(), "1".into())].into();
    let world = (0..12).fold(with("shop/api-1", "api", "10.0.0.3", far), |world, index| {
        world.pod(&format!("web/pod-{index}"), &format!("number={index},far=1"), &format!("10.2.0.{index}"))
    });
    let others = peers(vec![pods_in(matching(""), matching("far=1"))]);
    let world = world.policy(ingress("shop/web", "app=web", vec![others]));
    let choice = PortChoice::Listed([(Tcp, 80)].into());
    let rows: Vec<_> = Matrix::new(&world.cluster, &choice, &mut |_, _| {}).rows().collect();
    let text = render_matrix(&rows);
    assert!(text.contains("  shop/web (2 pods) from shop/api-1, web/*\n"), "{text}");
}

#[test]
fn what_opens_for_a_group_is_told_once() {
    let old = closed();
    let new = old.clone().policy(ingress("shop/web", "app=web", vec![peers(vec![pods(matching("app=web"))])]));
    let choice = PortChoice::Listed([(Tcp, 80)].into());
    let compared = Comparison::new(&old.cluster, &new.cluster, &choice, &mut |_, _| {});
    let told = "\
opens:
  to shop/web (2 pods) TCP/80 from shop/web (2 pods)

closes:
  to shop/web (2 pods) TCP/80 from shop/api-1

1 open, 1 close
";
    assert_eq!(compared.render(&compared.diff()), told);
    let each = diff(&old.cluster, &new.cluster, &choice);
    assert_eq!(compared.by_pod().diff(), each);
    assert!(render(&each, &old.cluster, &new.cluster).ends_with("\n2 open, 2 close\n"));
    assert!(each.changes.iter().all(|change| change.from.to_string() != key("shop/web").to_string()));
}
