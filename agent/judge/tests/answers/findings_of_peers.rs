//! What `check` finds in `from` and `to`.

use podgate_policy::model::Operator;

use crate::findings::{expect, shop};
use crate::world::{World, expression, host_on, ingress, matching, peers, pods, pods_in, values};

fn with(peer: podgate_policy::model::Peer) -> World {
    shop().policy(ingress("shop/p", "app=web", vec![peers(vec![peer])]))
}

#[test]
fn a_peer_in_another_namespace_is_told_to_select_that() {
    expect(
        &with(pods(matching("app=prober"))),
        &[
            "warning peer-matches-nothing shop/p: spec.ingress[0].from[0].podSelector: without namespaceSelector only pods of \
           namespace shop count, and none has app=prober; add to the same element namespaceSelector with \
           kubernetes.io/metadata.name: monitoring, where pods have these labels",
        ],
    );
}

#[test]
fn a_peer_that_nobody_matches_names_the_labels_that_there_are() {
    expect(
        &with(pods_in(matching("purpose=monitoring"), matching("app=grafana"))),
        &[
            "warning peer-matches-nothing shop/p: spec.ingress[0].from[0].podSelector: no pod of namespace monitoring has \
           app=grafana; use labels of the pods that are meant: there, app is prober",
        ],
    );
}

#[test]
fn a_namespace_selector_that_matches_none_names_the_label_that_every_namespace_has() {
    expect(
        &with(pods_in(matching("name=monitoring"), matching(""))),
        &["warning peer-matches-nothing shop/p: spec.ingress[0].from[0].namespaceSelector: no namespace has \
           name=monitoring; use the label that every namespace has: kubernetes.io/metadata.name: monitoring"],
    );
    expect(
        &with(pods_in(matching("purpose=billing"), matching(""))),
        &["warning peer-matches-nothing shop/p: spec.ingress[0].from[0].namespaceSelector: no namespace has \
           purpose=billing; use labels of the namespaces that are meant: there, purpose is monitoring"],
    );
}

#[test]
fn typing_errors_in_peers_are_told_for_pods_and_namespaces() {
    expect(
        &with(pods_in(matching("purpose=monitorng"), matching(""))),
        &["warning label-typo shop/p: spec.ingress[0].from[0].namespaceSelector: no namespace has the label \
           purpose=monitorng; did you mean purpose=monitoring?"],
    );
    expect(
        &with(pods_in(matching("purpose=monitoring"), matching("app=probre"))),
        &[
            "warning label-typo shop/p: spec.ingress[0].from[0].podSelector: no pod of namespace monitoring has the label \
           app=probre; did you mean app=prober?",
        ],
    );
}

#[test]
fn a_typing_error_is_found_though_some_pods_are_not_given() {
    expect(
        &with(pods_in(matching(""), matching("app=probre"))),
        &[
            "warning label-typo shop/p: spec.ingress[0].from[0].podSelector: no pod of any namespace has the label app=probre; \
           did you mean app=prober?",
        ],
    );
    expect(&with(pods_in(matching(""), matching("app=ingress"))), &[]);
}

#[test]
fn a_typing_error_in_what_is_excluded_is_found_though_the_peer_matches() {
    expect(
        &with(pods(expression("app", Operator::NotIn(values(&["Api"]))))),
        &[
            "warning label-typo shop/p: spec.ingress[0].from[0].podSelector: no pod of namespace shop has the label app=Api; \
           did you mean app=api?",
        ],
    );
}

#[test]
fn host_network_pods_are_no_peers() {
    let world = with(pods(matching("app=proxy"))).pod_with("shop/proxy", "app=proxy", "192.0.2.1", host_on("node-1"));
    expect(
        &world,
        &[
            "warning peer-matches-nothing shop/p: spec.ingress[0].from[0].podSelector: the peer matches only host-network pods \
           (shop/proxy), which selectors never match; use an ipBlock with the addresses of their nodes",
        ],
    );
}

#[test]
fn an_empty_namespace_may_be_meant() {
    let world = with(pods_in(matching("team=later"), matching(""))).namespace("later", "team=later");
    expect(
        &world,
        &[
            "note peer-matches-nothing shop/p: spec.ingress[0].from[0].namespaceSelector: there are no pods of namespace later; \
           select the namespaces of the pods that are meant, unless they are yet to come",
        ],
    );
}
