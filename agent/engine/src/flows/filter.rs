//! Which flows somebody wants to see.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{End, EndKind, Flow, Line};

/// What a flow must be like. What was lost is told unless it is too old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Its verdict is among these; none: any.
    pub verdicts: Vec<String>,
    /// This pod, as namespace/name, is one of its ends, or its policies judged it.
    pub pod: Option<String>,
    /// Who sent it is among these; none: anybody.
    pub from: Vec<Who>,
    /// Who was to receive it is among these; none: anybody.
    pub to: Vec<Who>,
    /// A pod of this namespace is one of its ends, or was judged.
    pub namespace: Option<String>,
    /// One of its ports is among these; none: any.
    pub ports: Vec<u16>,
    /// Its reason is among these; none: any.
    pub reasons: Vec<String>,
    /// This policy, as namespace/name, isolates the pod or has the rule.
    pub policy: Option<String>,
    /// It is not older than this, as [`super::timestamp`] writes times.
    pub since: Option<String>,
}

/// One end, as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A pod, as namespace/name.
    Pod(String),
    /// A Service, as namespace/name.
    Service(String),
    /// A node.
    Node(String),
    /// An address of this block.
    Block(IpNet),
}

impl Who {
    fn is(&self, end: &End) -> bool {
        let named = |kind: EndKind, name: &String| end.kind == kind && end.name.as_ref() == Some(name);
        match self {
            Self::Pod(name) => named(EndKind::Pod, name),
            Self::Service(name) => named(EndKind::Service, name),
            Self::Node(name) => named(EndKind::Node, name),
            Self::Block(block) => end.address.is_some_and(|address| block.contains(&address)),
        }
    }
}

impl Filter {
    /// Whether a line is wanted.
    pub fn takes(&self, line: &Line) -> bool {
        let is_young = self.since.as_deref().is_none_or(|since| line.time() >= since);
        match line {
            Line::Flow(flow) => {
                is_young && self.takes_verdict(flow) && self.takes_ends(flow) && self.takes_policy(flow)
            }
            Line::Lost(_) => is_young,
        }
    }

    fn takes_verdict(&self, flow: &Flow) -> bool {
        let among = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
        among(&self.verdicts, &flow.verdict) && among(&self.reasons, &flow.reason)
    }

    fn takes_ends(&self, flow: &Flow) -> bool {
        let is_any = |wanted: &[Who], end| wanted.is_empty() || wanted.iter().any(|who| who.is(end));
        let ports = [flow.source.port, flow.destination.port];
        let has_port = self.ports.is_empty() || ports.iter().flatten().any(|port| self.ports.contains(port));
        is_any(&self.from, &flow.source)
            && is_any(&self.to, &flow.destination)
            && has_port
            && self.pod.as_ref().is_none_or(|wanted| pods(flow).any(|pod| pod == wanted))
            && self.namespace.as_ref().is_none_or(|wanted| pods(flow).any(|pod| is_in(pod, wanted)))
    }

    fn takes_policy(&self, flow: &Flow) -> bool {
        let Some(wanted) = &self.policy else { return true };
        flow.policies.contains(wanted) || flow.rule.as_ref().is_some_and(|rule| rule.policy == *wanted)
    }
}

/// The pods that a flow is about.
fn pods(flow: &Flow) -> impl Iterator<Item = &String> {
    let ends = [&flow.source, &flow.destination].into_iter().filter(|end| end.kind == EndKind::Pod);
    ends.filter_map(|end| end.name.as_ref()).chain(&flow.pod)
}

fn is_in(pod: &str, namespace: &str) -> bool {
    pod.split_once('/').is_some_and(|(it, _)| it == namespace)
}

#[cfg(test)]
mod tests {
    use super::super::Lost;
    use super::super::describe::tests::{described, event};
    use super::*;

    fn takes(verdict: Option<&str>, pod: Option<&str>) -> bool {
        let verdicts = verdict.into_iter().map(str::to_owned).collect();
        let filter = Filter { verdicts, pod: pod.map(str::to_owned), ..Filter::default() };
        filter.takes(&Line::Flow(Box::new(described(&event()))))
    }

    #[test]
    fn a_flow_is_wanted_by_its_verdict_and_by_either_end() {
        assert!(takes(None, None) && takes(Some("denied"), Some("shop/web")) && takes(None, Some("shop/api")));
        assert!(
            !takes(Some("allowed"), None) && !takes(None, Some("shop/db")) && !takes(Some("allowed"), Some("shop/api"))
        );
    }

    #[test]
    fn what_was_lost_is_told_to_everybody() {
        let lost = Lost { time: String::new(), node: String::new(), denied: 1, allowed: 0, unread: 0 };
        let (verdicts, pod) = (vec!["allowed".to_owned()], Some("shop/db".to_owned()));
        let filter = Filter { verdicts, pod, ..Filter::default() };
        assert!(filter.takes(&Line::Lost(lost)));
    }

    #[test]
    fn each_field_takes_what_is_like_it_and_nothing_else() {
        let block = |block: &str| Who::Block(block.parse().unwrap());
        let name = |name: &str| Some(name.to_owned());
        let since = |nanoseconds: i128| Some(super::super::timestamp(1_767_225_600_000_000_000 + nanoseconds));
        let any = Filter::default;
        let cases = [
            (Filter { from: vec![Who::Pod("shop/web".to_owned())], ..any() }, true),
            (Filter { from: vec![Who::Pod("shop/db".to_owned()), block("10.0.0.0/24")], ..any() }, true),
            (Filter { from: vec![Who::Node("shop/web".to_owned())], ..any() }, false),
            (Filter { from: vec![block("10.0.0.2/32")], ..any() }, false),
            (Filter { to: vec![block("10.0.0.2/32")], ..any() }, true),
            (Filter { to: vec![block("::/0")], ..any() }, false),
            (Filter { to: vec![Who::Service("shop/api".to_owned())], ..any() }, false),
            (Filter { namespace: name("shop"), ..any() }, true),
            (Filter { namespace: name("sho"), ..any() }, false),
            (Filter { ports: vec![22, 80], ..any() }, true),
            (Filter { ports: vec![22], ..any() }, false),
            (Filter { reasons: vec!["cut".to_owned(), "no_rule".to_owned()], ..any() }, true),
            (Filter { reasons: vec!["cut".to_owned()], ..any() }, false),
            (Filter { policy: name("shop/deny"), ..any() }, true),
            (Filter { policy: name("shop/allow"), ..any() }, false),
            (Filter { since: since(1), ..any() }, true),
            (Filter { since: since(2), ..any() }, false),
            (Filter { ports: vec![80], reasons: vec!["cut".to_owned()], ..any() }, false),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.takes(&Line::Flow(Box::new(described(&event())))), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_policy_is_found_by_its_rule_too() {
        let rule = super::super::Rule { policy: "shop/allow".to_owned(), direction: "ingress".to_owned(), index: 0 };
        let flow = Flow { policies: vec![], rule: Some(rule), ..described(&event()) };
        let filter = Filter { policy: Some("shop/allow".to_owned()), ..Filter::default() };
        assert!(filter.takes(&Line::Flow(Box::new(flow))));
    }
}
