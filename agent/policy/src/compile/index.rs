//! Every pod of the cluster as active asks see it: the one place where peers, profiles, blocks and groups meet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::compile::blocks::{Blocks, Touched};
use crate::compile::groups::{Groups, Key, Moves};
use crate::compile::mentions::Mentions;
use crate::compile::peers::{PeerId, Peers};
use crate::compile::profiles::{Profile, ProfileId, Profiles};
use crate::compile::scopes::Scopes;
use crate::compile::terms::{Ask, AskId, Atom, Atoms, Fulfilled, GroupNumber, Who};
use crate::id::{Sequence, id};
use crate::model::{Namespace, ObjectKey, Pod};

/// Pods, namespaces and active asks, and what follows from them for addresses.
#[derive(Debug, Default)]
pub(crate) struct Index {
    active: BTreeMap<AskId, Arc<Ask>>,
    peers: Peers,
    scopes: Scopes,
    mentions: Mentions,
    blocks: Blocks,
    profiles: Profiles,
    groups: Groups,
    pods: BTreeMap<ObjectKey, Known>,
    /// What each pod that has an address says of it.
    claims: BTreeMap<(IpAddr, PodId), Claim>,
    pod_ids: Sequence<PodId>,
    dirty: Dirty,
}

id! {
    /// Tells pods with the same address apart. Given out by [`Index`], never again.
    struct PodId(u32);
}

/// A pod of the pod network that has an address.
#[derive(Debug)]
struct Known {
    id: PodId,
    pod: Arc<Pod>,
    profile: ProfileId,
}

/// A pod's claim to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    profile: ProfileId,
    /// It counts only as long as no pod that is not terminating has the address.
    terminating: bool,
}

/// What must be looked at again.
#[derive(Debug, Default)]
struct Dirty {
    peers: Vec<PeerId>,
    addresses: Vec<IpAddr>,
    profiles: BTreeSet<ProfileId>,
    blocks: Touched,
}

/// What changed for addresses.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Addresses with their new group, if any; each once.
    pub(crate) addresses: Vec<(IpAddr, Option<GroupNumber>)>,
    /// Groups with what they fulfil; `None`: no address is in it any more.
    pub(crate) groups: BTreeMap<GroupNumber, Option<Fulfilled>>,
    /// Prefixes with what their addresses fulfil; `None`: the prefix is none of any block.
    pub(crate) blocks: BTreeMap<IpNet, Option<Fulfilled>>,
}

impl Index {
    /// Begins to compare peers with an ask.
    pub(crate) fn activate(&mut self, id: AskId, ask: Arc<Ask>) {
        if let Some(port) = &ask.port {
            self.mentions.add_port(port);
        }
        for who in ask.peers.iter() {
            let (peer, new) = self.peers.insert(who, id, &mut self.scopes);
            match who {
                Who::Pods { scope, pods } if new => {
                    self.mentions.add_pods(scope, pods);
                    self.dirty.peers.push(peer);
                }
                Who::Block(block) if new => self.blocks.insert(peer, block, &mut self.dirty.blocks),
                Who::Pods { .. } => self.dirty.profiles.extend(&self.peers.get(peer).profiles),
                Who::Block(block) => self.blocks.touch(block, &mut self.dirty.blocks),
            }
        }
        self.active.insert(id, ask);
    }

    /// Ends comparing peers with an ask.
    pub(crate) fn deactivate(&mut self, id: AskId, ask: &Ask) {
        self.active.remove(&id);
        if let Some(port) = &ask.port {
            self.mentions.remove_port(port);
        }
        for who in ask.peers.iter() {
            let (peer, gone) = self.peers.remove(who, id, &mut self.scopes);
            match (who, gone) {
                (Who::Pods { scope, pods }, Some(gone)) => {
                    self.mentions.remove_pods(scope, pods);
                    self.unlink(peer, &gone.profiles);
                }
                (Who::Block(block), Some(_)) => self.blocks.remove(peer, block, &mut self.dirty.blocks),
                (Who::Pods { .. }, None) => self.dirty.profiles.extend(&self.peers.get(peer).profiles),
                (Who::Block(block), None) => self.blocks.touch(block, &mut self.dirty.blocks),
            }
        }
    }

    /// Compares new peers with the pods that are known. To be called after a round of activations.
    pub(crate) fn meet(&mut self) {
        for key in self.newly_told_apart() {
            self.profile_again(&key);
        }
        for peer in std::mem::take(&mut self.dirty.peers) {
            for profile in self.in_scope(peer) {
                if self.peers.selects(peer, &self.profiles.get(profile).profile) {
                    self.link(peer, profile);
                }
            }
        }
    }

