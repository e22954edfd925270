//! Kubernetes objects → podgate's types, checked as the API server checks them.
//!
//! Two rules hold everywhere. All mistakes of an object are reported, each with its field, not only the first. And a mistake
//! never widens what is allowed: an invalid NetworkPolicy becomes one without rules ([`Parsed::Invalid`]); a rule of a
//! ClusterNetworkPolicy that is not understood accepts nothing or denies everything; of other objects the bad item is left
//! out.
//!
//! The API server accepts some spellings in objects that were stored before it became strict (leading zeros, IPv4-mapped IPv6).
//! They are refused here wherever they come from: which addresses they mean depends on who reads them.

mod admin;
mod cluster;
mod cluster_policy;
mod cluster_rule;
mod decode;
mod fallback;
mod meta;
mod path;
mod pod;
mod policy;
mod report;
mod rule;
mod selector;
mod service;
mod strings;
mod syntax;

use k8s_openapi::serde::de::DeserializeOwned;
use podgate_policy::cluster::IGNORE;
use podgate_policy::model::{Direction, Protocol};
use serde_json::Value;

pub(crate) use self::admin::as_cluster_policy;
pub(crate) use self::cluster::NAME_LABEL;
use self::decode::{UnknownFields, decode};
pub(crate) use self::decode::{push_field, push_index};
use self::path::Path;
pub(crate) use self::path::quote;
pub use self::policy::Parsed;
pub use self::report::Issue;
use self::report::Report;
pub(crate) use self::strings::Strings;
use crate::object::{Kind, Object};
use crate::problem::Effect;

/// The annotations that mean something here.
pub(crate) const READ_ANNOTATIONS: [&str; 3] = [pod::MIRROR, meta::AUDIT, IGNORE];

/// An object as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its fields.
    pub value: &'a Value,
    /// The paths of keys that were given twice; the value has the last.
    pub repeated: &'a [String],
}

impl<'a> Raw<'a> {
    /// An object in which no key is given twice.
    #[must_use]
    pub const fn new(value: &'a Value) -> Self {
        Self { value, repeated: &[] }
    }
}

/// Checks and converts a NetworkPolicy from a file: a missing namespace is `default`.
#[must_use]
pub fn policy(raw: Raw<'_>) -> Parsed {
    let mut strings = Strings::default();
    policy::policy(raw, Scope::new(Kind::NetworkPolicy, Origin::File, "unnamed", raw, &mut strings))
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    /// Kind, namespace and name, as far as they can be read.
    pub(crate) name: String,
    /// What there is to use.
    pub(crate) outcome: Outcome,
    /// What is wrong.
    pub(crate) issues: Vec<Issue>,
}

/// What there is to use of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object, perhaps without some bad items.
    Good(Object),
    /// Something to use unless an earlier, good version is known.
    StandIn(Object),
    /// Nothing.
    Nothing,
}

/// Where objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file: a missing namespace is `default`, and an unknown field is reported.
    File,
    /// The API: nothing is missing, and outside NetworkPolicies fields newer than podgate are no mistake.
    Api,
}

impl Origin {
    const fn default_namespace(self) -> Option<&'static str> {
        match self {
            Self::File => Some("default"),
            Self::Api => None,
        }
    }

    const fn unknown_fields(self) -> UnknownFields {
        match self {
            Self::File => UnknownFields::Report,
            Self::Api => UnknownFields::Ignore,
        }
    }
}

/// Checks and converts an object of this kind. `unnamed` is what to call it if it has no name.
pub(crate) fn object(kind: Kind, raw: Raw<'_>, origin: Origin, unnamed: &str, strings: &mut Strings) -> Converted {
    let name = describe(kind, raw.value, origin, unnamed);
    let scope = Scope::new(kind, origin, unnamed, raw, strings);
    let (outcome, issues) = match kind {
        Kind::NetworkPolicy => match policy::policy(raw, scope) {
            Parsed::Valid(policy) => (Outcome::Good(Object::Policy(policy.into())), vec![]),
            Parsed::Invalid { fallback, issues } => (Outcome::StandIn(Object::Policy(fallback.into())), issues),
        },
        Kind::ClusterNetworkPolicy => match cluster_policy::cluster_policy(raw, scope) {
            (Some(policy), issues) => (Outcome::Good(Object::ClusterPolicy(policy.into())), issues),
            (None, issues) => (Outcome::Nothing, issues),
        },
        Kind::Namespace => {
            other(kind, raw, scope, |from, scope| Object::Namespace(cluster::namespace(from, scope).into()))
        }
        Kind::Node => other(kind, raw, scope, |from, scope| Object::Node(cluster::node(from, scope).into())),
        Kind::Pod => other(kind, raw, scope, |from, scope| Object::Pod(pod::pod(from, scope).into())),
        Kind::Service => other(kind, raw, scope, |from, scope| Object::Service(service::service(from, scope).into())),
        Kind::EndpointSlice => {
            other(kind, raw, scope, |from, scope| Object::EndpointSlice(service::endpoint_slice(from, scope).into()))
        }
    };
    Converted { name, outcome, issues }
}

