//! What looks wrong about interfaces, in words.

use podgate_common::MAX_BACKENDS;
use podgate_host::binding::{Anomaly, NoVeth, PodId};
use podgate_host::netlink::{HostView, Unsupported};

use super::at_source::{Refusal, Refused};
use super::tenant::{Occupant, Tenant};
use crate::status::AnomalyStatus;

/// Every kind of anomaly, as metrics count them.
pub const KINDS: [&str; 10] = [
    "address_elsewhere",
    "deleted_pod_runs",
    "device_not_hooked",
    "duplicate_address",
    "extra_interface",
    "interface_without_pod",
    "isolated_interface",
    "pod_without_interface",
    "service_denied",
    "unsupported_interface",
];

/// An anomaly for the status.
pub(super) fn describe(anomaly: &Anomaly, view: &HostView) -> AnomalyStatus {
    let device = |ifindex: u32| device(view, ifindex);
    let (kind, message) = match anomaly {
        Anomaly::PodWithoutVeth { pod, cause } => {
            ("pod_without_interface", format!("pod {pod} is not enforced: {}", no_veth(cause, view)))
        }
        Anomaly::VethWithoutPod { name, addresses, .. } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let message = format!("{name} leads to {}, which no known pod of this node has", addresses.join(", "));
            ("interface_without_pod", message)
        }
        Anomaly::ExtraVeth { pod, name, .. } => {
            ("extra_interface", format!("pod {pod} has a further interface, {name}, which is not enforced"))
        }
        Anomaly::AddressElsewhere { pod, address, ifindex, holder } => {
            let holder = holder.as_ref().map_or_else(String::new, |holder| format!(" of pod {holder}"));
            let message = format!("{address} of pod {pod} shows behind {}{holder}; ignored there", device(*ifindex));
            ("address_elsewhere", message)
        }
        Anomaly::DuplicateAddress { pod, address } => {
            ("duplicate_address", format!("a neighbour of pod {pod} answers for its address {address}"))
        }
    };
    AnomalyStatus { kind: kind.to_owned(), message }
}

/// An interface whose pod is not known, for the status; nothing for a pod's.
pub(super) fn describe_isolated(tenant: &Tenant, view: &HostView) -> Option<AnomalyStatus> {
    let whose = match &tenant.occupant {
        Occupant::Pod(_) => return None,
        Occupant::Announced(pod) => format!("pod {pod}, which CNI has named, is known"),
        Occupant::Unknown => "it is known whose it is".to_owned(),
    };
    let message = format!("{} is isolated until {whose}", device(view, tenant.ifindex));
    Some(AnomalyStatus { kind: "isolated_interface".to_owned(), message })
}

/// A pod that has an interface and no object, for the status.
pub(super) fn describe_departed(pod: &PodId) -> AnomalyStatus {
    let message = format!(
        "the object of pod {pod} is gone and its interface is not: enforced as last known until that is gone too"
    );
    AnomalyStatus { kind: "deleted_pod_runs".to_owned(), message }
}

/// A device that passes the hooks by, for the status.
pub(super) fn describe_unsupported(unsupported: &Unsupported) -> AnomalyStatus {
    AnomalyStatus {
        kind: "unsupported_interface".to_owned(),
        message: format!("{}: {}", unsupported.name, unsupported.reason),
    }
}

/// A device by which packets leave the host unjudged, for the status.
pub(super) fn describe_unhooked(device: &str, error: &str) -> AnomalyStatus {
    let message = format!("what pods send to Services is not judged where it leaves by {device}: {error}");
    AnomalyStatus { kind: "device_not_hooked".to_owned(), message }
}

/// A port of a Service that no isolated pod reaches, for the status.
pub(super) fn describe_refused(refused: &Refused) -> AnomalyStatus {
    let services: Vec<_> = refused.services.iter().map(ToString::to_string).collect();
    let Refused { frontend, refusal, .. } = refused;
    let why = match refusal {
        Refusal::TooMany(count) => format!("has {count} backends, of which at most {MAX_BACKENDS} can be judged"),
        Refusal::NoRoom => "finds no room in the tables of frontends and backends".to_owned(),
    };
    let at = std::net::SocketAddr::new(frontend.address, frontend.port);
    let message =
        format!("egress of isolated pods to {} {at} of {} is denied: it {why}", frontend.protocol, services.join(", "));
    AnomalyStatus { kind: "service_denied".to_owned(), message }
}

/// Why a pod has no interface.
pub(super) fn no_veth(cause: &NoVeth, view: &HostView) -> String {
    match cause {
        NoVeth::NotFound => "no veth leads to a namespace that was given one of its addresses".to_owned(),
        NoVeth::Excluded { ifindex } => {
            format!("its address is behind {}, the way to the node or the API server", device(view, *ifindex))
        }
        NoVeth::Doubtful { ifindex } => format!(
            "its address is behind {}, which came after that was told and may be another pod's: it is isolated for half a \
             minute, or until a status tells whose it is",
            device(view, *ifindex)
        ),
        NoVeth::Taken { ifindex, by } => {
            format!("its address is behind {}, which is pod {by}'s", device(view, *ifindex))
        }
    }
}

/// The name of a device, or its index once it is gone.
pub(super) fn device(view: &HostView, ifindex: u32) -> String {
    let veth = view.veths.get(&ifindex).map(|veth| &veth.name);
    let name = veth.or_else(|| view.devices.get(&ifindex).map(|device| &device.name));
    name.cloned().unwrap_or_else(|| format!("interface {ifindex}"))
}
