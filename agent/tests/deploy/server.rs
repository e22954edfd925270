//! etcd and kube-apiserver take the manifests, where `KUBEBUILDER_ASSETS` names a directory with both (the convention of
//! controller-runtime's envtest).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use podgate_source::api::Watched;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::OVERLAYS;
use crate::render::{render, render_with};

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(120);

/// The account of the DaemonSet.
const ACCOUNT: &str = "--as=system:serviceaccount:podgate-system:podgate";

/// An API server on the loopback device. Dropped, it is killed.
struct Server {
    processes: Vec<Child>,
    directory: TempDir,
}

impl Server {
    fn start(assets: &Path) -> Self {
        let mut server = Self { processes: Vec::new(), directory: TempDir::new().unwrap() };
        let directory = server.directory.path().display().to_string();
        let [client, peer, secure] = free_ports();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        server.spawn(Command::new(assets.join("etcd")).args([
            format!("--data-dir={directory}/etcd"),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(peer)),
            format!("--initial-cluster=default={}", url(peer)),
        ]));
        fs::write(format!("{directory}/tokens.csv"), "secret,admin,1,system:masters\n").unwrap();
        server.spawn(Command::new(assets.join("kube-apiserver")).args([
            format!("--etcd-servers={}", url(client)),
            format!("--cert-dir={directory}"),
            format!("--secure-port={secure}"),
            format!("--token-auth-file={directory}/tokens.csv"),
            format!("--service-account-key-file={directory}/apiserver.key"),
            format!("--service-account-signing-key-file={directory}/apiserver.key"),
            "--service-account-issuer=https://podgate.test".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // As kubeadm and kind have it: only a component of ours makes use of it.
            "--allow-privileged=true".to_owned(),
        ]));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
            "clusters": [{ "name": "k", "cluster": {
                "server": format!("https://127.0.0.1:{secure}"), "insecure-skip-tls-verify": true,
            }}],
            "users": [{ "name": "u", "user": { "token": "secret" } }],
        });
        fs::write(server.directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let deadline = Instant::now() + START;
        while !server.kubectl(&["get", "namespace", "kube-system"]).status.success() {
            assert!(Instant::now() < deadline, "kube-apiserver is not ready");
            thread::sleep(Duration::from_millis(200));
        }
        server
    }

    fn spawn(&mut self, command: &mut Command) {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(process.expect("the assets have etcd and kube-apiserver"));
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.directory.path().join("kubeconfig");
        Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(arguments).output().unwrap()
    }

    /// Applies objects, but for those of kinds that Prometheus' operator brings.
    fn apply(&self, objects: &[Value]) {
        let own: Vec<_> = objects
            .iter()
            .filter(|object| !["PodMonitor", "PrometheusRule"].contains(&object["kind"].as_str().unwrap()))
            .collect();
        let file = self.directory.path().join("objects.json");
        fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": own }).to_string()).unwrap();
        let apply = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f"];
        let output = self.kubectl(&[&apply[..], &[file.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Whether the DaemonSet's account may do something with a resource of every namespace, or with one object that is in
    /// none.
    fn allows(&self, verb: &str, resource: &str) -> bool {
        let everywhere = if resource.contains('/') { &[][..] } else { &["--all-namespaces"] };
        let answer = self.kubectl(&[&["auth", "can-i", verb, resource, ACCOUNT], everywhere].concat());
        String::from_utf8_lossy(&answer.stdout).trim() == "yes"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn a_real_api_server_takes_every_overlay_and_lets_the_agent_read_what_it_watches() {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!("skipped: KUBEBUILDER_ASSETS names no directory with etcd and kube-apiserver");
        return;
    };
    let Some(with_components) = render_with("overlays/kind", &["components/crio", "components/services-at-source"])
    else {
        return;
    };
    let server = Server::start(&assets);
    OVERLAYS.iter().filter_map(|overlay| render(overlay)).for_each(|objects| server.apply(&objects));
    let may = |endpoint_slices: bool| {
        let resources = podgate_source::api::watched(endpoint_slices).into_iter();
        let names = resources.map(|Watched { group, plural, name }| {
            let resource = if group.is_empty() { plural } else { format!("{plural}.{group}") };
            name.map_or(resource.clone(), |name| format!("{resource}/{name}"))
        });
        names.into_iter().all(|name| ["get", "list", "watch"].iter().all(|verb| server.allows(verb, &name)))
    };
    assert!(may(false) && !may(true));
    assert!(["create pods", "patch nodes", "list secrets", "get configmaps"].iter().all(|forbidden| {
        let (verb, resource) = forbidden.split_once(' ').unwrap();
        !server.allows(verb, resource)
    }));
    server.apply(&with_components);
    assert!(may(true));
}
