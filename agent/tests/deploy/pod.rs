//! What the pod may do, and how it lives.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::help::defaults;
use crate::render::{list, named, only, pod, render, render_with, root};

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
        let mut none = security(&[]);
        none["capabilities"].as_object_mut().unwrap().remove("add");
        assert_eq!(named(&pod["containers"], "keep-cni")["securityContext"], none, "{overlay}");
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
        let paths: Vec<_> =
            list(&pod["volumes"]).iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
        // What mounts the file system needs all of it.
        let bpffs = if overlay == "overlays/kind" { "/sys/fs/bpf" } else { "/sys/fs/bpf/podgate" };
        assert_eq!(paths, [bpffs, "/run/podgate", "/opt/cni/bin", "/etc/cni/net.d"], "{overlay}");
    }
}

/// The directories of the host that a container sees.
fn mounts<'p>(pod: &'p Value, container: &'p Value) -> Vec<&'p str> {
    let volumes = list(&container["volumeMounts"]).iter();
    let volumes = volumes.map(|mount| named(&pod["volumes"], mount["name"].as_str().unwrap()));
    volumes.filter_map(|volume| volume["hostPath"]["path"].as_str()).collect()
}

#[test]
fn what_has_capabilities_writes_nothing_of_the_runtimes_and_who_writes_there_has_none() {
    for overlay in ["base", "overlays/production"] {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        let of = |kind: &str, name: &str| mounts(pod, named(&pod[kind], name));
        assert_eq!(of("containers", "agent"), ["/sys/fs/bpf/podgate", "/run/podgate"], "{overlay}");
        assert_eq!(of("containers", "keep-cni"), ["/etc/cni/net.d"], "{overlay}");
        assert_eq!(of("initContainers", "install-cni"), ["/opt/cni/bin", "/etc/cni/net.d"], "{overlay}");
    }
}

/// Before Linux 5.11 maps count against a limit that only this capability lifts.
#[test]
fn nodes_with_an_old_kernel_get_one_capability_more() {
    let Some(objects) = render_with("base", &["components/memlock"]) else { return };
    let agent = &named(&pod(&objects)["containers"], "agent")["securityContext"];
    assert_eq!(*agent, security(&["BPF", "PERFMON", "NET_ADMIN", "NET_BROADCAST", "SYS_RESOURCE"]));
}

/// Whoever keeps the listener for metrics busy does not make the kubelet restart the agent.
#[test]
fn probes_ask_a_listener_that_no_pod_reaches() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let agent = named(&pod(&objects)["containers"], "agent");
        let listen: SocketAddr = defaults(&["agent"])["PODGATE_HEALTH_LISTEN"].parse().unwrap();
        assert!(listen.ip().is_loopback());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let asked = &agent[probe]["httpGet"];
            assert_eq!((&asked["host"], &asked["port"]), (&json!("127.0.0.1"), &json!(listen.port())), "{probe}");
        }
    }
}

/// A start on a busy machine is slow, and a restart in the middle of it makes it slower.
#[test]
fn a_start_may_take_four_times_as_long_as_the_longest_that_is_documented() {
    let operations = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rest) = operations.split_once("start that was [measured]").unwrap();
    let longest: u64 = rest.split_once("took ").unwrap().1.split_once(" s,").unwrap().0.parse().unwrap();
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let probe = &named(&pod(&objects)["containers"], "agent")["startupProbe"];
        let number = |field: &str| probe[field].as_u64().unwrap();
        assert!(number("periodSeconds") * number("failureThreshold") >= 4 * longest, "{overlay}: {probe}");
        assert_eq!(number("timeoutSeconds"), 5, "a busy machine answers late");
    }
}

/// Without the Secret nobody reads: a pod of the node is no less a stranger than any other.
#[test]
fn in_production_prometheus_and_the_agent_share_a_token() {
    let Some(objects) = render("overlays/production") else { return };
    let credentials = &only(&objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"];
    let (pod, agent) = (pod(&objects), named(&pod(&objects)["containers"], "agent"));
    let mount = list(&agent["volumeMounts"]).iter().find(|mount| mount["name"] == "metrics-token").unwrap();
    let secret = &named(&pod["volumes"], "metrics-token")["secret"];
    assert_eq!((&credentials["name"], &secret["optional"]), (&secret["secretName"], &json!(true)));
    let file = format!("{}/{}", mount["mountPath"].as_str().unwrap(), credentials["key"].as_str().unwrap());
    let settings = objects.iter().filter_map(|object| object["data"]["PODGATE_METRICS_TOKEN_FILE"].as_str());
    assert_eq!(settings.collect::<Vec<_>>(), [file]);
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
fn memory_is_requested_and_limited_and_processor_time_is_not_limited() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        for container in containers(pod(&objects)) {
            let (requests, limits) = (&container["resources"]["requests"], &container["resources"]["limits"]);
            assert!(requests["memory"].is_string() && requests["cpu"].is_string(), "{container}");
            assert!(limits["memory"].is_string() && limits.get("cpu").is_none(), "{container}");
        }
    }
}

#[test]
fn on_nodes_with_cri_o_there_is_no_profile_that_forbids_bpf() {
    let Some(objects) = render_with("overlays/production", &["components/crio"]) else { return };
    let pod = pod(&objects);
    let expected = json!({ "seccompProfile": { "type": "RuntimeDefault" }, "seLinuxOptions": { "type": "spc_t" } });
    assert_eq!(pod["securityContext"], expected);
    let profile = &named(&pod["containers"], "agent")["securityContext"]["seccompProfile"];
    assert_eq!(*profile, json!({ "type": "Localhost", "localhostProfile": "podgate-agent.json" }));
    // Where the installer writes it and the kubelet looks for it.
    let default = &defaults(&["install-seccomp"])["PODGATE_SECCOMP_DIR"];
    assert_eq!(mounts(pod, named(&pod["initContainers"], "install-seccomp")), [default.as_str()]);
}
