//! What questions mean, and which have no answer.

use podgate_judge::explain::{
    Answer, Asked, Destination, End, ExplainError, Explanation, Note, Participant, Query, Unknown, explain,
};
use podgate_policy::evaluate::{DirectionVerdict, Open, SharedAddress, Traffic};
use podgate_policy::model::{Phase, Pod, Protocol};

use crate::world::{
    World, block, egress, host_on, ingress, key, matching, named, one, peers, pods, ports, serving, tcp,
};

use Protocol::{Tcp, Udp};

/// Three tiers: the front may reach only DNS, the database only takes SQL from the back end.
pub(crate) fn shop() -> World {
    let mut sql = peers(vec![pods(matching("app=api")), block("10.9.0.0/16", &["10.9.1.0/24"])]);
    sql.ports = ports(vec![named(Tcp, "sql")]).ports;
    World::default()
        .namespace("shop", "team=shop")
        .namespace("kube-system", "kubernetes.io/metadata.name=kube-system")
        .pod("shop/front", "app=front", "10.0.0.1")
        .pod("shop/api", "app=api", "10.0.0.2")
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 5432)]))
        .pod("kube-system/dns", "k8s-app=dns", "10.0.1.1")
        .policy(ingress("shop/default-deny", "", vec![]))
        .policy(egress("shop/front-dns", "app=front", vec![ports(vec![one(Udp, 53), one(Tcp, 53)])]))
        .policy(ingress("shop/db-sql", "app=db", vec![sql]))
}

/// A question about ends named as pods, or by addresses.
pub(crate) fn query(from: &str, to: &str, asked: Asked) -> Query {
    let source = from.parse().map_or_else(|_| End::Pod(key(from)), End::Address);
    let to = to.parse().map_or_else(|_| Destination::Named(key(to)), Destination::Address);
    Query { from: source, to, asked }
}

pub(crate) fn number(number: u16) -> Asked {
    Asked::Number(Tcp, number)
}

pub(crate) fn name(name: &str) -> Asked {
    Asked::Name(Tcp, name.into())
}

pub(crate) fn ask(world: &World, from: &str, to: &str, asked: Asked) -> Result<Explanation, ExplainError> {
    match explain(&world.cluster, &query(from, to, asked))? {
        Answer::Direct(explanation) => Ok(explanation),
        Answer::Forwarded(forwarded) => panic!("leads to others: {forwarded}"),
    }
}

#[track_caller]
fn error(world: &World, from: &str, to: &str, asked: Asked) -> ExplainError {
    match ask(world, from, to, asked) {
        Ok(explanation) => panic!("an answer: {explanation}"),
        Err(error) => error,
    }
}

/// Both ends have both families, and only IPv4 is allowed.
pub(crate) fn dual() -> World {
    shop().pod("shop/api", "app=api", "10.0.0.2,fd00::2").pod("shop/db", "app=db", "10.0.0.3,fd00::3").policy(ingress(
        "shop/db-sql",
        "app=db",
        vec![peers(vec![block("10.0.0.0/8", &[])])],
    ))
}

#[test]
fn address_of_a_pod_is_that_pod() {
    let world = shop();
    assert_eq!(ask(&world, "10.0.0.2", "10.0.0.3", number(5432)), ask(&world, "shop/api", "shop/db", number(5432)));
}

#[test]
fn unknown_pod_is_an_error() {
    assert_eq!(error(&shop(), "shop/nobody", "shop/db", number(80)), ExplainError::NoSuchPod(key("shop/nobody")));
}

#[test]
fn finished_pod_is_an_error() {
    let world = shop().pod_with("shop/job", "", "10.0.0.9", |pod| pod.phase = Phase::Finished);
    assert_eq!(error(&world, "shop/job", "shop/db", number(80)), ExplainError::Finished(key("shop/job")));
}

