//! What the agent may ask of the Kubernetes API.

use std::collections::BTreeSet;

use podgate_source::api::Watched;
use serde_json::Value;

use crate::OVERLAYS;
use crate::render::{list, only, render, render_with, strings};

/// Everything that the role gives access to.
fn granted(objects: &[Value]) -> BTreeSet<Watched> {
    let role = only(objects, "ClusterRole");
    let of_rule = |rule: &Value| -> Vec<Watched> {
        assert_eq!(strings(&rule["verbs"]), ["get", "list", "watch"], "{rule}");
        let names: Vec<Option<&str>> = match &rule["resourceNames"] {
            Value::Null => vec![None],
            names => strings(names).into_iter().map(Some).collect(),
        };
        let of_resource = |group: &str, plural: &str| -> Vec<Watched> {
            let (group, plural) = (group.to_owned(), plural.to_owned());
            let named = |name: &Option<&str>| Watched {
                group: group.clone(),
                plural: plural.clone(),
                name: name.map(str::to_owned),
            };
            names.iter().map(named).collect()
        };
        let groups = strings(&rule["apiGroups"]).into_iter();
        let resources = strings(&rule["resources"]);
        let of_group = |group| resources.iter().flat_map(|plural| of_resource(group, plural)).collect::<Vec<_>>();
        groups.flat_map(of_group).collect()
    };
    list(&role["rules"]).iter().flat_map(of_rule).collect()
}

fn watched(endpoint_slices: bool) -> BTreeSet<Watched> {
    podgate_source::api::watched(endpoint_slices).into_iter().collect()
}

#[test]
fn the_agent_may_read_what_it_watches_and_nothing_else() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        assert_eq!(granted(&objects), watched(false), "{overlay}");
    }
}

#[test]
fn where_services_are_judged_at_the_source_it_may_read_endpoint_slices_too() {
    let Some(objects) = render_with("overlays/production", &["components/services-at-source"]) else { return };
    assert_eq!(granted(&objects), watched(true));
}

#[test]
fn the_role_is_the_daemonsets_alone() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let account = only(&objects, "ServiceAccount");
        let binding = only(&objects, "ClusterRoleBinding");
        assert_eq!(binding["roleRef"]["name"], only(&objects, "ClusterRole")["metadata"]["name"]);
        let subjects: Vec<_> =
            list(&binding["subjects"]).iter().map(|subject| (&subject["name"], &subject["namespace"])).collect();
        assert_eq!(subjects, [(&account["metadata"]["name"], &account["metadata"]["namespace"])]);
        let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
        assert_eq!(
            (&account["automountServiceAccountToken"], &pod["automountServiceAccountToken"]),
            (&Value::Bool(false), &Value::Bool(true))
        );
    }
}
