//! The same against etcd and kube-apiserver, where `KUBEBUILDER_ASSETS` names a directory with both (the convention of
//! controller-runtime's envtest).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, Config};
use kube::core::ApiResource;
use kube::{Client, Error};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::shared::{self, Objects};
use super::{Follower, WATCHED, namespace, watch};
use crate::object::Kind;

/// Tokens of the one who may do everything and of one who may only read pods.
const ADMIN: &str = "admin-token";
const READER: &str = "reader-token";

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(120);

struct KubeApiserver {
    address: String,
    processes: Vec<Child>,
    _directory: TempDir,
}

impl Drop for KubeApiserver {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // One that has ended by itself is gone as well.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl KubeApiserver {
    async fn start(assets: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [client, peer, secure] = free_ports();
        let mut server =
            Self { address: format!("https://127.0.0.1:{secure}"), processes: vec![], _directory: directory };
        let directory = server._directory.path().to_owned();
        let url = |port| format!("http://127.0.0.1:{port}");
        server.spawn(Command::new(assets.join("etcd")).args([
            format!("--data-dir={}", directory.join("etcd").display()),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(peer)),
            format!("--initial-cluster=default={}", url(peer)),
        ]));
        let tokens = directory.join("tokens.csv");
        fs::write(&tokens, format!("{ADMIN},admin,1,system:masters\n{READER},reader,2\n")).expect("written");
        // The server makes a key for itself, which also serves to sign service accounts.
        let key = directory.join("apiserver.key");
        server.spawn(Command::new(assets.join("kube-apiserver")).args([
            format!("--etcd-servers={}", url(client)),
            format!("--cert-dir={}", directory.display()),
            format!("--secure-port={secure}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--token-auth-file={}", tokens.display()),
            format!("--service-account-key-file={}", key.display()),
            format!("--service-account-signing-key-file={}", key.display()),
            "--service-account-issuer=https://podgate.test".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ]));
        server.wait().await;
        server
    }

    fn spawn(&mut self, command: &mut Command) {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(process.expect("the assets have etcd and kube-apiserver"));
    }

    async fn wait(&self) {
        let deadline = Instant::now() + START;
        let namespaces = self.api("namespaces", None);
        while let Err(error) = namespaces.get("kube-system").await {
            assert!(Instant::now() < deadline, "kube-apiserver is not ready: {error}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn client(&self, token: &str) -> Client {
        let mut config = Config::new(self.address.parse().expect("an URL"));
        // Its certificate is its own, made a moment ago.
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        Client::try_from(config).expect("a client")
    }

    fn api(&self, plural: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let client = self.client(ADMIN);
        let resource = resource(plural);
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }
}

fn resource(plural: &str) -> ApiResource {
    let kind = Kind::ALL.into_iter().find(|&kind| watch::resource(kind).plural == plural).expect("a watched kind");
    watch::resource(kind)
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

/// An object as this server takes it: pods with a container, policies and Services as they are.
fn complete(plural: &str, mut object: Value) -> Value {
    let resource = resource(plural);
    object["apiVersion"] = resource.api_version.into();
    object["kind"] = resource.kind.into();
    if plural == "pods" {
        object["spec"] = json!({"nodeName": "node-a", "containers": [{"name": "main", "image": "none"}]});
        let ip = object["status"]["podIP"].clone();
        object["status"]["podIPs"] = json!([{ "ip": ip }]);
    }
    object
}

impl Objects for KubeApiserver {
    async fn put(&self, plural: &str, object: Value) {
        let object = complete(plural, object);
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let api = self.api(plural, object["metadata"]["namespace"].as_str());
        let new: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        match api.create(&PostParams::default(), &new).await {
            Err(Error::Api(status)) if status.code == 409 => {
                let patch = json!({"metadata": object["metadata"], "spec": object["spec"]});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("changed");
            }
            outcome => drop(outcome.expect("created")),
        }
        if !object["status"].is_null() {
            let patch = Patch::Merge(json!({"status": object["status"]}));
            api.patch_status(&name, &PatchParams::default(), &patch).await.expect("its status");
        }
    }

    async fn remove(&self, plural: &str, name: &str) {
        let (namespace, name) = name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.api(plural, namespace).delete(name, &at_once).await.expect("deleted");
    }

    fn reader(&self) -> Client {
        self.client(ADMIN)
    }
}

/// Who may not read a kind is told which, and what to grant.
async fn what_may_not_be_read_is_named(server: &KubeApiserver) {
    let mut follower = Follower::with(server.client(READER), WATCHED.into());
    let status = follower.status(|status| status.resources.values().all(|resource| resource.failures() > 0)).await;
    let failure = status.resources["NetworkPolicy"].failure().cloned().expect("a failure");
    let (refusal, hint) = failure.message.split_once("; ").expect("what to do");
    assert!(refusal.starts_with("the server refuses to list networkpolicies.networking.k8s.io (403): "), "{refusal}");
    let expected = "grant get, list and watch on networkpolicies.networking.k8s.io to this user or service account";
    assert_eq!(hint, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_followed() {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!("skipped: KUBEBUILDER_ASSETS names no directory with etcd and kube-apiserver");
        return;
    };
    let server = KubeApiserver::start(&assets).await;
    server.put("namespaces", namespace("shop")).await;
    shared::changes_and_deletions_follow(&server).await;
    shared::what_is_not_needed_is_not_sent(&server).await;
    shared::every_kind_is_followed(&server).await;
    shared::a_snapshot_is_what_the_server_has(&server).await;
    what_may_not_be_read_is_named(&server).await;
    // More than a page of the client's.
    shared::many_pods_are_listed(&server, 1_200).await;
}
