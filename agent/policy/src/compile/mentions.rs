//! Which labels and port names selectors and rules can see.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::profiles::Profile;
use crate::compile::terms::{PortName, Scope};
use crate::model::{Operator, Pod, Requirement, Selector};

/// What active asks mention of labels: of pods of one namespace, or of all.
type Keys = HashMap<Arc<str>, Mention>;

/// How a label's key is mentioned.
#[derive(Debug, Default)]
struct Mention {
    /// How often whether it is there.
    presence: u32,
    /// How often each value.
    values: HashMap<Arc<str>, u32>,
}

impl Mention {
    fn is_void(&self) -> bool {
        self.presence == 0 && self.values.is_empty()
    }
}

/// Everything that active asks mention. Pods that differ in nothing mentioned are the same to every ask.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    everywhere: Keys,
    own: HashMap<Arc<str>, Keys>,
    ports: HashMap<PortName, u32>,
    fresh: Fresh,
}

/// A label's key, and its value or `None` for any value.
type Label = (Arc<str>, Option<Arc<str>>);

/// Mentions that are new: pods that have what they mention may have become different from others.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// By namespace; `None`: any.
    labels: BTreeMap<Option<Arc<str>>, BTreeSet<Label>>,
    ports: BTreeSet<PortName>,
}

impl Fresh {
    /// The namespaces whose pods must be looked at, unless [`Self::everywhere`].
    pub(crate) fn namespaces(&self) -> Vec<Arc<str>> {
        self.labels.keys().flatten().cloned().collect()
    }

    /// Whether pods of all namespaces must be looked at.
    pub(crate) fn everywhere(&self) -> bool {
        !self.ports.is_empty() || self.labels.contains_key(&None)
    }

    /// Whether a pod has something that is newly mentioned.
    pub(crate) fn concerns(&self, pod: &Pod) -> bool {
        let has = |labels: &BTreeSet<Label>| {
            let mentions = |(key, value): (&Arc<str>, &Arc<str>)| {
                labels.contains(&(Arc::clone(key), None))
                    || labels.contains(&(Arc::clone(key), Some(Arc::clone(value))))
            };
            pod.labels.iter().any(mentions)
        };
        let in_scope = |scope: Option<Arc<str>>| self.labels.get(&scope).is_some_and(has);
        in_scope(None) || in_scope(Some(Arc::clone(&pod.key.namespace))) || self.concerns_ports(pod)
    }

    fn concerns_ports(&self, pod: &Pod) -> bool {
        !self.ports.is_empty()
            && pod.ports.iter().any(|port| {
                let name = port.name.as_ref().map(|name| PortName { name: Arc::clone(name), protocol: port.protocol });
                name.is_some_and(|name| self.ports.contains(&name))
            })
    }
}

impl Mentions {
    /// Counts what a peer's selector mentions.
    pub(crate) fn add_pods(&mut self, scope: &Scope, pods: &Selector) {
        for (key, value) in mentioned(pods) {
            let mention = keys_mut(&mut self.everywhere, &mut self.own, scope).entry(key.clone()).or_default();
            let count = match &value {
                Some(value) => mention.values.entry(Arc::clone(value)).or_default(),
                None => &mut mention.presence,
            };
            *count += 1;
            if *count == 1 {
                self.fresh.labels.entry(namespace(scope)).or_default().insert((key, value));
            }
        }
    }

    /// Takes back what [`Self::add_pods`] counted. Pods that can no longer be told apart are told apart all the same
    /// until they change: that costs a group, not a verdict.
    pub(crate) fn remove_pods(&mut self, scope: &Scope, pods: &Selector) {
        let keys = keys_mut(&mut self.everywhere, &mut self.own, scope);
        for (key, value) in mentioned(pods) {
            let Some(mention) = keys.get_mut(&key) else { continue };
            match value {
                Some(value) => decrement(&mut mention.values, &value),
                None => mention.presence -= 1,
            }
            if mention.is_void() {
                keys.remove(&key);
            }
        }
        if let Scope::Own(namespace) = scope
            && self.own.get(namespace).is_some_and(HashMap::is_empty)
        {
            self.own.remove(namespace);
        }
    }

    /// Counts a port name.
    pub(crate) fn add_port(&mut self, port: &PortName) {
        let count = self.ports.entry(port.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.fresh.ports.insert(port.clone());
        }
    }

    /// Takes back what [`Self::add_port`] counted.
    pub(crate) fn remove_port(&mut self, port: &PortName) {
        decrement(&mut self.ports, port);
    }

    /// What is new since the last call.
    pub(crate) fn take_fresh(&mut self) -> Fresh {
        std::mem::take(&mut self.fresh)
    }

    /// What asks can see of a pod.
    pub(crate) fn profile(&self, pod: &Pod) -> Profile {
        let own = self.own.get(&pod.key.namespace);
        let labels = pod.labels.iter().filter_map(|(key, value)| {
            let mentions = [self.everywhere.get(key), own.and_then(|keys| keys.get(key))];
            let named = mentions.iter().flatten().any(|mention| mention.values.contains_key(value));
            let seen = named || mentions.iter().flatten().any(|mention| mention.presence > 0);
            seen.then(|| (Arc::clone(key), named.then(|| Arc::clone(value))))
        });
        Profile { namespace: Arc::clone(&pod.key.namespace), labels: labels.collect(), ports: self.ports_of(pod) }
    }

    fn ports_of(&self, pod: &Pod) -> Vec<(PortName, u16)> {
        if self.ports.is_empty() {
            return Vec::new();
        }
        let named = pod.ports.iter().filter_map(|port| {
            let name = PortName { name: Arc::clone(port.name.as_ref()?), protocol: port.protocol };
            self.ports.contains_key(&name).then_some((name, port.number))
        });
        let mut ports: Vec<_> = named.collect();
        ports.sort();
        ports.dedup();
        ports
    }
}

fn namespace(scope: &Scope) -> Option<Arc<str>> {
    match scope {
        Scope::Own(namespace) => Some(Arc::clone(namespace)),
        Scope::Matching(_) => None,
    }
}

fn keys_mut<'k>(everywhere: &'k mut Keys, own: &'k mut HashMap<Arc<str>, Keys>, scope: &Scope) -> &'k mut Keys {
    match scope {
        Scope::Own(namespace) => own.entry(Arc::clone(namespace)).or_default(),
        Scope::Matching(_) => everywhere,
    }
}

/// The labels a selector can tell apart: a key with a value, or with `None` where it asks whether the key is there.
fn mentioned(selector: &Selector) -> Vec<Label> {
    let of = |requirement: &Requirement| match &requirement.operator {
        Operator::In(values) | Operator::NotIn(values) => {
            values.iter().map(|value| (Arc::clone(&requirement.key), Some(Arc::clone(value)))).collect()
        }
        Operator::Exists | Operator::DoesNotExist => vec![(Arc::clone(&requirement.key), None)],
    };
    selector.requirements().iter().flat_map(of).collect()
}

fn decrement<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
