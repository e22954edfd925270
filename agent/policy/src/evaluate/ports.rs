//! Whether `ports` of a rule matches what a packet carries.

use crate::evaluate::{Element, ListOutcome, PortMismatch, PortMiss, Traffic};
use crate::model::{Pod, PortMatch, PortSpec, Ports, Protocol};

/// Asks the ports of a rule. `server` is the destination pod, on which names are resolved; `None`: it is no pod.
#[must_use]
pub fn ports_match(ports: &Ports, server: Option<&Pod>, traffic: Traffic) -> ListOutcome<PortMiss> {
    let Ports::Listed(ports) = ports else { return ListOutcome::Matches(Element::Any) };
    let miss = |index, port: &PortMatch, why| PortMiss { index, port: port.clone(), why };
    ListOutcome::ask(ports, |port| mismatch(port, server, traffic), miss)
}

/// The numbers under which a pod serves a named port, sorted: several containers may use one name.
#[must_use]
pub fn numbers_of(pod: &Pod, name: &str, protocol: Protocol) -> Vec<u16> {
    let named = pod.ports.iter().filter(|port| port.protocol == protocol && port.name.as_deref() == Some(name));
    let mut numbers: Vec<_> = named.map(|port| port.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Why a port does not match, if it does not.
fn mismatch(port: &PortMatch, server: Option<&Pod>, traffic: Traffic) -> Option<PortMismatch> {
    let Traffic::Port { protocol, number } = traffic else { return Some(PortMismatch::Portless) };
    if port.protocol != protocol {
        return Some(PortMismatch::Protocol);
    }
    match &port.port {
        PortSpec::All => None,
        PortSpec::Range { first, last } => (!(*first..=*last).contains(&number)).then_some(PortMismatch::Number),
        PortSpec::Named(name) => match server {
            Some(pod) => name_mismatch(numbers_of(pod, name, protocol), number),
            None => Some(PortMismatch::NameOutsidePods),
        },
    }
}

pub(super) fn name_mismatch(numbers: Vec<u16>, number: u16) -> Option<PortMismatch> {
    match numbers {
        numbers if numbers.is_empty() => Some(PortMismatch::NameNotServed),
        numbers if numbers.contains(&number) => None,
        numbers => Some(PortMismatch::NamedNumbers(numbers)),
    }
}
