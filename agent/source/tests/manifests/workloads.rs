//! Workloads: pods that are to be.

use podgate_policy::model::ObjectKey;

use crate::{parse, problems, sound};

/// A workload `shop/web` with this spec, and a template with these ports.
fn workload(kind: &str, api_version: &str, spec: &str) -> String {
    format!("{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: web, namespace: shop}}, spec: {{{spec}}}}}\n")
}

const TEMPLATE: &str = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a, ports: \
                        [{name: http, containerPort: 80}]}]}}";

fn pods(text: &str) -> Vec<String> {
    sound(text).cluster.pods.keys().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_workload_stands_for_pods_with_the_labels_and_ports_of_its_template() {
    let cron = format!("jobTemplate: {{spec: {{{TEMPLATE}}}}}");
    let kinds = [
        ("Deployment", "apps/v1", TEMPLATE),
        ("StatefulSet", "apps/v1", TEMPLATE),
        ("DaemonSet", "apps/v1", TEMPLATE),
        ("ReplicaSet", "apps/v1", TEMPLATE),
        ("ReplicationController", "v1", TEMPLATE),
        ("Job", "batch/v1", TEMPLATE),
        ("CronJob", "batch/v1", &cron),
    ];
    for (kind, api_version, spec) in kinds {
        let loaded = sound(&workload(kind, api_version, spec));
        let pod = &loaded.cluster.pods[&ObjectKey::new("shop", "web")];
        let made_by = pod.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name));
        assert_eq!(made_by, Some((kind, "web")));
        assert_eq!((&*pod.labels["app"], pod.ports[0].number, pod.addresses.len()), ("web", 80, 0), "{kind}");
        assert!(loaded.cluster.namespaces.contains_key("shop"), "{kind}");
        assert_eq!(loaded.places.values().map(|place| place.document).collect::<Vec<_>>(), [1], "{kind}");
    }
    assert_eq!(pods(&workload("Deployment", "example.org/v1", TEMPLATE)), Vec::<String>::new());
}

#[test]
fn replicas_are_pods_of_their_own_and_the_names_of_others_stay_theirs() {
    let three = workload("Deployment", "apps/v1", &format!("replicas: 3, {TEMPLATE}"));
    assert_eq!(pods(&three), ["shop/web", "shop/web-2", "shop/web-3"]);
    let other = "---\n{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}}\n";
    let job = workload("Job", "batch/v1", TEMPLATE);
    assert_eq!(
        pods(&format!("{three}{other}---\n{job}")),
        ["shop/web", "shop/web-2", "shop/web-3", "shop/web-4", "shop/web-5"]
    );
    let none = workload("Deployment", "apps/v1", &format!("replicas: 0, {TEMPLATE}"));
    assert_eq!(pods(&none), ["shop/web"], "it may have some at any moment");
    let very_many = workload("Deployment", "apps/v1", &format!("replicas: 1000000000, {TEMPLATE}"));
    assert_eq!(pods(&very_many).len(), 100);
}

#[test]
fn a_workload_that_has_pods_makes_none_and_what_another_makes_neither() {
    let owner = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d78, uid: a, controller: true}]";
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web-5d78-x, namespace: shop, labels: {{pod-template-hash: 5d78}}, \
         {owner}}}}}\n"
    );
    assert_eq!(pods(&format!("{pod}---\n{}", workload("Deployment", "apps/v1", TEMPLATE))), ["shop/web-5d78-x"]);
    let controlled = workload("ReplicaSet", "apps/v1", TEMPLATE).replace(
        "namespace: shop",
        "namespace: shop, ownerReferences: [{kind: Deployment, name: web, controller: true}]",
    );
    assert_eq!(pods(&controlled), Vec::<String>::new());
    let ended = workload("Job", "batch/v1", TEMPLATE)
        .replace("spec:", "status: {completionTime: '2026-01-01T00:00:00Z'}, spec:");
    assert_eq!(pods(&ended), Vec::<String>::new());
}

#[test]
fn what_is_wrong_in_a_template_is_named_by_its_place_in_the_workload() {
    let wrong = TEMPLATE.replace("containerPort: 80", "containerPort: 0");
    let cron = format!("jobTemplate: {{spec: {{{wrong}}}}}");
    let port = "containers[0].ports[0].containerPort: 0 is no port: expected 1 to 65535";
    let told = |text: &str| problems(text).join("\n");
    let deployment = told(&workload("Deployment", "apps/v1", &wrong));
    assert!(
        deployment.contains("Deployment shop/web: spec.template.spec.containers[0].ports[0].containerPort"),
        "{deployment} {port}"
    );
    let cron = told(&workload("CronJob", "batch/v1", &cron));
    assert!(cron.contains("CronJob shop/web: spec.jobTemplate.spec.template.spec.containers[0].ports[0]"), "{cron}");
    assert_eq!(parse(&workload("Deployment", "apps/v1", "replicas: 1")).problems, []);
}
