//! ClusterNetworkPolicies: the server need not have the kind, may get it and lose it, or have it in other versions.

use super::server::Server;
use super::shared::guard;
use super::*;
use crate::{ErrorClass, ResourceStatus};

const POLICIES: &str = "clusternetworkpolicies";
const DEFINITIONS: &str = "customresourcedefinitions";
const GROUP: &str = "policy.networking.k8s.io";

/// Follows a server from the beginning.
fn follow(server: &Server) -> Follower {
    follow_with(server, ClusterPolicies::Auto)
}

fn follow_with(server: &Server, setting: ClusterPolicies) -> Follower {
    Follower::about(server.client(), kinds(false).collect(), timing(Duration::from_millis(300)), setting)
}

/// Follows a server that has ClusterNetworkPolicies, and one of them.
async fn with_one(server: &Server) -> Follower {
    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    let mut follower = follow(server);
    follower.next().await;
    assert_eq!(guards(&follower.cluster), ["a"]);
    until(|| server.is_watched(POLICIES)).await;
    follower
}

fn guards(cluster: &Cluster) -> Vec<String> {
    cluster.cluster_policies.names().map(ToString::to_string).collect()
}

fn of_policies(status: &SourceStatus) -> &ResourceStatus {
    &status.resources["ClusterNetworkPolicy"]
}

fn class(status: &SourceStatus) -> Option<ErrorClass> {
    of_policies(status).failure().map(|failure| failure.class)
}

/// The paths that were asked for of what has to do with ClusterNetworkPolicies.
fn asked(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter();
    requests.filter(|uri| uri.contains(GROUP) || uri.contains(DEFINITIONS)).collect()
}

/// Waits for what the server alone knows.
async fn until(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time");
}

#[tokio::test]
async fn a_kind_that_is_not_there_keeps_nothing_from_starting_and_costs_one_watch() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let mut follower = follow(&server);
    follower.next().await;
    assert_eq!((follower.pods(), guards(&follower.cluster)), (vec!["shop/a".to_owned()], vec![]));
    let status = follower.status(SourceStatus::is_synced).await;
    let told = (status.cluster_policies.served, of_policies(&status).failures(), of_policies(&status).objects);
    assert_eq!(told, (Some(false), 0, 0));

    until(|| server.is_watched(DEFINITIONS)).await;
    server.apply("pods", pod("b", "10.0.0.2"));
    follower.until(has_pod("b")).await;
    let asked = asked(&server);
    assert_eq!(asked.len(), 2, "a list and a watch: {asked:?}");
    let only_one = "fieldSelector=metadata.name%3Dclusternetworkpolicies.policy.networking.k8s.io";
    assert!(asked.iter().all(|uri| uri.starts_with("/apis/apiextensions.k8s.io/v1/") && uri.contains(only_one)));
}

#[tokio::test]
async fn a_kind_that_comes_and_goes_is_followed() {
    let server = Server::start().await;
    let mut follower = follow(&server);
    follower.next().await;
    until(|| server.is_watched(DEFINITIONS)).await;
    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    follower.until(|cluster| guards(cluster) == ["a"]).await;
    until(|| server.is_watched(POLICIES)).await;
    server.apply(POLICIES, guard("b"));
    follower.until(|cluster| guards(cluster) == ["a", "b"]).await;
    server.delete(POLICIES, "a");
    follower.until(|cluster| guards(cluster) == ["b"]).await;
    let status = follower.status(|status| status.cluster_policies.objects == 1).await;
    assert_eq!((status.cluster_policies.served, of_policies(&status).failures()), (Some(true), 0));

    server.undefine();
    follower.until(|cluster| guards(cluster).is_empty()).await;
    let status = follower.status(|status| status.cluster_policies.served == Some(false)).await;
    assert_eq!((status.problem_count, of_policies(&status).failure()), (0, None));
    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("c"));
    follower.until(|cluster| guards(cluster) == ["c"]).await;
}

#[tokio::test]
async fn a_policy_that_is_not_understood_is_left_out_and_told_of() {
    let server = Server::start().await;
    let mut broken = guard("b");
    broken["spec"]["priority"] = json!(-1);
    server.apply(POLICIES, broken);
    let mut follower = with_one(&server).await;
    let status = follower.status(|status| status.problem_count == 1).await;
    let told: Vec<_> = status.problems.iter().map(|it| (it.object.as_deref(), it.field.as_deref())).collect();
    assert_eq!(told, [(Some("ClusterNetworkPolicy b"), Some("spec.priority"))]);
    assert_eq!(guards(&follower.cluster), ["a"]);
}

