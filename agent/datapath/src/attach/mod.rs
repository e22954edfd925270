//! Hangs the programs on interfaces, and finds again what a former start hung there.

mod clsact;
mod pinned;
mod request;
mod tcx;

pub(crate) use pinned::attach_pinned;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};

use podgate_common::Direction;

use crate::load::{Classifier, Programs};
use crate::pins::Pins;
use crate::{Error, Hook, sys};
use tcx::TakenOver;

/// The hooks of interfaces.
#[derive(Debug)]
pub(crate) struct Hooks {
    kind: HookKind,
    /// Whether a filter may judge until a link does.
    filters_first: bool,
    pins: Option<Pins>,
    links: BTreeMap<(u32, Direction), OwnedFd>,
    /// The interfaces that have filters of this start.
    filtered: BTreeSet<u32>,
    /// The interfaces whose clsact qdisc this start has made.
    qdiscs: BTreeSet<u32>,
    /// Hooks whose filter a link is to take the place of, and the program there.
    provisional: BTreeMap<(u32, Direction), Classifier>,
    /// Hooks with a link at which a filter was looked for, and none is left.
    unfiltered: BTreeSet<(u32, Direction)>,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HookKind {
    Tcx,
    Clsact,
}

impl Hooks {
    /// No hooks yet.
    pub(crate) fn new(hook: Hook, kernel_has_tcx: bool, pins: Option<Pins>) -> Self {
        let kind = match hook {
            Hook::Tcx => HookKind::Tcx,
            Hook::Auto if kernel_has_tcx => HookKind::Tcx,
            Hook::Auto | Hook::Clsact => HookKind::Clsact,
        };
        Self {
            kind,
            filters_first: hook == Hook::Auto,
            pins,
            links: BTreeMap::new(),
            filtered: BTreeSet::new(),
            qdiscs: BTreeSet::new(),
            provisional: BTreeMap::new(),
            unfiltered: BTreeSet::new(),
        }
    }

    /// What is used: never [`Hook::Auto`].
    pub(crate) const fn hook(&self) -> Hook {
        match self.kind {
            HookKind::Tcx => Hook::Tcx,
            HookKind::Clsact => Hook::Clsact,
        }
    }

    /// Makes a program the first at its hook, without a moment in which neither it nor another one of podgate's, of this
    /// start or a former one, is there. Where it is the first already, nothing changes; whether anything did.
    pub(crate) fn attach(&mut self, programs: &Programs, ifindex: u32, classifier: Classifier) -> Result<bool, Error> {
        match self.kind {
            HookKind::Tcx => self.attach_link(programs, ifindex, classifier),
            HookKind::Clsact => self.attach_filter(programs, ifindex, classifier),
        }
    }

    /// The same without a grace period of the kernel, which a new TCX link takes while the kernel's lock on its network
    /// configuration is held: where nobody has a TCX program, a filter does as well until [`Self::link`].
    pub(crate) fn attach_soon(
        &mut self,
        programs: &Programs,
        ifindex: u32,
        classifier: Classifier,
    ) -> Result<bool, Error> {
        let direction = classifier.direction();
        let place = (ifindex, direction);
        let is_linked = || self.links.contains_key(&place) || self.has_pinned_link(place);
        if self.kind == HookKind::Clsact || !self.filters_first || is_linked() {
            return self.attach(programs, ifindex, classifier);
        }
        // A TCX program runs before all filters, and may hide packets from them.
        let strangers = sys::tcx_programs(ifindex, direction);
        if !strangers.map_err(|error| failed(ifindex, direction, "looking", &error))?.is_empty() {
            return self.attach(programs, ifindex, classifier);
        }
        match self.put_filter_soon(programs, ifindex, classifier) {
            Ok(changed) => {
                self.provisional.insert(place, classifier);
                Ok(changed)
            }
            // Another qdisc or filter is in the way, which a link does not mind.
            Err(Error::Attach { .. }) => self.attach(programs, ifindex, classifier),
            Err(error) => Err(error),
        }
    }

    /// Puts a link in the place of one filter of an interface, if links are to take the place of some.
    pub(crate) fn link(&mut self, programs: &Programs, ifindex: u32) -> Result<(), Error> {
        let mut hooks = self.provisional.range((ifindex, Direction::Ingress)..=(ifindex, Direction::Egress));
        match hooks.next() {
            Some((_, &classifier)) => self.attach_link(programs, ifindex, classifier).map(drop),
            None => Ok(()),
        }
    }

    /// Whether links are to take the place of filters of an interface.
    pub(crate) fn is_provisional(&self, ifindex: u32) -> bool {
        Direction::ALL.into_iter().any(|direction| self.provisional.contains_key(&(ifindex, direction)))
    }

