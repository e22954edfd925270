//! The pods' network, and who else has a hand in it.

use std::collections::BTreeSet;

use super::facts::{Binary, Chain, Cni};
use super::{Check, Facts};
use crate::cni::NAME;

/// Who enforces policies, by the type of the CNI plugin, the names of devices, processes, and what is pinned. A name that ends in
/// `*` is the beginning of one.
const ENFORCERS: [(&str, &[&str]); 8] = [
    ("Calico", &["calico", "cali*", "vxlan.calico", "calico-node"]),
    ("Cilium", &["cilium-cni", "cilium_*", "cilium", "cilium-agent"]),
    ("Antrea", &["antrea", "antrea-*"]),
    ("OVN-Kubernetes", &["ovn-k8s-cni-overlay", "ovn-k8s-*", "ovnkube*"]),
    ("Weave Net", &["weave-net", "weave", "weaver"]),
    ("kube-router", &["kube-router*"]),
    ("Azure NPM", &["azure-npm"]),
    ("kindnet", &["kindnetd"]),
];

/// Whose sign is among these, and which.
fn enforcer<'f>(seen: impl Iterator<Item = &'f String>) -> Option<(&'static str, &'f String)> {
    let seen: BTreeSet<&String> = seen.collect();
    let sign = |names: &[&str]| seen.iter().find(|it| names.iter().any(|name| is_named(it, name))).copied();
    ENFORCERS.iter().find_map(|(enforcer, names)| Some((*enforcer, sign(names)?)))
}

/// Whether somebody else enforces policies on this node.
pub(super) fn other_enforcer(facts: &Facts) -> Check {
    let name = "other-enforcer";
    let plugins = facts.cni.chain.iter().flatten().flat_map(|chain| &chain.plugins);
    let devices = facts.host.iter().flat_map(|host| &host.devices);
    let processes = facts.processes.iter().flatten();
    let names: Vec<&String> = plugins.chain(devices).chain(&facts.bpf_names).collect();
    let advice = "turn its enforcement off, or don't install podgate: docs/install/README.md";
    if let Some((enforcer, sign)) = enforcer(names.iter().copied()) {
        let finding = format!("{enforcer} is here ({sign}): two enforcers drop what either of them denies");
        return Check::fault(name, finding, advice);
    }
    if facts.k3s_enforces {
        return Check::fault(
            name,
            "a server of k3s runs that enforces policies by itself (kube-router's controller)",
            "start its servers with --disable-network-policy: docs/install/k3s.md",
        );
    }
    // A pod can call a process what it likes.
    if let Some((enforcer, sign)) = enforcer(processes.clone()) {
        return Check::warning(name, format!("{enforcer} may be here: a process is called {sign}"), advice);
    }
    match facts.host.as_ref().map(|host| host.other_programs.as_ref()) {
        Ok(Ok(others)) if !others.is_empty() => Check::warning(
            name,
            format!("another program is at the TC hooks of {}", some(others)),
            "see what it does: tc filter show dev DEVICE ingress; bpftool net",
        ),
        _ if names.is_empty() && processes.count() == 0 => {
            Check::not_checked(name, "neither networks, devices nor processes can be seen from here")
        }
        _ => Check::ok(name, "none was found among plugins, devices, processes, pins and TC programs that are seen"),
    }
}

fn is_named(seen: &str, name: &str) -> bool {
    name.strip_suffix('*').map_or(seen == name, |start| seen.starts_with(start))
}

/// The first of a list, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// Whether pods have the interfaces that podgate enforces on.
pub(super) fn pod_interfaces(facts: &Facts) -> Check {
    let name = "pod-interfaces";
    let host = match &facts.host {
        Ok(host) => host,
        Err(why) => return Check::not_checked(name, why.as_str()),
    };
    let unsupported: Vec<String> = host.unsupported.iter().map(|it| format!("{}: {}", it.name, it.reason)).collect();
    if !unsupported.is_empty() {
        let remedy = "choose veth in the CNI's configuration, and no XDP program on pods' interfaces";
        return Check::fault(name, some(&unsupported), remedy);
    }
    match host.veths {
        0 => Check::warning(
            name,
            "no veth leads to another network namespace: no pod has a network of its own here, or this is not the host's \
             network namespace",
            "run it on the node, or in a pod with hostNetwork: true; check: ip -d link show type veth",
        ),
        1 => Check::ok(name, "1 veth leads to another network namespace"),
        count => Check::ok(name, format!("{count} veths lead to other network namespaces")),
    }
}

/// Whether the runtime's network namespaces are seen, which the plugin opens.
pub(super) fn namespaces(facts: &Facts) -> Check {
    let name = "network-namespaces";
    let has_pods = facts.host.as_ref().is_ok_and(|host| host.veths > 0);
    match facts.namespaces {
        Some(0) if has_pods => Check::warning(
            name,
            "/run/netns is empty, though veths lead to pods: the runtime keeps namespaces elsewhere or this does not see them",
            "in a container mount the host's /run/netns; the runtime gives the plugin the path (CNI_NETNS)",
        ),
        Some(count) => Check::ok(name, format!("{count} in /run/netns")),
        None => {
            Check::not_checked(name, "there is no /run/netns here; only the plugin opens what is in it, on the host")
        }
    }
}

