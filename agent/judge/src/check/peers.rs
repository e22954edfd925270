//! Peers that match nothing, and selectors with typing errors.

use std::collections::BTreeSet;

use podgate_policy::model::{Labels, Namespaces, ObjectKey, Operator, Peer, Peers, Policy, Selector};

use crate::check::known::{Known, NAME_LABEL, Vocabulary, all_rules};
use crate::check::near::{Slip, slips};
use crate::check::{Field, Finding, Part, Rule, Severity};
use crate::explain::{listed, words};

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, rule, its) in all_rules(policy) {
        let Peers::Listed(peers) = &its.peers else { continue };
        for (index, peer) in peers.iter().enumerate() {
            let Peer::Pods { namespaces, pods } = peer else { continue };
            let at = |part| Field::Peer(direction, rule, index, part);
            findings.extend(Asked { known, policy, namespaces, pods }.finding(at));
        }
    }
    findings
}

/// A peer that selects pods.
struct Asked<'a> {
    known: &'a Known<'a>,
    policy: &'a Policy,
    namespaces: &'a Namespaces,
    pods: &'a Selector,
}

impl Asked<'_> {
    fn finding(&self, at: impl Fn(Part) -> Field) -> Option<Finding> {
        let names = self.known.namespaces(&self.policy.key.namespace, self.namespaces);
        if let Namespaces::Matching(selector) = self.namespaces {
            let field = at(Part::NamespaceSelector);
            if let Some(finding) = self.namespace_finding(selector, &names, field) {
                return Some(finding);
            }
        }
        if names.is_empty() || !self.known.has_pods() {
            return None;
        }
        let part = if self.pods.requirements().is_empty() && *self.namespaces != Namespaces::Own {
            Part::NamespaceSelector
        } else {
            Part::PodSelector
        };
        self.pod_finding(&names, at(part))
    }

    fn namespace_finding(&self, selector: &Selector, names: &[&str], field: Field) -> Option<Finding> {
        if !self.known.written.namespaces {
            return None;
        }
        let all = || self.known.all_namespaces().values();
        let labels = Vocabulary::of(all());
        let slips = slips(selector, &[&labels], &labels);
        if !slips.is_empty() {
            return Some(slip_finding(self.policy, field, &slips, "namespace"));
        }
        let instead = match self.name_meant(selector) {
            Some(name) => format!("use the label that every namespace has: {NAME_LABEL}: {name}"),
            None => there(selector, &all().collect::<Vec<_>>(), "namespaces that are meant"),
        };
        let why = format!("no namespace has {}", words::selector(selector));
        names.is_empty().then(|| self.nothing(field, Severity::Warning, why, instead))
    }

    /// The name of a namespace that a selector asks for by a label which no namespace has.
    fn name_meant(&self, selector: &Selector) -> Option<String> {
        let namespaces = self.known.all_namespaces();
        let has_key = |key: &str| namespaces.values().any(|labels| labels.contains_key(key));
        let asked = selector.requirements().iter().filter(|requirement| !has_key(&requirement.key));
        asked.into_iter().find_map(|requirement| match &requirement.operator {
            Operator::In(values) => {
                values.iter().find(|value| namespaces.contains_key(*value)).map(ToString::to_string)
            }
            _ => None,
        })
    }

    fn pod_finding(&self, names: &[&str], field: Field) -> Option<Finding> {
        let here: Vec<_> = names.iter().filter_map(|name| self.known.labels_in(name)).collect();
        let slips = slips(self.pods, &here, self.known.all_labels());
        if !slips.is_empty() {
            return Some(slip_finding(self.policy, field, &slips, &format!("pod {}", self.within(names))));
        }
        // Pods that are not given may have the very labels.
        let here = || names.iter().flat_map(|name| self.known.pods_in(name)).map(|pod| &pod.labels);
        if names.iter().any(|name| self.known.is_hidden(name)) || here().any(|labels| self.pods.matches(labels)) {
            return None;
        }
        let here: Vec<&Labels> = here().collect();
        let (severity, why, instead) = self.words(names, &here)?;
        Some(self.nothing(field, severity, why, instead))
    }

    fn words(&self, names: &[&str], here: &[&Labels]) -> Option<(Severity, String, String)> {
        let on_host = self.known.host_pods(names, self.pods);
        let selector = words::selector(self.pods);
        if !on_host.is_empty() {
            let why = format!(
                "the peer matches only host-network pods ({}), which selectors never match",
                self::names(&on_host)
            );
            let instead = "use an ipBlock with the addresses of their nodes".to_owned();
            return Some((Severity::Warning, why, instead));
        }
        if let Some(elsewhere) = self.elsewhere() {
            let why = format!(
                "without namespaceSelector only pods of namespace {} count, and none has {selector}",
                names.join(", ")
            );
            let instead = format!(
                "add to the same element namespaceSelector with {NAME_LABEL}: {elsewhere}, where pods have these labels"
            );
            return Some((Severity::Warning, why, instead));
        }
        match (here.is_empty(), self.namespaces) {
            // Told of the policy itself.
            (true, Namespaces::Own) => None,
            (true, Namespaces::Matching(_)) => {
                let why = format!("there are no pods {}", self.within(names));
                let instead =
                    "select the namespaces of the pods that are meant, unless they are yet to come".to_owned();
                Some((Severity::Note, why, instead))
            }
            (false, _) => {
                let why = format!("no pod {} has {selector}", self.within(names));
                Some((Severity::Warning, why, there(self.pods, here, "pods that are meant")))
            }
        }
    }

    /// The only namespace whose pods a peer without `namespaceSelector` would match.
    fn elsewhere(&self) -> Option<&str> {
        let matching = self.known.all_pods().filter(|pod| self.pods.matches(&pod.labels));
        let namespaces: BTreeSet<&str> = matching.map(|pod| &*pod.key.namespace).collect();
        let only = namespaces.first().copied().filter(|_| namespaces.len() == 1);
        only.filter(|_| *self.namespaces == Namespaces::Own && !self.pods.requirements().is_empty())
    }

    fn within(&self, namespaces: &[&str]) -> String {
        if namespaces.len() == self.known.all_namespaces().len() {
            return "of any namespace".to_owned();
        }
        let names: Vec<_> = namespaces.iter().map(ToString::to_string).collect();
        match names.as_slice() {
            [name] => format!("of namespace {name}"),
            names => format!("of namespaces {}", listed(names)),
        }
    }

    fn nothing(&self, field: Field, severity: Severity, why: String, instead: String) -> Finding {
        Finding {
            object: self.policy.into(),
            yaml: None,
            field,
            rule: Rule::PeerMatchesNothing,
            severity,
            why,
            instead,
        }
    }
}