#[test]
fn address_of_two_pods_is_an_error() {
    let world = shop().pod("shop/copy", "", "10.0.0.2");
    let address = "10.0.0.2".parse().unwrap();
    let shared = SharedAddress { address, pods: vec![key("shop/api"), key("shop/copy")] };
    assert_eq!(error(&world, "10.0.0.2", "shop/db", number(80)), ExplainError::SharedAddress(shared));
}

#[test]
fn port_name_is_resolved_at_the_destination() {
    let explanation = ask(&shop(), "shop/api", "shop/db", name("sql"));
    let traffic: Vec<_> = explanation.iter().flat_map(|it| &it.paths).map(|path| path.traffic).collect();
    assert_eq!(traffic, [tcp(5432)]);
}

#[test]
fn port_name_with_several_numbers_is_allowed_if_all_are() {
    let world = shop()
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 1), ("sql", Tcp, 2)]))
        .policy(ingress("shop/db-sql", "app=db", vec![ports(vec![one(Tcp, 1)])]));
    let explanation = ask(&world, "shop/api", "shop/db", name("sql")).unwrap();
    assert_eq!((explanation.is_allowed(), explanation.deciding().traffic), (false, tcp(2)));
}

#[test]
fn port_name_that_the_destination_does_not_serve_is_an_error() {
    assert_eq!(
        error(&shop(), "shop/api", "shop/db", Asked::Name(Udp, "sql".into())),
        ExplainError::NameNotServed { pod: key("shop/db"), protocol: Udp, name: "sql".into() }
    );
}

#[test]
fn port_name_at_an_outside_address_is_an_error() {
    let to = Participant::Address("192.0.2.1".parse().unwrap());
    assert_eq!(
        error(&shop(), "shop/api", "192.0.2.1", name("sql")),
        ExplainError::NameOutsidePods { to, name: "sql".into() }
    );
}

#[test]
fn ends_of_different_families_are_an_error() {
    assert_eq!(
        error(&shop(), "shop/api", "2001:db8::1", number(80)),
        ExplainError::NoCommonFamily {
            from: Participant::Pod(key("shop/api")),
            to: Participant::Address("2001:db8::1".parse().unwrap())
        }
    );
}

#[test]
fn dual_stack_pods_are_allowed_only_if_both_families_are() {
    let explanation = ask(&dual(), "shop/api", "shop/db", number(80)).unwrap();
    let paths: Vec<_> = explanation.paths.iter().map(|path| (path.from, path.verdict.is_allowed())).collect();
    assert_eq!(paths, [(Some("10.0.0.2".parse().unwrap()), true), (Some("fd00::2".parse().unwrap()), false)],);
    assert_eq!((explanation.is_allowed(), explanation.deciding()), (false, &explanation.paths[1]));
}

#[test]
fn address_of_a_dual_stack_pod_is_judged_alone() {
    assert!(ask(&dual(), "10.0.0.2", "shop/db", number(80)).is_ok_and(|explanation| explanation.is_allowed()));
    assert!(ask(&dual(), "fd00::2", "shop/db", number(80)).is_ok_and(|explanation| !explanation.is_allowed()));
}

#[test]
fn host_network_pod_of_the_same_node_passes_as_the_node() {
    let world = shop().pod_with("shop/agent", "", "192.168.0.1", host_on("node-1"));
    let explanation = ask(&world, "shop/agent", "shop/api", number(80)).unwrap();
    assert_eq!(explanation.from, Participant::Host(key("shop/agent")));
    assert_eq!(explanation.paths[0].verdict.ingress, DirectionVerdict::Open(Open::OwnNode));
}

