//! The Helm chart, as real Helm renders it: the same objects as kustomize makes of deploy/, and values that its schema refuses.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::help::{defaults, variables};
use crate::render::{list, named, only, pod, render, render_with, root, strings};

/// What Helm says; nothing, and a loud word, where there is none.
fn helm(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("helm").args(arguments).current_dir(root().join("deploy")).output();
    if output.is_err() {
        eprintln!("SKIPPED: helm is not installed, so the chart was not looked at: `cargo xtask chart` unpacks it");
    }
    output.ok()
}

fn template(arguments: &[&str]) -> Option<Output> {
    helm(&[&["template", "podgate", "chart", "--namespace", "podgate-system"], arguments].concat())
}

/// The objects of the chart with these values, `helm test`'s left out.
fn chart(values: &[&str]) -> Option<Vec<Value>> {
    rendered(&[values, &["--skip-tests"]].concat())
}

/// All objects of the chart with these arguments of Helm's.
pub(crate) fn rendered(arguments: &[&str]) -> Option<Vec<Value>> {
    let output = template(arguments)?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap())
}

/// Why Helm renders nothing.
fn refusal(values: &str) -> Option<String> {
    let output = template(&["--set", values])?;
    assert!(!output.status.success(), "{values} is accepted");
    Some(String::from_utf8(output.stderr).unwrap())
}

/// Objects in the order of their kinds and names, without what each tool adds to roll agents over when settings change:
/// kustomize a suffix to the ConfigMap's name, the chart a checksum. Kubernetes has lists of which the order says nothing,
/// since their elements have keys: these are sorted.
fn comparable(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        if object["kind"] == "ConfigMap" && object["metadata"]["name"] != "podgate-dashboard" {
            object["metadata"]["name"] = "podgate".into();
        }
        let template = &mut object["spec"]["template"];
        if let Some(annotations) = template["metadata"]["annotations"].as_object_mut() {
            annotations.remove("checksum/settings");
        }
        for kind in ["initContainers", "containers"] {
            let containers = template["spec"][kind].as_array_mut().into_iter().flatten();
            for container in containers {
                sort(&mut container["env"], "name");
                sort(&mut container["volumeMounts"], "mountPath");
                for source in container["envFrom"].as_array_mut().into_iter().flatten() {
                    source["configMapRef"]["name"] = "podgate".into();
                }
            }
        }
        sort(&mut template["spec"]["volumes"], "name");
    }
    objects.iter_mut().for_each(without_nulls);
    objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
    objects
}

fn sort(list: &mut Value, key: &str) {
    if let Some(elements) = list.as_array_mut() {
        elements.sort_by_key(|element| element[key].to_string());
    }
}

/// Looking at what is not there has left nothing behind.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_nulls);
            fields.retain(|_, field| !field.is_null() && field.as_object().is_none_or(|inner| !inner.is_empty()));
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Compares object by object, so that a difference can be read.
fn assert_same(what: &str, kustomize: Vec<Value>, chart: Vec<Value>) {
    let (kustomize, chart) = (comparable(kustomize), comparable(chart));
    let names = |objects: &[Value]| -> Vec<String> {
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
    };
    assert_eq!(names(&kustomize), names(&chart), "{what}");
    for (left, right) in kustomize.iter().zip(&chart) {
        assert_eq!(left, right, "{what}");
    }
}

#[test]
fn the_chart_and_each_overlay_are_the_same() {
    for (overlay, values) in [
        ("base", &["--set", "createNamespace=true"][..]),
        ("overlays/kind", &["--values", "overlays/kind/values.yaml"]),
        ("overlays/production", &["--values", "overlays/production/values.yaml"]),
    ] {
        let (Some(kustomize), Some(chart)) = (render(overlay), chart(values)) else { return };
        assert_same(overlay, kustomize, chart);
    }
}

#[test]
fn each_component_is_a_value_of_the_chart() {
    for (component, value) in [
        ("crio", "node.ownSeccompProfile=true"),
        ("memlock", "node.memlock=true"),
        ("mount-bpffs", "node.mountBpffs=true"),
        ("services-at-source", "services=source"),
    ] {
        let kustomize = render_with("base", &[&format!("components/{component}")]);
        let (Some(kustomize), Some(chart)) = (kustomize, chart(&["--set", value, "--set", "createNamespace=true"]))
        else {
            return;
        };
        assert_same(component, kustomize, chart);
    }
}

