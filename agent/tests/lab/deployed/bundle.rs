//! A container of a pod as an OCI bundle, made as containerd makes it.
//!
//! Capabilities: `drop` ALL, then `add`; nothing is inheritable. A hostPath volume is a recursive bind mount of the node's
//! directory, with the propagation that the manifest says. The container shares the node's network and has namespaces of its
//! own for everything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::seccomp;
use crate::render::{list, named, only, pod, strings};

/// The rendered manifests, and what stands on this node for what they name.
pub(crate) struct Deployment<'a> {
    /// The objects.
    pub(crate) objects: &'a [Value],
    /// `spec.nodeName`.
    pub(crate) node: &'a str,
    /// The node's directories in the place of the machine's, by the path in the manifest.
    pub(crate) host: BTreeMap<&'a str, PathBuf>,
    /// Directories that are mounted besides, under the same path.
    pub(crate) extra: Vec<PathBuf>,
    /// Environment variables besides.
    pub(crate) environment: Vec<String>,
}

impl Deployment<'_> {
    /// A container or init container.
    pub(crate) fn container(&self, name: &str) -> &Value {
        let pod = pod(self.objects);
        let is_init = list(&pod["initContainers"]).iter().any(|container| container["name"] == name);
        named(&pod[if is_init { "initContainers" } else { "containers" }], name)
    }

    /// The names of the init containers, in their order.
    pub(crate) fn init_containers(&self) -> Vec<&str> {
        list(&pod(self.objects)["initContainers"]).iter().filter_map(|container| container["name"].as_str()).collect()
    }

    /// Writes the bundle of a container; the image's files are in `root`.
    pub(crate) fn write_bundle(&self, bundle: &Path, root: &Path, container: &Value) {
        fs::create_dir(bundle).unwrap();
        let config = self.config(root, container);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    }

    fn config(&self, root: &Path, container: &Value) -> Value {
        let security = &container["securityContext"];
        let privileged = security["privileged"] == true;
        let capabilities = if privileged { every_capability() } else { capabilities(security) };
        let arguments: Vec<_> = ["/usr/bin/podgate"].into_iter().chain(strings(&container["args"])).collect();
        let mut config = json!({
            "ociVersion": "1.0.0",
            "process": {
                "user": { "uid": security["runAsUser"].as_u64().unwrap_or(0), "gid": 0 },
                "args": arguments,
                "env": self.variables(container),
                "cwd": "/",
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                    "inheritable": [], "ambient": [],
                },
                "noNewPrivileges": !privileged && security["allowPrivilegeEscalation"] == false,
            },
            "root": { "path": root, "readonly": security["readOnlyRootFilesystem"] == true },
            "mounts": self.mounts(container),
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
                // What a mount in the container is handed on to is said by each mount.
                "rootfsPropagation": if privileged { "shared" } else { "slave" },
                "maskedPaths": if privileged { json!([]) } else { json!(["/proc/kcore", "/proc/keys", "/sys/firmware"]) },
                "readonlyPaths": if privileged { json!([]) } else { json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"]) },
            },
        });
        let profile = &pod(self.objects)["securityContext"]["seccompProfile"];
        let profile = security.get("seccompProfile").unwrap_or(profile);
        if !privileged && profile["type"] == "RuntimeDefault" {
            config["linux"]["seccomp"] = seccomp::of_containerd(&capabilities);
        }
        if let Some(name) = profile["localhostProfile"].as_str() {
            config["linux"]["seccomp"] = seccomp::of_file(&self.host["/var/lib/kubelet/seccomp"].join(name));
        }
        config
    }

    fn variables(&self, container: &Value) -> Vec<String> {
        let settings = list(&container["envFrom"]).iter().flat_map(|source| {
            let name = &source["configMapRef"]["name"];
            let map =
                self.objects.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == *name);
            map.unwrap()["data"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
        });
        let own = list(&container["env"]).iter().map(|variable| {
            if let Some(value) = variable["value"].as_str() {
                return format!("{}={value}", variable["name"].as_str().unwrap());
            }
            assert_eq!(
                variable["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName",
                "the only field that is known here"
            );
            format!("{}={}", variable["name"].as_str().unwrap(), self.node)
        });
        settings.chain(own).chain(self.environment.iter().cloned()).collect()
    }

    fn mounts(&self, container: &Value) -> Vec<Value> {
        let privileged = container["securityContext"]["privileged"] == true;
        let sys = if privileged { vec!["nosuid", "noexec", "nodev"] } else { vec!["nosuid", "noexec", "nodev", "ro"] };
        let mount = |destination: &str, kind: &str, options: &[&str]| {
            json!({
                "destination": destination, "type": kind, "source": kind, "options": options,
            })
        };
        let system = [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/sys", "sysfs", &sys),
        ];
        let volumes = list(&container["volumeMounts"]).iter().map(|mount| self.volume(mount));
        let extra = self.extra.iter().map(|path| bind(path, &path.display().to_string(), "rprivate"));
        system.into_iter().chain(volumes).chain(extra).collect()
    }

    fn volume(&self, mount: &Value) -> Value {
        let volume = named(&pod(self.objects)["volumes"], mount["name"].as_str().unwrap());
        let path = volume["hostPath"]["path"].as_str().or_else(|| volume["secret"]["secretName"].as_str()).unwrap();
        let host = self.host.get(path).unwrap_or_else(|| panic!("{path} is not on this node"));
        let propagation = match mount["mountPropagation"].as_str() {
            Some("Bidirectional") => "rshared",
            Some("HostToContainer") => "rslave",
            _ => "rprivate",
        };
        bind(host, mount["mountPath"].as_str().unwrap(), propagation)
    }

    /// How long the pod may take to end, in seconds.
    pub(crate) fn grace(&self) -> u64 {
        only(self.objects, "DaemonSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap()
    }
}

fn bind(source: &Path, destination: &str, propagation: &str) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw", propagation] })
}

/// The capabilities of a container that drops all and adds some.
pub(crate) fn capabilities(security: &Value) -> Vec<String> {
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    strings(&security["capabilities"]["add"]).into_iter().map(|name| format!("CAP_{name}")).collect()
}

/// The capabilities that a privileged container needs here; the runtime gives it all others too.
fn every_capability() -> Vec<String> {
    ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"].map(str::to_owned).into()
}
