//! What the policies don't say, and a reader of the answer should know.

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Identity, Party, node_of};

use crate::explain::side::Side;
use crate::explain::{Note, Participant, Path};

pub(super) fn notes(cluster: &Cluster, from: &Side<'_>, to: &Side<'_>, paths: &[Path]) -> Vec<Note> {
    let denied = paths.iter().any(|path| !path.verdict.is_allowed());
    let own_node = if denied { node_note(cluster, from, to) } else { None };
    own_node.into_iter().chain([from, to].into_iter().flat_map(|side| shared_notes(cluster, side))).collect()
}

/// A denied source that is an address of the pod's own node: what the node's processes send passes all the same.
fn node_note(cluster: &Cluster, address: &Side<'_>, pod: &Side<'_>) -> Option<Note> {
    let (Participant::Address(address), Identity::Pod(pod)) = (&address.participant, pod.identity) else { return None };
    let node = node_of(cluster, *address).filter(|node| pod.node.as_ref() == Some(*node))?;
    Some(Note::OwnNodeAddress { address: *address, node: node.clone() })
}

/// Addresses of a pod that other pods have as well, or instead.
fn shared_notes<'c>(cluster: &'c Cluster, side: &Side<'c>) -> impl Iterator<Item = Note> {
    let addresses = match side.identity {
        Identity::Pod(_) => &*side.addresses,
        Identity::Host(_) | Identity::Outside => &[],
    };
    let note = |&address: &_| match (Party::at(cluster, address), side.identity) {
        (Err(shared), _) => Some(Note::SharedAddress(shared)),
        (Ok(party), Identity::Pod(pod)) => party
            .pod()
            .filter(|owner| owner.key != pod.key)
            .map(|owner| Note::AddressTaken { address, of: pod.key.clone(), by: owner.key.clone() }),
        (Ok(_), Identity::Host(_) | Identity::Outside) => None,
    };
    addresses.iter().filter_map(note)
}
