//! Addresses, groups and blocks: which class an address has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::{Delta, Fulfilled, GroupNumber};
use crate::id::{ClassId, GroupId};
use crate::op::{Entry, Key, Op};
use crate::tables::ids::Ids;
use crate::tables::image::{Image, Put};
use crate::tables::policies::Policies;
use crate::tables::{Limits, Table};

/// More addresses than this are not named one by one when their flows must be judged again: there are not many more
/// counters behind [`Op::Invalidate`].
const NAMED: usize = 1024;

/// Addresses, groups and blocks.
#[derive(Debug)]
pub(crate) struct Peers {
    limits: [usize; 2],
    groups: BTreeMap<GroupNumber, Group>,
    homes: BTreeMap<IpAddr, GroupNumber>,
    /// Addresses that have a group but no room.
    left_out: BTreeSet<IpAddr>,
    /// Groups that have no place in the kernel's array.
    unplaced: BTreeSet<GroupNumber>,
    by_place: BTreeMap<GroupId, GroupNumber>,
    places: Ids<GroupId>,
    /// Groups by address, IPv4 and IPv6.
    addresses: [Image<IpAddr, GroupId>; 2],
    /// Classes by the kernel's id of a group.
    classes: Image<GroupId, ClassId>,
    /// Classes by block, IPv4 and IPv6.
    blocks: [Image<IpNet, ClassId>; 2],
}

#[derive(Debug)]
struct Group {
    /// Its id in the kernel, if there was one left.
    place: Option<GroupId>,
    class: ClassId,
    members: BTreeSet<IpAddr>,
}

