//! Which flows somebody asks for, as he writes it.

use std::net::IpAddr;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use podgate_common::{Reason, Verdict};
use podgate_engine::flows::{Filter, Who, timestamp};
use podgate_engine::now;
use podgate_policy::evaluate::PolicyRef;
use podgate_policy::model::ObjectKey;

use crate::cli::agent::object_key;

/// Which flows are shown. All that is given must be so; of what is repeated one.
#[derive(Args, Debug, Default)]
pub(super) struct Wanted {
    /// Only flows with this verdict; repeatable
    #[arg(long, value_enum, value_name = "VERDICT")]
    verdict: Vec<VerdictArg>,

    /// Only flows from or to this pod
    #[arg(long, value_name = "NS/POD", value_parser = object_key)]
    pod: Option<ObjectKey>,

    /// Only packets from here: NS/POD, svc/NS/NAME, node/NAME, an address or a block; repeatable
    #[arg(long, value_name = "WHO", value_parser = who)]
    from: Vec<Named>,

    /// Only packets to there, written as for --from; repeatable
    #[arg(long, value_name = "WHO", value_parser = who)]
    to: Vec<Named>,

    /// Only flows from or to pods of this namespace
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,

    /// Only flows from or to this port; repeatable
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,

    /// Only flows with this reason; repeatable
    #[arg(long, value_name = "REASON", value_parser = reasons(), hide_possible_values = true)]
    reason: Vec<String>,

    /// Only flows at pods that this policy isolates, or that a rule of it allows or denies; a ClusterNetworkPolicy by its name
    #[arg(long, value_name = "[NS/]POLICY", value_parser = policy)]
    policy: Option<PolicyRef>,

    /// Only flows of the last 30s, 10m, 2h, or since a time such as 2026-11-21T20:14:07Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
}

/// One end, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    who: Who,
    text: String,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    /// It went on
    Allowed,
    /// It was dropped
    Denied,
    /// It went on, because the policies that deny it are in audit mode
    WouldDeny,
}

impl VerdictArg {
    fn name(self) -> String {
        let verdict = match self {
            Self::Allowed => Verdict::Allowed,
            Self::Denied => Verdict::Denied,
            Self::WouldDeny => Verdict::WouldDeny,
        };
        verdict.as_str().to_owned()
    }
}

impl Wanted {
    /// What the agent of this node is asked for.
    pub(super) fn filter(&self) -> Filter {
        let ends = |named: &[Named]| named.iter().map(|named| named.who.clone()).collect();
        Filter {
            verdicts: self.verdict.iter().map(|verdict| verdict.name()).collect(),
            pod: self.pod.as_ref().map(ToString::to_string),
            from: ends(&self.from),
            to: ends(&self.to),
            namespace: self.namespace.clone(),
            ports: self.port.clone(),
            reasons: self.reason.clone(),
            policy: self.policy.as_ref().map(ToString::to_string),
            since: self.since.clone(),
        }
    }

    /// Whether some of what agents keep is asked for.
    pub(super) fn asks_for_kept(&self) -> bool {
        self.since.is_some()
    }

    /// What agents of other nodes are to be told.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        self.verdict.iter().for_each(|verdict| push("--verdict", verdict.name().replace('_', "-")));
        self.pod.iter().for_each(|pod| push("--pod", pod.to_string()));
        self.from.iter().for_each(|from| push("--from", from.text.clone()));
        self.to.iter().for_each(|to| push("--to", to.text.clone()));
        self.namespace.iter().for_each(|namespace| push("--namespace", namespace.clone()));
        self.port.iter().for_each(|port| push("--port", port.to_string()));
        self.reason.iter().for_each(|reason| push("--reason", reason.clone()));
        self.policy.iter().for_each(|policy| push("--policy", policy.to_string()));
        self.since.iter().for_each(|since| push("--since", since.clone()));
        arguments
    }
}

/// Every reason that flows are reported with.
fn reasons() -> PossibleValuesParser {
    let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    PossibleValuesParser::new(names)
}

