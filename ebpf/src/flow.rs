//! Flows: which packets need no verdict of their own, and which verdict decides for the others.

use podgate_common::{
    Direction, Flow, Reason, Stamp, Tag, VERDICT_AUDITED, VERDICT_DEFERRED, VERDICT_NONE, VERDICT_RULE_AUDITED,
    deferring, protocol, state,
};

use crate::classes::{class, deferring_of};
use crate::clock;
use crate::endpoint::is_isolated;
use crate::family::Family;
use crate::maps;
use crate::rules::{self, tcp};
use crate::scene::{Scene, answers_only};
use crate::shares;
use crate::sockets::{self, Connection};

/// What happens to a packet. The direction is the scene's, and known at compile time where this is called.
#[inline(always)]
pub(crate) fn judge<F: Family>(scene: &Scene<'_, F>, direction: Direction) -> Reason {
    if scene.protocol == protocol::TCP && tcp::opens(scene.tcp_flags) {
        return open_tcp(scene);
    }
    if scene.packet.is_missing() {
        return unknown(scene);
    }
    if let Some(flow) = F::flows().get_ptr_mut(&scene.key) {
        // SAFETY: the map's element; may be reused by another flow while we look, as in every LRU map of the kernel.
        let flow = unsafe { &*flow };
        if direction == Direction::Ingress && scene.is_strangers(flow) && scene.is_usable(flow) {
            return strangers(scene);
        }
        if scene.is_current(flow) {
            let flow_state = touch(scene, flow, direction);
            return match direction {
                Direction::Ingress => Reason::Established,
                Direction::Egress => scene.established(flow.rule, flow_state),
            };
        }
        if scene.is_usable(flow) {
            return outdated(scene, flow).unwrap_or_else(|AsNew| in_own_direction(scene));
        }
    }
    unknown(scene)
}

/// A packet that is of no flow.
#[inline(never)]
fn unknown<F: Family>(scene: &Scene<'_, F>) -> Reason {
    miss(scene).unwrap_or_else(|AsNew| in_own_direction(scene))
}

/// A packet that has the addresses and ports of a flow and is not of it.
#[inline(never)]
fn strangers<F: Family>(scene: &Scene<'_, F>) -> Reason {
    without_entry(scene)
}

/// A packet's flow says nothing about it: it is judged as if there were none.
pub(crate) struct AsNew;

/// Notes that a flow has one more packet. The entry is shared by all CPUs: it is written only when something changes.
/// Two packets at once may lose a mark of the state, which then comes with the next packet, or never comes: a finished
/// connection whose entry lives on licenses nothing that its opening did not. Gives the state that it has now.
#[inline(always)]
pub(crate) fn touch<F: Family>(scene: &Scene<'_, F>, flow: &Flow, direction: Direction) -> u32 {
    let next = rules::next_state(flow.state, scene.protocol, direction, scene.tcp_flags);
    if next != flow.state {
        change(scene, flow, next);
    } else if scene.now.wrapping_sub(flow.seen) >= clock::hz() {
        // SAFETY: an aligned u64 of the map's element, stored whole.
        unsafe { (&raw const flow.seen).cast_mut().write_volatile(scene.now) };
    }
    next
}

/// Gives a flow another state.
#[inline(always)]
pub(crate) fn change<F: Family>(scene: &Scene<'_, F>, flow: &Flow, next: u32) {
    let former = flow.state;
    // SAFETY: an aligned u32 and an aligned u64 of the map's element, stored whole.
    unsafe {
        (&raw const flow.state).cast_mut().write_volatile(next);
        (&raw const flow.seen).cast_mut().write_volatile(scene.now);
    }
    if former & !next & state::PENDING != 0 {
        shares::strike(scene, former);
    }
}

/// A packet of a flow that was allowed under other policies or another owner of the remote address: judged again, in
/// the direction in which the flow was opened. Denied, the entry stays as it is, so that every later packet of either
/// end ends here too.
#[inline(never)]
pub(crate) fn outdated<F: Family>(scene: &Scene<'_, F>, flow: &Flow) -> Result<Reason, AsNew> {
    let opener = scene.opener_of(flow);
    match scene.verdict_again(flow) {
        Ok(rule) => Ok(renew(scene, flow, rule, opener)),
        Err(reason)
            if reason.is_by_policy()
                && scene.keeps()
                && rules::may_be_kept(scene.protocol, flow, scene.stamp.epoch()) =>
        {
            touch(scene, flow, scene.direction);
            scene.answers(opener);
            Ok(Reason::Kept)
        }
        Err(reason) if reason.is_by_policy() && scene.protocol == protocol::TCP => {
            Ok(over(scene, flow.opened(), Reason::Cut))
        }
        Err(reason) if reason.is_by_policy() => Err(AsNew),
        Err(reason) => Ok(reason),
    }
}

