//! The DaemonSet's pod, as kustomize renders it, run by an OCI runtime on a node of the lab: the same containers in the same
//! order, with the same arguments, settings, mounts, capabilities, seccomp profile and read-only root.

mod bundle;
mod container;
mod seccomp;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Pod, Response, Result, Wiring};
use serde_json::{Value, json};

use self::bundle::{Deployment, capabilities};
use self::container::{Container, image};
use crate::render::{list, render, render_with};
use crate::support::{Questions, World, everything, policy};

/// A network as a CNI leaves it.
const NETWORK: &str = r#"{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"ptp"}]}"#;

/// Somebody who unpacked the plugins' archive.
const PACKER: u32 = 1001;

/// A node with the directories that the pod mounts, a server that only the client may reach, and a stranger.
struct Site {
    world: World,
    directory: PathBuf,
    root: PathBuf,
    client: Pod,
    server: Pod,
    stranger: Pod,
    bundles: usize,
}

impl Site {
    fn new(name: &str) -> Result<Self> {
        let mut world = World::new(name)?;
        let mut pod = |name| world.pod(name, Wiring::Ptp);
        let (client, server, stranger) = (pod("shop/client")?, pod("shop/server")?, pod("shop/stranger")?);
        let spec = "podSelector: {matchLabels: {app: server}}\npolicyTypes: [Ingress, Egress]\n\
                    ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]";
        world.write("policies.yaml", &policy("shop", "serve-client", spec))?;
        let directory = world.lab.directory().join("host");
        for path in ["run", "bin", "conf", "token", "seccomp"] {
            fs::create_dir_all(directory.join(path)).unwrap();
        }
        fs::set_permissions(directory.join("bin"), fs::Permissions::from_mode(0o755)).unwrap();
        chown(directory.join("bin"), Some(PACKER), Some(PACKER)).unwrap();
        fs::write(directory.join("conf/10-lab.conflist"), NETWORK).unwrap();
        world.lab.bpffs()?;
        let root = image(world.lab.directory());
        Ok(Self { world, directory, root, client, server, stranger, bundles: 0 })
    }