#[test]
fn verdict_that_depends_on_an_unknown_node_is_undecidable() {
    let nowhere = |name: &'static str| {
        move |pod: &mut Pod| {
            pod.host_network = name == "host";
            pod.node = None;
        }
    };
    let world = shop()
        .pod_with("shop/agent", "", "192.168.0.1", nowhere("host"))
        .pod_with("shop/known", "", "192.168.0.1", host_on("node-1"))
        .pod_with("shop/api", "app=api", "10.0.0.2", nowhere("pod"));
    let undecidable = |name| ExplainError::Undecidable(Unknown::Node(key(name)));
    assert_eq!(error(&world, "shop/agent", "shop/db", number(80)), undecidable("shop/agent"));
    assert_eq!(error(&world, "shop/known", "shop/api", number(80)), undecidable("shop/api"));
    assert_eq!(error(&world, "shop/agent", "shop/api", number(80)), undecidable("shop/agent"), "both unknown");
}

#[test]
fn unknown_node_does_not_matter_where_policies_allow() {
    let nowhere = |pod: &mut Pod| {
        pod.host_network = true;
        pod.node = None;
    };
    let world = shop().pod_with("shop/agent", "", "192.168.0.1", nowhere);
    assert!(ask(&world, "shop/agent", "kube-system/dns", number(53)).is_ok_and(|it| it.is_allowed()));
}

pub(crate) fn pending(pod: &mut Pod) {
    pod.addresses.clear();
}

#[test]
fn verdict_that_depends_on_an_unknown_address_is_undecidable() {
    let world = shop().pod_with("shop/front", "app=other", "10.0.0.1", pending);
    assert_eq!(
        error(&world, "shop/front", "shop/db", number(5432)),
        ExplainError::Undecidable(Unknown::Address(key("shop/front")))
    );
}

#[test]
fn unknown_address_does_not_matter_where_something_else_denies() {
    let world = shop().pod_with("shop/front", "app=front", "10.0.0.1", pending);
    let cases = [
        ("the block would match, but the source's own egress denies", "shop/db", number(5432)),
        ("the ports of the rule with the block don't match either", "shop/db", number(53)),
    ];
    for (sentence, to, asked) in cases {
        assert!(ask(&world, "shop/front", to, asked).is_ok_and(|it| !it.is_allowed()), "{sentence}");
    }
}

#[test]
fn denied_address_of_the_pods_own_node_is_noted() {
    let finished = |pod: &mut Pod| {
        host_on("node-1")(pod);
        pod.phase = Phase::Finished;
    };
    let world = shop()
        .pod_with("kube-system/proxy", "", "192.168.0.1", host_on("node-1"))
        .pod_with("kube-system/remote", "", "192.168.0.2", host_on("node-2"))
        .pod_with("kube-system/done", "", "192.168.0.3", finished);
    let note = Note::OwnNodeAddress { address: "192.168.0.1".parse().unwrap(), node: "node-1".into() };
    let notes = |from: &str, to: &str| ask(&world, from, to, number(80)).map(|explanation| explanation.notes);
    assert_eq!(notes("192.168.0.1", "shop/api"), Ok(vec![note]));
    assert_eq!(notes("shop/front", "192.168.0.1"), Ok(vec![]), "what a pod sends to its own node passes");
    assert_eq!(notes("192.168.0.9", "shop/api"), Ok(vec![]), "another address");
    assert_eq!(notes("192.168.0.2", "shop/api"), Ok(vec![]), "another node's");
    assert_eq!(notes("192.168.0.3", "shop/api"), Ok(vec![]), "a finished pod's");
    assert_eq!(notes("192.168.0.1", "kube-system/dns"), Ok(vec![]), "allowed anyway");
}

#[test]
fn address_that_other_pods_have_too_is_noted() {
    let world = shop().pod("shop/copy", "", "10.0.0.2");
    let shared = SharedAddress { address: "10.0.0.2".parse().unwrap(), pods: vec![key("shop/api"), key("shop/copy")] };
    let notes = |from: &str, to: &str| ask(&world, from, to, number(5432)).map(|explanation| explanation.notes);
    assert_eq!(notes("shop/api", "shop/db"), Ok(vec![Note::SharedAddress(shared.clone())]));
    assert_eq!(notes("shop/db", "shop/copy"), Ok(vec![Note::SharedAddress(shared)]));
    assert_eq!(notes("shop/front", "shop/db"), Ok(vec![]));
}

