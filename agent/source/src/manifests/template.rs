//! Workloads: objects that make pods of a template. A file may hold them where it holds no pods yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Pod, Workload};
use serde_json::{Value, json};

use super::tree::Tree;

/// So many pods of one workload are judged: what holds for a hundred replicas holds for more.
const MOST: u64 = 100;

/// The kinds whose template is at `spec.template`, with the group of their `apiVersion` and the field that says how
/// many pods there are to be.
const KINDS: [(&str, &str, &str); 6] = [
    ("Deployment", "apps", "replicas"),
    ("StatefulSet", "apps", "replicas"),
    ("ReplicaSet", "apps", "replicas"),
    ("ReplicationController", "", "replicas"),
    ("DaemonSet", "apps", ""),
    ("Job", "batch", "parallelism"),
];

/// A workload, and the pod that its template makes.
#[derive(Debug)]
pub(super) struct Template {
    /// Its kind.
    pub(super) kind: &'static str,
    /// Where its template is.
    pub(super) path: &'static str,
    /// How many pods it makes.
    pub(super) pods: u64,
    /// One of them, as the API would have it.
    pub(super) pod: Tree,
}

impl Template {
    /// What is in an object, if it is a workload that makes pods by itself: none that another workload has made, and no
    /// job that has ended.
    pub(super) fn of(kind: &str, api_version: &str, tree: Tree) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let Tree { value, repeated } = tree;
        if (kind, group) == ("CronJob", "batch") {
            const PATH: &str = "spec.jobTemplate.spec.template";
            let job = &value["spec"]["jobTemplate"]["spec"];
            return Self::new("CronJob", PATH, &value, &job["template"], number(&job["parallelism"]), &repeated);
        }
        let (kind, _, count) = KINDS.into_iter().find(|(known, of, _)| (*known, *of) == (kind, group))?;
        let spec = &value["spec"];
        Self::new(kind, "spec.template", &value, &spec["template"], number(&spec[count]), &repeated)
    }

    fn new(
        kind: &'static str,
        path: &'static str,
        workload: &Value,
        template: &Value,
        pods: u64,
        repeated: &[String],
    ) -> Option<Self> {
        let metadata = &workload["metadata"];
        let is_over = !workload["status"]["completionTime"].is_null();
        if !template.is_object() || is_controlled(metadata) || is_over {
            return None;
        }
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": template["spec"]});
        for field in ["name", "namespace"] {
            pod["metadata"][field] = metadata[field].clone();
        }
        pod["metadata"]["labels"] = template["metadata"]["labels"].clone();
        let within = |path_of: &String| Some(path_of.strip_prefix(path)?.strip_prefix('.')?.to_owned());
        let repeated = repeated.iter().filter_map(within).collect();
        Some(Self { kind, path, pods, pod: Tree { value: pod, repeated } })
    }

    /// A field of the pod, as its workload has it.
    pub(super) fn field(&self, of_pod: &str) -> String {
        match of_pod {
            "metadata.name" | "metadata.namespace" => of_pod.to_owned(),
            of_pod => format!("{}.{of_pod}", self.path),
        }
    }
}

/// How many pods a field asks for; at least one, since a workload that has none now may have some at any moment.
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(1).clamp(1, MOST)
}

/// Whether something else is the workload, as a Deployment is of its ReplicaSets' pods.
fn is_controlled(metadata: &Value) -> bool {
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    owners.iter().any(|owner| owner["controller"] == true)
}

/// Adds the pods of workloads that have none yet, under names that no other pod has; returns those names by workload.
pub(super) fn add(cluster: &mut Cluster, to_be: impl IntoIterator<Item = (Pod, Workload, u64)>) -> Vec<Vec<ObjectKey>> {
    let workloads = cluster.pods.values().filter_map(|pod| Some((pod.key.namespace.clone(), pod.workload.clone()?)));
    let with_pods: BTreeSet<_> = workloads.collect();
    let mut added = Vec::new();
    for (pod, workload, pods) in to_be {
        let mut keys = Vec::new();
        if !with_pods.contains(&(pod.key.namespace.clone(), workload.clone())) {
            for _ in 0..pods {
                let key = free_key(cluster, &pod.key);
                let replica = Pod { key: key.clone(), workload: Some(workload.clone()), ..pod.clone() };
                cluster.pods.insert(key.clone(), Arc::new(replica));
                keys.push(key);
            }
        }
        added.push(keys);
    }
    added
}

/// The name, or the first with a number behind it that is free.
fn free_key(cluster: &Cluster, key: &ObjectKey) -> ObjectKey {
    let numbered = (2_u32..).map(|number| ObjectKey { name: format!("{}-{number}", key.name).into(), ..key.clone() });
    let mut keys = std::iter::once(key.clone()).chain(numbered);
    keys.find(|key| !cluster.pods.contains_key(key)).unwrap_or_else(|| key.clone())
}