    fn has_pinned_link(&self, (ifindex, direction): (u32, Direction)) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.has_link(ifindex, direction))
    }

    fn attach_link(&mut self, programs: &Programs, ifindex: u32, classifier: Classifier) -> Result<bool, Error> {
        let direction = classifier.direction();
        let place = (ifindex, direction);
        if !self.links.contains_key(&place)
            && let Some(link) = self.pins.as_ref().and_then(|pins| pins.open_link(ifindex, direction))
        {
            self.links.insert(place, link);
        }
        let standing = match self.links.get(&place) {
            Some(former) => tcx::take_over(former, programs, ifindex, classifier)?,
            None => TakenOver::By(tcx::link_first(programs.get(classifier), ifindex, direction)?),
        };
        let mut changed = standing.is_change();
        if let TakenOver::By(link) = standing {
            self.pins.as_ref().map_or(Ok(()), |pins| pins.pin_link(ifindex, direction, link.as_fd()))?;
            if let Some(former) = self.links.insert(place, link) {
                tcx::detach(&former);
            }
        } else if let (Some(pins), Some(link)) = (&self.pins, self.links.get(&place))
            && !pins.has_link(ifindex, direction)
        {
            pins.pin_link(ifindex, direction, link.as_fd())?;
            changed = true;
        }
        self.drop_filter(ifindex, direction)?;
        Ok(changed)
    }

    /// Removes the filter that a link has taken the place of: this start's, or that of a former one.
    fn drop_filter(&mut self, ifindex: u32, direction: Direction) -> Result<(), Error> {
        let place = (ifindex, direction);
        if self.unfiltered.contains(&place) {
            return Ok(());
        }
        let marked = self.pins.as_ref().is_some_and(|pins| pins.is_filtered(ifindex));
        if marked || self.filtered.contains(&ifindex) {
            clsact::detach(ifindex, direction)?;
        }
        self.provisional.remove(&place);
        self.unfiltered.insert(place);
        if Direction::ALL.into_iter().all(|direction| self.unfiltered.contains(&(ifindex, direction))) {
            self.filtered.remove(&ifindex);
            self.pins.as_ref().map_or(Ok(()), |pins| pins.unmark_filtered(ifindex))?;
        }
        Ok(())
    }

    fn attach_filter(&mut self, programs: &Programs, ifindex: u32, classifier: Classifier) -> Result<bool, Error> {
        let changed = self.put_filter(programs, ifindex, classifier)?;
        self.drop_link(ifindex, classifier.direction())?;
        Ok(changed)
    }

    fn put_filter(&mut self, programs: &Programs, ifindex: u32, classifier: Classifier) -> Result<bool, Error> {
        self.note_filter((ifindex, classifier.direction()))?;
        clsact::attach_first(programs.get(classifier), classifier, ifindex)
    }

    /// The same with few requests, each of which waits for the kernel's lock on its network configuration: where the qdisc
    /// is of this start's making, ours is the first filter unless somebody does something about that, and the next call
    /// sees.
    fn put_filter_soon(&mut self, programs: &Programs, ifindex: u32, classifier: Classifier) -> Result<bool, Error> {
        let place = (ifindex, classifier.direction());
        if self.provisional.get(&place) == Some(&classifier) {
            return self.put_filter(programs, ifindex, classifier);
        }
        let made = self.qdiscs.contains(&ifindex) || clsact::make_qdisc(ifindex, classifier.direction())?;
        if made {
            self.qdiscs.insert(ifindex);
            self.note_filter(place)?;
            if clsact::attach_alone(programs.get(classifier), classifier, ifindex).is_ok() {
                return Ok(true);
            }
            self.qdiscs.remove(&ifindex);
        }
        self.put_filter(programs, ifindex, classifier)
    }

    /// Notes, before it is so, that a hook has a filter of ours.
    fn note_filter(&mut self, place: (u32, Direction)) -> Result<(), Error> {
        self.pins.as_ref().map_or(Ok(()), |pins| pins.mark_filtered(place.0))?;
        self.filtered.insert(place.0);
        self.unfiltered.remove(&place);
        Ok(())
    }

    /// Detaches and forgets a link, this start's or a former one's.
    fn drop_link(&mut self, ifindex: u32, direction: Direction) -> Result<(), Error> {
        let pinned = || self.pins.as_ref().and_then(|pins| pins.open_link(ifindex, direction));
        if let Some(link) = self.links.remove(&(ifindex, direction)).or_else(pinned) {
            tcx::detach(&link);
        }
        self.pins.as_ref().map_or(Ok(()), |pins| pins.unpin_link(ifindex, direction))
    }

    /// Takes the programs off an interface, which may be gone.
    pub(crate) fn detach(&mut self, ifindex: u32) -> Result<(), Error> {
        for direction in Direction::ALL {
            self.drop_link(ifindex, direction)?;
        }
        let marked = self.pins.as_ref().is_some_and(|pins| pins.is_filtered(ifindex));
        if self.filtered.remove(&ifindex) || marked {
            for direction in Direction::ALL {
                clsact::detach(ifindex, direction)?;
            }
        }
        for direction in Direction::ALL {
            self.provisional.remove(&(ifindex, direction));
            self.unfiltered.remove(&(ifindex, direction));
        }
        self.qdiscs.remove(&ifindex);
        let Some(pins) = &self.pins else { return Ok(()) };
        pins.unmark_filtered(ifindex)?;
        pins.unmark_qdisc(ifindex)
    }

    /// Takes former starts' programs off the interfaces that are no endpoints any more; returns which.
    pub(crate) fn finish_takeover(&mut self) -> Result<Vec<u32>, Error> {
        let Some(pins) = &self.pins else { return Ok(Vec::new()) };
        let mut pinned: BTreeSet<u32> = pins.linked_interfaces()?.into_iter().collect();
        pinned.extend(pins.filtered_interfaces()?);
        let ours = self.interfaces();
        let left: Vec<u32> = pinned.difference(&ours).copied().collect();
        for &ifindex in &left {
            self.detach(ifindex)?;
        }
        Ok(left)
    }

    /// Takes all programs of podgate off all interfaces, and removes the pins; which interfaces had some, and whether there
    /// were pins.
    pub(crate) fn remove_all(mut self) -> Result<(Vec<u32>, bool), Error> {
        let with_qdisc = self.pins.as_ref().map_or(Ok(Vec::new()), Pins::interfaces_with_qdisc)?;
        let interfaces = self.finish_takeover()?;
        with_qdisc.into_iter().try_for_each(clsact::remove_unused_qdisc)?;
        let pins = self.pins.as_ref().map_or(Ok(false), Pins::remove)?;
        Ok((interfaces, pins))
    }

    /// The interfaces with hooks of this start.
    pub(crate) fn interfaces(&self) -> BTreeSet<u32> {
        self.links.keys().map(|&(ifindex, _)| ifindex).chain(self.filtered.iter().copied()).collect()
    }
}

