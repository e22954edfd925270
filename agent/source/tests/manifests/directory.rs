//! A directory that changes while it is watched.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{Action, Matches};
use podgate_policy::model::{Isolation, ObjectKey};
use podgate_source::{
    Change, ClusterPolicies, Effect, ErrorClass, ProblemKind, Source, SourceStatus, Update, manifests,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::policy;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the source waits for a directory to rest.
const REST: Duration = Duration::from_millis(400);

/// A watched directory and the cluster as its updates tell it.
struct Watched {
    directory: PathBuf,
    source: Source,
    cluster: Cluster,
    updates: Vec<Update>,
    _parent: TempDir,
}

impl Watched {
    /// A directory with these files.
    async fn with(files: &[(&str, &str)]) -> Self {
        Self::about(files, ClusterPolicies::Auto).await
    }

    /// The same, of an agent that is to do this about ClusterNetworkPolicies.
    async fn about(files: &[(&str, &str)], cluster_policies: ClusterPolicies) -> Self {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("manifests");
        fs::create_dir(&directory).expect("a directory");
        for (name, text) in files {
            fs::write(directory.join(name), text).expect("written");
        }
        Self::watching(parent, directory, cluster_policies).await
    }

    async fn of(parent: TempDir, directory: PathBuf) -> Self {
        Self::watching(parent, directory, ClusterPolicies::Auto).await
    }

    async fn watching(parent: TempDir, directory: PathBuf, cluster_policies: ClusterPolicies) -> Self {
        let source = manifests::spawn(directory.clone(), cluster_policies);
        let mut watched = Self { directory, source, cluster: Cluster::default(), updates: vec![], _parent: parent };
        watched.next().await;
        watched
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).expect("written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.directory.join(name)).expect("removed");
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

    /// The problems once there are so many.
    async fn problems(&mut self, count: usize) -> Vec<String> {
        let prefix = format!("{}/", self.directory.display());
        let status = self.status(|status| status.problem_count == count).await;
        status.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    /// Nothing more is said than what was read so far.
    async fn is_quiet(&mut self) {
        tokio::time::sleep(REST).await;
        assert!(self.source.updates.try_recv().is_err());
    }

    fn pods(&self) -> Vec<String> {
        self.cluster.pods.keys().map(|key| key.name.to_string()).collect()
    }
}

fn pod(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n")
}

fn has(name: &str) -> impl Fn(&Cluster) -> bool {
    let key = ObjectKey::new("default", name);
    move |cluster| cluster.pods.contains_key(&key)
}

#[tokio::test]
async fn a_workload_is_no_pod_of_a_directory_that_is_enforced() {
    let template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a}]}}";
    let deployment =
        format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{{template}}}}}");
    let watched = Watched::with(&[("web.yaml", &format!("{deployment}\n---\n{}", pod("one")))]).await;
    assert_eq!(watched.cluster.pods.keys().map(ToString::to_string).collect::<Vec<_>>(), ["default/one"]);
}

#[tokio::test]
async fn a_cluster_network_policy_that_is_not_to_be_enforced_is_reported_and_keeps_nothing_from_being_enforced() {
    let guard = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: guard}\nspec: {}\n";
    let text = format!("{guard}---\n{}", policy("{podSelector: {}}"));
    let files = [("a.yaml", &*text), ("b.yaml", &pod("b"))];
    let mut watched = Watched::about(&files, ClusterPolicies::Off).await;
    assert_eq!(watched.cluster.policies.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop/p"]);
    assert_eq!((watched.cluster.cluster_policies.len(), watched.pods()), (0, vec!["b".to_owned()]));
    let expected = "a.yaml, document 1: ClusterNetworkPolicy guard: --cluster-policies=off; podgate's offline commands judge \
                    by this policy; not enforced";
    assert_eq!(watched.problems(1).await, [expected]);
    let status = watched.status(|status| !status.problems.is_empty()).await;
    assert_eq!((status.problems_met[&ProblemKind::NotEnforced], status.cluster_policies.objects), (1, 1));
}

