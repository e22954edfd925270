//! A call of the plugin from its variables and its input to what it prints.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use podgate_host::netlink::{HostEnd, host_end};
use serde_json::{Value, json};

use super::absent::{self, Absent};
use super::call::{Attachment, Call};
use super::config::{Config, MAX_INPUT, NEWEST, VERSIONS, version_of};
use super::failure::{Code, Failure};
use super::result::Previous;
use crate::admin::{self, ClientError};
use podgate_engine::handover::{HandedOver, PodRecord};

/// Runs the plugin as the runtime has called it.
pub(crate) fn run() -> ExitCode {
    let mut input = Vec::new();
    let outcome = Call::parse(|name| std::env::var(name).ok()).and_then(|call| {
        io::stdin().take(MAX_INPUT + 1).read_to_end(&mut input).map_err(|error| {
            Failure::new(Code::Io, "the configuration can't be read from standard input").details(error)
        })?;
        execute(&call, &input)
    });
    let (printed, status) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(result)) => (result, ExitCode::SUCCESS),
        Err(failure) => {
            note(&failure);
            (failure.json(version_of(&input).as_deref()), ExitCode::FAILURE)
        }
    };
    match writeln!(io::stdout(), "{printed}") {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says something to whoever reads the runtime's log.
pub(super) fn note(message: &dyn std::fmt::Display) {
    // There is nobody else to tell.
    drop(writeln!(io::stderr(), "podgate-cni: {message}"));
}

/// Does what is asked; what to print, if anything.
fn execute(call: &Call, input: &[u8]) -> Result<Option<Value>, Failure> {
    if *call == Call::Version {
        return Ok(Some(versions(input)));
    }
    let config = Config::parse(input)?;
    match call {
        Call::Add(attachment) => add(attachment, config).map(Some),
        Call::Check(attachment) => check(attachment, &config).map(|()| None),
        Call::Status => status(&config).map(|()| None),
        // The agent follows the interfaces themselves, which go with their pods.
        Call::Del | Call::Gc | Call::Version => Ok(None),
    }
}

fn versions(input: &[u8]) -> Value {
    json!({ "cniVersion": version_of(input).as_deref().unwrap_or(NEWEST), "supportedVersions": VERSIONS })
}

/// Has a pod enforced; the result is the previous one.
fn add(attachment: &Attachment, config: Config) -> Result<Value, Failure> {
    match handed_over(attachment, &config)? {
        Some((handed, end)) => enforce(&config, handed, &end)?,
        None => note(&"what is being wired is no pod of Kubernetes: not enforced"),
    }
    let mut result = config.previous.unwrap_or_default();
    result["cniVersion"] = config.version.into();
    Ok(result)
}

/// The pod with its interface; `None`: it is no pod of Kubernetes.
fn handed_over(attachment: &Attachment, config: &Config) -> Result<Option<(HandedOver, HostEnd)>, Failure> {
    let previous = Previous::parse(config.previous.as_ref())?;
    let Some(pod) = &attachment.pod else { return Ok(None) };
    let end = find(attachment, &previous)?;
    let pod = PodRecord { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() };
    let addresses = previous.addresses(&attachment.interface)?;
    Ok(Some((HandedOver { pod, ifindex: end.ifindex, addresses, mac: end.peer_mac }, end)))
}

/// The host's end of the pod's veth.
fn find(attachment: &Attachment, previous: &Previous) -> Result<HostEnd, Failure> {
    let path = &attachment.netns;
    let namespace = File::open(path).map_err(|error| {
        Failure::new(Code::UnknownContainer, format!("cannot open {}", path.display())).details(error)
    })?;
    let found = host_end(namespace.as_fd(), &previous.host_interfaces())
        .map_err(|error| Failure::new(Code::Io, "cannot look for the pod's interface").details(error))?;
    found.ok_or_else(|| {
        let message = "no veth leads to the pod: podgate enforces only networks whose pods hang on veth pairs";
        Failure::new(Code::InvalidConfig, message)
    })
}

/// Has the agent enforce a pod, or does what is to be done without one.
fn enforce(config: &Config, handed: HandedOver, end: &HostEnd) -> Result<(), Failure> {
    match admin::hand_over(&config.settings.socket(), handed.clone()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            note(&"the agent does not know the pod yet: it is isolated until it does");
            Ok(())
        }
        Err(ClientError::Refused(reason)) => {
            Err(Failure::new(Code::TryAgain, "the pod can't be enforced").details(reason))
        }
        Err(error) => {
            absent::enforce(&config.settings, &Absent { handed, netns_id: end.netns_id, is_port: end.is_port, error })
        }
    }
}