#[tokio::test]
async fn a_server_that_serves_later_what_is_defined_is_asked_again() {
    let server = Server::start().await;
    server.define(&[]);
    server.apply(POLICIES, guard("a"));
    let mut follower = follow(&server);
    let status = follower.status(|status| of_policies(status).failures() > 1).await;
    assert_eq!((class(&status), status.is_synced()), (Some(ErrorClass::Missing), false));
    server.offer(&["v1alpha2"]);
    follower.until(|cluster| guards(cluster) == ["a"]).await;
}

#[tokio::test]
async fn a_definition_of_which_nothing_is_ever_served_keeps_nothing_from_starting() {
    let server = Server::start().await;
    server.define(&[]);
    let mut follower = follow(&server);
    follower.next().await;
    let status = follower.status(|status| class(status).is_some()).await;
    let message = of_policies(&status).failure().map(|failure| failure.message.clone()).unwrap_or_default();
    assert!(message.contains("the server serves nothing of it: look at its conditions"), "{message}");
}

#[tokio::test]
async fn a_list_that_is_not_found_takes_nothing_away() {
    let server = Server::start().await;
    let mut follower = with_one(&server).await;
    server.refuse_lists(POLICIES, &[404; 3]);
    server.expire_watches(POLICIES);
    follower
        .status(|status| of_policies(status).errors.get(&ErrorClass::Missing).is_some_and(|it| it.count == 3))
        .await;
    server.apply(POLICIES, guard("b"));
    follower.until(|cluster| guards(cluster).len() == 2).await;
    assert!(
        follower.updates.iter().flatten().all(|change| matches!(change, Change::Apply(_))),
        "{:?}",
        follower.updates
    );
}