/// Whether the plugin is where it must be.
pub(super) fn cni_plugin(facts: &Facts) -> Check {
    let name = "cni-plugin";
    let Cni { conf, has_conf, chain, is_installed, binary, found } = &facts.cni;
    let install = "run podgate cni install (the DaemonSet's init container does)";
    let chain = match chain {
        Err(why) => return Check::fault(name, why.as_str(), "correct or remove that file"),
        Ok(None) if *found == Binary::NoDirectory && !has_conf => {
            return Check::not_checked(name, format!("{} and {} are not here", conf.display(), binary.display()));
        }
        Ok(None) => {
            return Check::fault(
                name,
                format!("no network is configured in {}", conf.display()),
                "install a CNI plugin first, or give --cni-conf-dir: crictl info | grep -i confdir",
            );
        }
        Ok(Some(chain)) => chain,
    };
    let is_chained = chain.has(NAME);
    if !is_chained && !is_installed {
        return Check::ok(name, "it is not installed: pods are enforced some milliseconds after they have an address");
    }
    if !is_chained {
        return Check::fault(
            name,
            format!("it is installed, but is not in the list of {}", chain.file.display()),
            "start podgate cni keep or the agent with --cni-conf-dir: something rewrites the list",
        );
    }
    misplaced(chain).unwrap_or_else(|| match found {
        Binary::NoDirectory => {
            Check::not_checked(name, format!("it is in the list, but {} can't be seen from here", binary.display()))
        }
        Binary::Missing => Check::fault(
            name,
            format!("it is in the list, but {} is missing: no pod starts", binary.display()),
            install,
        ),
        Binary::NotExecutable => Check::fault(
            name,
            format!("{} can't be executed: no pod starts", binary.display()),
            "chmod 755 it, or run podgate cni install",
        ),
        Binary::Other => {
            Check::warning(name, format!("{} is another build than this podgate", binary.display()), install)
        }
        Binary::Same => Check::ok(name, format!("in its place in {}, of this version", chain.file.display())),
    })
}

/// What is wrong with the plugin's place in the list.
fn misplaced(chain: &Chain) -> Option<Check> {
    let at = chain.plugins.iter().position(|plugin| plugin == NAME)?;
    let why = if at == 0 {
        "the plugin that wires pods must come before it"
    } else if chain.plugins[at..].iter().any(|plugin| plugin == "bandwidth") {
        "bandwidth must come before it, since it wants the interface's qdisc for itself"
    } else if chain.plugins.iter().filter(|plugin| *plugin == NAME).count() > 1 {
        "it is there twice"
    } else {
        return None;
    };
    Some(Check::fault(
        "cni-plugin",
        format!("it has the wrong place in the list of {}: {why}", chain.file.display()),
        "run podgate cni install again",
    ))
}

/// What makes Services.
pub(super) fn kube_proxy(facts: &Facts) -> Check {
    let name = "kube-proxy";
    let has = |device: &str| facts.host.as_ref().is_ok_and(|host| host.devices.contains(device));
    match &facts.proxy_mode {
        Ok(mode) => Check::ok(name, format!("its mode is {mode}")),
        Err(_) if has("kube-ipvs0") => Check::ok(name, "its mode is ipvs (kube-ipvs0 is there)"),
        Err(_) if has("cilium_host") => Check::fault(
            name,
            "Cilium's replacement in eBPF may be at work: it translates before podgate sees packets",
            "use kube-proxy, and kubeProxyReplacement=false in Cilium",
        ),
        Err(_) if facts.processes.as_ref().is_ok_and(|it| it.contains("kube-proxy")) => {
            Check::ok(name, "it runs; it does not tell its mode, and each will do")
        }
        Err(why) => Check::not_checked(name, format!("{why}; a replacement in sockets or XDP is not supported")),
    }
}

/// Settings of the kernel that let pods' packets pass or not.
pub(super) fn settings(facts: &Facts) -> Check {
    let name = "kernel-settings";
    let is = |path: &str, value: &str| facts.settings.get(path).is_some_and(|it| it == value);
    let set = |path: &str, value: &str| format!("sysctl -w {}={value}", path.replace('/', "."));
    if !facts.settings.contains_key("net/ipv4/ip_forward") {
        return Check::not_checked(name, "net.ipv4.ip_forward in /proc/sys can't be read");
    }
    let has_ipv6_pods = facts.host.as_ref().is_ok_and(|host| host.has_ipv6_pods);
    let closed = [("net/ipv4/ip_forward", true), ("net/ipv6/conf/all/forwarding", has_ipv6_pods)];
    if let Some((path, _)) = closed.into_iter().find(|(path, matters)| *matters && is(path, "0")) {
        let finding = format!("{} is 0: the kernel routes no packets of pods, whatever policies say", dotted(path));
        return Check::fault(name, finding, set(path, "1"));
    }
    let has_bridge = facts.cni.chain.iter().flatten().any(|chain| chain.has("bridge"));
    let untranslated = "net/bridge/bridge-nf-call-iptables";
    if has_bridge && is(untranslated, "0") {
        let finding = format!(
            "{} is 0: on a bridge, answers of a Service's backend on the same node are not translated back",
            dotted(untranslated)
        );
        return Check::warning(name, finding, set(untranslated, "1"));
    }
    if is("net/core/bpf_jit_enable", "0") {
        let finding = "net.core.bpf_jit_enable is 0: programs are interpreted, which is slow";
        return Check::warning(name, finding, set("net/core/bpf_jit_enable", "1"));
    }
    let strict = ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"].iter().any(|path| is(path, "1"));
    let forwarding = if has_ipv6_pods { "IPv4 and IPv6 are forwarded" } else { "IPv4 is forwarded" };
    Check::ok(
        name,
        match strict {
            true => format!(
                "{forwarding}; rp_filter is strict: what comes by another way than answers take, the kernel drops, not podgate"
            ),
            false => forwarding.to_owned(),
        },
    )
}

fn dotted(path: &str) -> String {
    path.replace('/', ".")
}