#[test]
fn address_that_a_terminating_pod_has_lost_is_noted() {
    let world = shop().pod_with("shop/old", "", "10.0.0.2", |pod| pod.terminating = true);
    let taken = Note::AddressTaken { address: "10.0.0.2".parse().unwrap(), of: key("shop/old"), by: key("shop/api") };
    let notes = |from: &str, to: &str| ask(&world, from, to, number(5432)).map(|explanation| explanation.notes);
    assert_eq!(notes("shop/old", "shop/db"), Ok(vec![taken]));
    assert_eq!(notes("shop/api", "shop/db"), Ok(vec![]));
}

#[test]
fn traffic_of_an_explanation_is_that_of_the_query() {
    let other = ask(&shop(), "shop/front", "shop/api", Asked::Other).unwrap();
    assert_eq!(other.paths[0].traffic, Traffic::Other);
}

#[test]
fn verdict_that_is_denied_for_certain_is_decidable_whatever_else_is_unknown() {
    let mut sql = peers(vec![block("10.9.0.0/16", &[])]);
    sql.ports = ports(vec![one(Tcp, 1)]).ports;
    let world = shop()
        .pod_with("shop/front", "app=other", "10.0.0.1", pending)
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 1), ("sql", Tcp, 2)]))
        .policy(ingress("shop/db-sql", "app=db", vec![sql]));
    let explanation = ask(&world, "shop/front", "shop/db", name("sql"));
    let denied = explanation.iter().flat_map(|it| &it.paths).filter(|path| !path.verdict.is_allowed()).count();
    assert_eq!(denied, 2, "port 1 might be allowed, port 2 is not");
}

#[test]
fn errors_say_what_to_do() {
    let shared = SharedAddress { address: "10.0.0.2".parse().unwrap(), pods: vec![key("a/b"), key("c/d")] };
    let outside = Participant::Address("192.0.2.1".parse().unwrap());
    let cases = [
        (ExplainError::NoSuchPod(key("a/b")), "there is no pod a/b: check namespace and name"),
        (ExplainError::Finished(key("a/b")), "pod a/b has finished: it sends and receives nothing"),
        (
            ExplainError::SharedAddress(shared),
            "address 10.0.0.2 belongs to several pods (a/b, c/d): name the pod instead",
        ),
        (
            ExplainError::NameNotServed { pod: key("a/b"), protocol: Udp, name: "dns".into() },
            "pod a/b has no UDP container port named dns: ask for a number",
        ),
        (
            ExplainError::NameOutsidePods { to: outside.clone(), name: "dns".into() },
            "port dns is a name, and no pod's container ports tell its number at 192.0.2.1: ask for a number",
        ),
        (
            ExplainError::NoCommonFamily { from: Participant::Pod(key("a/b")), to: outside },
            "a/b and 192.0.2.1 have no address family in common: no packet can go between them",
        ),
        (ExplainError::NoSuchService(key("a/b")), "there is no Service a/b: check namespace and name"),
        (ExplainError::NoSuchDestination(key("a/b")), "there is no pod and no Service a/b: check namespace and name"),
        (ExplainError::Ambiguous(key("a/b")), "a/b is both a pod and a Service: ask for pod/a/b or for svc/a/b"),
        (
            ExplainError::ExternalName(key("a/b")),
            "Service a/b is only another DNS name (type ExternalName): ask for the address that the name has",
        ),
        (
            ExplainError::Undecidable(Unknown::Node(key("a/b"))),
            "undecidable: the node of a/b is not known (spec.nodeName), and traffic within a node passes while other \
             traffic between these two is denied",
        ),
        (
            ExplainError::Undecidable(Unknown::Address(key("a/b"))),
            "undecidable: pod a/b has no address yet (status.podIPs), and an ipBlock may contain it",
        ),
    ];
    for (error, message) in cases {
        assert_eq!(error.to_string(), message);
    }
}