#[test]
fn cleaning_up_is_the_same_daemonset_with_another_pod() {
    let (Some(kustomize), Some(chart)) = (render("cleanup"), chart(&["--set", "cleanup.enabled=true"])) else { return };
    let daemonset = only(&chart, "DaemonSet").clone();
    assert_same("cleanup", kustomize, vec![daemonset.clone()]);
    let Some(base) = render("base") else { return };
    assert_eq!(daemonset["spec"]["selector"], only(&base, "DaemonSet")["spec"]["selector"]);
    let containers = list(&daemonset["spec"]["template"]["spec"]["containers"]);
    assert_eq!(
        containers.iter().map(|container| strings(&container["args"])).collect::<Vec<_>>(),
        [["cleanup", "--stay"]]
    );
}

#[test]
fn helm_uninstall_cleans_up_only_where_that_was_asked_for() {
    let hooks = |values: &[&str]| -> Option<Vec<Value>> {
        let hook = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"] == "post-delete";
        Some(chart(values)?.into_iter().filter(hook).collect())
    };
    let (Some(without), Some(with)) = (hooks(&[]), hooks(&["--set", "cleanup.onUninstall=true"])) else { return };
    assert_eq!(without, Vec::<Value>::new());
    let Some(now) = chart(&["--set", "cleanup.enabled=true"]) else { return };
    // The same pod, in a DaemonSet that does not take the agents for its own.
    assert_eq!(with[0]["spec"]["template"]["spec"], *pod(&now));
    assert_ne!(with[0]["spec"]["selector"], only(&now, "DaemonSet")["spec"]["selector"]);
}

