//! Where objects are written, and what they are not.

use std::path::Path;

use podgate_policy::model::{Direction, ObjectKey};
use podgate_source::ObjectRef;
use podgate_source::manifests::Definition;

use crate::{parse, policy};

fn place(document: usize) -> Definition {
    Definition { path: Path::new("net.yaml").into(), document, sound: true, ineffective: vec![] }
}

fn the_policy() -> ObjectRef {
    ObjectRef::Policy(ObjectKey::new("shop", "p"))
}

#[test]
fn objects_are_placed_by_file_and_document_and_implied_namespaces_are_not() {
    let text = format!(
        "# licence\n{{apiVersion: v1, kind: Pod, metadata: {{name: web}}}}\n---\n{}",
        policy("{podSelector: {}}")
    );
    let loaded = parse(&text);
    let expected = [(ObjectRef::Pod(ObjectKey::new("default", "web")), place(1)), (the_policy(), place(2))];
    assert_eq!(loaded.places.into_iter().collect::<Vec<_>>(), expected);
    let file = Path::new("net.yaml");
    let lines: Vec<_> = loaded.lines.into_iter().collect();
    assert_eq!(lines, [((file.into(), 1), 2), ((file.into(), 2), 4)]);
}

#[test]
fn rules_that_policy_types_leaves_out_are_told() {
    let ineffective = |spec: &str| parse(&policy(spec)).places.remove(&the_policy()).map(|place| place.ineffective);
    for (spec, expected) in [
        ("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", vec![Direction::Egress]),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}], egress: [{}]}", vec![Direction::Ingress]),
        ("{podSelector: {}, policyTypes: [Ingress], egress: []}", vec![]),
        ("{podSelector: {}, policyTypes: [], egress: [{}]}", vec![]),
        ("{podSelector: {}, egress: [{}]}", vec![]),
    ] {
        assert_eq!(ineffective(spec), Some(expected), "{spec}");
    }
}

#[test]
fn a_policy_that_stands_in_for_an_invalid_one_is_not_sound() {
    let mut loaded = parse(&policy("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}"));
    assert_eq!(loaded.places.remove(&the_policy()), Some(Definition { sound: false, ..place(1) }));
}
