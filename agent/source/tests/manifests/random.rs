//! Random and damaged input: no panic, and never an allow that the same text doesn't plainly say.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use podgate_policy::model::{Isolation, Peers, Policy, Ports, Rule};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use crate::parse;

/// A policy in which every field of the API occurs.
const SOUND: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespace: shop
  labels: {team: a}
spec:
  podSelector:
    matchLabels:
      app: web
    matchExpressions:
    - key: tier
      operator: NotIn
      values: [db, cache]
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector:
        matchLabels: {app: front}
      namespaceSelector: {}
    - ipBlock:
        cidr: 10.0.0.0/8
        except: [10.1.0.0/16]
    ports:
    - port: 80
    - protocol: UDP
      port: 1000
      endPort: 2000
    - port: http
  egress:
  - to:
    - namespaceSelector:
        matchExpressions:
        - {key: env, operator: Exists}
    ports: &dns
    - {protocol: UDP, port: 53}
  - ports: *dns
";

/// Pieces that damage a text where they are put.
const PIECES: &[&str] = &[
    "",
    " ",
    "  ",
    "\n",
    "-",
    ": ",
    "#",
    "'",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "|",
    "? ",
    "!!str ",
    "~",
    "null",
    "true",
    "0",
    "70000",
    "10.0.0.0/8",
    "from:",
    "form:",
    "ports:",
    "ingress:",
    "- {}",
    "---",
    "...",
    "\t",
    "\u{0}",
    "é",
    "<<: ",
];

/// A change of a text.
#[derive(Clone, Debug)]
enum Damage {
    Insert(Index, &'static str),
    Remove(Index, usize),
    RemoveLine(Index),
    RepeatLine(Index),
    SwapLines(Index, Index),
    Indent(Index),
}

impl Damage {
    fn apply(&self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if chars.is_empty() {
            return String::new();
        }
        match self {
            Self::Insert(at, piece) => {
                let at = at.index(chars.len());
                chars.splice(at..at, piece.chars());
                return chars.into_iter().collect();
            }
            Self::Remove(at, count) => {
                let at = at.index(chars.len());
                chars.drain(at..(at + count).min(chars.len()));
                return chars.into_iter().collect();
            }
            Self::RemoveLine(at) => drop(lines.remove(at.index(lines.len()))),
            Self::RepeatLine(at) => lines.insert(at.index(lines.len()), lines[at.index(lines.len())].clone()),
            Self::SwapLines(one, other) => lines
                .swap(one.index(text.split_inclusive('\n').count()), other.index(text.split_inclusive('\n').count())),
            Self::Indent(at) => {
                let at = at.index(lines.len());
                lines[at].insert_str(0, "  ");
            }
        }
        lines.concat()
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), select(PIECES)).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<Index>(), 1..12_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        any::<Index>().prop_map(Damage::RemoveLine),
        any::<Index>().prop_map(Damage::RepeatLine),
        any::<(Index, Index)>().prop_map(|(one, other)| Damage::SwapLines(one, other)),
        any::<Index>().prop_map(Damage::Indent),
    ]
}

fn damaged() -> impl Strategy<Value = String> {
    vec(damage(), 1..4).prop_map(|damages| damages.iter().fold(SOUND.to_owned(), |text, damage| damage.apply(&text)))
}

fn rules(policy: &Policy) -> Vec<&Rule> {
    [&policy.ingress, &policy.egress]
        .into_iter()
        .flat_map(|isolation| match isolation {
            Isolation::Restricted(rules) => rules.as_slice(),
            Isolation::Unaffected => &[],
        })
        .collect()
}

/// The policy as another reader of YAML has it, which takes less for YAML than kubectl does.
fn read_otherwise(text: &str) -> Option<NetworkPolicy> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).ok()?;
    serde_json::from_value(documents.into_iter().find(Value::is_object)?).ok()
}

fn is_open<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// How open the rules are, as the API's own types say: of each direction and rule, whether any peer and any port will do.
fn openness(policy: &NetworkPolicy) -> Vec<(bool, bool)> {
    let spec = policy.spec.clone().unwrap_or_default();
    let types = spec.policy_types.unwrap_or_default();
    let affects =
        |name: &str, default: bool| if types.is_empty() { default } else { types.iter().any(|listed| listed == name) };
    let ingress = spec.ingress.unwrap_or_default();
    let egress = spec.egress.unwrap_or_default();
    let ingress_rules = ingress.iter().map(|rule| (is_open(&rule.from), is_open(&rule.ports)));
    let egress_rules = egress.iter().map(|rule| (is_open(&rule.to), is_open(&rule.ports)));
    let mut found: Vec<_> = if affects("Ingress", true) { ingress_rules.collect() } else { vec![] };
    if affects("Egress", !egress.is_empty()) {
        found.extend(egress_rules);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let loaded = parse(&String::from_utf8_lossy(&bytes));
        prop_assert!(loaded.cluster.policies.is_empty());
    }

    #[test]
    fn random_yaml_pieces_never_panic(pieces in vec(select(PIECES), 0..60)) {
        let loaded = parse(&pieces.concat());
        prop_assert!(loaded.cluster.policies.is_empty());
    }

    #[test]
    fn damaged_policy_allows_nothing_unless_it_is_plainly_valid(text in damaged()) {
        let loaded = parse(&text);
        for policy in loaded.cluster.policies.values() {
            let found: Vec<_> = rules(policy).iter().map(|rule| (rule.peers == Peers::Any, rule.ports == Ports::Any)).collect();
            if loaded.problems.is_empty()
                && let Some(plain) = read_otherwise(&text)
            {
                prop_assert_eq!(found, openness(&plain), "{}", text);
            }
        }
        let broken = |policy: &Policy| {
            let name = format!("NetworkPolicy {}", policy.key);
            loaded.problems.iter().any(|problem| problem.object.as_deref() == Some(&name))
        };
        for policy in loaded.cluster.policies.values().filter(|policy| broken(policy)) {
            prop_assert!(rules(policy).is_empty(), "{}", text);
        }
    }
}

#[test]
fn undamaged_policy_is_valid() {
    let loaded = crate::sound(SOUND);
    assert_eq!(rules(crate::only_policy(&loaded)).len(), 3);
    assert!(read_otherwise(SOUND).is_some());
}