/// The directories of CNI by platform, as the containers are told.
#[test]
fn each_platform_has_its_directories() {
    let [usual, conf] = ["/opt/cni/bin", "/etc/cni/net.d"];
    let snap = "/var/snap/microk8s/current";
    for (platform, bin, conf) in [
        ("kubeadm", usual, conf),
        ("kind", usual, conf),
        ("k3s", "/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d"),
        ("rke2", usual, conf),
        ("eks", usual, conf),
        ("gke", "/home/kubernetes/bin", conf),
        ("aks", usual, conf),
        ("microk8s", &format!("{snap}/opt/cni/bin"), &format!("{snap}/args/cni-network")),
        ("crio", usual, conf),
    ] {
        let Some(objects) = chart(&["--set", &format!("platform={platform}")]) else { return };
        let pod = pod(&objects);
        let install = named(&pod["initContainers"], "install-cni");
        let told = |container: &Value, variable: &str| -> String {
            let of = |found: &&Value| found["name"] == variable;
            let value =
                list(&container["env"]).iter().find(of).map(|found| found["value"].as_str().unwrap().to_owned());
            value.unwrap_or_else(|| defaults(&["cni", "install"])[variable].clone())
        };
        let mounts = |container: &Value| -> Vec<String> {
            let mounts = list(&container["volumeMounts"]).iter();
            mounts.map(|mount| mount["mountPath"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!([told(install, "PODGATE_CNI_BIN_DIR"), told(install, "PODGATE_CNI_CONF_DIR")], [bin, conf]);
        assert_eq!(mounts(install), [bin, conf], "{platform}");
        let keep = named(&pod["containers"], "keep-cni");
        assert_eq!((told(keep, "PODGATE_CNI_CONF_DIR"), mounts(keep)), (conf.to_owned(), vec![conf.to_owned()]));
        let paths = list(&pod["volumes"]).iter().filter_map(|volume| volume["hostPath"]["path"].as_str());
        let paths: Vec<_> = paths.collect();
        assert!(paths.contains(&bin) && paths.contains(&conf), "{platform}: {paths:?}");
    }
}

#[test]
fn every_setting_of_the_values_is_one_that_the_agent_reads() {
    let values = "audit=true,attribution=rule,services=source,clusterPolicies=auto,liveConnections=keep,metrics.public=true,logFormat=text,\
                  settings.PODGATE_TABLE_ENTRIES=groups\\=100000";
    let Some(objects) = chart(&["--set", values]) else { return };
    let known = variables(&["agent"]);
    let settings = only(&objects, "ConfigMap")["data"].as_object().unwrap().clone();
    assert_eq!(settings.len(), 8, "{settings:?}");
    assert!(settings.keys().all(|name| known.contains(name)), "{settings:?}");
    // What the chart leaves out is the agent's default.
    let Some(usual) = chart(&[]) else { return };
    assert_eq!(only(&usual, "ConfigMap")["data"], serde_json::json!({ "PODGATE_LOG_FORMAT": "json" }));
    let agent = defaults(&["agent"]);
    let expected = [
        ("PODGATE_METRICS_ATTRIBUTION", "policy"),
        ("PODGATE_SERVICES", "exit"),
        ("PODGATE_CLUSTER_POLICIES", "off"),
        ("PODGATE_LIVE_CONNECTIONS", "cut"),
    ];
    assert!(expected.iter().all(|(name, value)| agent[*name] == *value), "{agent:?}");
}

#[test]
fn without_monitoring_nothing_of_the_prometheus_operator_is_needed() {
    let Some(objects) = chart(&[]) else { return };
    let foreign = |object: &&Value| object["apiVersion"].as_str().unwrap().starts_with("monitoring.");
    assert_eq!(objects.iter().filter(foreign).count(), 0);
}

#[test]
fn a_change_of_settings_rolls_the_agents_of_the_chart_over() {
    let checksum = |values: &[&str]| {
        let objects = chart(values)?;
        let annotations = &only(&objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"];
        Some(annotations["checksum/settings"].as_str().unwrap().to_owned())
    };
    let (Some(usual), Some(audit)) = (checksum(&[]), checksum(&["--set", "audit=true"])) else { return };
    assert_ne!(usual, audit);
}

#[test]
fn what_the_schema_or_the_chart_refuses_is_said() {
    for (values, word) in [
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=sha256:1", "/image/digest"),
        ("imgae.tag=1", "'imgae' not allowed"),
        ("platform=openshift", "/platform"),
        ("clusterPolicies=on", "/clusterPolicies"),
        ("settings.PODGATE_SOCKET=/tmp/x", "'PODGATE_SOCKET'"),
        ("metrics.public=true,metrics.tokenSecret=a", "/metrics"),
        ("startupSeconds=5", "/startupSeconds"),
        ("monitoring.enabled=true", "metrics.tokenSecret"),
    ] {
        let Some(told) = refusal(values) else { return };
        assert!(told.contains(word), "{values}: {told}");
    }
}

/// Every key of the values has its schema, and every key of the schema its value: a typing error in either shows.
#[test]
fn the_schema_names_what_the_values_have() {
    fn keys(schema: &Value) -> Vec<&String> {
        schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys()).collect()
    }
    let text = |name: &str| std::fs::read_to_string(root().join("deploy/chart").join(name)).unwrap();
    let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    let values: Value = serde_saphyr::from_str(&text("values.yaml")).unwrap();
    let top: Vec<&String> = keys(&schema).into_iter().filter(|key| *key != "global").collect();
    let mut sorted: Vec<&String> = values.as_object().unwrap().keys().collect();
    let mut expected = top.clone();
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);
    for key in top {
        let mut inner = keys(&schema["properties"][key]);
        if inner.is_empty() {
            continue;
        }
        let mut there: Vec<&String> = values[key].as_object().unwrap().keys().collect();
        inner.sort();
        there.sort();
        assert_eq!(there, inner, "{key}");
    }
}

/// What `helm test` makes, with pods in the place of the ReplicaSet's.
#[test]
fn the_policy_of_helm_test_allows_one_port_of_the_server_and_denies_the_other() {
    let Some(objects) = rendered(&["--show-only", "templates/tests/enforcement.yaml"]) else { return };
    let Some(whole) = chart(&["--set", "createNamespace=true"]) else { return };
    let directory = tempfile::TempDir::new().unwrap();
    let denied = only(&whole, "NetworkPolicy").clone();
    let items: Vec<Value> = objects.into_iter().chain([denied, only(&whole, "Namespace").clone()]).collect();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let file = directory.path().join("objects.json");
    std::fs::write(&file, list.to_string()).unwrap();
    let verdict = |port: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        // The client is a pod of its own; the ReplicaSet's pod is the second of that name.
        let [client, server] = ["podgate-system/podgate-test", "pod/podgate-system/podgate-test-2"];
        command.args(["explain", "--from", client, "--to", server, "--port", port, "-f"]);
        let output = command.arg(&file).env("KUBECONFIG", "none").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (allowed, denied) = (verdict("8080"), verdict("8081"));
    assert_eq!((allowed.0, denied.0), (Some(0), Some(1)), "{} {}", allowed.1, denied.1);
}

#[test]
fn a_packaged_chart_has_its_files() {
    let directory = tempfile::TempDir::new().unwrap();
    let Some(packaged) = helm(&["package", "chart", "--destination", directory.path().to_str().unwrap()]) else {
        return;
    };
    assert!(packaged.status.success(), "{packaged:?}");
    let archive: PathBuf = directory.path().join(format!("podgate-{}.tgz", env!("CARGO_PKG_VERSION")));
    let files = Command::new("tar").args(["-tzf", archive.to_str().unwrap()]).output().unwrap();
    let files = String::from_utf8(files.stdout).unwrap();
    for file in ["values.schema.json", "files/rules.yaml", "files/dashboard.json", "templates/NOTES.txt"] {
        assert!(files.lines().any(|line| Path::new(line).ends_with(file)), "{file}: {files}");
    }
}

/// A chart with a typing error in a policy, as somebody else's may have it.
const SHOP: [(&str, &str); 2] = [
    ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n"),
    (
        "templates/shop.yaml",
        "{{- range list \"web\" \"api\" }}
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ . }} }
spec:
  selector: { matchLabels: { app: {{ . }} } }
  template:
    metadata: { labels: { app: {{ . }} } }
    spec: { containers: [{ name: a, image: a, ports: [{ containerPort: 80 }] }] }
{{- end }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: api }
spec: { podSelector: { matchLabels: { app: {{ .Values.selected | default \"apii\" }} } } }
",
    ),
];

/// The recipe of docs/ci.md.
#[test]
fn what_helm_renders_is_judged_through_a_pipe() {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("templates")).unwrap();
    SHOP.iter().for_each(|(name, text)| std::fs::write(directory.path().join(name), text).unwrap());
    let chart = directory.path().to_str().unwrap();
    let judged = |arguments: &[&str]| {
        let rendered = helm(&[&["template", "shop", chart, "--namespace", "shop"], arguments].concat())?;
        assert!(rendered.status.success(), "{rendered:?}");
        let file = directory.path().join("rendered");
        std::fs::write(&file, &rendered.stdout).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_podgate"));
        let output = check.args(["check", "-f", "-"]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
        Some((output.status.code(), String::from_utf8(output.stdout).unwrap()))
    };
    let (Some(wrong), Some(right)) = (judged(&[]), judged(&["--set", "selected=api"])) else { return };
    assert!(wrong.0 == Some(1) && wrong.1.contains("did you mean app=api?"), "{wrong:?}");
    assert_eq!(right.0, Some(0), "{right:?}");
}

/// The values that the documentation sets: what stands between `--set` and the next blank.
#[test]
fn every_value_that_the_documents_set_is_one_of_the_charts() {
    let directories = [root(), root().join("docs"), root().join("docs/install")];
    let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    let texts: Vec<String> = paths.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let set = |text: &str| -> Vec<String> {
        let rests = text.split("--set ").skip(1);
        let values = rests.filter_map(|rest| rest.split(|c: char| c.is_whitespace() || c == '`').next());
        values.map(|value| value.trim_end_matches([',', '.', ':', ')']).to_owned()).collect()
    };
    let values: std::collections::BTreeSet<String> = texts.iter().flat_map(|text| set(text)).collect();
    assert!(values.len() > 15, "{values:?}");
    for value in values {
        let Some(output) = template(&["--set", &value]) else { return };
        assert!(output.status.success(), "{value}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
