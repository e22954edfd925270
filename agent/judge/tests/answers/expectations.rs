//! Expected reachability, compared with the verdicts.

use podgate_judge::expectations::{Expectation, Expected, Group, Judgement, Source, Target, Wrong, judge};
use podgate_judge::explain::{Answer, Asked, Destination, End, ExplainError, Query};
use podgate_judge::groups::Parties;
use podgate_judge::matrix::PortChoice;
use podgate_judge::present::present;
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::{Protocol, Selector};
use proptest::prelude::{prop_assert, proptest};

use crate::random::replicated;
use crate::service_world::{leads, service};
use crate::world::{World, anything, ingress, key, matching, one, peers, pods, ports, tcp};

use Expected::{Allow, Deny};
use Protocol::Tcp;

/// Two replicas of the API behind a Service, of which web may reach one.
fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .pod("shop/web", "app=web", "10.0.0.1")
        .pod("shop/api-1", "app=api,replica=1", "10.0.0.2")
        .pod("shop/api-2", "app=api,replica=2", "10.0.0.3")
        .service(service("shop/api", "app=api", "10.96.0.1", vec![leads("", Tcp, 80, 8080)]))
        .policy(ingress("shop/api-1", "replica=1", vec![peers(vec![pods(matching("app=web"))])]))
        .policy(ingress("shop/api-2", "replica=2", vec![ports(vec![one(Tcp, 22)])]))
}

fn group(labels: &str) -> Group {
    Group { namespace: "shop".into(), pods: matching(labels) }
}

fn web() -> Source {
    Source::One(End::Pod(key("shop/web")))
}

fn ask(from: Source, to: Target, port: u16, expected: Expected) -> Judgement {
    judge(&shop().cluster, &Expectation { from, to, asked: Asked::Number(Tcp, port), expected }, Parties::Groups)
}

fn pod(name: &str) -> Target {
    Target::One(Destination::Pod(key(name)))
}

fn met(pairs: usize) -> Judgement {
    Judgement { pairs, wrong: vec![] }
}

/// The pairs whose verdict is wrong, with their first traffic.
fn wrong_verdicts(judgement: &Judgement) -> Vec<(String, String, Traffic)> {
    let direct = |wrong: &Wrong| match wrong {
        Wrong::Verdict(answer, _) => match &**answer {
            Answer::Direct(it) => Some((it.from.to_string(), it.to.to_string(), it.paths[0].traffic)),
            Answer::Forwarded(_) => None,
        },
        _ => None,
    };
    judgement.wrong.iter().filter_map(direct).collect()
}

#[test]
fn verdict_of_one_pair_is_as_expected_or_not() {
    assert_eq!(ask(web(), pod("shop/api-1"), 8080, Allow), met(1));
    assert_eq!(ask(web(), pod("shop/api-2"), 8080, Deny), met(1));
    let wrong = ask(web(), pod("shop/api-2"), 8080, Allow);
    assert_eq!((wrong.pairs, wrong.wrong.len()), (1, 1));
    assert_eq!(wrong_verdicts(&wrong), [("shop/web".to_owned(), "shop/api-2".to_owned(), tcp(8080))]);
}

#[test]
fn labels_stand_for_every_pod_that_has_them() {
    let api = || Target::Pods(group("app=api"));
    let wrong = ask(Source::Pods(group("app=web")), api(), 8080, Allow);
    assert_eq!(wrong.pairs, 2);
    assert_eq!(wrong_verdicts(&wrong), [("shop/web".to_owned(), "shop/api-2".to_owned(), tcp(8080))]);
    assert_eq!(ask(Source::Pods(group("")), Target::Pods(group("replica=2")), 22, Allow), met(2));
    assert_eq!(ask(Source::Pods(group("app=api")), Target::Pods(group("app=api")), 8080, Deny), met(2));
}