/// Where a program of ours stands at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    First,
    /// Others run before it.
    Behind,
    /// It is not there: the interface is gone, and its index perhaps another's now, or it is one of another network
    /// namespace; or somebody has taken off what was there.
    Absent,
}

impl Standing {
    /// Where a program stands among those at a hook, in the order in which they run.
    fn among(programs: impl IntoIterator<Item = Option<u32>>, ours: u32) -> Self {
        match programs.into_iter().position(|program| program == Some(ours)) {
            Some(0) => Self::First,
            Some(_) => Self::Behind,
            None => Self::Absent,
        }
    }

    /// What to say of a program that was just put first, unless it is. `behind`: what others that stand before it are, at a
    /// hook. Only who is there is accused: interfaces go with their pods at any moment.
    fn must_be_first(self, ifindex: u32, direction: Direction, behind: fn(&str) -> String) -> Result<(), Error> {
        let hook = hook_name(direction);
        let reason = match self {
            Self::First => return Ok(()),
            Self::Behind => behind(hook),
            Self::Absent => format!(
                "podgate's program was put at its {hook} hook and is not there: the interface went away, or into another \
                 network namespace, or the hook was cleared"
            ),
        };
        Err(Error::Attach { ifindex, reason })
    }
}

fn failed(ifindex: u32, direction: Direction, action: &str, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => Error::Gone { ifindex },
        _ => Error::Attach { ifindex, reason: format!("{action} at the {} hook: {error}", hook_name(direction)) },
    }
}

/// The TC hook at which a direction's packets are seen.
const fn hook_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "egress",
        Direction::Egress => "ingress",
    }
}

/// The ids of the programs at a hook, in the order in which they run.
pub(crate) fn programs_at(hook: Hook, ifindex: u32, direction: Direction) -> Result<Vec<u32>, Error> {
    match hook {
        Hook::Auto | Hook::Tcx => {
            sys::tcx_programs(ifindex, direction).map_err(|error| failed(ifindex, direction, "looking", &error))
        }
        Hook::Clsact => clsact::programs(ifindex, direction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_accused_only_where_it_stands_before_ours() {
        let said = |programs: &[u32]| {
            let standing = Standing::among(programs.iter().copied().map(Some), 7);
            let behind = |hook: &str| format!("something is first at the {hook} hook");
            standing.must_be_first(3, Direction::Ingress, behind).map_err(|error| error.to_string())
        };
        let interface = "can't attach to the interface with index 3:";
        let accused = format!("{interface} something is first at the egress hook");
        let absent = format!(
            "{interface} podgate's program was put at its egress hook and is not there: the interface went away, or into \
             another network namespace, or the hook was cleared"
        );
        assert_eq!([said(&[7]), said(&[7, 9]), said(&[9, 7])], [Ok(()), Ok(()), Err(accused)]);
        assert_eq!([said(&[]), said(&[9])], [Err(absent.clone()), Err(absent)]);
    }

    #[test]
    fn tcx_is_used_where_the_kernel_has_it_unless_told_otherwise() {
        let used = |hook, kernel_has_tcx| Hooks::new(hook, kernel_has_tcx, None).hook();
        assert_eq!([used(Hook::Auto, true), used(Hook::Auto, false)], [Hook::Tcx, Hook::Clsact]);
        assert_eq!([used(Hook::Tcx, true), used(Hook::Clsact, true)], [Hook::Tcx, Hook::Clsact]);
    }
}