#[tokio::test]
async fn rules_about_nodes_are_closed_since_the_agent_knows_only_its_own() {
    let head = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: guard}\n";
    let rule = |action: &str| format!("{{action: {action}, to: [{{networks: [10.0.0.0/8]}}, {{nodes: {{}}}}]}}");
    let spec = format!(
        "spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, egress: [{}, {}]}}\n",
        rule("Accept"),
        rule("Pass")
    );
    let mut watched = Watched::with(&[("a.yaml", &format!("{head}{spec}"))]).await;
    let guard = watched.cluster.cluster_policies.get("guard").expect("the policy is handed over");
    let rules: Vec<_> = guard.egress.iter().map(|rule| (rule.action, rule.matches.clone())).collect();
    assert_eq!(rules, [(Action::Accept, Matches::Nothing), (Action::Deny, Matches::Everything)]);
    let problem = |index: usize, effect: &str| {
        format!(
            "a.yaml, document 1: ClusterNetworkPolicy guard: spec.egress[{index}].to[1].nodes: the agent watches no nodes but \
             its own; until it is understood, the rule {effect}"
        )
    };
    let expected = [problem(0, "accepts nothing"), problem(1, "denies everything from its place on")];
    assert_eq!(watched.problems(2).await, expected);
}

#[tokio::test]
async fn first_update_is_everything_even_if_that_is_nothing() {
    let watched = Watched::with(&[("a.yaml", &pod("a")), ("b.yml", &pod("b"))]).await;
    assert_eq!(watched.pods(), ["a", "b"]);
    let empty = Watched::with(&[]).await;
    assert_eq!(empty.updates, [vec![]]);
}

#[tokio::test]
async fn files_are_added_changed_and_removed() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a"))]).await;
    watched.write("b.yaml", &pod("b"));
    watched.until(has("b")).await;
    watched.write("a.yaml", &format!("{}{}", pod("a"), pod("a2")));
    watched.until(has("a2")).await;
    watched.remove("b.yaml");
    watched.until(|cluster| cluster.pods.len() == 2).await;
    assert_eq!(watched.pods(), ["a", "a2"]);
    let status = watched.status(|status| status.resources["manifests"].objects == 3).await;
    assert!(status.is_synced() && status.problems.is_empty());
}

#[tokio::test]
async fn only_real_differences_are_sent_and_together() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a")), ("b.yaml", &pod("b"))]).await;
    watched.write("a.yaml", &format!("# a comment\n{}", pod("a")));
    watched.is_quiet().await;
    watched.write("a.yaml", &pod("a3"));
    watched.remove("b.yaml");
    watched.write("c.yaml", &pod("c"));
    watched.next().await;
    let changes: Vec<_> = watched.updates[1]
        .iter()
        .map(|change| match change {
            Change::Apply(object) => format!("+{}", object.reference()),
            Change::Delete(reference) => format!("-{reference}"),
        })
        .collect();
    assert_eq!(changes, ["-Pod default/a", "+Pod default/a3", "-Pod default/b", "+Pod default/c"]);
}