#[test]
fn labels_that_nobody_has_are_not_as_expected() {
    let nobody = |labels| Wrong::Nobody(group(labels));
    assert_eq!(
        ask(Source::Pods(group("app=x")), Target::Pods(group("app=y")), 80, Deny),
        Judgement { pairs: 0, wrong: vec![nobody("app=x"), nobody("app=y")] }
    );
    assert_eq!(nobody("app=x").to_string(), "no verdict: there are no pods of namespace shop with app=x\n");
}

#[test]
fn a_pod_and_itself_are_no_pair() {
    let itself = Judgement { pairs: 0, wrong: vec![Wrong::Itself(key("shop/web"))] };
    assert_eq!(ask(web(), Target::Pods(group("app=web")), 80, Allow), itself);
}

#[test]
fn a_service_of_which_some_backends_are_allowed_is_neither_allowed_nor_denied() {
    let service = || Target::One(Destination::Service(key("shop/api")));
    for expected in [Allow, Deny] {
        let judgement = ask(web(), service(), 80, expected);
        assert!(matches!(judgement.wrong.as_slice(), [Wrong::Verdict(_, 1)]), "{judgement:?}");
    }
}

#[test]
fn what_has_no_verdict_is_not_as_expected() {
    let to = Destination::Pod(key("shop/nobody"));
    let query = Query { from: End::Pod(key("shop/web")), to: to.clone(), asked: Asked::Number(Tcp, 80) };
    let error = ExplainError::NoSuchPod(key("shop/nobody"));
    let expected = Judgement { pairs: 1, wrong: vec![Wrong::NoAnswer(query, error.into(), 1)] };
    assert_eq!(ask(web(), Target::One(to), 80, Deny), expected);
}

#[test]
fn reasons_are_those_of_explain() {
    let world = shop().policy(ingress("shop/all", "", vec![anything()]));
    let expectation = Expectation { from: web(), to: pod("shop/api-2"), asked: Asked::Number(Tcp, 80), expected: Deny };
    assert_eq!(
        judge(&world.cluster, &expectation, Parties::Groups).wrong[0].to_string(),
        "\
allowed: shop/web to shop/api-2, TCP/80 (10.0.0.1 to 10.0.0.3)
  egress of shop/web: allowed, no policy isolates it
  ingress of shop/api-2: allowed by shop/all ingress[0] (every peer, every port)
    isolated by shop/all, shop/api-2
"
    );
}

#[test]
fn what_holds_now_is_said_of_whole_namespaces_where_their_pods_fare_alike() {
    let world = shop().namespace("jobs", "").pod("jobs/a", "app=a", "10.0.1.1").pod("jobs/b", "app=b", "10.0.1.2");
    let ports = PortChoice::Listed([(Tcp, 22)].into());
    let to_api_1 = |case: &Expectation| case.to == Target::Pods(group("app=api,replica=1"));
    let cases: Vec<_> = present(&world.cluster, &ports, &mut |_, _| {}).cases.into_iter().filter(to_api_1).collect();
    let case = |from, expected| Expectation {
        from,
        to: Target::Pods(group("app=api,replica=1")),
        asked: Asked::Number(Tcp, 22),
        expected,
    };
    let jobs = Group { namespace: "jobs".into(), pods: Selector::default() };
    let expected = [
        case(Source::Pods(jobs), Deny),
        case(Source::Pods(group("app=api,replica=2")), Deny),
        case(Source::Pods(group("app=web")), Allow),
    ];
    assert_eq!(cases, expected);
}

proptest! {
    #[test]
    fn everything_that_is_said_to_hold_does(world in replicated()) {
        let cluster = &world.cluster;
        let present = present(cluster, &PortChoice::ContainerPorts, &mut |_, _| {});
        for case in &present.cases {
            let judgement = judge(cluster, case, Parties::Groups);
            prop_assert!(judgement.is_met(), "{case:?}: {judgement:?}");
        }
    }
}
