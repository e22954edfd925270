//! What comes through pipes, and what there is nothing to judge of.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{SHOP, directory, podgate, policy, result, stderr};

/// Runs a command with a text as its standard input.
fn fed(text: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.env("KUBECONFIG", "none").env_remove("KUBERNETES_SERVICE_HOST").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A Deployment with an app label.
fn deployment(app: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {app}, namespace: shop}}\nspec: {{template: {{metadata: \
         {{labels: {{app: {app}}}}}, spec: {{containers: [{{name: a, image: a, ports: [{{containerPort: 80}}]}}]}}}}}}\n"
    )
}

#[test]
fn a_typing_error_is_found_where_there_are_only_deployments_and_they_come_through_a_pipe() {
    let text = deployment("web") + &deployment("api") + &policy("api", "{podSelector: {matchLabels: {app: apii}}}");
    let expected = "\
warning label-typo: NetworkPolicy shop/api: spec.podSelector
  in standard input, document 3, line 12
  why: no pod of namespace shop has the label app=apii
  instead: did you mean app=api?
note not-isolated: Namespace shop: metadata.name
  why: no policy isolates any pod of namespace shop, so everybody reaches them, and they reach everybody
  instead: if that is not meant, deny by default: a policy with podSelector: {} and policyTypes: [Ingress, Egress]
not judged: there are no Namespaces in the input: nothing is said of namespace selectors
1 warning, 1 note
";
    assert_eq!(result(&fed(&text, &["check", "-f", "-"])), (Some(1), expected.to_owned()));
    assert_eq!(result(&fed(&text, &["check", "-f", "/dev/stdin"])).0, Some(1));
    let explained = fed(&text, &["explain", "-f", "-", "--from", "shop/web", "--to", "shop/api", "--port", "80"]);
    assert!(result(&explained).1.starts_with("allowed: shop/web to shop/api"), "{explained:?}");
}

#[test]
fn an_address_is_not_read_and_the_message_says_what_to_do() {
    let output = fed("", &["check", "-f", "https://example.org/net.yaml"]);
    let expected = "https://example.org/net.yaml: addresses are not read: expected a file, or what `curl -sSfL ADDRESS` prints, \
                    by -f -\npodgate: 1 problem in the input: nothing was judged\n";
    assert_eq!((output.status.code(), stderr(&output)), (Some(2), expected.to_owned()));
}

#[test]
fn where_there_is_nothing_to_judge_every_command_says_so_and_exits_with_3() {
    let states: TempDir = directory(&[("shop.yaml", SHOP), ("none.yaml", "# nothing\n")]);
    let commands: [(&[&str], &str); 3] = [
        (&["check", "-f", "shop.yaml"], "there are no NetworkPolicies in the input"),
        (&["matrix", "-f", "none.yaml"], "there are no two pods, or no ports; add pods, or give --port"),
        (&["report", "-f", "none.yaml"], "there are no pods and no NetworkPolicies in the input"),
    ];
    for (arguments, reason) in commands {
        let output = podgate(states.path(), arguments);
        let expected = format!("warning: nothing was judged: {reason}\n");
        assert_eq!((output.status.code(), stderr(&output)), (Some(3), expected), "{arguments:?}");
    }
}
