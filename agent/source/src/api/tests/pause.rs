//! What waits for more and what does not. Time is the test's.

use podgate_policy::model::{Labels, Phase, Pod, Policy, Selector};
use tokio::time::sleep_until;

use super::*;
use crate::convert::{Converted, Outcome};
use crate::object::{Object, ObjectRef};

fn applied(reference: ObjectRef, object: Object) -> Seen {
    let converted = Converted { name: reference.to_string(), outcome: Outcome::Good(object), issues: vec![] };
    Seen::Applied(reference, converted)
}

fn pod(name: &str, node: &str) -> (Kind, Seen) {
    let key = ObjectKey::new("shop", name);
    let pod = Pod {
        key: key.clone(),
        uid: "".into(),
        labels: Labels::new(),
        workload: None,
        node: Some(node.into()),
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![],
        ports: vec![],
    };
    (Kind::Pod, applied(ObjectRef::Pod(key), Object::Pod(pod.into())))
}

fn policy(name: &str) -> (Kind, Seen) {
    let key = ObjectKey::new("shop", name);
    let policy = Policy {
        key: key.clone(),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![]),
        egress: Isolation::Unaffected,
        audit: false,
    };
    (Kind::NetworkPolicy, applied(ObjectRef::Policy(key), Object::Policy(policy.into())))
}

fn deleted(name: &str) -> (Kind, Seen) {
    (Kind::Pod, Seen::Deleted(ObjectRef::Pod(ObjectKey::new("shop", name))))
}

/// When the updates of what is seen at these milliseconds come, and of which objects they are. The first, which is
/// complete, comes at 0.
async fn updates(seen: Vec<(u64, (Kind, Seen))>) -> Vec<(u128, Vec<String>)> {
    let kinds = [Kind::Pod, Kind::NetworkPolicy];
    let (publisher, mut updates, _status) = Publisher::new(location(), ClusterPolicies::Auto, kinds.map(Kind::as_str));
    let (events, inbox) = mpsc::channel(QUEUE);
    let begun = Instant::now();
    let collecting = tokio::spawn(collect(Collector::new(&kinds, NODE, ClusterPolicies::Auto), inbox, publisher));
    for kind in kinds {
        events.send((kind, Seen::Listing)).await.expect("room");
        events.send((kind, Seen::ListedAll)).await.expect("room");
    }
    tokio::spawn(async move {
        for (millisecond, event) in seen {
            sleep_until(begun + Duration::from_millis(millisecond)).await;
            events.send(event).await.expect("room");
        }
        // What waits must come before the end.
        tokio::time::sleep(PAUSE).await;
    });
    let mut received = vec![];
    while let Some(update) = updates.recv().await {
        let names = update.iter().map(|change| match change {
            Change::Apply(object) => object.reference().to_string(),
            Change::Delete(reference) => format!("no {reference}"),
        });
        received.push((begun.elapsed().as_millis(), names.collect()));
    }
    collecting.await.expect("no panic").expect("a reader");
    received
}

#[tokio::test(start_paused = true)]
async fn changes_of_other_nodes_pods_right_after_an_update_come_together() {
    let seen = vec![
        (1, pod("a", "node-b")),
        (3, pod("b", "node-c")),
        (5, deleted("a")),
        (30, pod("c", "node-b")),
        (31, deleted("c")),
    ];
    let expected = [
        (0, vec![]),
        (10, vec!["Pod shop/b".to_owned()]),
        (30, vec!["Pod shop/c".to_owned()]),
        (40, vec!["no Pod shop/c".to_owned()]),
    ];
    assert_eq!(updates(seen).await, expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_else_waits_and_what_waits_comes_with_it() {
    let seen = vec![
        (1, pod("a", "node-b")),
        (2, pod("mine", NODE)),
        (4, pod("b", "node-b")),
        (5, deleted("mine")),
        (7, pod("c", "node-b")),
        (8, policy("deny")),
    ];
    let expected = [
        (0, vec![]),
        (2, vec!["Pod shop/a".to_owned(), "Pod shop/mine".to_owned()]),
        (5, vec!["Pod shop/b".to_owned(), "no Pod shop/mine".to_owned()]),
        (8, vec!["Pod shop/c".to_owned(), "NetworkPolicy shop/deny".to_owned()]),
    ];
    assert_eq!(updates(seen).await, expected);
}
