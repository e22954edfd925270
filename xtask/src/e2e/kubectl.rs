//! kubectl.

use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use crate::workspace::shell;

/// How long anything may take to become true on a cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// kubectl for one cluster.
pub(crate) struct Kubectl {
    program: OsString,
    kubeconfig: OsString,
}

/// What a pod saw of an address that it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An answer.
    Answer,
    /// Nothing.
    Silence,
}

impl Kubectl {
    /// kubectl with this configuration.
    pub(crate) fn new(kubeconfig: &Path) -> Self {
        Self { program: "kubectl".into(), kubeconfig: kubeconfig.into() }
    }

    #[cfg(test)]
    pub(super) fn fake(program: &Path) -> Self {
        Self { program: program.into(), kubeconfig: "/dev/null".into() }
    }

    fn command<'a>(&self, shell: &'a Shell, arguments: &[&str]) -> Cmd<'a> {
        let Self { program, kubeconfig } = self;
        cmd!(shell, "{program} --kubeconfig {kubeconfig} {arguments...}").quiet()
    }

    /// Runs a command to its good end; what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let shell = shell()?;
        self.command(&shell, arguments).read().with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Applies manifests.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let shell = shell()?;
        let apply = self.command(&shell, &["apply", "-f", "-"]).stdin(manifests).ignore_stdout();
        apply.run().context("kubectl apply")
    }

    /// Waits until a rollout is complete.
    pub(crate) fn rolled_out(&self, namespace: &str, what: &str) -> Result<()> {
        self.run(&["--namespace", namespace, "rollout", "status", what, "--timeout", "300s"]).map(drop)
    }

    /// What a pod sees of an address and port that it asks.
    pub(crate) fn ask(&self, namespace: &str, pod: &str, target: &str) -> Result<Seen> {
        let shell = shell()?;
        let arguments = ["--namespace", namespace, "exec", pod, "--", "/usr/bin/xtask", "ask", target];
        let output = self.command(&shell, &arguments).ignore_status().ignore_stderr().output()?;
        // What the program in the pod prints tells its outcome from one of kubectl's own.
        match String::from_utf8_lossy(&output.stdout).trim() {
            "answer" => Ok(Seen::Answer),
            "silence" => Ok(Seen::Silence),
            other => bail!("{namespace}/{pod} could not ask {target}: {other:?} ({})", output.status),
        }
    }

    /// Waits until a pod sees this of an address.
    pub(crate) fn expect(&self, namespace: &str, pod: &str, target: &str, expected: Seen) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.ask(namespace, pod, target);
            match &seen {
                Ok(seen) if *seen == expected => return Ok(()),
                _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(500)),
                _ => bail!("{namespace}/{pod} asks {target}: {seen:?} instead of {expected:?}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// A kubectl that says this.
    fn fake(name: &str, body: &str) -> (PathBuf, Kubectl) {
        let path = std::env::temp_dir().join(format!("podgate-kubectl-{}-{name}", std::process::id()));
        // Written by another process: a child that another test starts meanwhile would hold this one's descriptor, and a file
        // that somebody may write to can't be executed.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
        let written = Command::new("sh").args(["-c", write]).arg(&path).arg(body).status().unwrap();
        assert!(written.success());
        let kubectl = Kubectl::fake(&path);
        (path, kubectl)
    }

    #[test]
    fn a_pods_silence_is_told_from_a_kubectl_that_fails() {
        let seen = |name, body| {
            let (path, kubectl) = fake(name, body);
            let seen = kubectl.ask("shop", "web", "tcp:10.0.0.1:80").map_err(|error| error.to_string());
            fs::remove_file(path).unwrap();
            seen
        };
        assert_eq!(seen("answer", "echo answer"), Ok(Seen::Answer));
        assert_eq!(seen("silence", "echo silence; exit 1"), Ok(Seen::Silence));
        let error = seen("broken", "echo connection refused >&2; exit 1").unwrap_err();
        assert_eq!(error, "shop/web could not ask tcp:10.0.0.1:80: \"\" (exit status: 1)");
    }

    #[test]
    fn commands_name_the_configuration_and_the_namespace() {
        let (path, kubectl) = fake("arguments", "echo \"$*\"");
        let said = kubectl.run(&["get", "pods"]).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(said, "--kubeconfig /dev/null get pods");
    }
}
