//! The settings in the manifests are settings of the binary, and agree with its defaults.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::OVERLAYS;
use crate::help::{defaults, variables};
use crate::render::{list, named, only, pod, render, render_with, strings};

/// The settings' ConfigMap.
fn settings(objects: &[Value]) -> &Value {
    let is_it = |object: &&Value| {
        object["kind"] == "ConfigMap"
            && object["data"].as_object().unwrap().keys().any(|key| key.starts_with("PODGATE_"))
    };
    &objects.iter().find(is_it).unwrap()["data"]
}

#[test]
fn every_variable_in_the_manifests_is_one_that_the_agent_reads() {
    let known = variables(&["agent"]);
    assert!(known.len() > 10, "{known:?}");
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let agent = named(&pod(&objects)["containers"], "agent");
        let own = list(&agent["env"]).iter().map(|variable| variable["name"].as_str().unwrap());
        let given: BTreeSet<_> =
            settings(&objects).as_object().unwrap().keys().map(String::as_str).chain(own).collect();
        let unknown: Vec<_> = given.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{overlay}: {unknown:?}");
    }
}

#[test]
fn a_change_of_settings_rolls_the_agents_over() {
    let (Some(base), Some(other)) = (render("base"), render_with("base", &["components/services-at-source"])) else {
        return;
    };
    assert_eq!(settings(&other)["PODGATE_SERVICES"], "source");
    assert_eq!(settings(&other)["PODGATE_LOG_FORMAT"], settings(&base)["PODGATE_LOG_FORMAT"]);
    assert_ne!(pod(&base)["containers"][0]["envFrom"], pod(&other)["containers"][0]["envFrom"]);
}

#[test]
fn what_the_agent_shares_with_the_plugin_has_the_same_path_in_the_pod_and_on_the_host() {
    let agent_defaults = defaults(&["agent"]);
    let install_defaults = defaults(&["cni", "install"]);
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        let (agent, install) = (named(&pod["containers"], "agent"), named(&pod["initContainers"], "install-cni"));
        let conf = install_defaults["PODGATE_CNI_CONF_DIR"].as_str();
        let wanted = [
            (agent, agent_defaults["PODGATE_SOCKET"].as_str()),
            (named(&pod["containers"], "keep-cni"), conf),
            (install, conf),
            (install, &install_defaults["PODGATE_CNI_BIN_DIR"]),
        ];
        for (container, path) in wanted {
            let mounts = list(&container["volumeMounts"]).iter();
            let below = |mount: &&Value| Path::new(path).starts_with(mount["mountPath"].as_str().unwrap());
            let mount = mounts.clone().find(below).unwrap_or_else(|| panic!("{overlay}: nothing is mounted at {path}"));
            assert_ne!(mount["readOnly"], true, "{path}");
            let volume = named(&pod["volumes"], mount["name"].as_str().unwrap());
            assert_eq!(volume["hostPath"]["path"], mount["mountPath"], "{overlay}: {path}");
        }
    }
}

/// The container sees podgate's part of the BPF file system alone, which can't be mounted below /sys; the plugin, on the host,
/// finds it at the default.
#[test]
fn the_directory_of_pins_is_the_plugins_wherever_the_container_sees_it() {
    let default = &defaults(&["agent"])["PODGATE_BPFFS"];
    assert_eq!(*default, defaults(&["cleanup"])["PODGATE_BPFFS"]);
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        assert!(settings(&objects).get("PODGATE_BPFFS").is_none(), "the installer would hand it to the plugin");
        let (pod, agent) = (pod(&objects), named(&pod(&objects)["containers"], "agent"));
        let seen = Path::new(named(&agent["env"], "PODGATE_BPFFS")["value"].as_str().unwrap());
        let mount = named(&agent["volumeMounts"], "bpffs")["mountPath"].as_str().unwrap();
        let host = Path::new(named(&pod["volumes"], "bpffs")["hostPath"]["path"].as_str().unwrap());
        let rest = seen.strip_prefix(mount).unwrap();
        let pins = if rest.as_os_str().is_empty() { host.to_owned() } else { host.join(rest) };
        assert_eq!(pins, Path::new(default), "{overlay}");
    }
}

#[test]
fn probes_and_scrapes_ask_where_the_agent_listens() {
    let listen = &defaults(&["agent"])["PODGATE_METRICS_LISTEN"];
    let port: u64 = listen.rsplit_once(':').unwrap().1.parse().unwrap();
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let agent = named(&pod(&objects)["containers"], "agent");
        assert_eq!(named(&agent["ports"], "metrics")["containerPort"], port);
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|name| &agent[name]["httpGet"]["path"]);
        assert_eq!(probes, ["/healthz", "/healthz", "/readyz"], "{overlay}");
    }
}

#[test]
fn every_container_runs_the_image_of_this_version() {
    for overlay in OVERLAYS.iter().chain(&["cleanup"]) {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        let containers = list(&pod["initContainers"]).iter().chain(list(&pod["containers"]));
        let images: BTreeSet<_> = containers.map(|container| container["image"].as_str().unwrap()).collect();
        assert_eq!(images.len(), 1, "{images:?}");
        let version = format!("/podgate:{}", env!("CARGO_PKG_VERSION"));
        assert!(images.iter().all(|image| image.ends_with(&version)), "{images:?}");
    }
}

#[test]
fn containers_run_commands_that_there_are() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let daemonset = only(&objects, "DaemonSet");
        let pod = &daemonset["spec"]["template"]["spec"];
        for container in list(&pod["initContainers"]).iter().chain(list(&pod["containers"])) {
            assert_eq!(container.get("command"), None, "the image's entrypoint is podgate");
            let arguments = strings(&container["args"]);
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_podgate"))
                .args(&arguments)
                .arg("--help")
                .output()
                .unwrap();
            assert!(output.status.success(), "{overlay}: podgate {arguments:?}");
        }
    }
}