/// Stamps a flow that is still allowed. The whole entry is written anew, because the element may meanwhile be another
/// flow's, which must not get our stamp.
#[inline(always)]
fn renew<F: Family>(scene: &Scene<'_, F>, flow: &Flow, rule: u32, opener: u32) -> Reason {
    let former = flow.state;
    let renewed = scene.flow(scene.next_state(former & !state::ANSWERS_ONLY | answers_only(opener)), rule);
    let reason = scene.store(&renewed, renewed_as(scene, flow.rule, &renewed));
    if former & !renewed.state & state::PENDING != 0 {
        shares::strike(scene, former);
    }
    reason
}

/// The reason of a packet whose flow was judged again and goes on. The first that policies in audit mode would end counts as
/// that.
#[inline(always)]
fn renewed_as<F: Family>(scene: &Scene<'_, F>, former: u32, renewed: &Flow) -> Reason {
    let reason = scene.established(renewed.rule, renewed.state);
    if would_end(renewed.rule) && !would_end(former) { Reason::CutAudited } else { reason }
}

/// Whether what stands for a flow's rule says that policies in audit mode deny it.
#[inline(always)]
const fn would_end(rule: u32) -> bool {
    rule == VERDICT_AUDITED || rule == VERDICT_RULE_AUDITED
}

/// The state of a flow that a process of this node has opened.
const OF_NODE: u32 = state::NODE | state::ANSWERS_ONLY;

/// A packet that opens a TCP connection: always judged in its own direction, whatever flow has its key. Denied, it
/// leaves that flow alone.
#[inline(never)]
pub(crate) fn open_tcp<F: Family>(scene: &Scene<'_, F>) -> Reason {
    if scene.from_node != 0 {
        return shares::record(scene, &mut scene.opened(OF_NODE, VERDICT_NONE), Reason::Node);
    }
    match scene.verdict(scene.direction) {
        Ok(rule) => {
            let opener = scene.opener(scene.direction);
            shares::record(scene, &mut scene.opened(answers_only(opener), rule), scene.passed(rule, false))
        }
        Err(reason) => reason,
    }
}

/// A packet of no known flow that does not open a TCP connection.
#[inline(never)]
fn miss<F: Family>(scene: &Scene<'_, F>) -> Result<Reason, AsNew> {
    if scene.protocol == protocol::TCP {
        return Ok(match sockets::tcp(scene) {
            Connection::None => without_entry(scene),
            Connection::Known { opened, half_open } => pick_up(scene, opened, half_open),
        });
    }
    if scene.protocol == protocol::UDP && scene.direction == Direction::Ingress && scene.from_node == 0 {
        return udp(scene);
    }
    Err(AsNew)
}

/// A datagram that enters the pod: an answer, if a socket of the pod asks whom the pod may ask.
#[inline(always)]
fn udp<F: Family>(scene: &Scene<'_, F>) -> Result<Reason, AsNew> {
    let remote = &scene.key.remote;
    // Who is asked about twice has one class, unless it is another as a source.
    let has_one_class = !remote.is_beyond_blocks()
        && Direction::ALL.iter().all(|&direction| is_isolated(scene.config, direction))
        && deferring_of(remote) == 0;
    let class = if has_one_class { Some(class(remote, Direction::Egress)) } else { None };
    let asked =
        class.map_or_else(|| scene.verdict(Direction::Egress), |class| scene.verdict_of(Direction::Egress, class));
    if let Ok(rule) = asked
        && sockets::is_connected_udp(scene)
    {
        let flow = scene.flow(state::OPENED_EGRESS | state::ANSWERED, rule);
        return Ok(scene.store(&flow, scene.passed(rule, true)));
    }
    match class {
        Some(class) => Ok(open(scene, scene.verdict_of(Direction::Ingress, class))),
        None => Err(AsNew),
    }
}

/// A packet of a connection that the pod's kernel knows and we don't: opened before the pod was isolated, evicted or
/// expired. Judged in the direction in which it was opened.
#[inline(always)]
fn pick_up<F: Family>(scene: &Scene<'_, F>, opened: Direction, half_open: bool) -> Reason {
    let by_node = scene.from_node != 0 && opened == Direction::Ingress;
    let opener = if by_node { deferring::HOST } else { scene.opener(opened) };
    // If it goes on at all.
    scene.answers(opener);
    // One word to keep on the stack until policy has answered.
    let known = rules::opening_state(opened)
        | answers_only(opener)
        | if by_node { state::NODE } else { 0 }
        | if half_open { 0 } else { state::ANSWERED };
    let rule = match if by_node { Ok(VERDICT_NONE) } else { scene.verdict(opened) } {
        Ok(rule) => rule,
        Err(reason) if reason.is_by_policy() => return not_picked_up(scene, known),
        Err(reason) => return reason,
    };
    // What leaves the pod in a connection of which the pod alone says that it is one. If the pod says that it opened it, it may
    // do that anyway, and the entry waits for an answer. If it says that the peer did, the peer has to speak first, or policy
    // to allow this packet as it goes.
    let unconfirmed =
        scene.direction == Direction::Egress && (known & state::ANSWERED == 0 || !is_older(scene, opened));
    if unconfirmed && opened == Direction::Ingress {
        return match scene.verdict(Direction::Egress) {
            Ok(rule) => scene.passed(rule, false),
            Err(reason) if reason.is_by_policy() => over(scene, opened, reason),
            Err(reason) => reason,
        };
    }
    let answered = known & state::ANSWERED != 0 && !unconfirmed;
    let reason = if known & state::NODE != 0 { Reason::Node } else { scene.passed(rule, answered) };
    let flow_state = if unconfirmed { state::OPENED_EGRESS } else { scene.next_state(known) };
    let mut flow = scene.flow(flow_state, rule);
    if answered { scene.store(&flow, reason) } else { shares::record(scene, &mut flow, reason) }
}

