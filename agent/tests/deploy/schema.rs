//! Every field of every object is one that Kubernetes knows.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::render::{only, render};

/// The object as its type has it: what the type does not know is gone.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    serde_json::to_value(typed).unwrap()
}

/// The object as Kubernetes' types have it; `None` for kinds that are not Kubernetes' own.
fn typed(object: &Value) -> Option<Value> {
    Some(match object["kind"].as_str().unwrap() {
        "ClusterRole" => through::<ClusterRole>(object),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(object),
        "ConfigMap" => through::<ConfigMap>(object),
        "DaemonSet" => through::<DaemonSet>(object),
        "Namespace" => through::<Namespace>(object),
        "NetworkPolicy" => through::<NetworkPolicy>(object),
        "ResourceQuota" => through::<ResourceQuota>(object),
        "ServiceAccount" => through::<ServiceAccount>(object),
        "PodMonitor" => return None,
        other => panic!("no schema for {other}"),
    })
}

#[test]
fn every_object_keeps_all_its_fields_in_the_types_of_kubernetes() {
    for overlay in OVERLAYS {
        for object in render(overlay).unwrap_or_default() {
            assert_eq!(typed(&object).unwrap_or_else(|| object.clone()), object, "{overlay}");
        }
    }
}

#[test]
fn a_field_that_is_misspelt_does_not_pass() {
    let Some(mut objects) = render("base") else { return };
    let daemonset = objects.iter_mut().find(|object| object["kind"] == "DaemonSet").unwrap();
    daemonset["spec"]["template"]["spec"]["hostNetwrok"] = json!(true);
    assert_ne!(typed(daemonset).unwrap(), *daemonset);
}

#[test]
fn everything_that_lives_in_a_namespace_lives_in_one_of_its_own() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        assert_eq!(only(&objects, "Namespace")["metadata"]["name"], "podgate-system");
        let cluster_wide = ["Namespace", "ClusterRole", "ClusterRoleBinding"];
        let inside = objects.iter().filter(|object| !cluster_wide.contains(&object["kind"].as_str().unwrap()));
        let namespaces: BTreeSet<_> = inside.map(|object| object["metadata"]["namespace"].as_str()).collect();
        assert_eq!(namespaces, BTreeSet::from([Some("podgate-system")]), "{overlay}");
    }
}
