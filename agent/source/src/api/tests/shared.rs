//! What holds at the small server and at a real one alike.

use std::net::IpAddr;

use kube::Client;
use podgate_policy::cluster::Cluster;
use podgate_policy::model::ObjectKey;
use serde_json::{Value, json};

use super::server::Server;
use super::{Follower, NODE, has_pod, pod, snapshot};
use crate::object::Kind;

/// An API server whose objects a test changes.
pub(super) trait Objects {
    /// Creates or changes an object.
    async fn put(&self, plural: &str, object: Value);
    /// Deletes an object, by name or namespace/name.
    async fn remove(&self, plural: &str, name: &str);
    /// A client that may read everything.
    fn reader(&self) -> Client;
}

impl Objects for Server {
    async fn put(&self, plural: &str, object: Value) {
        self.apply(plural, object);
    }

    async fn remove(&self, plural: &str, name: &str) {
        self.delete(plural, name);
    }

    fn reader(&self) -> Client {
        self.client()
    }
}

async fn follow(server: &impl Objects) -> Follower {
    let mut follower = Follower::with(server.reader(), super::WATCHED.into());
    follower.next().await;
    follower
}

fn addresses(cluster: &Cluster, name: &str) -> Vec<IpAddr> {
    let pod = cluster.pods.get(&ObjectKey::new("shop", name));
    pod.map(|pod| pod.addresses.clone()).unwrap_or_default()
}

/// Pods come, change and go.
pub(super) async fn changes_and_deletions_follow(server: &impl Objects) {
    server.put("pods", pod("a", "10.0.0.1")).await;
    let mut follower = follow(server).await;
    assert_eq!(follower.pods(), ["shop/a"]);
    server.put("pods", pod("b", "10.0.0.2")).await;
    follower.until(|cluster| !addresses(cluster, "b").is_empty()).await;
    server.put("pods", pod("a", "10.0.0.3")).await;
    follower.until(|cluster| addresses(cluster, "a") == [IpAddr::from([10, 0, 0, 3])]).await;
    server.remove("pods", "shop/a").await;
    follower.until(|cluster| cluster.pods.len() == 1).await;
    assert_eq!(follower.pods(), ["shop/b"]);
    server.remove("pods", "shop/b").await;
    follower.until(|cluster| cluster.pods.is_empty()).await;
}

/// Pods that have ended are neither listed nor watched, nor are nodes but the agent's own.
pub(super) async fn what_is_not_needed_is_not_sent(server: &impl Objects) {
    let ended = |name: &str| {
        let mut pod = pod(name, "10.0.0.4");
        pod["status"]["phase"] = "Succeeded".into();
        pod
    };
    let node = |name: &str, address: &str| json!({"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
    server.put("pods", ended("ended")).await;
    server.put("pods", pod("job", "10.0.0.5")).await;
    server.put("nodes", node("node-b", "192.0.2.2")).await;
    server.put("nodes", node(NODE, "192.0.2.1")).await;
    let mut follower = follow(server).await;
    assert_eq!(follower.pods(), ["shop/job"]);
    let known = |cluster: &Cluster| cluster.nodes.keys().map(ToString::to_string).collect::<Vec<_>>();
    follower.until(|cluster| known(cluster) == [NODE]).await;
    server.put("nodes", node("node-b", "192.0.2.3")).await;
    server.put("pods", ended("job")).await;
    follower.until(|cluster| cluster.pods.is_empty()).await;
    server.put("pods", pod("last", "10.0.0.6")).await;
    follower.until(has_pod("last")).await;
    let nodes = follower.updates[1..]
        .iter()
        .flatten()
        .filter(|change| matches!(change, crate::Change::Apply(object) if object.reference().kind() == Kind::Node));
    assert_eq!((known(&follower.cluster), nodes.count() <= 1), (vec![NODE.to_owned()], true));
    for name in ["ended", "job", "last"] {
        server.remove("pods", &format!("shop/{name}")).await;
    }
}

/// Policies, namespaces and Services are followed.
pub(super) async fn every_kind_is_followed(server: &impl Objects) {
    let mut follower = follow(server).await;
    let policy = |port: u16| {
        json!({"metadata": {"namespace": "shop", "name": "web"},
               "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": port}]}]}})
    };
    let key = ObjectKey::new("shop", "web");
    server.put("networkpolicies", policy(80)).await;
    follower.until(|cluster| cluster.policies.contains_key(&key)).await;
    let before = follower.cluster.policies[&key].clone();
    server.put("networkpolicies", policy(81)).await;
    follower.until(|cluster| cluster.policies[&key] != before).await;

    let labelled = json!({"metadata": {"name": "shop", "labels": {"tier": "front"}}});
    server.put("namespaces", labelled).await;
    let tier = |cluster: &Cluster| cluster.namespaces["shop"].labels.get("tier").map(ToString::to_string);
    follower.until(|cluster| tier(cluster).as_deref() == Some("front")).await;

    let service = json!({"metadata": {"namespace": "shop", "name": "web"},
                         "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}});
    server.put("services", service).await;
    let cluster_ips = |cluster: &Cluster| cluster.services.get(&key).map(|service| service.cluster_ips.clone());
    follower.until(|cluster| cluster_ips(cluster) == Some(vec![IpAddr::from([10, 96, 0, 77])])).await;
    server.remove("services", "shop/web").await;
    server.remove("networkpolicies", "shop/web").await;
    follower.until(|cluster| !cluster.services.contains_key(&key) && cluster.policies.is_empty()).await;
}

/// Many pods arrive whole, in pages.
pub(super) async fn many_pods_are_listed(server: &impl Objects, number: u16) {
    for pods in 0..number {
        let [high, low] = pods.to_be_bytes();
        server.put("pods", pod(&format!("p{pods}"), &format!("10.1.{high}.{low}"))).await;
    }
    let follower = follow(server).await;
    let distinct: std::collections::BTreeSet<_> =
        follower.cluster.pods.values().flat_map(|pod| pod.addresses.iter()).collect();
    assert_eq!((follower.cluster.pods.len(), distinct.len()), (usize::from(number), usize::from(number)));
}

#[tokio::test]
async fn pods_that_come_change_and_go_are_followed() {
    changes_and_deletions_follow(&Server::start().await).await;
}

#[tokio::test]
async fn pods_that_have_ended_and_other_nodes_are_not_sent() {
    what_is_not_needed_is_not_sent(&Server::start().await).await;
}

#[tokio::test]
async fn policies_namespaces_and_services_are_followed() {
    let server = Server::start().await;
    server.apply("namespaces", super::namespace("shop"));
    every_kind_is_followed(&server).await;
}

#[tokio::test]
async fn ten_thousand_pods_are_listed_whole() {
    let server = Server::start().await;
    server.full_pages();
    many_pods_are_listed(&server, 10_000).await;
}

/// A snapshot holds what the source follows, and the kinds and nodes that it leaves out besides.
pub(super) async fn a_snapshot_is_what_the_server_has(server: &impl Objects) {
    let mut labelled = pod("a", "10.0.0.1");
    labelled["spec"]["containers"] =
        json!([{"name": "main", "image": "none", "ports": [{"containerPort": 80, "name": "http"}]}]);
    server.put("pods", labelled).await;
    server.put("pods", pod("b", "10.0.0.2")).await;
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]});
    server.put("networkpolicies", json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec})).await;
    let mut counts = vec![];
    let loaded = snapshot::read(&server.reader(), |objects| counts.push(objects)).await.expect("a server that answers");
    let follower = follow(server).await;
    assert_eq!((&loaded.cluster.pods, &loaded.cluster.policies), (&follower.cluster.pods, &follower.cluster.policies));
    assert_eq!((loaded.problems.len(), loaded.places.len(), loaded.written.ineffective.len()), (0, 0, 1));
    assert!(loaded.written.namespaces && counts.is_sorted() && counts.last() >= Some(&4), "{counts:?}");
    server.remove("networkpolicies", "shop/p").await;
    server.remove("pods", "shop/a").await;
    server.remove("pods", "shop/b").await;
}