impl Peers {
    /// Empty tables.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: [limits.addresses4 as usize, limits.addresses6 as usize],
            groups: BTreeMap::new(),
            homes: BTreeMap::new(),
            left_out: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            by_place: BTreeMap::new(),
            places: Ids::new(limits.groups),
            addresses: Default::default(),
            classes: Image::default(),
            blocks: Default::default(),
        }
    }

    /// Takes what is wanted.
    pub(crate) fn stage(&mut self, delta: Delta, policies: &mut Policies) {
        for (block, fulfilled) in delta.blocks {
            self.stage_block(block, fulfilled.as_ref(), policies);
        }
        let mut touched: Vec<_> = std::mem::take(&mut self.left_out).into_iter().collect();
        let left = self.move_members(&delta.addresses, &mut touched);
        for (id, fulfilled) in delta.groups {
            match fulfilled {
                Some(fulfilled) => self.stage_group(id, &fulfilled, left.contains(&id), &mut touched, policies),
                None => self.remove_group(id, policies),
            }
        }
        touched.extend(self.place_groups());
        touched.sort_unstable();
        touched.dedup();
        self.stage_addresses(&touched);
    }

    /// Writes blocks, groups and addresses, and after each what must be judged again for it. Of blocks nothing must:
    /// an ask that comes or goes with its blocks is asked by no endpoint then, and to all others the addresses of the
    /// block are what they were.
    pub(crate) fn write(&mut self, policies: &mut Policies, ops: &mut Vec<Op>) {
        self.write_blocks(policies, ops);
        let start = ops.len();
        let before = self.write_groups(policies, ops);
        self.write_addresses(&before, policies, ops);
        self.classes.deletes();
        shorten_invalidations(ops, start);
    }

    /// Writes blocks: first those that mean something else than before, so that nothing in them is taken for more when what
    /// was an exception goes; then those that go, so that there is room for those that come.
    fn write_blocks(&mut self, policies: &mut Policies, ops: &mut Vec<Op>) {
        let puts = self.blocks.iter_mut().flat_map(Image::puts);
        let (changed, new): (Vec<_>, Vec<_>) = puts.partition(|put| put.before.is_some());
        let mut write = |put: Put<IpNet, ClassId>| {
            policies.mark_written(put.value);
            Op::Write(Entry::Block { block: put.key, class: put.value })
        };
        ops.extend(changed.into_iter().map(&mut write));
        let gone = self.blocks.iter_mut().flat_map(Image::deletes);
        ops.extend(gone.map(|(block, _)| Op::Delete(Key::Block { block })));
        ops.extend(new.into_iter().map(&mut write));
    }

    /// The ids of groups that were given back can be given out again.
    pub(crate) fn thaw(&mut self) {
        self.places.thaw();
    }

    /// Whether ids of groups are short for want of a grace period.
    pub(crate) fn wants_thaw(&self) -> bool {
        self.places.wants_thaw() || (self.lacks_places() && self.places.has_frozen())
    }

    /// Whether some groups have no place.
    pub(crate) fn lacks_places(&self) -> bool {
        !self.unplaced.is_empty()
    }

    /// How many addresses are left out, by the table that has no room for them.
    pub(crate) fn left_out(&self) -> BTreeMap<Table, usize> {
        let mut tables = BTreeMap::new();
        for address in &self.left_out {
            let placed = self.homes.get(address).is_some_and(|home| self.groups[home].place.is_some());
            let table = match (placed, address.is_ipv4()) {
                (false, _) => Table::Groups,
                (true, true) => Table::Addresses4,
                (true, false) => Table::Addresses6,
            };
            *tables.entry(table).or_default() += 1;
        }
        tables
    }

    /// Entries in use.
    pub(crate) fn used(&self, table: Table) -> usize {
        match table {
            Table::Addresses4 => self.addresses[0].wanted_len(),
            Table::Addresses6 => self.addresses[1].wanted_len(),
            Table::Groups => self.places.used(),
            Table::Blocks4 => self.blocks[0].wanted_len(),
            Table::Blocks6 => self.blocks[1].wanted_len(),
            _ => 0,
        }
    }

    /// Groups of the kernel by address.
    pub(crate) fn held_addresses(&self) -> impl Iterator<Item = (IpAddr, GroupId)> {
        self.addresses.iter().flat_map(Image::held)
    }

    /// Classes by group of the kernel.
    pub(crate) fn held_groups(&self) -> impl Iterator<Item = (GroupId, ClassId)> {
        self.classes.held()
    }

    /// Classes by block.
    pub(crate) fn held_blocks(&self) -> impl Iterator<Item = (IpNet, ClassId)> {
        self.blocks.iter().flat_map(Image::held)
    }

    fn stage_block(&mut self, block: IpNet, fulfilled: Option<&Fulfilled>, policies: &mut Policies) {
        let blocks = &mut self.blocks[usize::from(matches!(block, IpNet::V6(_)))];
        let before = blocks.wanted(block);
        match fulfilled {
            Some(fulfilled) => blocks.set(block, policies.hold_class(fulfilled)),
            None => blocks.unset(block),
        }
        if let Some(class) = before {
            policies.release_class(class);
        }
    }

    /// Notes who is where. Returns the groups that the kernel's table has members of who left.
    fn move_members(
        &mut self,
        addresses: &[(IpAddr, Option<GroupNumber>)],
        touched: &mut Vec<IpAddr>,
    ) -> BTreeSet<GroupNumber> {
        let mut left = BTreeSet::new();
        for &(address, to) in addresses {
            let from = match to {
                Some(to) => self.homes.insert(address, to),
                None => self.homes.remove(&address),
            };
            if let Some((from, group)) = from.and_then(|from| Some((from, self.groups.get_mut(&from)?))) {
                group.members.remove(&address);
                left.insert(from);
            }
            if let Some(to) = to {
                self.enter(to, address);
            }
            touched.push(address);
        }
        left
    }

    fn enter(&mut self, id: GroupNumber, address: IpAddr) {
        let unplaced = &mut self.unplaced;
        let group = self.groups.entry(id).or_insert_with(|| {
            unplaced.insert(id);
            Group { place: None, class: ClassId::NONE, members: BTreeSet::new() }
        });
        group.members.insert(address);
    }

    /// Gives a group its class. If that changes while addresses leave the group, those who stay get a new place too:
    /// whoever is on the way to the old place must find the old class there, and those who leave must not find the new.
    fn stage_group(
        &mut self,
        id: GroupNumber,
        fulfilled: &Fulfilled,
        left: bool,
        touched: &mut Vec<IpAddr>,
        policies: &mut Policies,
    ) {
        let class = policies.hold_class(fulfilled);
        let Some(group) = self.groups.get_mut(&id) else { return policies.release_class(class) };
        let before = std::mem::replace(&mut group.class, class);
        if let Some(place) = group.place {
            let known = self.classes.kernel(place);
            if left && known.is_some_and(|known| !policies.alike(known, class)) {
                group.place = None;
                self.unplaced.insert(id);
                self.vacate(place);
                touched.extend(&self.groups[&id].members);
            } else {
                self.classes.set(place, class);
            }
        }
        policies.release_class(before);
    }

    fn remove_group(&mut self, id: GroupNumber, policies: &mut Policies) {
        let Some(group) = self.groups.remove(&id) else { return };
        self.unplaced.remove(&id);
        if let Some(place) = group.place {
            self.vacate(place);
        }
        policies.release_class(group.class);
    }

    fn vacate(&mut self, place: GroupId) {
        self.classes.unset(place);
        self.by_place.remove(&place);
        self.places.give_back(place);
    }

    /// Gives places to the groups that have none. Returns the addresses for which something may have changed by that.
    fn place_groups(&mut self) -> Vec<IpAddr> {
        let mut touched = Vec::new();
        while let Some(id) = self.unplaced.pop_first() {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(place) = self.places.take() else {
                self.unplaced.insert(id);
                break;
            };
            group.place = Some(place);
            self.classes.set(place, group.class);
            self.by_place.insert(place, id);
            touched.extend(&group.members);
        }
        touched
    }

    fn stage_addresses(&mut self, touched: &[IpAddr]) {
        let place = |address: &IpAddr| self.homes.get(address).and_then(|home| self.groups[home].place);
        let (here, gone): (Vec<_>, Vec<_>) =
            touched.iter().map(|&address| (address, place(&address))).partition(|(_, place)| place.is_some());
        for (address, _) in gone {
            self.addresses[family(address)].unset(address);
            if self.homes.contains_key(&address) {
                self.left_out.insert(address);
            }
        }
        for (address, place) in here {
            let Some(place) = place else { continue };
            let (addresses, limit) = (&mut self.addresses[family(address)], self.limits[family(address)]);
            // Those that go are deleted before those that come are written.
            if addresses.wanted_len() < limit || addresses.wanted(address).is_some() {
                addresses.set(address, place);
            } else {
                self.left_out.insert(address);
            }
        }
    }

    /// Writes groups. Returns the classes that they had before.
    fn write_groups(&mut self, policies: &mut Policies, ops: &mut Vec<Op>) -> BTreeMap<GroupId, ClassId> {
        let mut replaced = BTreeMap::new();
        for put in self.classes.puts() {
            policies.mark_written(put.value);
            ops.push(Op::Write(Entry::Group { group: put.key, class: put.value }));
            let Some(before) = put.before else { continue };
            replaced.insert(put.key, before);
            if policies.takes_away(before, put.value) {
                ops.extend(self.members_at(put.key).map(|address| Op::Invalidate { address }));
            }
        }
        replaced
    }

    /// Writes addresses, first those that go, so that there is room for those that come. The group of one that is new fulfils
    /// whatever the blocks around it do: it loses only what is denied to such a group.
    fn write_addresses(&mut self, replaced: &BTreeMap<GroupId, ClassId>, policies: &Policies, ops: &mut Vec<Op>) {
        let classes = &self.classes;
        let before = |place| replaced.get(&place).copied().or_else(|| classes.kernel(place)).unwrap_or(ClassId::NONE);
        for (address, place) in self.addresses.iter_mut().flat_map(Image::deletes) {
            ops.push(Op::Delete(Key::Address { address }));
            ops.extend(policies.takes_away(before(place), ClassId::NONE).then_some(Op::Invalidate { address }));
        }
        for put in self.addresses.iter_mut().flat_map(Image::puts) {
            let (address, group) = (put.key, put.value);
            ops.push(Op::Write(Entry::Address { address, group }));
            let class = classes.kernel(group).unwrap_or(ClassId::NONE);
            let loses = policies.takes_away(put.before.map_or(ClassId::NONE, before), class);
            ops.extend(loses.then_some(Op::Invalidate { address }));
        }
    }

    /// The addresses that the kernel has in a group.
    fn members_at(&self, place: GroupId) -> impl Iterator<Item = IpAddr> {
        let group = self.by_place.get(&place).and_then(|id| self.groups.get(id));
        let members = group.into_iter().flat_map(|group| group.members.iter().copied());
        members.filter(move |&address| self.addresses[family(address)].kernel(address) == Some(place))
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Replaces the invalidations since `start` by one of everything where they are too many.
fn shorten_invalidations(ops: &mut Vec<Op>, start: usize) {
    let is_named = |op: &Op| matches!(op, Op::Invalidate { .. });
    if ops[start..].iter().filter(|op| is_named(op)).count() > NAMED {
        ops.retain(|op| !is_named(op));
        ops.push(Op::InvalidateAll);
    }
}
