//! Chains of CNI plugins, run as a container runtime runs them: each gets the result of the one before.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cni::plugins;
use crate::command;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::node::Node;
use crate::pod::{Pod, PodName};
use crate::wiring::{Addresses, Wiring};

/// A plugin that comes after the one that wires pods.
#[derive(Clone, Debug)]
pub struct Chain {
    node: Node,
    plugin: PathBuf,
    settings: Value,
    mac: Option<[u8; 6]>,
}

/// How long a pod is there before it gets the address of [`Chain::with_mac`]: whoever follows interfaces sees it before.
const BEFORE_MAC: Duration = Duration::from_millis(300);

/// A pod that a chain has wired.
#[derive(Clone, Debug)]
pub struct Started {
    /// The pod.
    pub pod: Pod,
    /// The result of the plugin that wired it.
    pub wired: Value,
    /// The result of the chain.
    pub result: Value,
    /// What the last plugin wrote to its standard error.
    pub said: String,
    /// `metadata.uid` of the pod, as the runtime told it.
    pub uid: String,
}

impl Chain {
    /// A chain on a node that ends with a plugin, a path, with these settings.
    #[must_use]
    pub fn new(node: &Node, plugin: &Path, settings: Value) -> Self {
        Self { node: node.clone(), plugin: plugin.to_owned(), settings, mac: None }
    }

    /// The same with an Ethernet address for the pods, which they get after they are wired, as the plugin `tuning` does it.
    #[must_use]
    pub fn with_mac(self, mac: [u8; 6]) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// The same with another setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings[name] = value.into();
        self
    }

    /// Starts a pod, `name` or `namespace/name`: makes its namespace and runs the chain. `wanted` are addresses that the pod
    /// is to have. A runtime would start its containers now.
    ///
    /// # Errors
    /// When a plugin fails; nothing of the pod is left then.
    ///
    /// # Panics
    /// When the wiring is not a plugin's.
    pub fn start(&self, name: &str, wiring: Wiring, uid: &str, wanted: Option<Addresses>) -> Result<Started> {
        let name = PodName::parse(name);
        let namespace = self.node.sandbox(&name)?;
        let primary = || self.node.plugin(wiring).expect("pods are wired by a plugin");
        let (link, wired) = primary().wire(&self.node, &namespace, wanted)?;
        if let Some([a, b, c, d, e, f]) = self.mac {
            sleep(BEFORE_MAC);
            namespace.ip(&[format!("link set eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")])?;
        }
        let output = self.run("ADD", &name, uid, &namespace, Some(&wired))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            primary().delete(&self.node, &namespace)?;
            command::run(Command::new("ip").args(["netns", "del", namespace.netns()]), "")?;
            return Err(Error::Answer(format!("{said}{}", String::from_utf8_lossy(&output.stdout))));
        }
        let result = serde_json::from_slice(&output.stdout).map_err(|error| Error::Answer(error.to_string()))?;
        let pod = Pod::new(name, &self.node, wiring, namespace, link)?;
        Ok(Started { pod, wired, result, said, uid: uid.to_owned() })
    }

    /// Runs the last plugin for a pod with another command, such as `CHECK`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn ask(&self, verb: &str, started: &Started) -> Result<Output> {
        self.run(verb, started.pod.name(), &started.uid, &started.pod, Some(&started.wired))
    }

    /// Removes a pod as a runtime does: the plugins in reverse order, then the namespace.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn remove(&self, started: &Started) -> Result<()> {
        let output = self.ask("DEL", started)?;
        if !output.status.success() || !output.stdout.is_empty() {
            return Err(Error::Answer(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        self.node.remove(&started.pod)
    }

    fn run(&self, verb: &str, pod: &PodName, uid: &str, sandbox: &Namespace, result: Option<&Value>) -> Result<Output> {
        let mut config = json!({ "cniVersion": "1.0.0", "name": "lab" });
        config["type"] = self.plugin.file_name().unwrap_or_default().to_string_lossy().into();
        for (name, value) in self.settings.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        if let Some(result) = result {
            config["prevResult"] = result.clone();
        }
        let PodName { namespace, name } = pod;
        let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}");
        let mut plugin = self.node.command(&self.plugin);
        plugin
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", sandbox.netns())
            .env("CNI_NETNS", sandbox.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", arguments)
            .env("CNI_PATH", plugins());
        command::feed(&mut plugin, &config.to_string())
    }
}