#[tokio::test]
async fn broken_file_keeps_its_last_good_version_and_is_named() {
    let good = policy("{ingress: [{ports: [{port: 80}]}]}");
    let mut watched = Watched::with(&[("net.yaml", &format!("{good}{}", pod("a"))), ("other.yaml", &pod("o"))]).await;
    let before = watched.cluster.clone();

    let kept = "the last good version stays in force";
    for (broken, problem) in [
        ("a: [".to_owned(), "net.yaml, document 1: ".to_owned()),
        ("apiVersio".to_owned(), "net.yaml, document 1: no Kubernetes object".to_owned()),
        (
            format!("{}{}", policy("{ingress: [{ports: [{port: 0}]}]}"), pod("a")),
            format!(
                "net.yaml, document 1: NetworkPolicy shop/p: spec.ingress[0].ports[0].port: 0 is not a port: expected 1 to 65535; {kept}"
            ),
        ),
        (
            format!("{}---\n{}", pod("a"), policy("{ingress: [{form: []}]}")),
            format!(
                "net.yaml, document 2: NetworkPolicy shop/p: spec.ingress[0].form: unknown field: expected one of from, ports; {kept}"
            ),
        ),
        ("\0".to_owned(), format!("net.yaml: binary or UTF-16: expected YAML or JSON in UTF-8; {kept}")),
        (String::new(), format!("net.yaml: empty: expected its objects; remove the file to remove them; {kept}")),
        (
            "---\nnull\n".to_owned(),
            format!("net.yaml: empty: expected its objects; remove the file to remove them; {kept}"),
        ),
    ] {
        let met: u64 = watched.source.status.borrow().problems_met.values().sum();
        watched.write("net.yaml", &broken);
        watched.status(|status| status.problems_met.values().sum::<u64>() > met).await;
        let said = watched.problems(1).await;
        assert!(said[0].starts_with(&problem) && said[0].ends_with(kept), "{said:?}");
        watched.is_quiet().await;
    }
    assert_eq!(watched.cluster, before);

    watched.write("net.yaml", &policy("{ingress: [{}]}"));
    watched.until(|cluster| cluster.policies != before.policies).await;
    assert_eq!(watched.pods(), ["o"]);
    assert!(watched.problems(0).await.is_empty());
}

/// A policy `shop/p` that allows everything or nothing.
fn switch(open: bool) -> String {
    policy(if open { "{ingress: [{}]}" } else { "{policyTypes: [Ingress]}" })
}

fn is_open(cluster: &Cluster) -> bool {
    cluster.policies[&ObjectKey::new("shop", "p")].ingress != Isolation::Restricted(vec![])
}

#[tokio::test]
async fn a_document_that_is_foreign_or_broken_keeps_no_policy_of_its_file_from_changing() {
    for (name, extra, problems, keeps) in [
        ("null", "null\n", 0, false),
        (
            "text over lines",
            "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nspec:\n  config: '{\n  }'\n",
            0,
            false,
        ),
        ("a mapping", "foo: bar\n", 1, false),
        ("a list", "- op: add\n", 1, false),
        ("a field to come", "{apiVersion: v1, kind: Pod, metadata: {name: other}, spec: {fieldToCome: 1}}\n", 1, false),
        ("a key given twice", "{apiVersion: v1, kind: Pod, metadata: {name: other}, spec: {}, spec: {}}\n", 1, false),
        ("no YAML", "{{ template }}: [\n", 1, true),
        ("no kind", "{apiVersion: v1, metadata: {name: other}}\n", 1, true),
        ("no name", "{apiVersion: v1, kind: Pod, metadata: {}}\n", 1, true),
    ] {
        let open = format!("{}{}", switch(true), pod("a"));
        let mut watched = Watched::with(&[("net.yaml", &open)]).await;
        assert!(is_open(&watched.cluster), "{name}");
        watched.write("net.yaml", &format!("{}---\n{extra}", switch(false)));
        watched.until(|cluster| !is_open(cluster)).await;
        watched.status(|status| status.problem_count == problems).await;
        assert_eq!(
            watched.pods().contains(&"a".to_owned()),
            keeps,
            "{name}: what is missing may be the broken document"
        );
        watched.write("net.yaml", &switch(false));
        watched.problems(0).await;
        watched.until(|cluster| cluster.pods.is_empty()).await;
    }
}

#[tokio::test]
async fn an_invalid_policy_is_kept_as_it_was_while_others_of_its_file_change() {
    let other = |open| switch(open).replace("name: p", "name: q");
    let mut watched = Watched::with(&[("net.yaml", &format!("{}---\n{}", switch(false), other(true)))]).await;
    let key = ObjectKey::new("shop", "q");
    let before = watched.cluster.policies[&key].clone();
    watched.write("net.yaml", &format!("{}---\n{}", switch(true), other(true).replace("ingress:", "ingres:")));
    watched.until(is_open).await;
    assert_eq!(watched.cluster.policies[&key], before);
    assert_eq!(watched.problems(1).await.len(), 1);
}

