//! What the fuzz targets reach of the API's source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use kube::core::WatchEvent;
use podgate_policy::cluster::Cluster;

use super::collector::Collector;
use super::received::{Keeps, Read, Received, Whole};
use super::watch::{Seen, converted};
use crate::cluster_policies::ClusterPolicies;
use crate::convert::Strings;
use crate::object::{Kind, ObjectRef};

/// Feeds what watches see to an empty state: in each line a digit for the kind, and an event as the API server sends
/// it, or
/// `list` or `listed` where a list begins or is complete.
///
/// # Panics
/// A policy that was applied and not deleted isolates nobody, or one that was deleted does. Or the changes that are
/// published step by step make another cluster than those that are published at once.
pub fn events(bytes: &[u8]) {
    let [mut stepwise, mut at_once] = [(); 2].map(|()| Collector::new(&Kind::ALL, "node", ClusterPolicies::Auto));
    let (mut strings, mut cluster, mut expected) = (Strings::default(), Cluster::default(), Policies::default());
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((digit, line)) = line.split_first() else { continue };
        let kind = Kind::ALL[usize::from(*digit) % Kind::ALL.len()];
        let Some(seen) = seen(kind, line, expected.lists.contains_key(&kind), &mut strings) else { continue };
        expected.observe(kind, &seen);
        at_once.observe(kind, seen.clone(), SystemTime::UNIX_EPOCH);
        stepwise.observe(kind, seen, SystemTime::UNIX_EPOCH);
        for change in stepwise.take_update() {
            change.apply_to(&mut cluster);
        }
        let in_force: BTreeSet<_> = cluster.policies.keys().cloned().map(ObjectRef::Policy).collect();
        assert_eq!(in_force, expected.in_force);
    }
    let mut published = Cluster::default();
    for change in at_once.take_update() {
        change.apply_to(&mut published);
    }
    assert_eq!(cluster, published);
}

/// What a line stands for, where a list is being read or not.
fn seen(kind: Kind, line: &[u8], listing: bool, strings: &mut Strings) -> Option<Seen> {
    match line {
        b"list" => Some(Seen::Listing),
        b"listed" => listing.then_some(Seen::ListedAll),
        event if matches!(kind, Kind::NetworkPolicy | Kind::ClusterNetworkPolicy) => {
            event_seen::<Whole>(kind, event, listing, strings)
        }
        event => event_seen::<Read>(kind, event, listing, strings),
    }
}

fn event_seen<K: Keeps>(kind: Kind, event: &[u8], listing: bool, strings: &mut Strings) -> Option<Seen> {
    match serde_json::from_slice::<WatchEvent<Received<K>>>(event).ok()? {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let (reference, converted) = converted(kind, &object, strings);
            Some(if listing { Seen::Listed(reference, converted) } else { Seen::Applied(reference, converted) })
        }
        WatchEvent::Deleted(object) => (!listing).then(|| Seen::Deleted(object.reference(kind))),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    }
}

/// The policies that must be in force, by a reader that does not look into them.
#[derive(Default)]
struct Policies {
    in_force: BTreeSet<ObjectRef>,
    /// Those of lists that are not complete.
    lists: BTreeMap<Kind, BTreeSet<ObjectRef>>,
}

impl Policies {
    fn observe(&mut self, kind: Kind, seen: &Seen) {
        match seen {
            Seen::Listing => drop(self.lists.insert(kind, BTreeSet::new())),
            Seen::Listed(reference, _) => self.lists.entry(kind).or_default().extend(policy(reference)),
            Seen::ListedAll => {
                let listed = self.lists.remove(&kind).unwrap_or_default();
                if kind == Kind::NetworkPolicy {
                    self.in_force = listed;
                }
            }
            Seen::Applied(reference, _) => self.in_force.extend(policy(reference)),
            Seen::Deleted(reference) => drop(self.in_force.remove(reference)),
            Seen::Failed(_) | Seen::Recovered | Seen::Served | Seen::Absent => {}
            Seen::Unserved(_) | Seen::Unreadable(_) | Seen::Counted(_) => {}
        }
    }
}

fn policy(reference: &ObjectRef) -> Option<ObjectRef> {
    (reference.kind() == Kind::NetworkPolicy).then(|| reference.clone())
}
