//! The files of a cluster of a size, made by arithmetic, so that every run measures the same.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Namespaces, and workloads in each.
const NAMESPACES: usize = 50;
const WORKLOADS: usize = 10;

/// Writes the objects of 500 workloads with this many replicas each, a policy for each workload and each namespace, a
/// Service for each workload, and the cluster's DNS.
pub(crate) fn write(directory: &Path, replicas: usize) {
    let mut pods = String::new();
    let mut others = namespace("kube-system", "system") + &dns(&mut pods);
    for index in 0..NAMESPACES {
        others += &namespace(&format!("team-{index}"), &format!("group-{}", index % 10));
        others += &closed(index);
        for workload in 0..WORKLOADS {
            others += &service(index, workload);
            others += &policy(index, workload);
            for replica in 0..replicas {
                pods += &pod(index, workload, replica, replicas);
            }
        }
    }
    fs::write(directory.join("pods.yaml"), pods).unwrap();
    fs::write(directory.join("others.yaml"), others).unwrap();
}

fn namespace(name: &str, team: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         kubernetes.io/metadata.name: {name}\n    team: {team}\n"
    )
}

fn dns(pods: &mut String) -> String {
    for index in 0..2 {
        // Writing into a String cannot fail.
        let _ = write!(
            pods,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: coredns-6d4b75cb6d-{index}\n  namespace: kube-system\n  \
             labels:\n    k8s-app: kube-dns\n    pod-template-hash: 6d4b75cb6d\n  ownerReferences:\n  - apiVersion: apps/v1\n    \
             kind: ReplicaSet\n    name: coredns-6d4b75cb6d\n    uid: a\n    controller: true\nspec:\n  containers:\n  \
             - name: coredns\n    image: coredns\n    ports:\n    - {{name: dns, containerPort: 53, protocol: UDP}}\n    \
             - {{name: dns-tcp, containerPort: 53}}\nstatus:\n  phase: Running\n  podIPs:\n  - ip: 10.255.0.{}\n",
            index + 1
        );
    }
    "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: kube-dns\n  namespace: kube-system\nspec:\n  clusterIP: 10.96.0.10\n  \
     selector: {k8s-app: kube-dns}\n  ports:\n  - {name: dns, port: 53, protocol: UDP, targetPort: 53}\n  \
     - {name: dns-tcp, port: 53, targetPort: 53}\n"
        .to_owned()
}

fn pod(namespace: usize, workload: usize, replica: usize, replicas: usize) -> String {
    let number = (namespace * WORKLOADS + workload) * replicas + replica;
    let (high, low, node) = (number / 250, number % 250 + 1, number % 100);
    let hash = format!("{:x}", 0x5d78_c9bb + namespace * 31 + workload);
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: app-{workload}-{hash}-{number:05}\n  namespace: team-{namespace}\n  \
         uid: 8c4ab1b5-0000-4000-8000-{number:012}\n  labels:\n    app: app-{workload}\n    tier: tier-{}\n    \
         pod-template-hash: {hash}\n  ownerReferences:\n  - apiVersion: apps/v1\n    kind: ReplicaSet\n    \
         name: app-{workload}-{hash}\n    uid: b\n    controller: true\nspec:\n  nodeName: node-{node}\n  containers:\n  \
         - name: app\n    image: registry.example/app-{workload}\n    ports:\n    - name: http\n      containerPort: 8080\n    \
         - name: metrics\n      containerPort: 9090\nstatus:\n  phase: Running\n  podIP: 10.{}.{}.{low}\n  podIPs:\n  \
         - ip: 10.{}.{}.{low}\n  - ip: fd00::{high:x}:{low:x}\n",
        workload % 3,
        high / 250,
        high % 250,
        high / 250,
        high % 250
    )
}

fn service(namespace: usize, workload: usize) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: app-{workload}\n  namespace: team-{namespace}\nspec:\n  \
         clusterIP: 10.97.{namespace}.{}\n  selector: {{app: app-{workload}}}\n  ports:\n  - {{port: 80, targetPort: http}}\n",
        workload + 1
    )
}

/// The policy that isolates a whole namespace.
fn closed(namespace: usize) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: closed\n  namespace: \
         team-{namespace}\nspec:\n  podSelector: {{}}\n  policyTypes: [Ingress, Egress]\n"
    )
}

/// In: the next workload, by the port's name, and a tier of other teams' namespaces. Out: DNS, two other workloads, and
/// the world without the pods.
fn policy(namespace: usize, workload: usize) -> String {
    let app = |index: usize| format!("app-{}", index % WORKLOADS);
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: app-{workload}\n  namespace: \
         team-{namespace}\nspec:\n  podSelector: {{matchLabels: {{app: app-{workload}}}}}\n  policyTypes: [Ingress, Egress]\n  \
         ingress:\n  - from: [{{podSelector: {{matchLabels: {{app: {}}}}}}}]\n    ports: [{{port: http}}]\n  \
         - from: [{{namespaceSelector: {{matchLabels: {{team: group-{}}}}}, podSelector: {{matchLabels: {{tier: tier-{}}}}}}}]\n    \
         ports: [{{port: 9090}}]\n  egress:\n  - to: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: \
         kube-system}}}}, podSelector: {{matchLabels: {{k8s-app: kube-dns}}}}}}]\n    ports: [{{port: 53, protocol: UDP}}, \
         {{port: 53}}]\n  - to: [{{podSelector: {{matchLabels: {{app: {}}}}}}}, {{podSelector: {{matchLabels: {{app: \
         {}}}}}}}]\n    ports: [{{port: http}}]\n  - to: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}}}]\n    \
         ports: [{{port: 443}}]\n",
        app(workload + 1),
        (namespace + workload) % 10,
        workload % 3,
        app(workload + WORKLOADS - 1),
        app(workload + 5)
    )
}