#[tokio::test]
async fn a_snapshot_holds_all_objects() {
    let server = Server::start().await;
    server.apply("namespaces", super::namespace("shop"));
    a_snapshot_is_what_the_server_has(&server).await;
}

#[tokio::test]
async fn a_snapshot_does_without_endpoint_slices_where_they_may_not_be_listed() {
    let server = Server::start().await;
    server.apply("namespaces", super::namespace("shop"));
    server.forbid("endpointslices", true);
    let loaded = snapshot::read(&server.client(), |_| {}).await.expect("the other kinds");
    assert_eq!(loaded.cluster.namespaces.len(), 1);
}

/// A ClusterNetworkPolicy without rules.
pub(super) fn guard(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
    })
}

#[tokio::test]
async fn a_snapshot_has_cluster_network_policies_where_the_server_knows_them() {
    let server = Server::start().await;
    server.apply("clusternetworkpolicies", guard("guard"));
    let loaded = snapshot::read(&server.client(), |_| {}).await.expect("the other kinds");
    assert!(loaded.cluster.cluster_policies.is_empty());
    server.offer(&["v1alpha2"]);
    let loaded = snapshot::read(&server.client(), |_| {}).await.expect("all kinds");
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.cluster.cluster_policies.names().map(|name| &**name).collect::<Vec<_>>(), ["guard"]);
}

#[tokio::test]
async fn a_snapshot_without_the_cluster_network_policies_of_another_version_is_none() {
    let server = Server::start().await;
    server.offer(&["v1beta1"]);
    let error = snapshot::read(&server.client(), |_| {}).await.expect_err("they can't be read").to_string();
    assert!(error.contains("in v1beta1 only, and podgate reads v1alpha2"), "{error}");
}

#[tokio::test]
async fn a_snapshot_whose_cluster_network_policies_may_not_be_listed_is_none_unless_there_can_be_none() {
    let server = Server::start().await;
    server.forbid("clusternetworkpolicies", true);
    assert!(snapshot::read(&server.client(), |_| {}).await.is_ok());
    server.offer(&["v1alpha2"]);
    let error = snapshot::read(&server.client(), |_| {}).await.expect_err("they are forbidden").to_string();
    assert!(error.contains("grant get, list and watch on clusternetworkpolicies"), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_is_refused_names_the_kind_and_what_to_grant() {
    let server = Server::start().await;
    server.forbid("services", true);
    let error = snapshot::read(&server.client(), |_| {}).await.expect_err("services are forbidden").to_string();
    assert_eq!(
        error,
        "the server refuses to list services (403): services is forbidden; \
         grant get, list and watch on services to this user or service account"
    );
}