#[tokio::test]
async fn a_server_that_starts_takes_nothing_away_either() {
    let server = Server::start().await;
    let mut follower = with_one(&server).await;
    // It has not read its CustomResourceDefinitions yet, but for one watch of them that is answered from elsewhere.
    server.offer(&[]);
    server.expire_watches(POLICIES);
    server.apply(DEFINITIONS, json!({"metadata": {"name": format!("{POLICIES}.{GROUP}"), "uid": "of-the-definition"}}));
    follower.status(|status| of_policies(status).failures() > 2).await;
    assert_eq!(guards(&follower.cluster), ["a"]);
    server.offer(&["v1alpha2"]);
    server.apply(POLICIES, guard("b"));
    follower.until(|cluster| guards(cluster) == ["a", "b"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_say_what_it_serves_is_waited_for() {
    let server = Server::start().await;
    server.refuse_lists(GROUP, &[500, 503]);
    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    let mut follower = follow(&server);
    follower.next().await;
    assert_eq!(guards(&follower.cluster), ["a"]);
    let status = follower.status(|status| of_policies(status).synced.is_some()).await;
    assert_eq!((of_policies(&status).failures(), class(&status)), (2, None));
}

#[tokio::test]
async fn who_may_not_watch_the_definition_asks_what_is_served() {
    let server = Server::start().await;
    server.forbid(DEFINITIONS, true);
    let mut follower = follow(&server);
    follower.next().await;
    let status = follower.status(SourceStatus::is_synced).await;
    assert_eq!((status.cluster_policies.served, of_policies(&status).failures()), (Some(false), 0));
    server.offer(&["v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    follower.until(|cluster| guards(cluster) == ["a"]).await;
    until(|| server.is_watched(POLICIES)).await;

    server.offer(&[]);
    let status = follower.status(|status| class(status).is_some()).await;
    let told = (class(&status), guards(&follower.cluster), status.cluster_policies.served);
    assert_eq!(told, (Some(ErrorClass::Missing), vec!["a".to_owned()], Some(true)), "it may come back");
    server.offer(&["v1alpha2"]);
    server.delete(POLICIES, "a");
    follower.until(|cluster| guards(cluster).is_empty()).await;
    follower.status(|status| class(status).is_none()).await;
    server.offer(&[]);
    follower.status(|status| status.cluster_policies.served == Some(false) && class(status).is_none()).await;

    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("b"));
    server.forbid(DEFINITIONS, false);
    follower.until(|cluster| guards(cluster) == ["b"]).await;
    until(|| server.is_watched(DEFINITIONS)).await;
    server.undefine();
    follower.until(|cluster| guards(cluster).is_empty()).await;
}

#[tokio::test]
async fn policies_that_may_not_be_read_keep_no_other_kind_from_being_read() {
    let server = Server::start().await;
    server.define(&["v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    server.forbid(POLICIES, true);
    server.apply("networkpolicies", policy("deny", json!({})));
    let mut follower = follow(&server);
    follower.next().await;
    assert_eq!((follower.cluster.policies.len(), guards(&follower.cluster)), (1, vec![]));
    let status = follower.status(|status| class(status).is_some()).await;
    assert_eq!((class(&status), status.is_synced()), (Some(ErrorClass::Forbidden), false));
    let message = of_policies(&status).failure().map(|failure| failure.message.clone()).unwrap_or_default();
    assert!(message.ends_with("grant get, list and watch on clusternetworkpolicies.policy.networking.k8s.io to this user or service account"), "{message}");
    server.delete("networkpolicies", "shop/deny");
    follower.until(|cluster| cluster.policies.is_empty()).await;
    server.forbid(POLICIES, false);
    follower.until(|cluster| guards(cluster) == ["a"]).await;
}

#[tokio::test]
async fn of_several_versions_the_one_that_podgate_knows_is_read() {
    let server = Server::start().await;
    server.define(&["v1beta1", "v1alpha2"]);
    server.apply(POLICIES, guard("a"));
    let mut follower = follow(&server);
    follower.next().await;
    assert_eq!(guards(&follower.cluster), ["a"]);
    let lists: Vec<_> = asked(&server).into_iter().filter(|uri| uri.contains(&format!("/{POLICIES}?"))).collect();
    assert!(lists.iter().all(|uri| uri.starts_with("/apis/policy.networking.k8s.io/v1alpha2/")), "{lists:?}");
}

#[tokio::test]
async fn versions_that_podgate_does_not_know_are_named_and_what_was_known_stays() {
    let server = Server::start().await;
    server.define(&["v1beta1"]);
    server.apply(POLICIES, guard("a"));
    let mut follower = follow(&server);
    follower.next().await;
    let status = follower.status(|status| class(status).is_some()).await;
    let message = of_policies(&status).failure().map(|failure| failure.message.as_str());
    let expected = "the server serves clusternetworkpolicies.policy.networking.k8s.io in v1beta1 only, and podgate reads \
                    v1alpha2: let its CustomResourceDefinition serve that too, or upgrade podgate";
    assert_eq!((message, guards(&follower.cluster)), (Some(expected), vec![]));
    server.define(&["v1beta1", "v1alpha2"]);
    follower.until(|cluster| guards(cluster) == ["a"]).await;
    follower.status(|status| class(status).is_none() && of_policies(status).unheard_since.is_none()).await;
    server.define(&["v1beta1"]);
    follower.status(|status| of_policies(status).failure().is_some_and(|failure| failure.message == expected)).await;
    server.apply("pods", pod("a", "10.0.0.1"));
    follower.until(has_pod("a")).await;
    assert_eq!(guards(&follower.cluster), ["a"]);
}

#[tokio::test]
async fn a_watch_of_the_definition_that_fails_is_over_when_it_works() {
    let server = Server::start().await;
    let mut follower = follow(&server);
    follower.next().await;
    until(|| server.is_watched(DEFINITIONS)).await;
    server.refuse_watches(DEFINITIONS, &[500]);
    server.end_watches(DEFINITIONS);
    follower.status(|status| class(status) == Some(ErrorClass::ServerError)).await;
    follower.status(|status| class(status).is_none() && of_policies(status).unheard_since.is_none()).await;
}

#[tokio::test]
async fn policies_that_are_off_are_counted_and_not_read() {
    let server = Server::start().await;
    server.define(&["v1alpha2"]);
    for name in ["a", "b", "c"] {
        server.apply(POLICIES, guard(name));
    }
    let mut follower = follow_with(&server, ClusterPolicies::Off);
    follower.next().await;
    let status = follower.status(|status| status.cluster_policies.objects > 0).await;
    let expected = KnownClusterPolicies { setting: ClusterPolicies::Off, served: Some(true), objects: 3, error: None };
    assert_eq!((&status.cluster_policies, status.resources.get("ClusterNetworkPolicy")), (&expected, None));
    let lists: Vec<_> = asked(&server).into_iter().filter(|uri| uri.contains(&format!("/{POLICIES}?"))).collect();
    assert!(lists.len() == 1 && lists[0].contains("limit=1"), "{lists:?}");
    assert_eq!((follower.updates.len(), guards(&follower.cluster)), (1, vec![]));

    server.undefine();
    let status = follower.status(|status| status.cluster_policies.served == Some(false)).await;
    assert_eq!(status.cluster_policies.objects, 0);
    server.forbid(POLICIES, true);
    server.define(&["v1alpha2"]);
    let status = follower.status(|status| status.cluster_policies.error.is_some()).await;
    assert!(status.is_synced(), "what is off is waited for by nobody");
}

#[tokio::test]
async fn policies_that_are_off_are_counted_again_now_and_then() {
    let server = Server::start().await;
    server.define(&["v1alpha2"]);
    let timing = Timing { silence: Duration::from_millis(100), ..timing(PATIENCE) };
    let kinds = kinds(false).collect();
    let mut follower = Follower::about(server.client(), kinds, timing, ClusterPolicies::Off);
    follower.status(|status| status.cluster_policies.served == Some(true)).await;
    server.apply(POLICIES, guard("a"));
    follower.status(|status| status.cluster_policies.objects == 1).await;
}