    fn deployment<'a>(&self, objects: &'a [Value]) -> Deployment<'a> {
        let manifests = self.world.manifests.path().to_owned();
        Deployment {
            objects,
            node: "node-1",
            host: BTreeMap::from([
                ("/sys/fs/bpf", self.world.lab.bpffs().unwrap()),
                ("/sys/fs/bpf/podgate", self.pins()),
                ("/run/podgate", self.directory.join("run")),
                ("/opt/cni/bin", self.directory.join("bin")),
                ("/etc/cni/net.d", self.directory.join("conf")),
                ("podgate-metrics", self.directory.join("token")),
                ("/var/lib/kubelet/seccomp", self.directory.join("seccomp")),
            ]),
            environment: vec![format!("PODGATE_MANIFESTS={}", manifests.display())],
            extra: vec![manifests],
        }
    }

    /// The directory of pins, as the kubelet makes it.
    fn pins(&self) -> PathBuf {
        let pins = self.world.lab.bpffs().unwrap().join("podgate");
        fs::create_dir_all(&pins).unwrap();
        pins
    }

    /// Writes a bundle of a container.
    fn bundle(&mut self, deployment: &Deployment<'_>, container: &Value) -> PathBuf {
        self.bundles += 1;
        let path = self.world.lab.directory().join(format!("bundle-{}", self.bundles));
        deployment.write_bundle(&path, &self.root, container);
        path
    }

    /// Starts the agent's container.
    fn start(&mut self, deployment: &Deployment<'_>, container: &Value) -> Container {
        let bundle = self.bundle(deployment, container);
        Container::start(&self.world.lab, &self.world.node, &bundle)
    }

    /// Runs an init container to its good end.
    fn run(&mut self, deployment: &Deployment<'_>, container: &Value) -> String {
        let bundle = self.bundle(deployment, container);
        Container::run(&self.world.lab, &self.world.node, &bundle)
    }

    /// Asks as a probe of the manifest does.
    fn probe(&self, container: &Value, probe: &str) -> Result<Response> {
        let asked = &container[probe]["httpGet"];
        let (host, port) = (asked["host"].as_str().unwrap(), u16::try_from(asked["port"].as_u64().unwrap()).unwrap());
        self.world.node.get(SocketAddr::new(host.parse().unwrap(), port), asked["path"].as_str().unwrap())
    }

    /// Waits until every probe of the manifest succeeds; why the container ended, where it did before.
    fn ready(&self, agent: &mut Container, container: &Value) -> std::result::Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        while !probes.iter().all(|probe| self.probe(container, probe).is_ok_and(|answer| answer.status == 200)) {
            if let Some(status) = agent.ended() {
                return Err(format!("{status}: {}", agent.log()));
            }
            assert!(Instant::now() < deadline, "the agent is not ready: {}", agent.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn assert_enforced(&self) {
        let server = self.server.addresses().both();
        Questions::new()
            .answered(&self.client, everything(server, 80))
            .silent(&self.stranger, everything(server, 80))
            .silent(&self.server, everything(self.client.addresses().both(), 80))
            .ask();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }
}

/// A line of /proc/PID/status.
fn process(pid: u64, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

/// The set of capabilities as the kernel writes it.
fn mask(names: &[String]) -> String {
    let number = |name: &String| match name.as_str() {
        "CAP_NET_BROADCAST" => 11,
        "CAP_NET_ADMIN" => 12,
        "CAP_PERFMON" => 38,
        "CAP_BPF" => 39,
        other => panic!("{other} has no number here"),
    };
    format!("{:016x}", names.iter().map(number).fold(0u64, |set, bit| set | 1 << bit))
}

/// The types of the network's plugins.
fn chain(conflist: &Path) -> Vec<String> {
    let network: Value = serde_json::from_slice(&fs::read(conflist).unwrap()).unwrap();
    list(&network["plugins"]).iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
}

/// The container without one of its capabilities.
fn without(container: &Value, capability: &str) -> Value {
    let mut container = container.clone();
    let added = container["securityContext"]["capabilities"]["add"].as_array_mut().unwrap();
    added.retain(|name| name != capability);
    container
}

#[test]
fn the_pod_as_rendered_installs_the_plugin_enforces_and_leaves_enforcement_behind() -> Result<()> {
    let Some(objects) = render("overlays/production") else { return Ok(()) };
    let mut site = Site::new("deployed")?;
    let deployment = site.deployment(&objects);
    for name in deployment.init_containers() {
        site.run(&deployment, deployment.container(name));
    }
    assert_eq!(fs::read(site.path("bin/podgate-cni")).unwrap(), fs::read(site.root.join("usr/bin/podgate")).unwrap());
    assert_eq!(chain(&site.path("conf/10-lab.conflist")), ["ptp", "podgate-cni"]);

    let container = deployment.container("agent");
    let mut agent = site.start(&deployment, container);
    site.ready(&mut agent, container).unwrap();
    let (pid, capabilities) = (agent.pid(), mask(&capabilities(&container["securityContext"])));
    let seen =
        ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp"].map(|field| process(pid, field));
    let nothing = "0000000000000000";
    assert_eq!(seen, [&capabilities, &capabilities, &capabilities, nothing, nothing, "1", "2"]);
    site.assert_enforced();

    // Whoever has no token reads nothing, be it the node itself; without the Secret nobody has one.
    let metrics = SocketAddr::new(site.world.node.ip4(), 9417);
    assert_eq!(site.world.node.get(metrics, "/metrics")?.status, 401);

    // A CNI that writes its list anew loses the entry, and gets it back.
    let _keeper = site.start(&deployment, deployment.container("keep-cni"));
    fs::write(site.path("conf/10-lab.conflist"), NETWORK).unwrap();
    crate::support::until("the entry is back", || Ok(chain(&site.path("conf/10-lab.conflist")).len() == 2))?;

    agent.signal("TERM");
    let status = agent.wait(Duration::from_secs(deployment.grace()));
    assert!(status.success(), "{status}");
    site.assert_enforced();
    // As an update does it: the next agent takes over.
    let mut next = site.start(&deployment, container);
    site.ready(&mut next, container).unwrap();
    site.assert_enforced();
    Ok(())
}

/// What `helm upgrade --set cleanup.enabled=true`, or deploy/cleanup, puts in the place of the agents.
#[test]
fn the_pod_that_cleans_up_waits_for_the_agents_end_leaves_nothing_and_stays() -> Result<()> {
    let (Some(objects), Some(cleanup)) = (render("overlays/production"), render("cleanup")) else { return Ok(()) };
    let mut site = Site::new("deployed-cleanup")?;
    let (deployment, removal) = (site.deployment(&objects), site.deployment(&cleanup));
    for name in deployment.init_containers() {
        site.run(&deployment, deployment.container(name));
    }
    let container = deployment.container("agent");
    let mut agent = site.start(&deployment, container);
    site.ready(&mut agent, container).unwrap();
    site.assert_enforced();

    let cleaner = removal.container("cleanup");
    let mut early = site.start(&removal, cleaner);
    assert!(!early.wait(Duration::from_secs(30)).success(), "{}", early.log());
    site.assert_enforced();
    agent.signal("TERM");
    assert!(agent.wait(Duration::from_secs(deployment.grace())).success());
    site.assert_enforced();

    let mut cleaner = site.start(&removal, cleaner);
    crate::support::until("nothing is left", || Ok(cleaner.log().contains("removed tables and programs")))?;
    let server = site.server.addresses().both();
    Questions::new()
        .answered(&site.client, everything(server, 80))
        .answered(&site.stranger, everything(server, 80))
        .ask();
    assert_eq!(chain(&site.path("conf/10-lab.conflist")), ["ptp"]);
    assert!(!site.path("bin/podgate-cni").exists() && !site.world.lab.bpffs()?.join("podgate").exists());
    assert_eq!(cleaner.ended(), None, "it stays, as a pod of a DaemonSet must");
    cleaner.signal("TERM");
    assert!(cleaner.wait(Duration::from_secs(removal.grace())).success());
    Ok(())
}

#[test]
fn without_any_one_of_its_capabilities_a_container_does_not_do_its_work() -> Result<()> {
    let Some(objects) = render("overlays/production") else { return Ok(()) };
    let mut site = Site::new("deployed-less")?;
    let deployment = site.deployment(&objects);
    let agent = deployment.container("agent");
    for capability in ["BPF", "PERFMON", "NET_ADMIN"] {
        let container = without(agent, capability);
        let mut less = site.start(&deployment, &container);
        let error = site.ready(&mut less, &container).unwrap_err();
        assert!(error.contains(&format!("CAP_{capability}")), "{error}");
    }
    let container = without(agent, "NET_BROADCAST");
    let mut less = site.start(&deployment, &container);
    site.ready(&mut less, &container).unwrap();
    assert!(less.log().contains("without CAP_NET_BROADCAST"), "{}", less.log());
    let install = without(deployment.container("install-cni"), "DAC_OVERRIDE");
    let bundle = site.bundle(&deployment, &install);
    let mut less = Container::start(&site.world.lab, &site.world.node, &bundle);
    assert!(!less.wait(Duration::from_secs(30)).success());
    assert!(less.log().contains("Permission denied"), "{}", less.log());
    Ok(())
}

#[test]
fn under_an_older_profile_of_cri_o_the_agent_does_not_start_and_the_component_helps() -> Result<()> {
    let (Some(plain), Some(component)) =
        (render("overlays/production"), render_with("overlays/production", &["components/crio"]))
    else {
        return Ok(());
    };
    let mut site = Site::new("deployed-crio")?;
    let deployment = site.deployment(&plain);
    let container = deployment.container("agent");
    let bundle = site.bundle(&deployment, container);
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["linux"]["seccomp"] = seccomp::of_cri_o(&capabilities(&container["securityContext"]));
    fs::write(&path, config.to_string()).unwrap();
    let mut agent = Container::start(&site.world.lab, &site.world.node, &bundle);
    let error = site.ready(&mut agent, container).unwrap_err();
    assert!(error.contains("forbids bpf(2)") && error.contains("a seccomp profile is in force"), "{error}");

    let deployment = site.deployment(&component);
    let container = deployment.container("agent");
    site.run(&deployment, deployment.container("install-seccomp"));
    let mut agent = site.start(&deployment, container);
    site.ready(&mut agent, container).unwrap();
    assert_eq!(process(agent.pid(), "Seccomp"), "2");
    site.assert_enforced();
    Ok(())
}

/// The settings of the manifests without the BPF file system: a node where nobody mounts one.
#[test]
fn the_root_is_read_only_and_a_node_without_a_bpf_file_system_is_told_so() -> Result<()> {
    let Some(objects) = render("overlays/production") else { return Ok(()) };
    let mut site = Site::new("deployed-bare")?;
    let mut deployment = site.deployment(&objects);
    let bare = site.path("bare");
    fs::create_dir(&bare).unwrap();
    deployment.host.insert("/sys/fs/bpf/podgate", bare);
    let container = deployment.container("agent").clone();
    let mut agent = site.start(&deployment, &container);
    let error = site.ready(&mut agent, &container).unwrap_err();
    assert!(error.contains("is on no BPF file system"), "{error}");
    let mut elsewhere = container.clone();
    elsewhere["args"] = json!(["agent", "--socket", "/var/podgate.sock"]);
    let mut agent = site.start(&deployment, &elsewhere);
    let error = site.ready(&mut agent, &elsewhere).unwrap_err();
    assert!(error.contains("Read-only file system"), "{error}");
    Ok(())
}

/// A directory that hands mounts on, as a host's do. Dropped, what is mounted there goes.
struct Shared(PathBuf);

impl Shared {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        mount(&[Path::new("--bind"), &path, &path]);
        mount(&[Path::new("--make-shared"), &path]);
        Self(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // One call takes what is mounted over another in the same place, and leaves the other.
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            mounts.contains(&format!(" {} ", self.0.display()))
        };
        for _ in (0..8).take_while(|_| is_mounted()) {
            let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
        }
    }
}

fn mount(arguments: &[&Path]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "mount {arguments:?}");
}

#[test]
fn where_nobody_mounts_a_bpf_file_system_the_component_does_for_good() -> Result<()> {
    let Some(objects) = render("overlays/kind") else { return Ok(()) };
    let mut site = Site::new("deployed-mount")?;
    let mut deployment = site.deployment(&objects);
    let shared = Shared::new(site.path("bare"));
    deployment.host.insert("/sys/fs/bpf", shared.0.clone());
    for name in deployment.init_containers() {
        site.run(&deployment, deployment.container(name));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains(&format!(" {} bpf ", shared.0.display())), "{mounts}");
    let container = deployment.container("agent");
    let mut agent = site.start(&deployment, container);
    site.ready(&mut agent, container).unwrap();
    site.assert_enforced();
    Ok(())
}
