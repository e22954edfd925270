//! What kubectl reads is read, and means the same.

use std::path::Path;

use podgate_policy::model::ObjectKey;
use podgate_source::manifests::{self, Loaded};

use crate::{parse, policy, sound};

/// A Pod whose metadata goes on with this text, indented by two spaces.
fn pod(metadata: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n{metadata}")
}

fn label(loaded: &Loaded, name: &str) -> Option<String> {
    let pod = &loaded.cluster.pods[&ObjectKey::new("default", "web")];
    pod.labels.get(name).map(ToString::to_string)
}

#[test]
fn text_that_looks_like_a_number_beyond_all_numbers_is_text() {
    for value in ["57e4321", "1e999", "8E+400", "2026-11-29", "0x", "5d5f5c4d9", "1.2.3", "_1"] {
        let loaded = parse(&pod(&format!("  labels: {{version: {value}}}\n")));
        assert_eq!(label(&loaded, "version").as_deref(), Some(value));
    }
}

#[test]
fn what_is_a_number_or_a_truth_is_no_label() {
    for value in ["57e43", "0x1f", "010", "1_000", ".5", "yes", "y", "NO", "off", "true", "~"] {
        let loaded = parse(&pod(&format!("  labels: {{version: {value}}}\n")));
        let refused = loaded.problems.iter().filter_map(|problem| problem.field.as_deref()).collect::<Vec<_>>();
        assert_eq!(refused, ["metadata.labels.version"], "{value}");
    }
}

#[test]
fn numbers_of_every_base_and_whole_ones_with_a_point_are_ports() {
    for (text, number) in
        [("80", 80), ("0x50", 80), ("0b1010", 10), ("010", 8), ("0o10", 8), ("1_000", 1000), ("80.0", 80), ("8e1", 80)]
    {
        let loaded = sound(&policy(&format!("{{ingress: [{{ports: [{{port: {text}}}]}}]}}")));
        let plain = sound(&policy(&format!("{{ingress: [{{ports: [{{port: {number}}}]}}]}}")));
        assert_eq!(loaded.cluster, plain.cluster, "{text}");
    }
}

#[test]
fn quoted_text_may_go_on_at_any_indentation() {
    for annotation in [
        "'[\n      {\"name\": \"storage\"}\n    ]'",
        "\"closes everything;\n  ask the shop team\"",
        "'{\n\"a\": 1\n}'",
        "\"a\\\n    \\ b\"",
        "'a\n\n\tb'",
    ] {
        let loaded = sound(&pod(&format!("  annotations:\n    note: {annotation}\n  labels: {{app: web}}\n")));
        assert_eq!(label(&loaded, "app").as_deref(), Some("web"), "{annotation}");
    }
}

#[test]
fn tabs_may_stand_between_what_stands_in_brackets() {
    for labels in ["{\n\tapp: web,\n\t}", "{ \"app\" :\t\"web\",\n\t\t}", "\t{app: web}\t", "{app: web,\n\t# none\n}"] {
        let loaded = sound(&pod(&format!("  labels: {labels}\n")));
        assert_eq!(label(&loaded, "app").as_deref(), Some("web"), "{labels:?}");
    }
    for broken in ["  labels:\n\tapp: web\n", "\tlabels: {app: web}\n"] {
        assert_eq!(parse(&pod(broken)).problems.len(), 1, "{broken:?}: neither does kubectl");
    }
}

#[test]
fn documents_that_are_null_are_none() {
    for null in ["null\n", "~\n", "# only a comment\n", "", "null # nothing\n", "--- null\n", "!!null\n", "...\n"] {
        let text =
            format!("---\n# Source: a template\n{null}---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n");
        assert!(sound(&text).cluster.namespaces.contains_key("shop"), "{null:?}");
    }
    assert_eq!(sound("{apiVersion: v1, kind: List, items: null}").cluster, Default::default());
}

#[test]
fn fields_to_come_are_named_and_passed_over() {
    for (text, field) in [
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {toCome: {a: [1]}}}", "spec.toCome"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, ports: [{containerPort: 1, toCome: x}]}]}}",
            "spec.containers[0].ports[0].toCome",
        ),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {toCome: 1}}", "status.toCome"),
        ("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {toCome: true}}", "spec.toCome"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a, toCome: b}}", "metadata.toCome"),
        ("{apiVersion: v1, kind: Node, metadata: {name: a}, toCome: {}}", "toCome"),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: [], toCome: 1}]}",
            "endpoints[0].toCome",
        ),
    ] {
        let loaded = parse(text);
        let found: Vec<_> = loaded.problems.iter().map(|it| (it.field.as_deref(), it.is_passed_over())).collect();
        assert_eq!(found, [(Some(field), true)], "{text}");
        let objects = &loaded.cluster;
        let counts = [objects.pods.len(), objects.services.len(), objects.nodes.len(), objects.endpoint_slices.len()];
        assert_eq!(counts.iter().sum::<usize>() + usize::from(text.contains("Namespace")), 1, "{text}");
    }
    assert!(!parse(&policy("{toCome: 1}")).problems[0].is_passed_over(), "a policy may mean something else by it");
}

