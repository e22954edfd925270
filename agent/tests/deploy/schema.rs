//! Every field of every object is one that Kubernetes, or the Prometheus operator, knows.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::chart::rendered;
use crate::render::{only, render, root};
use crate::validator;

/// The object as its type has it: what the type does not know is gone.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    serde_json::to_value(typed).unwrap()
}

/// The operator's own definitions.
const OPERATOR: &str = "agent/tests/deploy/operator.schema.json";

/// The object as Kubernetes' types have it; `None` for the operator's.
fn typed(object: &Value) -> Option<Value> {
    Some(match object["kind"].as_str().unwrap() {
        "ClusterRole" => through::<ClusterRole>(object),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(object),
        "ConfigMap" => through::<ConfigMap>(object),
        "DaemonSet" => through::<DaemonSet>(object),
        "Namespace" => through::<Namespace>(object),
        "NetworkPolicy" => through::<NetworkPolicy>(object),
        "Pod" => through::<Pod>(object),
        "ReplicaSet" => through::<ReplicaSet>(object),
        "ResourceQuota" => through::<ResourceQuota>(object),
        "Service" => through::<Service>(object),
        "ServiceAccount" => through::<ServiceAccount>(object),
        "PodMonitor" | "PrometheusRule" => return None,
        other => panic!("no schema for {other}"),
    })
}

/// As `kubectl apply --validate=strict` does it: a field that nobody knows is an error.
fn assert_valid(object: &Value, what: &str) {
    match typed(object) {
        Some(typed) => assert_eq!(typed, *object, "{what}"),
        None => {
            let wrong = validator::mistakes(OPERATOR, object["kind"].as_str().unwrap(), object);
            assert_eq!(wrong.unwrap_or_default(), "", "{what}: {object}");
        }
    }
}

#[test]
fn every_object_of_every_overlay_passes_strict_validation() {
    for overlay in OVERLAYS.iter().chain(&["cleanup"]) {
        render(overlay).unwrap_or_default().iter().for_each(|object| assert_valid(object, overlay));
    }
}

#[test]
fn every_object_of_the_chart_passes_strict_validation_whatever_the_values() {
    let monitored = "monitoring.enabled=true,monitoring.labels.release=a,metrics.tokenSecret=a,image.pullSecrets={b}";
    for values in [
        "platform=kind,audit=true,cni.whenAgentDown=fail,cni.bootGrace=60",
        monitored,
        "platform=gke,services=source,metrics.public=true,monitoring.enabled=true",
        "platform=microk8s,node.ownSeccompProfile=true,node.memlock=true,createNamespace=true,cni.enabled=false",
        "platform=crio,podLabels.a=b,podAnnotations.a=b,update.maxUnavailable=10%,update.minReadySeconds=5",
        "platform=k3s,cleanup.enabled=true,cleanup.onUninstall=true",
        "platform=crio,cleanup.enabled=true",
    ] {
        rendered(&["--set", values]).unwrap_or_default().iter().for_each(|object| assert_valid(object, values));
    }
}

/// The file is what Prometheus and promtool read, and the object has it whole.
#[test]
fn the_operator_and_grafana_get_the_files_as_they_are() {
    let Some(objects) = render("overlays/production") else { return };
    let file = |name: &str| std::fs::read_to_string(root().join("deploy/chart/files").join(name)).unwrap();
    let rules: Value = serde_saphyr::from_str(&file("rules.yaml")).unwrap();
    assert_eq!(only(&objects, "PrometheusRule")["spec"], rules);
    let dashboard = objects.iter().find(|object| object["metadata"]["name"] == "podgate-dashboard").unwrap();
    assert_eq!(dashboard["data"]["podgate.json"], file("dashboard.json").trim());
}

#[test]
fn a_field_that_is_misspelt_does_not_pass() {
    let Some(mut objects) = render("base") else { return };
    let daemonset = objects.iter_mut().find(|object| object["kind"] == "DaemonSet").unwrap();
    daemonset["spec"]["template"]["spec"]["hostNetwrok"] = json!(true);
    assert_ne!(typed(daemonset).unwrap(), *daemonset);
    let Some(mut objects) = render("overlays/production") else { return };
    let rule = objects.iter_mut().find(|object| object["kind"] == "PrometheusRule").unwrap();
    rule["spec"]["groups"][1]["rules"][0]["forr"] = json!("5m");
    let wrong = validator::mistakes(OPERATOR, "PrometheusRule", rule);
    assert!(wrong.is_none_or(|wrong| wrong.contains("'forr' was unexpected")));
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