/// The finding of labels that nobody has; `whose` are those that were asked.
pub(super) fn slip_finding(policy: &Policy, field: Field, slips: &[Slip], whose: &str) -> Finding {
    let written: Vec<_> = slips.iter().map(|slip| slip.written.clone()).collect();
    let meant: Vec<_> = slips.iter().map(|slip| slip.meant.clone()).collect();
    Finding {
        object: policy.into(),
        yaml: None,
        field,
        rule: Rule::LabelTypo,
        severity: Severity::Warning,
        why: format!("no {whose} has the label {}", written.join(" or ")),
        instead: format!("did you mean {}?", meant.join(" and ")),
    }
}

/// What to write, with the values that there are.
fn there(selector: &Selector, here: &[&Labels], what: &str) -> String {
    match values_there(selector, here) {
        Some(values) => format!("use labels of the {what}: there, {values}"),
        None => format!("use labels of the {what}"),
    }
}

/// The values of the first key that a selector asks for, if somebody has it.
pub(super) fn values_there(selector: &Selector, here: &[&Labels]) -> Option<String> {
    let values = |key: &str| here.iter().filter_map(|labels| labels.get(key)).map(ToString::to_string).collect();
    selector.requirements().iter().find_map(|requirement| {
        let values: BTreeSet<String> = values(&requirement.key);
        let values: Vec<_> = values.into_iter().collect();
        (!values.is_empty()).then(|| format!("{} is {}", requirement.key, listed(&values)))
    })
}

/// Names of objects, those beyond the sixth counted.
pub(super) fn names(keys: &[&ObjectKey]) -> String {
    listed(&keys.iter().map(ToString::to_string).collect::<Vec<_>>())
}
