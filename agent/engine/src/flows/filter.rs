//! Which flows somebody wants to see.

use serde::{Deserialize, Serialize};

use super::{EndKind, Flow, Line};

/// What a flow must be like. What was lost is always told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Its verdict is among these; none: any.
    #[serde(default)]
    pub verdicts: Vec<String>,
    /// This pod, as namespace/name, is one of its ends, or its policies judged it.
    #[serde(default)]
    pub pod: Option<String>,
}

impl Filter {
    /// Whether a line is wanted.
    pub fn takes(&self, line: &Line) -> bool {
        match line {
            Line::Flow(flow) => self.takes_verdict(flow) && self.takes_pod(flow),
            Line::Lost(_) => true,
        }
    }

    fn takes_verdict(&self, flow: &Flow) -> bool {
        self.verdicts.is_empty() || self.verdicts.contains(&flow.verdict)
    }

    fn takes_pod(&self, flow: &Flow) -> bool {
        let Some(wanted) = &self.pod else { return true };
        let ends = [&flow.source, &flow.destination].into_iter().filter(|end| end.kind == EndKind::Pod);
        ends.map(|end| &end.name).chain([&flow.pod]).any(|name| name.as_ref() == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lost;
    use super::super::describe::tests::{described, event};
    use super::*;

    fn takes(verdict: Option<&str>, pod: Option<&str>) -> bool {
        let filter = Filter { verdicts: verdict.into_iter().map(str::to_owned).collect(), pod: pod.map(str::to_owned) };
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
        let filter = Filter { verdicts: vec!["allowed".to_owned()], pod: Some("shop/db".to_owned()) };
        assert!(filter.takes(&Line::Lost(lost)));
    }
}
