//! Groups: addresses that no ask can tell apart.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::profiles::ProfileId;
use crate::compile::terms::GroupNumber;
use crate::id::Sequence;

/// What the addresses of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The profiles of the pods that have the address: nearly always one. Of several pods with one address nobody
    /// knows which is meant: see [`Fulfilled`](crate::compile::terms::Fulfilled).
    pub(crate) profiles: Vec<ProfileId>,
    /// The longest block or exception around the address.
    pub(crate) prefix: Option<IpNet>,
    /// The family: a block that comes makes all addresses of one family of a group go the same way.
    pub(crate) v6: bool,
}

/// Addresses and their groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    ids: HashMap<Key, GroupNumber>,
    groups: BTreeMap<GroupNumber, Group>,
    addresses: BTreeMap<IpAddr, GroupNumber>,
    sequence: Sequence<GroupNumber>,
}

#[derive(Debug)]
struct Group {
    key: Key,
    members: usize,
}

/// What became of addresses and groups.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Addresses with their new group, if any; each once.
    pub(crate) addresses: Vec<(IpAddr, Option<GroupNumber>)>,
    /// Groups that have another key now, with the key before.
    pub(crate) renamed: Vec<(GroupNumber, Key)>,
    /// New groups.
    pub(crate) made: Vec<GroupNumber>,
    /// Groups without members, with their keys.
    pub(crate) emptied: Vec<(GroupNumber, Key)>,
}

impl Groups {
    /// Gives addresses their keys; `None`: the address is no pod's any more. Where all members of a group go the same
    /// way the group goes with them, and no address moves.
    pub(crate) fn place(&mut self, keys: impl Iterator<Item = (IpAddr, Option<Key>)>) -> Moves {
        let mut moves = Moves::default();
        let mut apart = Vec::new();
        // Groups that go as a whole go first, so that others can join them.
        for (from, addresses) in self.by_group(keys) {
            match from.and_then(|group| Some((group, self.common_way(group, &addresses)?))) {
                Some((group, key)) => moves.renamed.push((group, self.rename(group, key))),
                None => apart.push((from, addresses)),
            }
        }
        for (from, addresses) in apart {
            self.scatter(from, addresses, &mut moves);
        }
        moves
    }

    /// What the members of a group have in common.
    pub(crate) fn key(&self, id: GroupNumber) -> Option<&Key> {
        self.groups.get(&id).map(|group| &group.key)
    }

    /// The addresses in a prefix.
    pub(crate) fn addresses_in(&self, prefix: IpNet) -> impl Iterator<Item = IpAddr> {
        self.addresses.range(prefix.network()..=prefix.broadcast()).map(|(&address, _)| address)
    }

    /// The addresses whose key changes, by the group they are in.
    fn by_group(
        &self,
        keys: impl Iterator<Item = (IpAddr, Option<Key>)>,
    ) -> BTreeMap<Option<GroupNumber>, Vec<(IpAddr, Option<Key>)>> {
        let mut by_group = BTreeMap::<_, Vec<_>>::new();
        for (address, key) in keys {
            let group = self.addresses.get(&address).copied();
            if group.map(|group| &self.groups[&group].key) != key.as_ref() {
                by_group.entry(group).or_default().push((address, key));
            }
        }
        by_group
    }

    /// The key that every member of a group gets, if it is one that no group has.
    fn common_way(&self, group: GroupNumber, addresses: &[(IpAddr, Option<Key>)]) -> Option<Key> {
        let key = addresses.first()?.1.as_ref()?;
        let all =
            addresses.len() == self.groups[&group].members && addresses.iter().all(|(_, it)| it.as_ref() == Some(key));
        (all && !self.ids.contains_key(key)).then(|| key.clone())
    }

    fn rename(&mut self, id: GroupNumber, key: Key) -> Key {
        let group = self.groups.get_mut(&id).expect("its addresses are in it");
        let before = std::mem::replace(&mut group.key, key.clone());
        self.ids.remove(&before);
        self.ids.insert(key, id);
        before
    }

    fn scatter(&mut self, from: Option<GroupNumber>, addresses: Vec<(IpAddr, Option<Key>)>, moves: &mut Moves) {
        let left = addresses.len();
        for (address, key) in addresses {
            let to = key.map(|key| self.join(key, moves));
            match to {
                Some(group) => self.addresses.insert(address, group),
                None => self.addresses.remove(&address),
            };
            moves.addresses.push((address, to));
        }
        if let Some(from) = from {
            self.leave(from, left, moves);
        }
    }

    fn leave(&mut self, id: GroupNumber, left: usize, moves: &mut Moves) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members -= left;
        if group.members == 0
            && let Some(group) = self.groups.remove(&id)
        {
            self.ids.remove(&group.key);
            moves.emptied.push((id, group.key));
        }
    }

    fn join(&mut self, key: Key, moves: &mut Moves) -> GroupNumber {
        if let Some(&id) = self.ids.get(&key) {
            self.groups.entry(id).and_modify(|group| group.members += 1);
            return id;
        }
        let id = self.sequence.take();
        self.ids.insert(key.clone(), id);
        self.groups.insert(id, Group { key, members: 1 });
        moves.made.push(id);
        id
    }
}
