//! Why a query has no answer.

use std::fmt;
use std::sync::Arc;

use podgate_policy::evaluate::SharedAddress;
use podgate_policy::model::{ObjectKey, Protocol};

use crate::explain::{Asked, Entry, EntryPort, Participant};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainError {
    /// There is no such pod.
    NoSuchPod(ObjectKey),
    /// There is no such Service.
    NoSuchService(ObjectKey),
    /// There is neither a pod nor a Service of this name.
    NoSuchDestination(ObjectKey),
    /// There are a pod and a Service of this name.
    Ambiguous(ObjectKey),
    /// The Service is another name for something that only DNS knows.
    ExternalName(ObjectKey),
    /// kube-proxy leaves the Service to another program, and only that knows where it leads.
    OtherProxy(ObjectKey),
    /// The Service does not have the port, so nothing rewrites what is sent there.
    NoSuchServicePort {
        /// The Service.
        service: ObjectKey,
        /// What was asked for.
        asked: Asked,
        /// The ports it has.
        ports: Vec<EntryPort>,
    },
    /// What is asked for leads nowhere: kube-proxy rejects it, whatever policies say.
    NoBackends {
        /// What is asked for.
        to: Box<Entry>,
        /// What there is none of.
        why: Lack,
    },
    /// The pod has finished: it sends and receives nothing, and its address may be another's.
    Finished(ObjectKey),
    /// The address belongs to several pods.
    SharedAddress(SharedAddress),
    /// The destination pod has no container port with this name and protocol.
    NameNotServed {
        /// The destination.
        pod: ObjectKey,
        /// The protocol asked for.
        protocol: Protocol,
        /// The name asked for.
        name: Arc<str>,
    },
    /// A port name was asked for at a destination that is no pod.
    NameOutsidePods {
        /// The destination.
        to: Participant,
        /// The name asked for.
        name: Arc<str>,
    },
    /// One end has only IPv4 addresses, the other only IPv6 addresses.
    NoCommonFamily {
        /// The source.
        from: Participant,
        /// The destination.
        to: Participant,
    },
    /// The answer depends on something that is not known.
    Undecidable(Unknown),
}

/// What a Service without backends lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Its EndpointSlices have no endpoint that is ready and has the port, of the family that clients use.
    Ready,
    /// It has neither an EndpointSlice nor a selector that would tell its endpoints.
    Slices,
    /// It has no EndpointSlice, and no pod that it selects has an address of the family that clients use, and the port.
    Selected,
    /// It leads only to endpoints of the client's node, this one, and there is none.
    OnNode(Arc<str>),
    /// The source, this one, has no address of a family in which there are backends.
    Family(Participant),
}

/// What an answer depends on and is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The node of this pod: the other end may be a process of the same node, or a pod of it.
    Node(ObjectKey),
    /// The address of this pod: a block may contain it.
    Address(ObjectKey),
    /// The node of this pod: if it is the one that has the address, the port leads to this, else to the node.
    PortsNode {
        /// The pod.
        pod: ObjectKey,
        /// What the port leads to.
        to: Box<Entry>,
    },
    /// The node of this pod: the Service leads to the backends of that node alone.
    NearestBackends(ObjectKey),
    /// The source address that this backend sees: that of the node which kube-proxy forwards the packet on.
    SeenAddress {
        /// The backend.
        to: Participant,
    },
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPod(pod) => write!(f, "there is no pod {pod}: check namespace and name"),
            Self::NoSuchService(service) => write!(f, "there is no Service {service}: check namespace and name"),
            Self::NoSuchDestination(key) => {
                write!(f, "there is no pod and no Service {key}: check namespace and name")
            }
            Self::Ambiguous(key) => {
                write!(f, "{key} is both a pod and a Service: ask for pod/{key} or for svc/{key}")
            }
            Self::ExternalName(service) => write!(
                f,
                "Service {service} is only another DNS name (type ExternalName): ask for the address that the name has"
            ),
            Self::OtherProxy(service) => write!(
                f,
                "Service {service} is left to another program than kube-proxy (label service.kubernetes.io/service-proxy-name \
                 or service.kubernetes.io/headless): where it leads is not known; ask for its address, or for the pods"
            ),
            Self::NoSuchServicePort { service, asked, ports } => no_such_port(f, service, asked, ports),
            Self::NoBackends { to, why } => {
                write!(f, "{to} leads nowhere, and connections to it fail whatever policies say: {why}")
            }
            Self::Finished(pod) => write!(f, "pod {pod} has finished: it sends and receives nothing"),
            Self::SharedAddress(shared) => shared.fmt(f),
            Self::NameNotServed { pod, protocol, name } => {
                write!(f, "pod {pod} has no {protocol} container port named {name}: ask for a number")
            }
            Self::NameOutsidePods { to, name } => {
                write!(
                    f,
                    "port {name} is a name, and no pod's container ports tell its number at {to}: ask for a number"
                )
            }
            Self::NoCommonFamily { from, to } => {
                write!(f, "{from} and {to} have no address family in common: no packet can go between them")
            }
            Self::Undecidable(unknown) => write!(f, "undecidable: {unknown}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(pod) => write!(
                f,
                "the node of {pod} is not known (spec.nodeName), and traffic within a node passes while other traffic \
                 between these two is denied"
            ),
            Self::Address(pod) => {
                write!(f, "pod {pod} has no address yet (status.podIPs), and an ipBlock may contain it")
            }
            Self::PortsNode { pod, to } => write!(
                f,
                "the node of {pod} is not known (spec.nodeName), and only on the node that has the address are policies \
                 asked about what the port leads to, {to}"
            ),
            Self::NearestBackends(pod) => write!(
                f,
                "the node of {pod} is not known (spec.nodeName), and with internalTrafficPolicy: Local only backends of \
                 that node count"
            ),
            Self::SeenAddress { to } => write!(
                f,
                "with externalTrafficPolicy: Cluster {to} sees the packet come from the node that forwards it, and no \
                 address of that node is known (spec.nodeName of the source, status.addresses of the Node)"
            ),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("its EndpointSlices have no ready endpoint for it"),
            Self::Slices => f.write_str("it has no selector, and there is no EndpointSlice of it"),
            Self::Selected => f.write_str(
                "there is no EndpointSlice of it, and no pod with its labels has an address (status.podIPs) and the target \
                 port",
            ),
            Self::OnNode(node) => {
                write!(f, "with internalTrafficPolicy: Local only backends on {node} count, and there is none")
            }
            Self::Family(from) => write!(f, "{from} has no address of the family of any backend"),
        }
    }
}

fn no_such_port(f: &mut fmt::Formatter<'_>, service: &ObjectKey, asked: &Asked, ports: &[EntryPort]) -> fmt::Result {
    let has: Vec<_> = ports.iter().map(EntryPort::to_string).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    match asked {
        Asked::Number(protocol, number) => {
            write!(f, "Service {service} has no port {protocol}/{number}; its ports: {has}")
        }
        Asked::Name(protocol, name) => {
            write!(f, "Service {service} has no {protocol} port named {name}; its ports: {has}")
        }
        Asked::Other => {
            write!(f, "Service {service} is reached by its ports alone, which ICMP has none of; its ports: {has}")
        }
    }
}

impl std::error::Error for ExplainError {}
