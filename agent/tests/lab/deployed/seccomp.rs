//! The seccomp profile of a container runtime.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::render::{list, strings};

/// The profile of Podman and CRI-O, as the distribution has it (package golang-github-containers-common). containerd's says
/// the same of what is used here, but for bpf(2).
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// The profile for a container with these capabilities, as containerd from 1.6.9 on has it: whoever has CAP_BPF may use bpf(2),
/// and CAP_PERFMON perf_event_open(2) (containerd/containerd#7301).
pub(crate) fn of_containerd(capabilities: &[String]) -> Value {
    let mut profile = of_cri_o(capabilities);
    let calls = [("CAP_BPF", "bpf"), ("CAP_PERFMON", "perf_event_open")];
    for (_, call) in calls.into_iter().filter(|(capability, _)| capabilities.iter().any(|has| has == capability)) {
        let rules = profile["syscalls"].as_array_mut().unwrap();
        for rule in rules.iter_mut() {
            rule["names"].as_array_mut().unwrap().retain(|name| name != call);
        }
        rules.push(json!({ "names": [call], "action": "SCMP_ACT_ALLOW" }));
    }
    profile
}

/// The profile for a container with these capabilities, as CRI-O has it with containers-common 0.50 (Debian 12). That of
/// 0.62 (Debian 13) has rules for two more capabilities, as containerd's.
pub(crate) fn of_cri_o(capabilities: &[String]) -> Value {
    let newer = |capability: &&String| !["CAP_BPF", "CAP_PERFMON"].contains(&capability.as_str());
    let capabilities: Vec<String> = capabilities.iter().filter(newer).cloned().collect();
    let text = fs::read_to_string(PROFILE).unwrap_or_else(|error| panic!("{PROFILE}: {error}"));
    let profile: Value = serde_json::from_str(&text).unwrap();
    let rules: Vec<Value> =
        list(&profile["syscalls"]).iter().filter(|rule| holds(rule, &capabilities)).map(plain).collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    })
}

/// A profile in a file, as the kubelet hands it to the runtime.
pub(crate) fn of_file(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let profile: Value = serde_json::from_str(&text).unwrap();
    let architectures = list(&profile["archMap"]).iter().map(|entry| entry["architecture"].clone());
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures.collect::<Vec<_>>(),
        "syscalls": profile["syscalls"],
    })
}

/// Whether a rule is for containers with these capabilities on this machine.
fn holds(rule: &Value, capabilities: &[String]) -> bool {
    let has = |name: &&str| capabilities.iter().any(|capability| capability == name);
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let (include, exclude) = (&rule["includes"], &rule["excludes"]);
    let architectures = strings(&include["arches"]);
    strings(&include["caps"]).iter().all(has)
        && !strings(&exclude["caps"]).iter().any(has)
        && (architectures.is_empty() || architectures.contains(&architecture))
        && !strings(&exclude["arches"]).contains(&architecture)
}

/// A rule without the conditions that are not the runtime's business.
fn plain(rule: &Value) -> Value {
    let mut plain = json!({ "names": rule["names"], "action": rule["action"] });
    for key in ["args", "errnoRet"] {
        if !rule[key].is_null() {
            plain[key] = rule[key].clone();
        }
    }
    plain
}