/// Whether a pod is enforced.
fn check(attachment: &Attachment, config: &Config) -> Result<(), Failure> {
    let Some((_, end)) = handed_over(attachment, config)? else { return Ok(()) };
    match admin::check(&config.settings.socket(), end.ifindex) {
        Ok(_) => Ok(()),
        Err(ClientError::Refused(reason)) => {
            Err(Failure::new(Code::TryAgain, "the pod is not enforced").details(reason))
        }
        Err(error) => absent::tolerate(&config.settings, Code::TryAgain, &error),
    }
}

/// Whether pods can be added.
fn status(config: &Config) -> Result<(), Failure> {
    admin::alive(&config.settings.socket())
        .or_else(|error| absent::tolerate(&config.settings, Code::NotAvailable, &error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::arguments::PodName;
    use super::*;

    fn attachment(pod: Option<PodName>) -> Attachment {
        Attachment { netns: PathBuf::from("/nowhere/netns"), interface: "eth0".to_owned(), pod }
    }

    fn pod() -> Option<PodName> {
        PodName::parse("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web").unwrap()
    }

    fn input(more: &Value) -> Vec<u8> {
        let mut config = json!({"cniVersion": "1.0.0", "name": "pods", "type": "podgate-cni", "socket": "/nowhere/x.sock",
                                "bpffs": "/nowhere/bpf", "bootGrace": 0});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config.to_string().into_bytes()
    }

    fn code(call: &Call, input: &[u8]) -> Result<Option<Value>, Code> {
        execute(call, input).map_err(|failure| failure.code)
    }

    #[test]
    fn what_is_no_pod_keeps_its_result_unchanged() {
        let result = json!({"cniVersion": "1.0.0", "ips": [], "dns": {"x": [1, {"y": null}]}, "unknown": 4});
        let previous = input(&json!({"prevResult": result}));
        assert_eq!(code(&Call::Add(attachment(None)), &previous), Ok(Some(result)));
    }

    #[test]
    fn without_a_previous_result_or_a_namespace_nothing_is_added_or_checked() {
        for call in [Call::Add, Call::Check] {
            assert_eq!(code(&call(attachment(pod())), &input(&json!({}))), Err(Code::InvalidConfig));
            let previous = input(&json!({"prevResult": {"ips": []}}));
            assert_eq!(code(&call(attachment(pod())), &previous), Err(Code::UnknownContainer));
        }
    }

    #[test]
    fn taking_off_and_collecting_do_nothing_but_read_the_configuration() {
        for call in [Call::Del, Call::Gc] {
            assert_eq!(code(&call, &input(&json!({}))), Ok(None));
            assert_eq!(code(&call, b"{"), Err(Code::Undecodable));
        }
    }

    #[test]
    fn where_podgate_never_ran_pods_can_be_added_whatever_is_wanted_without_an_agent() {
        for when in ["fail", "allow", "last-known"] {
            assert_eq!(code(&Call::Status, &input(&json!({"whenAgentDown": when}))), Ok(None));
        }
    }

    #[test]
    fn versions_are_told_without_a_configuration_too() {
        let told = |version: &str| Ok(Some(json!({"cniVersion": version, "supportedVersions": VERSIONS})));
        assert_eq!(code(&Call::Version, br#"{"cniVersion":"0.4.0"}"#), told("0.4.0"));
        assert_eq!(code(&Call::Version, b""), told("1.1.0"));
    }
}
