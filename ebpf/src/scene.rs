//! A packet and what its fate depends on.

use podgate_common::{
    Direction, EndpointConfig, Flow, FlowKey, Reason, Stamp, Tag, VERDICT_AUDITED, VERDICT_DEFERRED, VERDICT_ITSELF,
    VERDICT_NONE, VERDICT_RULE_AUDITED, VERDICT_UNDECIDED, deferring, flags, state,
};

use crate::classes::{BEYOND_BLOCKS, class, deferring_of};
use crate::clock;
use crate::endpoint::is_isolated;
use crate::events;
use crate::family::Family;
use crate::maps;
use crate::packet::Packet;
use crate::rules;
use crate::service;
use crate::verdict::{Verdict, verdict_beyond, verdict_of_class};

/// A packet and what its fate depends on.
pub(crate) struct Scene<'a, F: Family> {
    pub(crate) packet: Packet<'a>,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) key: FlowKey<F>,
    /// What flows that are allowed now are stamped with. Its epoch was read before any table, so that a verdict from
    /// tables that change meanwhile is never taken for current.
    pub(crate) stamp: Stamp,
    pub(crate) now: u64,
    pub(crate) direction: Direction,
    pub(crate) protocol: u8,
    pub(crate) tcp_flags: u8,
    /// Made by a process of this node, or by the pod itself; 0: neither.
    pub(crate) from_node: u32,
    /// May license packets of the other end: false for an echo reply that nobody asked for.
    pub(crate) opens_flow: bool,
    /// The packet is at an exit hook: its destination is the real one.
    pub(crate) at_exit: bool,
}

/// Fills in a scene in place, every field of it. One by one: the compiler would copy a whole value in pieces, and the verifier
/// takes no pieces of the pointers in it.
macro_rules! write_scene {
    ($scene:expr, { $($field:ident: $value:expr),+ $(,)? }) => {{
        let scene = $scene.as_mut_ptr();
        $(
            let value = $value;
            // SAFETY: a field of a live place.
            unsafe { (&raw mut (*scene).$field).write(value) };
        )+
        // Does not compile if a field is missing above.
        let _complete = |whole: &Scene<'_, F>| {
            let Scene { $($field: _),+ } = *whole;
        };
    }};
}
pub(crate) use write_scene;