#[tokio::test]
async fn other_files_change_while_one_is_broken() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a"))]).await;
    watched.write("a.yaml", "{");
    watched.problems(1).await;
    watched.write("b.yaml", &pod("b"));
    watched.until(has("b")).await;
    assert_eq!(watched.pods(), ["a", "b"]);
    watched.remove("a.yaml");
    watched.until(|cluster| !has("a")(cluster)).await;
    assert!(watched.problems(0).await.is_empty());
}

#[tokio::test]
async fn file_that_was_never_good_counts_as_far_as_it_goes() {
    let text = format!(
        "{}---\na: [\n{}---\n{}",
        pod("a"),
        pod("b"),
        policy("{podSelector: {}, ingress: [{}, {ports: [{port: 0}]}]}")
    );
    let mut watched = Watched::with(&[("net.yaml", &text)]).await;
    assert_eq!(watched.pods(), ["a", "b"]);
    let isolated = &watched.cluster.policies[&ObjectKey::new("shop", "p")];
    assert_eq!(isolated.ingress, Isolation::Restricted(vec![]));
    let status = watched.status(|status| status.problem_count == 2).await;
    assert_eq!(
        status.problems.iter().map(|problem| (problem.kind, problem.effect)).collect::<Vec<_>>(),
        [(ProblemKind::Syntax, Effect::LeftOut), (ProblemKind::Invalid, Effect::Isolated)]
    );

    // What stands in for a broken policy is no good version to keep.
    watched.write(
        "net.yaml",
        &format!("{}---\n{}", pod("c"), policy("{podSelector: {matchLabels: {app: web}}, ingress: [null]}")),
    );
    watched.until(has("c")).await;
    assert_eq!(watched.pods(), ["c"]);
}

#[tokio::test]
async fn swap_of_a_mounted_config_map_is_one_update() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("mount");
    let version = |name: &str, files: &[(&str, String)]| {
        fs::create_dir_all(directory.join(name)).expect("a directory");
        for (file, text) in files {
            fs::write(directory.join(name).join(file), text).expect("written");
        }
    };
    version("..2024_1", &[("a.yaml", pod("a1")), ("b.yaml", pod("b1"))]);
    symlink("..2024_1", directory.join("..data")).expect("a link");
    for file in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(file), directory.join(file)).expect("a link");
    }
    let mut watched = Watched::of(parent, directory.clone()).await;
    assert_eq!(watched.pods(), ["a1", "b1"]);

    // As the kubelet does it: the new version beside the old, one rename, then links and the old version.
    version("..2024_2", &[("a.yaml", pod("a2")), ("c.yaml", pod("c2"))]);
    symlink("..2024_2", directory.join("..data_tmp")).expect("a link");
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("renamed");
    symlink("..data/c.yaml", directory.join("c.yaml")).expect("a link");
    fs::remove_file(directory.join("b.yaml")).expect("removed");
    fs::remove_dir_all(directory.join("..2024_1")).expect("removed");
    watched.until(has("c2")).await;
    assert_eq!(watched.pods(), ["a2", "c2"]);
    assert_eq!(watched.updates.len(), 2, "{:?}", watched.updates);
    assert!(watched.problems(0).await.is_empty());
}

#[tokio::test]
async fn file_counts_when_its_writer_is_done() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a"))]).await;
    let mut file = File::create(watched.directory.join("a.yaml")).expect("a file");
    file.write_all(pod("half").as_bytes()).expect("written");
    file.flush().expect("flushed");
    watched.is_quiet().await;
    watched.write("b.yaml", &pod("b"));
    watched.until(has("b")).await;
    assert_eq!(watched.pods(), ["a", "b"], "half a file doesn't count because another one changes");
    file.write_all(pod("whole").as_bytes()).expect("written");
    drop(file);
    watched.until(has("whole")).await;
    assert_eq!(watched.pods(), ["b", "half", "whole"]);
}