/// What is written in an object and is no part of what podgate makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The directions in which it is a policy with rules that its `policyTypes` leaves out.
    pub(crate) ineffective: Vec<Direction>,
    /// Whether it is a policy without a `spec`, or with an empty one.
    pub(crate) empty: bool,
    /// The text of the annotation by which a policy ignores findings.
    pub(crate) ignored: Option<String>,
    /// The peers of Accept rules of a ClusterNetworkPolicy that select pods of all namespaces by leaving
    /// `namespaceSelector` out: direction, indexes of the rule and of the peer.
    pub(crate) unscoped: Vec<(Direction, usize, usize)>,
    /// Whether it is a Service of a type that clients outside the cluster reach by a node.
    pub(crate) exposed: bool,
}

/// What is written beside what an object is read as.
pub(crate) fn aside(kind: Kind, object: &Value) -> Aside {
    match kind {
        Kind::NetworkPolicy => Aside {
            ineffective: policy::ineffective_rules(object),
            empty: policy::is_empty(object),
            ignored: ignored(object),
            ..Aside::default()
        },
        Kind::ClusterNetworkPolicy => {
            let unscoped = cluster_policy::unscoped(object);
            Aside { ignored: ignored(object), unscoped, ..Aside::default() }
        }
        Kind::Service => {
            let exposed = matches!(object["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
            Aside { exposed, ..Aside::default() }
        }
        Kind::Namespace | Kind::Node | Kind::Pod | Kind::EndpointSlice => Aside::default(),
    }
}

fn ignored(object: &Value) -> Option<String> {
    object["metadata"]["annotations"][IGNORE].as_str().map(str::to_owned)
}

/// Converts an object of which a part can be used even if another is wrong.
fn other<T: DeserializeOwned>(
    kind: Kind,
    raw: Raw<'_>,
    mut scope: Scope<'_>,
    convert: impl FnOnce(&T, &mut Scope<'_>) -> Object,
) -> (Outcome, Vec<Issue>) {
    let decoded = decode(kind, raw.value, scope.origin.unknown_fields(), &mut scope.report);
    let object = decoded.map(|decoded| convert(&decoded, &mut scope)).filter(|_| name(raw.value).is_some());
    let doubtful = scope.report.is_doubtful();
    let mut issues = scope.report.finish();
    let outcome = match object {
        Some(object) if doubtful => Outcome::StandIn(object),
        Some(object) => Outcome::Good(object),
        None => {
            issues.iter_mut().for_each(|issue| issue.effect = Effect::LeftOut);
            Outcome::Nothing
        }
    };
    (outcome, issues)
}

fn name(value: &Value) -> Option<&str> {
    value["metadata"]["name"].as_str().filter(|name| !name.is_empty())
}

/// Kind, namespace and name of an object, as far as they can be read.
pub(crate) fn describe(kind: Kind, value: &Value, origin: Origin, unnamed: &str) -> String {
    // Names are input: a legal one prints as it is, any other one in quotes.
    let printable = |text: &str| if syntax::dns_subdomain(text).is_ok() { text.to_owned() } else { quote(text) };
    let name = name(value).map_or_else(|| unnamed.to_owned(), printable);
    if kind.is_cluster_scoped() {
        return format!("{kind} {name}");
    }
    let namespace = value["metadata"]["namespace"].as_str().filter(|text| !text.is_empty());
    let namespace = namespace.or(origin.default_namespace()).unwrap_or("?");
    format!("{kind} {}/{name}", printable(namespace))
}

/// What the conversions within one object share.
struct Scope<'a> {
    origin: Origin,
    /// What to call an object without a name.
    unnamed: &'a str,
    strings: &'a mut Strings,
    report: Report,
}

impl<'a> Scope<'a> {
    fn new(kind: Kind, origin: Origin, unnamed: &'a str, raw: Raw<'_>, strings: &'a mut Strings) -> Self {
        let mut report = Report::new(match kind {
            Kind::NetworkPolicy => Effect::Isolated,
            Kind::ClusterNetworkPolicy => Effect::LeftOut,
            _ => Effect::ItemLeftOut,
        });
        // Of a ClusterNetworkPolicy each part says what becomes of it.
        for field in raw.repeated.iter().filter(|_| kind != Kind::ClusterNetworkPolicy) {
            report.repeated(field.clone());
        }
        Self { origin, unnamed, strings, report }
    }

    /// The value, or a report of what is wrong with it.
    fn check<T>(&mut self, path: &Path<'_>, checked: Result<T, syntax::Wrong>) -> Option<T> {
        checked.map_err(|wrong| self.report.invalid(path, wrong)).ok()
    }

    /// The same scope with another report.
    fn with_report(&mut self, report: Report) -> Scope<'_> {
        Scope { origin: self.origin, unnamed: self.unnamed, strings: self.strings, report }
    }
}

fn protocol(name: Option<&str>) -> Result<Protocol, syntax::Wrong> {
    match name {
        None => Ok(Protocol::Tcp),
        Some(name) => Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.as_str() == name)
            .ok_or_else(|| format!("{} is not a protocol: expected TCP, UDP or SCTP", quote(name))),
    }
}
