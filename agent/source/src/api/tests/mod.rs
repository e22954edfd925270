//! The source against a small API server that fails in every way a real one does, and, where there is one, against a real
//! one.

mod cluster_policies;
mod errors;
mod odd;
mod pause;
mod real;
mod server;
mod shared;

use std::time::Duration;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{Isolation, ObjectKey};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::server::Server;
use super::*;
use crate::problem::Effect;
use crate::{Change, KnownClusterPolicies, SourceStatus, Update};

const PATIENCE: Duration = Duration::from_secs(20);

/// The agent's own node.
const NODE: &str = "node-a";

/// The source of a server, and the cluster as its updates tell it.
struct Follower {
    source: Source,
    cluster: Cluster,
    updates: Vec<Update>,
}

impl Follower {
    fn of(server: &Server) -> Self {
        Self::with(server.client(), WATCHED.into_iter().chain([Kind::EndpointSlice]).collect())
    }

    fn with(client: Client, kinds: Vec<Kind>) -> Self {
        Self::timed(client, kinds, timing(Duration::from_millis(300)))
    }

    fn timed(client: Client, kinds: Vec<Kind>, timing: Timing) -> Self {
        Self::about(client, kinds, timing, ClusterPolicies::Auto)
    }

    fn about(client: Client, kinds: Vec<Kind>, timing: Timing, cluster_policies: ClusterPolicies) -> Self {
        let source = start(client, location(), NODE, timing, kinds, cluster_policies);
        Self { source, cluster: Cluster::default(), updates: vec![] }
    }

    /// Follows a server that has listed everything.
    async fn synced(server: &Server) -> Self {
        let mut follower = Self::of(server);
        follower.next().await;
        for plural in ["namespaces", "nodes", "pods", "services", "networkpolicies", "endpointslices"] {
            while !server.is_watched(plural) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        follower
    }

    async fn next(&mut self) {
        let update = timeout(PATIENCE, self.source.updates.recv()).await.expect("an update in time").expect("a source");
        self.updates.push(update.clone());
        for change in update {
            change.apply_to(&mut self.cluster);
        }
    }

    async fn until(&mut self, reached: impl Fn(&Cluster) -> bool) {
        while !reached(&self.cluster) {
            self.next().await;
        }
    }

    async fn status(&mut self, reached: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let waited = timeout(PATIENCE, self.source.status.wait_for(reached)).await;
        waited.expect("a status in time").expect("a source").clone()
    }

    fn pods(&self) -> Vec<String> {
        self.cluster.pods.keys().map(ToString::to_string).collect()
    }
}

/// A source in a hurry, for which silence is nothing.
fn timing(recovery: Duration) -> Timing {
    Timing { patience: 0.01, recovery, silence: PATIENCE * 10 }
}

fn location() -> Location {
    Location::Api { url: "http://test/".to_owned(), host: "test".to_owned(), port: 80 }
}

fn pod(name: &str, ip: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "labels": {"app": name}}, "spec": {}, "status": {"podIP": ip}})
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec})
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn has_pod(name: &str) -> impl Fn(&Cluster) -> bool {
    let key = ObjectKey::new("shop", name);
    move |cluster| cluster.pods.contains_key(&key)
}

#[tokio::test]
async fn first_update_is_the_whole_state_once_every_kind_is_listed() {
    let server = Server::start().await;
    server.apply("namespaces", namespace("shop"));
    for number in 1..=5 {
        server.apply("pods", pod(&format!("p{number}"), &format!("10.0.0.{number}")));
    }
    server.apply("networkpolicies", policy("deny", json!({})));
    server.forbid("nodes", true);

    let mut follower = Follower::of(&server);
    let status = follower.status(|status| status.resources["Node"].failures() > 1).await;
    assert!(!status.is_synced());
    assert_eq!(
        status.resources["Node"].failure().map(|failure| failure.message.as_str()),
        Some(
            "the server refuses to list nodes (403): nodes is forbidden; \
             grant get, list and watch on nodes to this user or service account"
        )
    );
    follower.status(|status| status.resources["Pod"].synced.is_some()).await;
    assert!(follower.source.updates.try_recv().is_err(), "nothing may be sent before nodes are listed");

    server.forbid("nodes", false);
    follower.next().await;
    assert_eq!(follower.pods(), ["shop/p1", "shop/p2", "shop/p3", "shop/p4", "shop/p5"]);
    assert_eq!((follower.cluster.policies.len(), follower.cluster.namespaces.len()), (1, 1));
    let status = follower.status(SourceStatus::is_synced).await;
    assert_eq!(status.resources["Pod"].objects, 5);
    assert_eq!(status.resources["Node"].failure(), None);
}