impl<F: Family> Scene<'_, F> {
    /// What policy says of this flow if it was opened in a direction.
    #[inline(always)]
    pub(crate) fn verdict(&self, opened: Direction) -> Result<u32, Reason> {
        if opened == Direction::Egress && self.defers() {
            let deferring = deferring_of(&self.key.remote);
            if deferring != 0 {
                let FlowKey { remote, ports, holder } = &self.key;
                let (slot, port) = (holder.slot(), ports.remote());
                let said = service::elsewhere(self.config, slot, remote, self.protocol, port, deferring);
                if !said.is_plain() {
                    return said.rule();
                }
            }
        }
        if !is_isolated(self.config, opened) {
            return Ok(VERDICT_NONE);
        }
        let class = class(&self.key.remote, opened);
        if class == BEYOND_BLOCKS {
            return Verdict(self.verdict_beyond()).rule();
        }
        self.verdict_of(opened, class)
    }

    /// The same of a source that is [`BEYOND_BLOCKS`], as the word of a [`Verdict`]. A function of its own for the sake of the
    /// stack, and since few packets come by here.
    #[inline(never)]
    fn verdict_beyond(&self) -> u64 {
        verdict_beyond(self.config, &self.key.remote, self.protocol, self.port(Direction::Ingress)).0
    }

    /// The same in a direction that is isolated, of a remote address with this class to which nothing is deferred.
    #[inline(always)]
    pub(crate) fn verdict_of(&self, opened: Direction, class: u32) -> Result<u32, Reason> {
        verdict_of_class(self.config, opened, class, self.protocol, self.port(opened))
    }

    /// The destination's port of a flow that was opened in a direction.
    #[inline(always)]
    fn port(&self, opened: Direction) -> u16 {
        let (local, remote) = (self.key.ports.local(), self.key.ports.remote());
        match opened {
            Direction::Ingress => local.number(),
            Direction::Egress => remote.number(),
        }
    }

    /// Whether egress to some addresses is left to the exit hook.
    #[inline(always)]
    fn defers(&self) -> bool {
        !self.at_exit && is_isolated(self.config, Direction::Egress)
    }

    /// The reason of a packet that may go on by a rule, or for want of any policy in its direction, or as far as the
    /// exit hook. `established`: both ends of its flow have spoken.
    #[inline(always)]
    pub(crate) fn passed(&self, rule: u32, established: bool) -> Reason {
        if rule == VERDICT_DEFERRED {
            return self.deferred(Tag::deferred(maps::SET.load(), self.key.holder.slot(), established));
        }
        if rule == VERDICT_RULE_AUDITED {
            // Noted is the rule that would deny it.
            return Reason::RuleDeniedAudited;
        }
        events::note_rule(rule);
        match rule {
            VERDICT_NONE => Reason::DirectionNotIsolated,
            VERDICT_ITSELF => Reason::Itself,
            VERDICT_AUDITED => Reason::NoRuleAudited,
            VERDICT_UNDECIDED => Reason::Undecided,
            _ => Reason::Rule,
        }
    }

    /// Leaves a packet to the exit hook. What enters the pod is an answer to such a packet.
    #[inline(always)]
    pub(crate) fn deferred(&self, tag: Tag) -> Reason {
        if self.direction == Direction::Ingress {
            return Reason::Established;
        }
        self.packet.set_tag(tag);
        Reason::Deferred
    }

    /// The reason of a packet whose flow was allowed by this rule, and has this state since.
    #[inline(always)]
    pub(crate) fn established(&self, rule: u32, flow_state: u32) -> Reason {
        if rule == VERDICT_DEFERRED {
            return self.passed(rule, flow_state & state::PENDING == 0);
        }
        self.answers(flow_state & state::ANSWERS_ONLY);
        Reason::Established
    }

    /// Has the exit hook see whether a packet that leaves the pod is an answer, unless this is 0.
    #[inline(always)]
    pub(crate) fn answers(&self, answers_only: u32) {
        if answers_only != 0 && self.direction == Direction::Egress {
            self.packet.set_tag(Tag::answer(maps::SET.load(), self.key.holder.slot()));
        }
    }

    /// What is said of the address of the other end that opened a flow, bits of [`deferring`]: whatever asked from there,
    /// what the pod sends to it may go elsewhere. 0 where that matters to nobody.
    #[inline(always)]
    pub(crate) fn opener(&self, opened: Direction) -> u32 {
        if opened == Direction::Ingress && self.defers() { deferring_of(&self.key.remote) } else { 0 }
    }

    /// The same of the end that opened this flow.
    #[inline(always)]
    pub(crate) fn opener_of(&self, flow: &Flow) -> u32 {
        if flow.state & state::NODE != 0 { deferring::HOST } else { self.opener(flow.opened()) }
    }

    pub(crate) fn keeps(&self) -> bool {
        self.config.flags & flags::KEEP != 0
    }

    /// Whether a flow was allowed for this pod and lives.
    #[inline(always)]
    pub(crate) fn is_usable(&self, flow: &Flow) -> bool {
        rules::is_of_this_pod(flow.stamp.generation(), self.config.birth) && self.lives(flow)
    }

    /// Whether a flow is allowed by the present policies, which are this pod's, and lives.
    #[inline(always)]
    pub(crate) fn is_current(&self, flow: &Flow) -> bool {
        flow.stamp == self.stamp && self.lives(flow)
    }

    /// Whether a packet that enters the pod comes from somebody else than the process of this node that opened its flow:
    /// somebody whom the node gave its own address and the same port, or who says that he has them.
    #[inline(always)]
    pub(crate) fn is_strangers(&self, flow: &Flow) -> bool {
        flow.state & state::NODE != 0 && self.from_node == 0 && self.direction == Direction::Ingress
    }

    #[inline(always)]
    fn lives(&self, flow: &Flow) -> bool {
        !rules::is_expired(self.protocol, flow.state, flow.seen, self.now, clock::hz())
    }

    #[inline(always)]
    pub(crate) fn next_state(&self, current: u32) -> u32 {
        rules::next_state(current, self.protocol, self.direction, self.tcp_flags)
    }

    /// What policy says now of a flow that was allowed. One that was left to the exit hook stays so, though the Service
    /// that its address belonged to may be gone; unless Services are judged here from now on.
    #[inline(always)]
    pub(crate) fn verdict_again(&self, flow: &Flow) -> Result<u32, Reason> {
        if flow.state & state::NODE != 0 {
            return Ok(VERDICT_NONE);
        }
        if flow.rule == VERDICT_DEFERRED && self.defers() && deferring_of(&self.key.remote) & deferring::FRONTENDS == 0
        {
            return Ok(VERDICT_DEFERRED);
        }
        self.verdict(flow.opened())
    }

    /// The entry of a flow that this packet opens.
    #[inline(always)]
    pub(crate) fn opened(&self, more_state: u32, rule: u32) -> Flow {
        self.flow(rules::opening_state(self.direction) | more_state, rule)
    }

    /// An entry that is current.
    #[inline(always)]
    pub(crate) fn flow(&self, flow_state: u32, rule: u32) -> Flow {
        Flow { stamp: self.stamp, seen: self.now, state: flow_state, rule }
    }

    /// Writes this flow's entry; without one its later packets would be dropped, so a failure is this packet's drop.
    #[inline(always)]
    pub(crate) fn store(&self, flow: &Flow, reason: Reason) -> Reason {
        if F::flows().insert(&self.key, flow, 0).is_err() { Reason::FlowTable } else { reason }
    }
}

/// The state of a flow that this end opened, by [`Scene::opener`]. A Service's cluster IP asks nothing; an external IP or a
/// load balancer's may be a node's, or anybody's.
#[inline(always)]
pub(crate) const fn answers_only(opener: u32) -> u32 {
    if opener == 0 { 0 } else { state::ANSWERS_ONLY }
}