/// Whether a connection that the pod's sockets know was there before we could see it: the pod's isolation has just begun, or
/// an entry of it has expired.
#[inline(never)]
fn is_older<F: Family>(scene: &Scene<'_, F>, opened: Direction) -> bool {
    if let Some(flow) = F::flows().get_ptr(&scene.key) {
        // SAFETY: as in `judge`.
        let flow = unsafe { &*flow };
        if rules::is_of_this_pod(flow.stamp.generation(), scene.config.birth) {
            return flow.opened() == opened && rules::may_outlive_its_entry(flow.state);
        }
    }
    let seconds = clock::boot_ns() / 1_000_000_000;
    seconds < u64::from(scene.config.older_until)
}

/// A packet of a connection that the pod's kernel knows and policy does not allow. One that may end in peace gets an entry,
/// which is outdated from the start.
#[inline(always)]
fn not_picked_up<F: Family>(scene: &Scene<'_, F>, known: u32) -> Reason {
    let opened = state::opened(known);
    if scene.keeps() && known & state::ANSWERED != 0 && is_older(scene, opened) {
        let stamp = Stamp::new(scene.stamp.generation(), !scene.stamp.epoch());
        let flow_state = scene.next_state(known);
        let flow = Flow { stamp, seen: scene.now, state: flow_state, rule: VERDICT_NONE };
        return scene.store(&flow, Reason::Kept);
    }
    over(scene, opened, Reason::Cut)
}

/// A packet of a connection that may not go on, for this reason. Where an address of this host opened it, nobody can tell
/// here whether that was a process of the host or somebody behind it: so it may reach the host, and nobody behind it.
#[inline(never)]
fn over<F: Family>(scene: &Scene<'_, F>, opened: Direction, reason: Reason) -> Reason {
    let by_host = opened == Direction::Ingress && deferring_of(&scene.key.remote) & deferring::HOST != 0;
    if by_host && scene.direction == Direction::Egress {
        return scene.deferred(Tag::inward(maps::SET.load(), scene.key.holder.slot()));
    }
    reason
}

/// A packet judged in its own direction, which licenses nothing back.
#[inline(always)]
fn without_entry<F: Family>(scene: &Scene<'_, F>) -> Reason {
    if scene.from_node != 0 {
        return Reason::Node;
    }
    match scene.verdict(scene.direction) {
        Ok(rule) => scene.passed(rule, false),
        Err(reason) => reason,
    }
}

/// A packet judged in its own direction, which opens a flow.
#[inline(never)]
pub(crate) fn in_own_direction<F: Family>(scene: &Scene<'_, F>) -> Reason {
    if !scene.opens_flow {
        return without_entry(scene);
    }
    if scene.from_node != 0 {
        return shares::record(scene, &mut scene.opened(OF_NODE, VERDICT_NONE), Reason::Node);
    }
    open(scene, scene.verdict(scene.direction))
}

/// What happens to a packet that opens a flow by what policy says.
#[inline(always)]
fn open<F: Family>(scene: &Scene<'_, F>, verdict: Result<u32, Reason>) -> Reason {
    match verdict {
        Ok(rule) => {
            let opener = scene.opener(scene.direction);
            shares::record(scene, &mut scene.opened(answers_only(opener), rule), scene.passed(rule, false))
        }
        Err(reason) => reason,
    }
}

/// What happens to an ICMP error about a packet of this flow: it goes on if the flow was allowed and still is, and as far as
/// its packets do. Changes nothing.
#[inline(never)]
pub(crate) fn related<F: Family>(scene: &Scene<'_, F>) -> Reason {
    // SAFETY: as in `judge`.
    match F::flows().get_ptr(&scene.key).map(|flow| unsafe { &*flow }) {
        Some(flow) if scene.is_usable(flow) => related_to(scene, flow),
        _ => Reason::IcmpUnrelated,
    }
}

#[inline(always)]
fn related_to<F: Family>(scene: &Scene<'_, F>, flow: &Flow) -> Reason {
    let rule = if flow.stamp == scene.stamp { Ok(flow.rule) } else { scene.verdict_again(flow) };
    let is_kept = scene.keeps() && rules::may_be_kept(scene.protocol, flow, scene.stamp.epoch());
    if rule.is_err() && !is_kept {
        return Reason::IcmpUnrelated;
    }
    if scene.direction == Direction::Egress && matches!(rule, Ok(VERDICT_DEFERRED)) {
        return scene.passed(VERDICT_DEFERRED, false);
    }
    let opener = scene.opener_of(flow);
    scene.answers(opener);
    Reason::Related
}