    /// Takes a namespace's state, `None` if it is gone.
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, namespace: Option<&Arc<Namespace>>) {
        if !self.scopes.set_namespace(name, namespace) {
            return;
        }
        for profile in self.profiles.of_namespace(name) {
            let matching = self.peers.matching(&self.profiles.get(profile).profile, &self.scopes);
            let before = std::mem::take(&mut self.profiles.state(profile).peers);
            for &peer in before.difference(&matching) {
                self.peers.get_mut(peer).map(|state| state.profiles.remove(&profile));
            }
            for &peer in &matching {
                self.link(peer, profile);
            }
            self.dirty.profiles.insert(profile);
        }
    }

    /// Takes a pod's state, `None` if it is gone.
    pub(crate) fn set_pod(&mut self, key: &ObjectKey, pod: Option<&Arc<Pod>>) {
        let pod = pod.filter(|pod| pod.is_networked() && !pod.addresses.is_empty());
        if self.pods.get(key).map(|known| &known.pod) == pod {
            return;
        }
        let profile = pod.map(|pod| self.hold_profile(self.mentions.profile(pod)));
        let before = self.pods.remove(key);
        if let Some(known) = &before {
            self.claim(known, None);
            self.profiles.release(known.profile);
        }
        if let (Some(pod), Some(profile)) = (pod, profile) {
            let id = before.map_or_else(|| self.pod_ids.take(), |known| known.id);
            let known = Known { id, pod: Arc::clone(pod), profile };
            self.claim(&known, Some(profile));
            self.pods.insert(key.clone(), known);
        }
    }

    /// Looks at every pod anew, so that those that are no longer told apart come together.
    pub(crate) fn coarsen(&mut self) {
        for key in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.profile_again(&key);
        }
    }

    /// Brings groups up to date. Returns what changed since the last call.
    pub(crate) fn settle(&mut self) -> Delta {
        let mut dirty = std::mem::take(&mut self.dirty);
        for &prefix in &dirty.blocks.moved {
            dirty.addresses.extend(self.groups.addresses_in(prefix));
        }
        dirty.addresses.sort_unstable();
        dirty.addresses.dedup();
        let moves = self.place(&dirty.addresses);
        let mut groups: BTreeSet<_> =
            moves.made.iter().chain(moves.renamed.iter().map(|(id, _)| id)).copied().collect();
        self.file(&moves);
        groups.extend(dirty.profiles.iter().flat_map(|&profile| &self.profiles.get(profile).groups));
        let nodes = dirty.blocks.changed.iter().filter_map(|&prefix| self.blocks.get(prefix));
        groups.extend(nodes.flat_map(|node| &node.groups));
        self.forget_profiles();
        let emptied = moves.emptied.iter().map(|&(id, _)| (id, None));
        let changed = groups.into_iter().filter_map(|id| Some((id, Some(self.fulfilled(self.groups.key(id)?)))));
        Delta {
            groups: changed.chain(emptied).collect(),
            addresses: moves.addresses,
            blocks: dirty.blocks.changed.iter().map(|&prefix| (prefix, self.block_fulfilled(prefix))).collect(),
        }
    }

    /// The pods that have something newly mentioned.
    fn newly_told_apart(&mut self) -> Vec<ObjectKey> {
        let fresh = self.mentions.take_fresh();
        let concerned = |(key, known): (&ObjectKey, &Known)| fresh.concerns(&known.pod).then(|| key.clone());
        if fresh.everywhere() {
            return self.pods.iter().filter_map(concerned).collect();
        }
        let of = |namespace: Arc<str>| {
            let start = ObjectKey { namespace: Arc::clone(&namespace), name: Arc::from("") };
            self.pods.range(start..).take_while(move |(key, _)| key.namespace == namespace)
        };
        fresh.namespaces().into_iter().flat_map(of).filter_map(concerned).collect()
    }

    fn profile_again(&mut self, key: &ObjectKey) {
        let Some(known) = self.pods.get(key) else { return };
        let (before, pod) = (known.profile, Arc::clone(&known.pod));
        let profile = self.hold_profile(self.mentions.profile(&pod));
        self.profiles.release(before);
        if profile != before
            && let Some(mut known) = self.pods.remove(key)
        {
            known.profile = profile;
            self.claim(&known, Some(profile));
            self.pods.insert(key.clone(), known);
        }
    }

    fn hold_profile(&mut self, profile: Profile) -> ProfileId {
        let (id, new) = self.profiles.hold(profile);
        if new {
            for peer in self.peers.matching(&self.profiles.get(id).profile, &self.scopes) {
                self.link(peer, id);
            }
        }
        id
    }

    fn link(&mut self, peer: PeerId, profile: ProfileId) {
        self.profiles.state(profile).peers.insert(peer);
        self.peers.get_mut(peer).map(|state| state.profiles.insert(profile));
        self.dirty.profiles.insert(profile);
    }

    fn unlink(&mut self, peer: PeerId, profiles: &BTreeSet<ProfileId>) {
        for &profile in profiles {
            self.profiles.state(profile).peers.remove(&peer);
            self.dirty.profiles.insert(profile);
        }
    }

    /// The profiles in the namespaces that a peer which selects pods speaks of.
    fn in_scope(&self, peer: PeerId) -> Vec<ProfileId> {
        let Some(scope) = self.peers.get(peer).scope else { return Vec::new() };
        if let Some(namespace) = self.scopes.only(scope) {
            return self.profiles.of_namespace(namespace);
        }
        let namespaces = self.profiles.namespaces().filter(|namespace| self.scopes.contains(scope, namespace));
        namespaces.flat_map(|namespace| self.profiles.of_namespace(namespace)).collect()
    }

    fn claim(&mut self, known: &Known, profile: Option<ProfileId>) {
        for &address in &known.pod.addresses {
            match profile {
                Some(profile) => {
                    let terminating = known.pod.terminating;
                    self.claims.insert((address, known.id), Claim { profile, terminating })
                }
                None => self.claims.remove(&(address, known.id)),
            };
            self.dirty.addresses.push(address);
        }
    }

    fn place(&mut self, addresses: &[IpAddr]) -> Moves {
        let (claims, blocks) = (&self.claims, &self.blocks);
        let key = |address: IpAddr| {
            let claims = claims.range((address, PodId(0))..=(address, PodId(u32::MAX))).map(|(_, &claim)| claim);
            let last = claims.clone().all(|claim| claim.terminating);
            let counting = claims.filter(|claim| claim.terminating == last);
            let mut profiles: Vec<_> = counting.map(|claim| claim.profile).collect();
            profiles.sort_unstable();
            profiles.dedup();
            (!profiles.is_empty()).then(|| Key { profiles, prefix: blocks.longest(address), v6: address.is_ipv6() })
        };
        self.groups.place(addresses.iter().map(|&address| (address, key(address))))
    }

    /// Notes at profiles and prefixes which groups have them.
    fn file(&mut self, moves: &Moves) {
        for (id, key) in moves.renamed.iter().chain(&moves.emptied) {
            for &profile in &key.profiles {
                self.profiles.state(profile).groups.remove(id);
            }
            key.prefix.and_then(|prefix| self.blocks.groups_mut(prefix)).map(|groups| groups.remove(id));
        }
        for &id in moves.renamed.iter().map(|(id, _)| id).chain(&moves.made) {
            let Some(key) = self.groups.key(id) else { continue };
            for &profile in &key.profiles {
                self.profiles.state(profile).groups.insert(id);
            }
            key.prefix.and_then(|prefix| self.blocks.groups_mut(prefix)).map(|groups| groups.insert(id));
        }
    }

    fn forget_profiles(&mut self) {
        for (profile, peers) in self.profiles.take_idle() {
            for peer in peers {
                self.peers.get_mut(peer).map(|state| state.profiles.remove(&profile));
            }
        }
    }

    /// What the addresses of a group fulfil.
    fn fulfilled(&self, key: &Key) -> Fulfilled {
        let around = key.prefix.and_then(|prefix| self.blocks.get(prefix)).map(|node| &node.peers);
        Fulfilled::by(key.profiles.iter().map(|&profile| self.profile_atoms(profile, around)).collect())
    }

    fn profile_atoms(&self, profile: ProfileId, around: Option<&BTreeSet<PeerId>>) -> Vec<Atom> {
        let state = self.profiles.get(profile);
        let mut atoms = Vec::new();
        for &id in state.peers.iter().chain(around.into_iter().flatten()).flat_map(|&peer| &self.peers.get(peer).asks) {
            match &self.active[&id].port {
                None => atoms.push(Atom { ask: id, number: 0 }),
                Some(port) => {
                    let numbers = state.profile.ports.iter().filter(|(name, _)| name == port);
                    atoms.extend(numbers.map(|&(_, number)| Atom { ask: id, number }));
                }
            }
        }
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    /// What the addresses fulfil whose longest prefix this is and that are no pod's: they serve no named port.
    fn block_fulfilled(&self, prefix: IpNet) -> Option<Fulfilled> {
        let asks = self.blocks.get(prefix)?.peers.iter().flat_map(|&peer| &self.peers.get(peer).asks);
        let portless = asks.filter(|id| self.active[id].port.is_none());
        let atoms: BTreeSet<_> = portless.map(|&ask| Atom { ask, number: 0 }).collect();
        Some(Fulfilled::from(atoms.into_iter().collect::<Atoms>()))
    }
}