#[tokio::test]
async fn services_and_their_endpoint_slices_are_followed() {
    let server = Server::start().await;
    let port = json!([{"port": 80}]);
    let service = |ip: &str| json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": port}});
    server.apply("services", service("10.96.0.1"));
    let mut follower = Follower::synced(&server).await;
    let key = ObjectKey::new("shop", "web");
    let addresses =
        |cluster: &Cluster| cluster.services[&key].cluster_ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(addresses(&follower.cluster), ["10.96.0.1"]);
    server.apply("services", service("10.96.0.2"));
    follower.until(|cluster| addresses(cluster) == ["10.96.0.2"]).await;
    let slice = json!({
        "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": port, "endpoints": [{"addresses": ["10.0.0.1"]}],
    });
    server.apply("endpointslices", slice);
    follower.until(|cluster| cluster.endpoint_slices.len() == 1).await;
    server.delete("services", "shop/web");
    follower.until(|cluster| cluster.services.is_empty()).await;
}

#[tokio::test]
async fn audit_mode_of_a_namespace_is_read() {
    let server = Server::start().await;
    let annotations = json!({"podgate.io/audit": "true", "other": "text"});
    server.apply("namespaces", json!({"metadata": {"name": "shop", "annotations": annotations}}));
    let follower = Follower::synced(&server).await;
    assert!(follower.cluster.namespaces["shop"].audit);
}

#[tokio::test]
async fn lists_come_compressed_and_watches_as_they_are() {
    let server = Server::start().await;
    server.compress();
    ["a", "b", "c"].into_iter().for_each(|name| server.apply("pods", pod(name, "10.0.0.1")));
    let mut follower = Follower::synced(&server).await;
    assert_eq!(server.compressed(), WATCHED.len() + 2, "one for each kind, and another for the second page of pods");
    server.apply("pods", pod("d", "10.0.0.2"));
    follower.until(has_pod("d")).await;
    assert_eq!(follower.pods(), ["shop/a", "shop/b", "shop/c", "shop/d"]);
}

#[tokio::test]
async fn empty_cluster_gives_an_empty_first_update() {
    let server = Server::start().await;
    let mut follower = Follower::of(&server);
    follower.next().await;
    assert_eq!(follower.updates, [vec![]]);
}

#[tokio::test]
async fn change_that_concerns_nothing_podgate_keeps_is_no_update() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = Follower::synced(&server).await;
    let mut touched = pod("a", "10.0.0.1");
    touched["status"]["hostIP"] = "192.0.2.1".into();
    server.apply("pods", touched);
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    let applied = follower.updates[1..].iter().flatten().count();
    assert_eq!(applied, 1, "{:?}", follower.updates);
}

#[tokio::test]
async fn watch_that_is_cut_resumes_at_the_last_bookmark() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = Follower::synced(&server).await;
    server.apply("namespaces", namespace("other"));
    server.bookmark("pods");
    let place = server.version();
    // The bookmark is read before the event behind it.
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    server.cut_watches("pods");
    server.apply("pods", pod("c", "10.0.0.3"));
    follower.until(has_pod("c")).await;

    let starts: Vec<_> =
        server.requests().into_iter().filter(|uri| uri.contains("/pods") && uri.contains("watch=true")).collect();
    assert_eq!(starts.len(), 2, "{starts:?}");
    assert!(starts[1].contains(&format!("resourceVersion={}", place + 1)), "{starts:?}");
    assert_eq!(follower.pods(), ["shop/a", "shop/b", "shop/c"]);
}

#[tokio::test]
async fn bookmark_alone_moves_the_place_where_a_watch_resumes() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = Follower::synced(&server).await;
    server.apply("namespaces", namespace("other"));
    server.bookmark("pods");
    let place = server.version();
    server.compact();
    server.end_watches("pods");
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    let resumed = format!("resourceVersion={place}");
    assert!(server.requests().iter().any(|uri| uri.contains("watch=true") && uri.contains(&resumed)));
    let lists = server.requests().iter().filter(|uri| uri.contains("/pods") && !uri.contains("watch=true")).count();
    assert_eq!(lists, 1, "a known place needs no second list");
}

/// Makes the server forget the past while a pod goes, another comes and the watch is down; what `fault` does brings that out.
async fn differences_after(fault: impl FnOnce(&Server)) {
    let server = Server::start().await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        server.apply("pods", pod(name, ip));
    }
    let mut follower = Follower::synced(&server).await;
    fault(&server);
    follower.until(has_pod("d")).await;
    assert_eq!(follower.pods(), ["shop/b", "shop/c", "shop/d"]);
    let update = &follower.updates[1];
    assert_eq!(update.len(), 2, "only real differences, and together: {update:?}");
    assert!(matches!(&update[0], Change::Delete(reference) if reference.to_string() == "Pod shop/a"));
    assert!(matches!(&update[1], Change::Apply(object) if object.reference().to_string() == "Pod shop/d"));
    follower.status(|status| status.resources["Pod"].failure().is_none()).await;
}

