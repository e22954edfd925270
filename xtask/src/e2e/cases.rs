//! What must hold on a cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::kubectl::Seen::{Answer, Silence};
use super::kubectl::{Kubectl, Seen};
use super::workload::{A, B, SYSTEM};

/// The server lets the client in on port 80, nobody else, and opens nothing itself but questions to DNS.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: server, namespace: podgate-e2e-a }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: client } } }]
      ports: [{ protocol: TCP, port: 80 }, { protocol: UDP, port: 80 }]
  egress:
    - to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } } }]
      ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]
";

/// The client may open nothing but connections to the server, by its Service as well, and questions to DNS.
const EGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: client, namespace: podgate-e2e-a }
spec:
  podSelector: { matchLabels: { app: client } }
  policyTypes: [Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { app: server } } }]
      ports: [{ protocol: TCP, port: 80 }]
    - to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } } }]
      ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]
";

/// Addresses, which the cluster chooses.
struct Addresses {
    server: String,
    service: String,
    client: String,
    guest: String,
}

/// Who asks whom, and what is seen.
type Question<'a> = (&'a str, &'a str, String, Seen);

/// Runs all cases, up to the first that fails.
pub(crate) fn run(kubectl: &Kubectl) -> Result<()> {
    let at = addresses(kubectl)?;
    case("without policies everything is open", || all(kubectl, &open(&at)))?;
    kubectl.apply(POLICY)?;
    case("a policy lets its peers in by address, Service and name, and nobody else", || all(kubectl, &closed(&at)))?;
    case("the kubelet's probes reach a closed pod", || ready(kubectl))?;
    kubectl.apply(EGRESS)?;
    case("egress to a Service is judged by the pod behind it", || all(kubectl, &limited(&at)))?;
    case("agents that restart leave nothing open and cut nothing", || restart(kubectl, &at))?;
    kubectl.run(&["--namespace", A, "delete", "networkpolicy", "--all"])?;
    case("without policies everything is open again", || all(kubectl, &open(&at)))
}

fn case(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    run().with_context(|| format!("case: {name}"))?;
    println!("ok: {name}");
    Ok(())
}

fn addresses(kubectl: &Kubectl) -> Result<Addresses> {
    let get = |namespace: &str, what: &str, path: &str| {
        kubectl.run(&["--namespace", namespace, "get", what, "-o", &format!("jsonpath={path}")])
    };
    Ok(Addresses {
        server: get(A, "pod/server", "{.status.podIP}")?,
        service: get(A, "service/server", "{.spec.clusterIP}")?,
        client: get(A, "pod/client", "{.status.podIP}")?,
        guest: get(B, "pod/guest", "{.status.podIP}")?,
    })
}

fn all(kubectl: &Kubectl, questions: &[Question<'_>]) -> Result<()> {
    questions.iter().try_for_each(|(namespace, pod, target, seen)| kubectl.expect(namespace, pod, target, *seen))
}

fn open(at: &Addresses) -> Vec<Question<'_>> {
    vec![
        (A, "client", format!("tcp:{}:80", at.server), Answer),
        (A, "stranger", format!("tcp:{}:81", at.server), Answer),
        (B, "guest", format!("udp:{}:80", at.server), Answer),
        (A, "server", format!("tcp:{}:80", at.guest), Answer),
        (A, "far-host", format!("tcp:{}:80", at.server), Answer),
    ]
}

fn closed(at: &Addresses) -> Vec<Question<'_>> {
    vec![
        (A, "client", format!("tcp:{}:80", at.server), Answer),
        (A, "client", format!("udp:{}:80", at.server), Answer),
        (A, "client", format!("tcp:{}:8080", at.service), Answer),
        (A, "client", format!("tcp:server.{A}.svc.cluster.local:8080"), Answer),
        (A, "client", format!("tcp:{}:81", at.server), Silence),
        (A, "stranger", format!("tcp:{}:80", at.server), Silence),
        (A, "stranger", format!("tcp:{}:8080", at.service), Silence),
        (B, "guest", format!("tcp:{}:80", at.server), Silence),
        // Another node's own processes are peers like any other.
        (A, "far-host", format!("tcp:{}:80", at.server), Silence),
        (A, "server", format!("tcp:{}:80", at.client), Silence),
        // The name is found, and then nothing answers.
        (A, "server", format!("tcp:guest.{B}.svc.cluster.local:8080"), Silence),
    ]
}

fn limited(at: &Addresses) -> Vec<Question<'_>> {
    vec![
        (A, "client", format!("tcp:{}:8080", at.service), Answer),
        (A, "client", format!("tcp:server.{A}.svc.cluster.local:8080"), Answer),
        (A, "client", format!("tcp:{}:80", at.guest), Silence),
    ]
}

fn ready(kubectl: &Kubectl) -> Result<()> {
    let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    let ready = kubectl.run(&["--namespace", A, "get", "pod/server", "-o", condition])?;
    ensure!(ready == "True", "the server is not ready: {ready:?}");
    Ok(())
}

/// Asks all the time while every agent is replaced.
fn restart(kubectl: &Kubectl, at: &Addresses) -> Result<()> {
    let done = AtomicBool::new(false);
    let target = format!("tcp:{}:80", at.server);
    thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<u32> {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                for (pod, expected) in [("client", Answer), ("stranger", Silence)] {
                    let seen = kubectl.ask(A, pod, &target)?;
                    ensure!(seen == expected, "{pod} saw {seen:?} while agents restarted");
                    asked += 1;
                }
            }
            Ok(asked)
        });
        let rollout = kubectl
            .run(&["--namespace", SYSTEM, "rollout", "restart", "daemonset/podgate"])
            .and_then(|_| kubectl.rolled_out(SYSTEM, "daemonset/podgate"));
        done.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| anyhow::anyhow!("asking panicked"))??;
        rollout?;
        ensure!(asked > 0, "nothing was asked");
        Ok(())
    })
}