/// Parses a policy: a NetworkPolicy has a namespace, a ClusterNetworkPolicy has none.
fn policy(text: &str) -> Result<PolicyRef, String> {
    match text {
        "" => Err("expected NAMESPACE/POLICY, or the name of a ClusterNetworkPolicy".to_owned()),
        name if !name.contains('/') => Ok(PolicyRef::Cluster(name.into())),
        key => object_key(key).map(Into::into).map_err(|_| "expected NAMESPACE/POLICY".to_owned()),
    }
}

/// Parses an end. A kind makes three parts but for nodes, which have no namespace.
fn who(text: &str) -> Result<Named, String> {
    let block = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let who = match text.split_once('/') {
        _ if block.is_some() => block.map(Who::Block),
        Some(("pod", rest)) if rest.contains('/') => object_key(rest).ok().map(|key| Who::Pod(key.to_string())),
        Some(("svc", rest)) if rest.contains('/') => object_key(rest).ok().map(|key| Who::Service(key.to_string())),
        Some(("node", name)) if !name.is_empty() && !name.contains('/') => Some(Who::Node(name.to_owned())),
        _ => object_key(text).ok().map(|key| Who::Pod(key.to_string())),
    };
    let who = who.ok_or("expected NS/POD, pod/NS/POD, svc/NS/NAME, node/NAME, an IP address or a block")?;
    Ok(Named { who, text: text.to_owned() })
}

/// Parses how long ago something was, or when, as lines have times.
fn since(text: &str) -> Result<String, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(timestamp(time.as_nanosecond()));
    }
    match text.parse::<SignedDuration>() {
        Ok(ago) if !ago.is_negative() => Ok(timestamp(now() - ago.as_nanos())),
        _ => Err("expected 30s, 10m, 2h or a time such as 2026-11-21T20:14:07Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_pod_a_service_a_node_or_addresses() {
        let cases = [
            ("shop/web", Some(Who::Pod("shop/web".to_owned()))),
            ("pod/node/web", Some(Who::Pod("node/web".to_owned()))),
            ("svc/shop/api", Some(Who::Service("shop/api".to_owned()))),
            ("svc/api", Some(Who::Pod("svc/api".to_owned()))),
            ("node/node-1", Some(Who::Node("node-1".to_owned()))),
            ("10.0.0.0/8", Some(Who::Block("10.0.0.0/8".parse().unwrap()))),
            ("fd00::1", Some(Who::Block("fd00::1/128".parse().unwrap()))),
            ("web", None),
            ("node/", None),
            ("svc/a/b/c", None),
        ];
        for (text, expected) in cases {
            assert_eq!(who(text).ok().map(|named| named.who), expected, "{text}");
        }
    }

    #[test]
    fn a_policy_without_namespace_is_the_clusters() {
        assert_eq!(policy("shop/deny"), Ok(object_key("shop/deny").unwrap().into()));
        assert_eq!(policy("guard"), Ok(PolicyRef::Cluster("guard".into())));
        assert!(["", "shop/", "a/b/c"].iter().all(|bad| policy(bad).is_err()));
    }

    #[test]
    fn times_are_written_as_lines_have_them() {
        assert_eq!(since("2026-11-21T20:14:07Z").as_deref(), Ok("2026-11-21T20:14:07.000000000Z"));
        let before = timestamp(now() - 600_000_000_000);
        let told = since("10m").unwrap();
        assert!(before <= told && told <= timestamp(now() - 599_000_000_000), "{told}");
        for bad in ["yesterday", "-5m", "10"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agents_of_other_nodes_are_told_all_of_it() {
        let key = |name| object_key(name).unwrap();
        let wanted = Wanted {
            verdict: vec![VerdictArg::WouldDeny],
            pod: Some(key("shop/web")),
            from: vec![who("10.0.0.0/8").unwrap()],
            to: vec![who("svc/shop/api").unwrap()],
            namespace: Some("shop".to_owned()),
            port: vec![80],
            reason: vec!["cut".to_owned()],
            policy: Some(key("shop/deny").into()),
            since: Some("2026-11-21T20:14:07.000000000Z".to_owned()),
        };
        let expected = "--verdict would-deny --pod shop/web --from 10.0.0.0/8 --to svc/shop/api --namespace shop --port 80 \
                        --reason cut --policy shop/deny --since 2026-11-21T20:14:07.000000000Z";
        assert_eq!(wanted.arguments().join(" "), expected);
    }
}
