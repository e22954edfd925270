//! What `helm test` runs, on a node of the lab: the server and the client of the chart, with the chart's policy.

use std::process::{Child, Command, Stdio};

use podgate_lab::{Pod, PodManifest, Result, Wiring};
use serde_json::Value;

use crate::render::{list, only, root, strings};
use crate::support::{World, until};

/// The objects of the test; none, and a loud word, where there is no Helm.
fn objects() -> Option<Vec<Value>> {
    let arguments = ["template", "podgate", "deploy/chart", "--namespace", "podgate-system"];
    let only_those = ["--show-only", "templates/tests/enforcement.yaml"];
    let Ok(output) = Command::new("helm").args(arguments).args(only_those).current_dir(root()).output() else {
        eprintln!("SKIPPED: helm is not installed, so `helm test` was not tried");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap())
}

/// Podgate in a pod, with the arguments of a container. Dropped, it is killed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn podgate(pod: &Pod, container: &Value, server: &Pod) -> Command {
    let mut command = pod.command(env!("CARGO_BIN_EXE_podgate"));
    // As the kubelet does it, and kube-proxy after it.
    let address = server.ip4().to_string();
    let arguments = strings(&container["args"]);
    command.args(arguments.iter().map(|argument| argument.replace("$(PODGATE_TEST_SERVICE_HOST)", &address)));
    command
}

/// The labels of a pod's template.
fn labelled(pod: &Pod, metadata: &Value) -> PodManifest {
    let labels = metadata["labels"].as_object().unwrap();
    labels.iter().fold(pod.manifest(), |manifest, (key, value)| manifest.label(key, value.as_str().unwrap()))
}

#[test]
fn helm_test_succeeds_where_policies_are_enforced_and_fails_where_nothing_is() -> Result<()> {
    let Some(objects) = objects() else { return Ok(()) };
    let mut world = World::new("tested")?;
    let [client, server] = ["client", "server"].map(|name| format!("podgate-system/{name}"));
    let (client, server) = (world.pod(&client, Wiring::Ptp)?, world.pod(&server, Wiring::Bridge)?);
    let template = &only(&objects, "ReplicaSet")["spec"]["template"];
    let container = &list(&template["spec"]["containers"])[0];
    let mut serve = podgate(&server, container, &server);
    let _server = Server(serve.stdout(Stdio::null()).spawn().expect("the binary runs"));
    let pod = only(&objects, "Pod");
    let mut check = podgate(&client, &list(&pod["spec"]["containers"])[0], &server);
    let mut said = || {
        let output = check.output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };

    let (status, text) = said();
    assert!(status == Some(1) && text.contains("nothing enforces"), "{text}");
    world.declare(&labelled(&client, &pod["metadata"]), &client)?;
    world.declare(&labelled(&server, &template["metadata"]), &server)?;
    world.write("policy.yaml", &only(&objects, "NetworkPolicy").to_string())?;
    world.run_agent(&[])?;
    until("the agent enforces", || Ok(said().0 == Some(0)))?;
    let (status, text) = said();
    assert!(status == Some(0) && text.ends_with("NetworkPolicies are enforced\n"), "{text}");
    Ok(())
}