#[tokio::test]
async fn file_moved_into_place_and_links_count() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a"))]).await;
    let elsewhere = tempfile::tempdir_in(watched.directory.parent().expect("a parent")).expect("a directory");
    fs::write(elsewhere.path().join("new"), pod("moved")).expect("written");
    fs::rename(elsewhere.path().join("new"), watched.directory.join("a.yaml")).expect("renamed");
    watched.until(has("moved")).await;
    assert_eq!(watched.pods(), ["moved"]);

    fs::write(elsewhere.path().join("target"), pod("linked")).expect("written");
    symlink(elsewhere.path().join("target"), watched.directory.join("soft.yaml")).expect("a link");
    watched.until(has("linked")).await;
    fs::hard_link(elsewhere.path().join("target"), watched.directory.join("hard.yaml")).expect("a link");
    let said = watched.problems(1).await;
    assert!(said[0].contains("soft.yaml, document 1: Pod default/linked: defined already in"), "{said:?}");
    assert!(said[0].contains("hard.yaml, document 1, which counts"), "{said:?}");
}

#[tokio::test]
async fn directory_that_goes_away_keeps_its_objects_until_it_is_back() {
    let mut watched = Watched::with(&[("a.yaml", &pod("a"))]).await;
    let aside = watched.directory.with_extension("aside");
    fs::rename(&watched.directory, &aside).expect("renamed");
    let status = watched.status(|status| status.resources["manifests"].failure().is_some()).await;
    let failure = status.resources["manifests"].failure().cloned().expect("a failure");
    assert!(failure.message.ends_with("can't be read: no such directory"), "{}", failure.message);
    assert_eq!(failure.class, ErrorClass::Missing);
    watched.is_quiet().await;

    fs::create_dir(&watched.directory).expect("a directory");
    watched.write("b.yaml", &pod("b"));
    watched.until(has("b")).await;
    watched.until(|cluster| !has("a")(cluster)).await;
    watched.status(|status| status.resources["manifests"].failure().is_none()).await;
    watched.write("c.yaml", &pod("c"));
    watched.until(has("c")).await;
}

#[tokio::test]
async fn directory_that_is_not_there_yet_is_waited_for() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("later");
    let mut source = manifests::spawn(directory.clone(), ClusterPolicies::Auto);
    let failing = source.status.wait_for(|status| status.resources["manifests"].failure().is_some());
    let status = timeout(PATIENCE, failing).await.expect("in time").expect("a source").clone();
    assert!(!status.is_synced());
    let ready = parent.path().join("ready");
    fs::create_dir(&ready).expect("a directory");
    fs::write(ready.join("a.yaml"), pod("a")).expect("written");
    fs::rename(&ready, &directory).expect("renamed");
    let update = timeout(PATIENCE, source.updates.recv()).await.expect("in time").expect("a source");
    assert_eq!(update.len(), 2, "the pod and its namespace: {update:?}");
}

#[tokio::test]
async fn link_to_a_directory_is_followed_when_it_is_changed() {
    let parent = tempfile::tempdir().expect("a directory");
    for name in ["one", "two"] {
        fs::create_dir(parent.path().join(name)).expect("a directory");
        fs::write(parent.path().join(name).join("a.yaml"), pod(name)).expect("written");
    }
    let link = parent.path().join("current");
    symlink("one", &link).expect("a link");
    symlink("two", parent.path().join("next")).expect("a link");
    let next = parent.path().join("next");
    let mut watched = Watched::of(parent, link.clone()).await;
    assert_eq!(watched.pods(), ["one"]);
    fs::rename(next, &link).expect("renamed");
    watched.until(has("two")).await;
    assert_eq!(watched.pods(), ["two"]);
}
