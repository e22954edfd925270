//! What the pod may do, and how it lives.

use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::render::{list, named, only, pod, render, render_with};

/// The containers of the pod, in the order in which they run.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["initContainers"]).iter().chain(list(&pod["containers"]))
}

fn security(capabilities: &[&str]) -> Value {
    json!({
        "runAsUser": 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"], "add": capabilities },
    })
}

/// The lab runs the containers under these, and fails to without any one of them.
#[test]
fn nothing_is_privileged_and_every_capability_is_named() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        assert_eq!(pod["securityContext"], json!({ "seccompProfile": { "type": "RuntimeDefault" } }), "{overlay}");
        let agent = &named(&pod["containers"], "agent")["securityContext"];
        assert_eq!(*agent, security(&["BPF", "PERFMON", "NET_ADMIN", "NET_BROADCAST"]), "{overlay}");
        assert_eq!(named(&pod["initContainers"], "install-cni")["securityContext"], security(&["DAC_OVERRIDE"]));
        let privileged = containers(pod).filter(|container| container["securityContext"]["privileged"] == true);
        let names: Vec<_> = privileged.map(|container| container["name"].as_str().unwrap()).collect();
        // What ends before the agent starts, where nobody else mounts the BPF file system.
        let expected: &[&str] = if overlay == "overlays/kind" { &["mount-bpffs"] } else { &[] };
        assert_eq!(names, expected, "{overlay}");
    }
}

#[test]
fn the_pod_sees_of_the_host_its_network_and_four_directories() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        assert_eq!((&pod["hostNetwork"], pod.get("hostPID"), pod.get("hostIPC")), (&json!(true), None, None));
        let paths: Vec<_> = list(&pod["volumes"]).iter().map(|volume| volume["hostPath"]["path"].as_str()).collect();
        let expected = ["/sys/fs/bpf", "/run/podgate", "/opt/cni/bin", "/etc/cni/net.d"].map(Some);
        assert_eq!(paths, expected, "{overlay}");
    }
}

#[test]
fn it_runs_on_every_node_before_and_beyond_all_others() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        assert_eq!(pod["priorityClassName"], "system-node-critical");
        assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
        assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
    }
}

/// Two agents at once on a node would be in each other's way.
#[test]
fn an_update_stops_few_agents_at_a_time_and_starts_none_beside_another() {
    for (overlay, at_once) in [("base", json!(1)), ("overlays/kind", json!(1)), ("overlays/production", json!("10%"))] {
        let Some(objects) = render(overlay) else { return };
        let expected = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": at_once } });
        assert_eq!(only(&objects, "DaemonSet")["spec"]["updateStrategy"], expected);
    }
}

#[test]
fn in_production_memory_is_requested_and_processor_time_is_not_limited() {
    let Some(objects) = render("overlays/production") else { return };
    for container in containers(pod(&objects)) {
        let resources = &container["resources"];
        assert!(resources["requests"]["memory"].is_string() && resources["requests"]["cpu"].is_string(), "{container}");
        assert!(resources["limits"]["memory"].is_string() && resources["limits"].get("cpu").is_none(), "{container}");
    }
}

#[test]
fn on_nodes_with_cri_o_there_is_no_profile_that_forbids_bpf() {
    let Some(objects) = render_with("overlays/production", &["components/crio"]) else { return };
    let expected = json!({ "seccompProfile": { "type": "Unconfined" }, "seLinuxOptions": { "type": "spc_t" } });
    assert_eq!(pod(&objects)["securityContext"], expected);
}
