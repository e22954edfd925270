use std::path::PathBuf;

use podgate_datapath::{Examined, Features};
use podgate_engine::status::{SourceStatus, Status};
use podgate_host::netlink::{Unsupported, UnsupportedReason};

use super::facts::{Binary, Chain, Cni, Facts, Host, Resource};
use super::*;

const FEATURES: Features = Features { ring_buffers: true, lru_hashes: true, tcx: true, types: true, memlock: None };

fn source(resource: &str, objects: usize) -> SourceStatus {
    SourceStatus {
        resource: resource.to_owned(),
        synced: true,
        objects,
        failing_seconds: None,
        error: None,
        last_error: None,
        errors: vec![],
    }
}

fn chain(plugins: &[&str]) -> Chain {
    let plugins = plugins.iter().map(|&plugin| plugin.to_owned()).collect();
    Chain { file: "/etc/cni/net.d/10-x.conflist".into(), plugins }
}

fn texts<C: FromIterator<String>>(texts: &[&str]) -> C {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A node with nothing wrong.
fn healthy() -> Facts {
    let settings =
        [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"), ("net/core/bpf_jit_enable", "1")];
    Facts {
        kernel: Examined {
            release: "6.12.1-amd64".to_owned(),
            missing: vec![],
            bpf: Ok(FEATURES),
            on_bpffs: true,
            pinned: Ok(true),
            other_pins: vec![],
            clock_synchronised: Some(true),
        },
        bpffs: PathBuf::from("/sys/fs/bpf/podgate"),
        lockdown: Some("none".to_owned()),
        clock: 1_800_000_000,
        host: Ok(Host {
            devices: texts(&["lo", "eth0", "veth1"]),
            veths: 1,
            has_ipv6_pods: true,
            unsupported: vec![],
            other_programs: Ok(vec![]),
        }),
        cni: Cni {
            conf: "/etc/cni/net.d".into(),
            has_conf: true,
            chain: Ok(Some(chain(&["ptp", "portmap", "podgate-cni"]))),
            is_installed: true,
            binary: "/opt/cni/bin/podgate-cni".into(),
            found: Binary::Same,
        },
        processes: Ok(texts(&["systemd", "kubelet", "kube-proxy"])),
        k3s_enforces: false,
        bpf_names: texts(&["podgate"]),
        proxy_mode: Ok("iptables".to_owned()),
        namespaces: Some(1),
        settings: settings.map(|(path, value)| (path.to_owned(), value.to_owned())).into(),
        agent: Ok(Status {
            version: "1.2.3".to_owned(),
            node: "node-1".to_owned(),
            ready: true,
            sources: vec![source("Node", 1), source("Pod", 7)],
            ..Status::default()
        }),
        version: "1.2.3".to_owned(),
        api: Err("the agent was asked".to_owned()),
        node_name: None,
    }
}

/// What is not as it should be.
fn wrong(facts: &Facts) -> Vec<(String, State)> {
    let wrong = examine(facts).into_iter().filter(|check| check.state != State::Ok);
    wrong.map(|check| (check.name, check.state)).collect()
}

fn check(facts: &Facts, name: &str) -> Check {
    examine(facts).into_iter().find(|check| check.name == name).unwrap()
}

#[test]
fn on_a_healthy_node_nothing_is_wrong() {
    assert_eq!(wrong(&healthy()), []);
}

/// A fault that is planted: in which facts, what it is found as, and a word of the finding.
type Planted = (fn(&mut Facts), &'static str, State, &'static str);

#[test]
fn each_planted_fault_is_found_as_what_it_is_and_nothing_else() {
    let planted: [Planted; 32] = [
        (|it| it.kernel.release = "4.19.0".to_owned(), "kernel", State::Fault, "4.19.0"),
        (|it| it.lockdown = Some("confidentiality".to_owned()), "kernel", State::Warning, "locked down"),
        (|it| it.kernel.bpf = Ok(Features { lru_hashes: false, ..FEATURES }), "bpf-features", State::Fault, "no LRU"),
        (|it| it.kernel.bpf = Err("no bpf(2)".to_owned()), "bpf-features", State::Fault, "no bpf(2)"),
        (|it| it.kernel.bpf = Ok(Features { types: false, ..FEATURES }), "bpf-features", State::Warning, "BTF"),
        (|it| it.kernel.bpf = Ok(Features { memlock: Some(1), ..FEATURES }), "bpf-features", State::Warning, "limit"),
        (|it| it.kernel.missing = vec!["CAP_BPF"], "capabilities", State::Fault, "CAP_BPF"),
        (|it| it.kernel.on_bpffs = false, "bpf-file-system", State::Fault, "/sys/fs/bpf/podgate"),
        (|it| it.kernel.other_pins = vec!["/sys/fs/bpf/two".into()], "pins", State::Fault, "/sys/fs/bpf/two"),
        (|it| it.kernel.pinned = Err("others may write".to_owned()), "pins", State::Fault, "others may write"),
        (|it| it.kernel.pinned = Ok(false), "pins", State::Fault, "nothing is pinned"),
        (|it| it.clock = 1000, "clock", State::Fault, "1000 s after 1970"),
        (|it| it.kernel.clock_synchronised = Some(false), "clock", State::Warning, "synchronised"),
        (|it| it.cni.chain = Ok(Some(chain(&["calico", "podgate-cni"]))), "other-enforcer", State::Fault, "Calico"),
        (|it| it.k3s_enforces = true, "other-enforcer", State::Fault, "k3s"),
        (|it| it.processes = Ok(texts(&["cilium-agent"])), "other-enforcer", State::Warning, "Cilium"),
        (
            |it| it.host.as_mut().unwrap().other_programs = Ok(texts(&["veth1"])),
            "other-enforcer",
            State::Warning,
            "veth1",
        ),
        (
            |it| {
                let unsupported = Unsupported { ifindex: 3, name: "nk0".to_owned(), reason: UnsupportedReason::Netkit };
                it.host.as_mut().unwrap().unsupported = vec![unsupported];
            },
            "pod-interfaces",
            State::Fault,
            "netkit",
        ),
        (|it| it.host.as_mut().unwrap().veths = 0, "pod-interfaces", State::Warning, "no veth"),
        (|it| it.namespaces = Some(0), "network-namespaces", State::Warning, "/run/netns is empty"),
        (|it| it.cni.chain = Ok(Some(chain(&["ptp"]))), "cni-plugin", State::Fault, "not in the list"),
        (|it| it.cni.chain = Ok(Some(chain(&["podgate-cni", "ptp"]))), "cni-plugin", State::Fault, "wrong place"),
        (|it| it.cni.chain = Ok(None), "cni-plugin", State::Fault, "no network is configured"),
        (|it| it.cni.found = Binary::Missing, "cni-plugin", State::Fault, "is missing"),
        (|it| it.cni.found = Binary::Other, "cni-plugin", State::Warning, "another build"),
        (
            |it| {
                it.settings.insert("net/ipv4/ip_forward".to_owned(), "0".to_owned());
            },
            "kernel-settings",
            State::Fault,
            "net.ipv4.ip_forward is 0",
        ),
        (
            |it| {
                it.settings.insert("net/core/bpf_jit_enable".to_owned(), "0".to_owned());
            },
            "kernel-settings",
            State::Warning,
            "interpreted",
        ),
        (|it| it.proxy_mode = Err("none answers".to_owned()), "kube-proxy", State::Ok, "it runs"),
        (|it| it.agent.as_mut().unwrap().ready = false, "agent", State::Fault, "not ready"),
        (|it| it.agent.as_mut().unwrap().version = "1.2.2".to_owned(), "agent-version", State::Warning, "1.2.2"),
        (
            |it| it.agent.as_mut().unwrap().sources[1].error = Some("pods is forbidden".to_owned()),
            "api",
            State::Fault,
            "Pod: pods is forbidden",
        ),
        (|it| it.agent.as_mut().unwrap().sources[0].objects = 0, "node-name", State::Fault, "no Node node-1"),
    ];
    for (plant, name, state, word) in planted {
        let mut facts = healthy();
        plant(&mut facts);
        let found = check(&facts, name);
        assert_eq!((found.state, found.remedy.is_some()), (state, state != State::Ok), "{found:?}");
        assert!(found.finding.contains(word), "{found:?}");
        let expected = if state == State::Ok { vec![] } else { vec![(name.to_owned(), state)] };
        // A capability that is missing keeps from looking at what the kernel has, and no more.
        assert_eq!(wrong(&facts), expected, "{name}");
    }
}

#[test]
fn a_replacement_of_kube_proxy_is_told() {
    let mut facts = healthy();
    facts.proxy_mode = Err("none answers".to_owned());
    facts.host.as_mut().unwrap().devices.insert("cilium_host".to_owned());
    assert_eq!(check(&facts, "kube-proxy").state, State::Fault);
    facts.host.as_mut().unwrap().devices = texts(&["kube-ipvs0"]);
    assert_eq!(check(&facts, "kube-proxy").finding, "its mode is ipvs (kube-ipvs0 is there)");
    facts.host.as_mut().unwrap().devices = texts(&["eth0"]);
    facts.processes = Ok(texts(&["podgate"]));
    assert_eq!(check(&facts, "kube-proxy").state, State::NotChecked);
}

#[test]
fn without_an_agent_the_api_is_asked_for_what_it_lets_be_read() {
    let mut facts = healthy();
    facts.agent = Err("no agent listens".to_owned());
    facts.node_name = Some("node-2".to_owned());
    let resource =
        |objects, error: Option<&str>| Resource { name: "Node".to_owned(), objects, error: error.map(str::to_owned) };
    facts.api = Ok(vec![resource(Some(1), None)]);
    let not_checked = ("agent-version".to_owned(), State::NotChecked);
    assert_eq!(wrong(&facts), [("agent".to_owned(), State::Fault), not_checked]);
    facts.api = Ok(vec![resource(Some(0), None)]);
    assert_eq!(check(&facts, "node-name").finding, "there is no Node node-2, so no pod is enforced");
    facts.api = Ok(vec![resource(None, Some("forbidden"))]);
    assert_eq!(check(&facts, "api").finding, "Node: forbidden");
    facts.api = Ok(vec![resource(None, None)]);
    assert_eq!((check(&facts, "api").state, check(&facts, "node-name").state), (State::Fault, State::NotChecked));
}

#[test]
fn before_podgate_is_installed_it_is_no_fault_that_there_is_no_agent() {
    let mut facts = healthy();
    facts.agent = Err("no agent listens.".to_owned());
    facts.cni.is_installed = false;
    facts.cni.chain = Ok(Some(chain(&["ptp"])));
    facts.kernel.pinned = Ok(false);
    assert_eq!(check(&facts, "agent").state, State::NotChecked);
    assert!(wrong(&facts).iter().all(|(_, state)| *state == State::NotChecked), "{:?}", wrong(&facts));
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_well() {
    let mut facts = healthy();
    facts.host = Err("not seen".to_owned());
    facts.processes = Err("not seen".to_owned());
    facts.cni = Cni { has_conf: false, chain: Ok(None), found: Binary::NoDirectory, ..facts.cni };
    (facts.bpf_names, facts.settings, facts.namespaces) = (texts(&[]), [].into(), None);
    (facts.proxy_mode, facts.kernel.clock_synchronised) = (Err("not seen".to_owned()), None);
    let names: Vec<String> = wrong(&facts)
        .into_iter()
        .map(|(name, state)| {
            assert_eq!(state, State::NotChecked, "{name}");
            name
        })
        .collect();
    let expected = [
        "clock",
        "other-enforcer",
        "pod-interfaces",
        "network-namespaces",
        "cni-plugin",
        "kube-proxy",
        "kernel-settings",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_other_enforcers_leave_in_the_cluster_is_found() {
    let cluster = |resources: &[&str], daemon_sets: &[&str]| Cluster {
        resources: Ok(texts(resources)),
        daemon_sets: Ok(texts(daemon_sets)),
        proxy: Ok("apiVersion: v1\nmode: \"nftables\"\n".to_owned()),
    };
    let states =
        |cluster: &Cluster| -> Vec<State> { examine_cluster(cluster).iter().map(|check| check.state).collect() };
    let clean = cluster(&["podmonitors.monitoring.coreos.com"], &["kube-system/kube-proxy", "podgate-system/podgate"]);
    assert_eq!(states(&clean), [State::Ok; 3]);
    assert_eq!(examine_cluster(&clean)[2].finding, "its mode is nftables");
    let other = cluster(&["ciliumnetworkpolicies.cilium.io"], &["kube-system/calico-node"]);
    assert_eq!(states(&other), [State::Warning, State::Fault, State::Ok]);
    let unseen =
        Cluster { resources: Err("no".to_owned()), daemon_sets: Err("no".to_owned()), proxy: Err("no".to_owned()) };
    assert_eq!(states(&unseen), [State::NotChecked; 3]);
}