#[test]
fn what_is_passed_over_in_many_objects_is_named_a_hundred_times_and_hides_no_mistake() {
    let pod = |number: usize| {
        format!("- {{apiVersion: v1, kind: Pod, metadata: {{name: p{number}}}, spec: {{toCome: 1}}}}\n")
    };
    let bad = "- {apiVersion: v1, kind: Pod, metadata: {name: bad}, status: {podIP: x}}\n";
    let pods: String = (0..2000).map(pod).collect();
    let loaded = parse(&format!("apiVersion: v1\nkind: List\nitems:\n{pods}{bad}"));
    let passed_over = loaded.problems.iter().filter(|problem| problem.is_passed_over()).count();
    assert_eq!((loaded.cluster.pods.len(), passed_over, loaded.problems.len()), (2001, 101, 102));
    assert!(loaded.problems.iter().any(|problem| problem.message == "1900 more times something is passed over"));
}

#[test]
fn json_is_known_by_its_first_brace_whatever_the_file_is_called() {
    let namespace = |name: &str| {
        format!("{{\"apiVersion\":\"v1\",\n\t\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"{name}\"}}}}")
    };
    let escaped = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"c\",\"annotations\":{\"a\":\"\\ud83d\\ude00\\/\"}}}";
    let text = format!(
        "{}{}\n---\n{escaped}\n---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: d}}}}\n",
        namespace("a"),
        namespace("b")
    );
    for name in ["all.yaml", "all.json"] {
        let loaded = manifests::parse(Path::new(name), &text);
        assert_eq!(loaded.problems, [], "{name}");
        assert_eq!(
            loaded.cluster.namespaces.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["a", "b", "d", "default"]
        );
        assert_eq!(loaded.cluster.pods.len(), 1);
    }
    let yaml = manifests::parse(Path::new("not.json"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");
    assert_eq!((yaml.problems.len(), yaml.cluster.namespaces.len()), (0, 1));
}

#[test]
fn objects_of_a_list_have_its_kind_where_they_have_none() {
    let text = "kind: PodList\napiVersion: v1\nitems:\n- metadata: {name: a}\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
    let sorted = "apiVersion: v1\nitems:\n- metadata: {name: a}\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\nkind: PodList\n";
    for text in [text, sorted] {
        assert_eq!(sound(text).cluster.pods.len(), 2, "{text}");
    }
    // What is given twice is known by its number in the list.
    let twice = sorted
        .replace("- metadata: {name: a}\n", "")
        .replace("kind: PodList", "- metadata: {name: a}\n  spec: {}\n  spec: {}\nkind: PodList");
    let fields: Vec<_> = parse(&twice).problems.into_iter().filter_map(|problem| problem.field).collect();
    assert_eq!(fields, ["spec"]);
}

#[test]
fn nothing_counts_of_a_list_that_cant_be_read_to_its_end() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: x}}\n- [\n";
    let loaded = parse(&format!("{text}---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: b}}}}\n"));
    assert_eq!((loaded.cluster.pods.len(), loaded.cluster.namespaces.len(), loaded.problems.len()), (0, 1, 1));
}

#[test]
fn a_dump_of_many_ordinary_pods_is_read() {
    let variables: String = (0..60)
        .map(|number| format!("      - name: VARIABLE_{number}\n        value: a value of it, of some length\n"))
        .collect();
    let pod = |number: usize| {
        format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p{number}\n  spec:\n    containers:\n    - name: c\n      image: x\n      env:\n{variables}  status:\n    podIP: 10.0.{}.{}\n",
            number / 250,
            1 + number % 250
        )
    };
    let text = format!("apiVersion: v1\nitems:\n{}kind: List\n", (0..4000).map(pod).collect::<String>());
    assert!(text.len() > 16 << 20, "{}", text.len());
    let loaded = sound(&text);
    assert_eq!(loaded.cluster.pods.len(), 4000);
}
