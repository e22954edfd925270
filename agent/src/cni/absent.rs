//! What becomes of a pod that is wired while no agent answers.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use podgate_common::EthernetSource;
use podgate_datapath::{Given, Identity, Offline};

use super::config::{Settings, WhenAgentDown};
use super::failure::{Code, Failure};
use super::plugin::note;
use crate::admin::{self, ClientError};
use crate::lock::Lock;
use podgate_engine::Memory;
use podgate_engine::handover::HandedOver;

/// A pod, and why the agent was not told of it.
pub(super) struct Absent {
    pub(super) handed: HandedOver,
    /// The host's id of the pod's network namespace.
    pub(super) netns_id: i32,
    /// Whether the host's end of its veth is a port of a bridge.
    pub(super) is_port: bool,
    pub(super) error: ClientError,
}

/// Does with a pod what the settings say.
///
/// # Errors
/// It is not to start now.
pub(super) fn enforce(settings: &Settings, absent: &Absent) -> Result<(), Failure> {
    if settings.when_agent_down == WhenAgentDown::Allow {
        note(&format_args!("{}: the pod is not enforced before it is back", absent.error));
        return Ok(());
    }
    match (standing(settings)?, settings.when_agent_down) {
        (Standing::Gone, _) => {
            note(&format_args!("{}, and nothing of one is left on this node: the pod is not enforced", absent.error));
            Ok(())
        }
        (Standing::Away, WhenAgentDown::LastKnown) => last_known(settings, absent),
        (Standing::Away | Standing::Expected, _) => Err(try_again(&absent.error)),
    }
}

/// For what needs no pod to be enforced: an agent that is away is an error only where pods may not start without it.
///
/// # Errors
/// With this code, in that case.
pub(super) fn tolerate(settings: &Settings, code: Code, error: &ClientError) -> Result<(), Failure> {
    if settings.when_agent_down == WhenAgentDown::Fail && standing(settings)? != Standing::Gone {
        return Err(Failure { code, ..try_again(error) });
    }
    Ok(())
}

/// What is to be thought of an agent that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has left something in the kernel: it will be back.
    Away,
    /// The node was booted a moment ago: it is about to come.
    Expected,
    /// It has not come since then, or was cleaned up after. It must not keep pods from starting for ever.
    Gone,
}

fn standing(settings: &Settings) -> Result<Standing, Failure> {
    if open(settings)?.is_some() {
        return Ok(Standing::Away);
    }
    let uptime =
        uptime().map_err(|error| Failure::new(Code::Io, "cannot tell since when the node runs").details(error))?;
    Ok(if uptime < settings.boot_grace() { Standing::Expected } else { Standing::Gone })
}

/// How long the node has been running.
fn uptime() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok());
    seconds.map(Duration::from_secs).ok_or_else(|| io::Error::other(format!("/proc/uptime says {text:?}")))
}

fn open(settings: &Settings) -> Result<Option<Offline>, Failure> {
    Offline::open(&settings.bpffs())
        .map_err(|error| Failure::new(Code::TryAgain, "what the agent has left can't be used").details(error))
}

fn try_again(error: &ClientError) -> Failure {
    Failure::new(Code::TryAgain, "pods start only while the agent answers").details(error)
}

/// Gives a pod what was last known for it, with what the agent has left in the kernel.
fn last_known(settings: &Settings, absent: &Absent) -> Result<(), Failure> {
    let socket = settings.socket();
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Code::TryAgain, format!("no agent answers, and {what}")).details(error)
    };
    // Without the lock an agent is about to answer, or hangs: what it has in the kernel is its own. Or it is another run.
    let Some(_lock) = lock(&socket).map_err(|error| failed("the lock beside its socket can't be had", &error))? else {
        return match admin::hand_over(&socket, absent.handed.clone()) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("something of podgate is at work", &error)),
        };
    };
    let memory = Memory::new(&settings.bindings());
    let enforced = memory.recall().map_err(|error| failed("what it enforced can't be read", &error))?;
    let mut enforced = enforced.unwrap_or_default();
    let like = enforced.interface_of(&absent.handed.pod);
    let offline = open(settings)?.ok_or_else(|| failed("nothing of it is left", &absent.error))?;
    let given = offline
        .enforce(&identity(absent), source(absent), like)
        .map_err(|error| failed("the pod can't be enforced", &error))?;
    enforced.hand_over(absent.handed.clone());
    memory.keep(&enforced).map_err(|error| failed("the pod can't be noted for it", &error))?;
    note(&format_args!("{}: {}", absent.error, told(given)));
    Ok(())
}

/// Takes the lock, after waiting for it a while; `None`: somebody keeps it, or an agent listens.
fn lock(socket: &Path) -> io::Result<Option<Lock>> {
    const ATTEMPTS: u32 = 100;
    const TICK: Duration = Duration::from_millis(50);
    for _ in 0..ATTEMPTS {
        // An agent listens before it takes the lock.
        if UnixStream::connect(socket).is_ok() {
            return Ok(None);
        }
        if let Some(lock) = Lock::attempt(socket)? {
            return Ok(Some(lock));
        }
        sleep(TICK);
    }
    Ok(None)
}

fn told(given: Given) -> &'static str {
    match given {
        Given::Before => "the pod keeps what it has",
        Given::LastKnown => "the pod has the policies that were last known for it",
        Given::Nothing => "the pod is isolated until the agent is back; its node reaches it",
    }
}

/// What the pod's frames may come from: a bridge learns from them.
fn source(absent: &Absent) -> EthernetSource {
    if !absent.is_port {
        return EthernetSource::ANY;
    }
    absent.handed.mac.map_or(EthernetSource::UNKNOWN, EthernetSource::one)
}

fn identity(absent: &Absent) -> Identity {
    let addresses = || absent.handed.addresses.iter().copied();
    Identity {
        ifindex: absent.handed.ifindex,
        netns_id: Some(absent.netns_id),
        address4: addresses().find_map(|address| if let IpAddr::V4(address) = address { Some(address) } else { None }),
        address6: addresses().find_map(|address| if let IpAddr::V6(address) = address { Some(address) } else { None }),
        routes: false,
        keep: false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn an_agent_that_has_left_nothing_is_expected_for_a_while_after_the_node_was_booted() {
        let standing = |boot_grace| {
            let bpffs = Some(PathBuf::from("/nowhere/bpf"));
            standing(&Settings { bpffs, boot_grace: Some(boot_grace), ..Settings::default() }).unwrap()
        };
        assert_eq!([standing(0), standing(u32::MAX)], [Standing::Gone, Standing::Expected]);
    }
}