fn change_unseen(server: &Server) {
    server.delete("pods", "shop/a");
    server.apply("pods", pod("d", "10.0.0.4"));
    server.compact();
}

#[tokio::test]
async fn gone_within_the_stream_lists_again() {
    differences_after(|server| {
        server.refuse_watches("pods", &[500, 500, 500]);
        server.expire_watches("pods");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn gone_as_the_answer_to_a_watch_lists_again() {
    differences_after(|server| {
        server.refuse_watches("pods", &[410]);
        server.cut_watches("pods");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn place_that_is_too_old_after_a_cut_lists_again() {
    differences_after(|server| {
        server.refuse_watches("pods", &[503]);
        server.cut_watches("pods");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn list_that_fails_on_its_way_is_begun_again() {
    let server = Server::start().await;
    for number in 1..=5 {
        server.apply("pods", pod(&format!("p{number}"), &format!("10.0.0.{number}")));
    }
    server.refuse_lists("pods", &[500, 500]);
    let mut follower = Follower::of(&server);
    follower.next().await;
    assert_eq!(follower.cluster.pods.len(), 5);
    let status = follower.status(SourceStatus::is_synced).await;
    assert_eq!((status.resources["Pod"].failures(), status.resources["Pod"].failure()), (2, None));
}

#[tokio::test]
async fn version_that_is_too_large_lists_again() {
    // As etcd restored from a backup: the server is at an older version than the watch.
    differences_after(|server| {
        server.fail_watches("pods", 504, "Timeout: Too large resource version: 9, current: 5");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn version_that_is_too_large_for_a_watch_to_begin_lists_again() {
    differences_after(|server| {
        server.refuse_watches("pods", &[504]);
        server.cut_watches("pods");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn any_error_within_a_watch_lists_again() {
    differences_after(|server| {
        server.fail_watches("pods", 500, "etcdserver: leader changed");
        change_unseen(server);
    })
    .await;
}

#[tokio::test]
async fn watch_that_hears_nothing_is_listed_again() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let timing = Timing { silence: Duration::from_millis(200), ..timing(PATIENCE) };
    let mut follower = Follower::timed(server.client(), WATCHED.into(), timing);
    follower.next().await;
    server.mute("pods");
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    assert_eq!(follower.status(SourceStatus::is_synced).await.resources["Pod"].failures(), 0);
}

#[tokio::test]
async fn watch_that_fails_after_every_list_is_not_heard_though_the_list_counts() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = Follower::with(server.client(), WATCHED.into());
    follower.next().await;
    server.refuse_watches("pods", &[410; 1000]);
    server.cut_watches("pods");
    let status = follower.status(|status| status.resources["Pod"].failures() > 5).await;
    let since = status.resources["Pod"].unheard_since.expect("unheard");
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    let status = follower.status(|status| status.resources["Pod"].failures() > 10).await;
    assert_eq!(status.resources["Pod"].unheard_since, Some(since));
    let heard = |status: &SourceStatus| status.resources["Pod"].unheard_since.is_none();
    server.serve_watches("pods");
    follower.status(heard).await;
}

#[tokio::test]
async fn list_again_without_a_difference_is_no_update() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = Follower::synced(&server).await;
    server.expire_watches("pods");
    follower.status(|status| status.resources["Pod"].failures() > 0).await;
    follower.status(|status| status.resources["Pod"].failure().is_none()).await;
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    assert_eq!(follower.updates.len(), 2, "{:?}", follower.updates);
}

#[tokio::test]
async fn failure_is_over_when_nothing_fails_for_a_while() {
    let server = Server::start().await;
    let mut follower = Follower::synced(&server).await;
    server.refuse_watches("pods", &[500]);
    server.end_watches("pods");
    follower.status(|status| status.resources["Pod"].failure().is_some()).await;
    follower.status(|status| status.resources["Pod"].failure().is_none()).await;
}

#[tokio::test]
async fn invalid_policy_keeps_its_last_good_version() {
    let server = Server::start().await;
    server.apply("networkpolicies", policy("p", json!({"ingress": [{"ports": [{"port": 80}]}]})));
    let mut follower = Follower::synced(&server).await;
    let good = follower.cluster.clone();

    server.apply("networkpolicies", policy("p", json!({"ingress": [{"ports": [{"port": 70000}]}]})));
    let status = follower.status(|status| !status.problems.is_empty()).await;
    assert_eq!(
        status.problems[0].to_string(),
        "Kubernetes API: NetworkPolicy shop/p: spec.ingress[0].ports[0].port: \
         70000 is not a port: expected 1 to 65535; the last good version stays in force"
    );
    server.expire_watches("networkpolicies");
    follower.status(|status| status.resources["NetworkPolicy"].failures() > 0).await;
    server.apply("pods", pod("a", "10.0.0.1"));
    follower.until(has_pod("a")).await;
    assert_eq!(follower.cluster.policies, good.policies, "not even a new list makes the broken version count");

    server.apply("networkpolicies", policy("p", json!({"ingress": [{}]})));
    follower.until(|cluster| cluster.policies != good.policies).await;
    let status = follower.status(|status| status.problems.is_empty()).await;
    assert_eq!(status.problem_count, 0);
    assert!(status.problems_met.values().sum::<u64>() >= 1);
}

#[tokio::test]
async fn invalid_policy_without_a_good_version_isolates() {
    let server = Server::start().await;
    server.apply("networkpolicies", policy("unknown-field", json!({"ingress": [{"form": [{"podSelector": {}}]}]})));
    server.apply("networkpolicies", policy("null-rule", json!({"ingress": [null]})));
    let mut follower = Follower::synced(&server).await;
    for policy in follower.cluster.policies.values() {
        assert_eq!(policy.ingress, Isolation::Restricted(vec![]), "{}", policy.key);
    }
    assert_eq!(follower.cluster.policies.len(), 2);
    let status = follower.status(|status| status.problem_count == 2).await;
    assert!(status.problems.iter().all(|problem| problem.effect == Effect::Isolated), "{:?}", status.problems);

    server.delete("networkpolicies", "shop/null-rule");
    follower.until(|cluster| cluster.policies.len() == 1).await;
    follower.status(|status| status.problem_count == 1).await;
}

#[tokio::test]
async fn object_that_makes_no_sense_concerns_itself_alone() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    server.apply("pods", json!({"metadata": {"namespace": "shop", "name": "b"}, "spec": [], "status": {"podIPs": 7}}));
    server.apply("pods", pod("c", "ten"));
    let mut follower = Follower::synced(&server).await;
    assert_eq!(follower.pods(), ["shop/a", "shop/b", "shop/c"]);
    assert!(follower.cluster.pods[&ObjectKey::new("shop", "c")].addresses.is_empty());
    let status = follower.status(|status| status.problem_count == 3).await;
    let fields: Vec<_> = status.problems.iter().filter_map(|problem| problem.field.as_deref()).collect();
    assert_eq!(fields, ["spec", "status.podIPs", "status.podIP"]);
}

#[tokio::test]
async fn fields_newer_than_podgate_are_no_problem_in_pods() {
    let server = Server::start().await;
    let mut newer = pod("a", "10.0.0.1");
    newer["spec"]["telepathy"] = true.into();
    server.apply("pods", newer);
    let mut follower = Follower::synced(&server).await;
    assert_eq!(follower.status(SourceStatus::is_synced).await.problem_count, 0);
    assert_eq!(follower.pods(), ["shop/a"]);
}

#[tokio::test]
async fn a_static_pod_has_the_uid_that_its_node_knows() {
    let server = Server::start().await;
    let mut mirror = pod("a", "10.0.0.1");
    mirror["metadata"]["uid"] = "of-the-mirror".into();
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "of-the-node", "other": "text"});
    server.apply("pods", mirror);
    let follower = Follower::synced(&server).await;
    assert_eq!(&*follower.cluster.pods[&ObjectKey::new("shop", "a")].uid, "of-the-node");
}

#[tokio::test]
async fn the_uid_of_a_pod_is_kept_unless_it_is_on_another_node() {
    let server = Server::start().await;
    for (name, node) in [("here", json!(NODE)), ("there", json!("another")), ("nowhere", Value::Null)] {
        let mut pod = pod(name, "10.0.0.1");
        (pod["metadata"]["uid"], pod["spec"]["nodeName"]) = (format!("of-{name}").into(), node);
        server.apply("pods", pod);
    }
    let follower = Follower::synced(&server).await;
    let uids: Vec<_> = follower.cluster.pods.values().map(|pod| &*pod.uid).collect();
    assert_eq!(uids, ["of-here", "of-nowhere", ""]);
}

#[tokio::test]
async fn source_outlives_a_server_that_is_not_there() {
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().expect("an URL"))).expect("a client");
    let mut source = start(client, location(), NODE, timing(PATIENCE), kinds(true).collect(), ClusterPolicies::Auto);
    let failing = source.status.wait_for(|status| status.resources.values().all(|resource| resource.failures() > 2));
    let status = timeout(PATIENCE, failing).await.expect("in time").expect("a source").clone();
    let failure = status.resources["NetworkPolicy"].failure().cloned().expect("a failure");
    assert!(failure.message.contains("Connection refused"), "{}", failure.message);
}
