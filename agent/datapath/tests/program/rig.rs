//! The real programs under BPF_PROG_TEST_RUN: one endpoint behind the loopback device of a network namespace of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use podgate_common::{Counter, Direction, Reason, Tag, Verdict};
use podgate_datapath::{
    Arrivals, CounterKey, Datapath, Guard, Hook, Identity, LinkLayer, OnLink, Options, Tagged, TestContext, test_run,
};
use podgate_policy::id::{PolicyId, PortClassId, RowId, RuleId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{EndpointPolicies, EndpointPolicy, Entry, Op, RowHeader, Saying};

pub(crate) const SLOT: u32 = 1;
/// The interface by which a packet came that another host, or another pod, has sent.
pub(crate) const ELSEWHERE: u32 = 77;
/// The second pod's interface, where it has one.
pub(crate) const SECOND_INTERFACE: u32 = 91;
/// The link-local address on the pod's interface, and that on the second pod's.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const SECOND_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);

/// The addresses of one family: the pod's, a peer's that policies know, and one that they don't.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) pod: IpAddr,
    pub(crate) friend: IpAddr,
    pub(crate) stranger: IpAddr,
}

pub(crate) const V4: Ends = Ends {
    pod: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    friend: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    stranger: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
};
pub(crate) const V6: Ends = Ends {
    pod: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    friend: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    stranger: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
};
pub(crate) const FAMILIES: [Ends; 2] = [V4, V6];

/// What holds for the pod in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    /// Not isolated.
    Open,
    /// Nothing is allowed.
    Deny,
    /// Nothing is allowed, by policies in audit mode.
    AuditedDeny,
    /// As [`Self::Web`], in audit mode.
    AuditedWeb,
    /// The friend may use TCP 80 and UDP 53.
    Web,
    /// The friend may do anything.
    Friend,
    /// Everybody may do anything, by a rule.
    All,
}

/// Ids in the tables below.
pub(crate) mod id {
    use podgate_policy::id::{ClassId, GroupId, PolicyId, RowId};

    pub(crate) const FRIEND_GROUP: GroupId = GroupId::from_raw(1);
    pub(crate) const FRIEND_CLASS: ClassId = ClassId::from_raw(1);
    pub(crate) const WEB_ROW: RowId = RowId::from_raw(1);
    pub(crate) const ANY_ROW: RowId = RowId::from_raw(2);
    pub(crate) const WEB_POLICY: PolicyId = PolicyId::from_raw(10);
    pub(crate) const FRIEND_POLICY: PolicyId = PolicyId::from_raw(11);
    pub(crate) const ALL_POLICY: PolicyId = PolicyId::from_raw(12);
}

impl Side {
    fn policy(self) -> EndpointPolicy {
        let isolated = |policy, default_row| EndpointPolicy::Isolated { policy, default_row };
        match self {
            Self::Open => EndpointPolicy::Open,
            Self::Deny => EndpointPolicy::NOTHING,
            Self::AuditedDeny => EndpointPolicy::Audited { policy: PolicyId::NOTHING, default_row: RowId::NONE },
            Self::AuditedWeb => EndpointPolicy::Audited { policy: id::WEB_POLICY, default_row: RowId::NONE },
            Self::Web => isolated(id::WEB_POLICY, RowId::NONE),
            Self::Friend => isolated(id::FRIEND_POLICY, RowId::NONE),
            Self::All => isolated(id::ALL_POLICY, id::ANY_ROW),
        }
    }
}

/// Tables in which the friend has a class, and the policies of [`Side`].
fn tables() -> Vec<Op> {
    let any = RowHeader::uniform(Saying::Allowed(RuleId::from_raw(3)));
    let by_port = RowHeader { by_port: [true, true, false], ..RowHeader::default() };
    let (none, port_class) = (PortClassId::NONE, PortClassId::from_raw(1));
    let web = |protocol, rule| {
        let says = Saying::Allowed(RuleId::from_raw(rule));
        Op::Write(Entry::RowPort { row: id::WEB_ROW, protocol, port_class, says })
    };
    let mut ops = vec![
        Op::Write(Entry::Row { row: id::WEB_ROW, header: by_port }),
        Op::Write(Entry::Row { row: id::ANY_ROW, header: any }),
        web(Protocol::Tcp, 1),
        web(Protocol::Udp, 2),
        Op::Write(Entry::Port { port: 80, classes: [port_class, none, none] }),
        Op::Write(Entry::Port { port: 53, classes: [none, port_class, none] }),
        Op::Write(Entry::ClassRow { policy: id::WEB_POLICY, class: id::FRIEND_CLASS, row: id::WEB_ROW }),
        Op::Write(Entry::ClassRow { policy: id::FRIEND_POLICY, class: id::FRIEND_CLASS, row: id::ANY_ROW }),
        Op::Write(Entry::Group { group: id::FRIEND_GROUP, class: id::FRIEND_CLASS }),
    ];
    ops.extend(FAMILIES.map(|ends| Op::Write(Entry::Address { address: ends.friend, group: id::FRIEND_GROUP })));
    ops
}

/// One endpoint under the real programs.
pub(crate) struct Rig {
    pub(crate) datapath: Datapath,
}

impl Rig {
    /// An endpoint with these policies, in a network namespace that ends with this thread.
    pub(crate) fn new(ingress: Side, egress: Side) -> Self {
        Self::with(identity(), ingress, egress)
    }

    pub(crate) fn with(identity: Identity, ingress: Side, egress: Side) -> Self {
        Self::with_options(Options::default(), identity, ingress, egress)
    }

    /// With tables of these sizes.
    pub(crate) fn sized(entries: &[(&str, u32)], ingress: Side, egress: Side) -> Self {
        let capacities = entries.iter().map(|&(table, entries)| (table.to_owned(), entries)).collect();
        Self::with_options(Options { capacities, ..Options::default() }, identity(), ingress, egress)
    }

    pub(crate) fn with_options(options: Options, identity: Identity, ingress: Side, egress: Side) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("root, to make a network namespace");
        let options = Options { bpffs: None, hook: Hook::Auto, ..options };
        let mut datapath = Datapath::load(&options).expect("the programs load");
        datapath.finish_takeover().expect("nothing to take over");
        datapath.identify(SLOT, &identity).expect("a free slot");
        let mut rig = Self { datapath };
        rig.own(SLOT, identity.ifindex, LINK_LOCAL);
        rig.apply(&tables());
        rig.switch(ingress, egress);
        rig.datapath.attach(SLOT).expect("loopback takes programs");
        ip(&format!("link add uplink index {ELSEWHERE} type veth peer name wire"));
        rig.datapath
            .guard(ELSEWHERE, Guard { exit: Some(LinkLayer::Ethernet), arrivals: Arrivals::Foreign })
            .expect("a veth takes programs");
        rig
    }

    pub(crate) fn apply(&mut self, ops: &[Op]) {
        self.datapath.apply(ops).expect("operations on tables with room");
    }

    /// Changes the pod's policies.
    pub(crate) fn switch(&mut self, ingress: Side, egress: Side) {
        let policies = EndpointPolicies { ingress: ingress.policy(), egress: egress.policy() };
        self.apply(&[Op::Switch { slot: SLOT, policies }]);
    }

    /// Tells the link-local address of a slot.
    fn own(&mut self, slot: u32, ifindex: u32, address: Ipv6Addr) {
        let on_link = OnLink { link_locals: [address].into(), ..OnLink::default() };
        let change = [((slot, ifindex), Some(on_link))].into();
        self.datapath.own_on_link(&change).expect("room for an address");
    }

    /// Tells what is on the pod's interface.
    pub(crate) fn knows(&mut self, on_link: OnLink) {
        let change = [((SLOT, identity().ifindex), Some(on_link))].into();
        self.datapath.own_on_link(&change).expect("room for what is known");
    }

    /// A second endpoint, on no interface, with an egress policy.
    pub(crate) fn second_pod(&mut self, egress: Side) {
        let identity = Identity { ifindex: ELSEWHERE + 1, address4: None, address6: None, ..identity() };
        self.datapath.identify(SLOT + 1, &identity).expect("a free slot");
        self.switch_second(egress);
    }

    /// A second pod, behind an interface of its own.
    pub(crate) fn second_pod_on_its_own_interface(&mut self, ingress: Side, egress: Side) {
        ip(&format!("link add second index {SECOND_INTERFACE} type veth peer name pod"));
        let (IpAddr::V4(address4), IpAddr::V6(address6)) = (second_pod(V4), second_pod(V6)) else {
            unreachable!("by definition")
        };
        let (address4, address6) = (Some(address4), Some(address6));
        let identity = Identity { ifindex: SECOND_INTERFACE, address4, address6, ..identity() };
        self.datapath.identify(SLOT + 1, &identity).expect("a free slot");
        self.own(SLOT + 1, SECOND_INTERFACE, SECOND_LINK_LOCAL);
        let policies = EndpointPolicies { ingress: ingress.policy(), egress: egress.policy() };
        self.apply(&[Op::Switch { slot: SLOT + 1, policies }]);
        self.datapath.attach(SLOT + 1).expect("a veth takes programs");
    }

    /// What happens to a frame at the hooks of the first pod, or of the second.
    pub(crate) fn at(&self, second: bool, direction: Direction, frame: &[u8]) -> Reason {
        let ifindex = if second { SECOND_INTERFACE } else { 0 };
        let ingress_ifindex = if direction == Direction::Ingress { ELSEWHERE } else { 0 };
        self.run(direction, frame, &TestContext { ifindex, ingress_ifindex, ..TestContext::default() })
    }

    /// Changes the second endpoint's egress policy.
    pub(crate) fn switch_second(&mut self, egress: Side) {
        let policies = EndpointPolicies { ingress: EndpointPolicy::Open, egress: egress.policy() };
        self.apply(&[Op::Switch { slot: SLOT + 1, policies }]);
    }

    /// What happens to a frame that leaves the pod.
    pub(crate) fn egress(&self, frame: &[u8]) -> Reason {
        self.run(Direction::Egress, frame, &TestContext::default())
    }

    /// What happens to a frame from elsewhere that enters the pod.
    pub(crate) fn ingress(&self, frame: &[u8]) -> Reason {
        self.run(Direction::Ingress, frame, &TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() })
    }

    /// What happens to a frame of the second pod that enters the first.
    pub(crate) fn ingress_of_second(&self, frame: &[u8]) -> Reason {
        let context = TestContext { ingress_ifindex: SECOND_INTERFACE, ..TestContext::default() };
        // It has lost its tag, so it is judged as what leaves the second pod too.
        let moved = self.run_program(self.datapath.program(Direction::Ingress), frame, &context);
        let mut entered = moved.iter().filter(|(direction, _)| *direction == Direction::Ingress);
        entered.next().expect("a counter of ingress moves").1
    }

    /// What happens to a frame made on this node that enters the pod.
    pub(crate) fn ingress_of_node(&self, frame: &[u8]) -> Reason {
        self.run(Direction::Ingress, frame, &TestContext::default())
    }

    /// What happens to a frame with a tag that enters the pod; the last counter that moved tells.
    pub(crate) fn ingress_tagged(&self, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        self.run_tagged(self.datapath.program(Direction::Ingress), frame, tag)
    }

    /// What happens to a frame with a tag that leaves the host.
    pub(crate) fn exit(&self, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        self.run_tagged(self.datapath.exit_program(), frame, tag)
    }

    /// What happens to a frame with a tag that the pod sent, and that enters it or leaves the host.
    pub(crate) fn sent_by_pod(&self, program: BorrowedFd<'_>, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        let context = TestContext { ingress_ifindex: identity().ifindex, ..TestContext::default() };
        self.run_tagged_by(program, frame, tag, &context)
    }

    /// What happens to a frame with a tag that comes out of a tunnel.
    pub(crate) fn inner(&self, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        self.run_tagged(self.datapath.inner_program(), frame, tag)
    }

    /// What happens to a frame with a tag that enters the pod, and that the kernel has made anew.
    pub(crate) fn ingress_made_anew(&self, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        let context = TestContext::default();
        self.run_tagged_by(self.datapath.program(Direction::Ingress), frame, tag, &context)
    }

    fn run_tagged(&self, program: BorrowedFd<'_>, frame: &[u8], tag: Tag) -> Vec<(Direction, Reason)> {
        let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
        self.run_tagged_by(program, frame, tag, &context)
    }

    fn run_tagged_by(
        &self,
        program: BorrowedFd<'_>,
        frame: &[u8],
        tag: Tag,
        context: &TestContext,
    ) -> Vec<(Direction, Reason)> {
        let tagged = Tagged::new(program, tag).expect("the kernel takes a small program");
        self.run_program(tagged.program(), frame, context)
    }

    /// Runs a program and finds the one counter that moved.
    pub(crate) fn run(&self, direction: Direction, frame: &[u8], context: &TestContext) -> Reason {
        let moved = self.run_program(self.datapath.program(direction), frame, context);
        let [(moved, reason)] = moved[..] else { panic!("one counter moves, not {moved:?}") };
        assert_eq!(moved, direction);
        reason
    }

    /// Runs a program and finds the counters that moved; the action must be what their reasons say.
    pub(crate) fn run_program(
        &self,
        program: BorrowedFd<'_>,
        frame: &[u8],
        context: &TestContext,
    ) -> Vec<(Direction, Reason)> {
        let before = self.counters();
        let run = test_run(program, frame, context, 1).expect("a test run");
        let moved = self.counters().into_iter().filter(|(key, counter)| before.get(key) != Some(counter));
        let moved: Vec<_> = moved.map(|(key, counter)| (key, counter.packets - before[&key].packets)).collect();
        let segments = u64::from(context.gso_segs.max(1));
        assert!(moved.iter().all(|&(_, packets)| packets == segments), "{moved:?}");
        let is_dropped = |verdict| matches!(verdict, Verdict::Denied | Verdict::Withheld);
        let dropped = moved.iter().any(|(key, _)| is_dropped(key.reason.verdict()));
        assert_eq!(run.verdict, if dropped { 2 } else { -1 }, "the action for {moved:?}");
        assert_eq!(run.packet, frame, "the frame is left alone");
        moved.iter().map(|(key, _)| (key.direction, key.reason)).collect()
    }

    pub(crate) fn counters(&self) -> BTreeMap<CounterKey, Counter> {
        self.datapath.counters().expect("counters are readable")
    }
}

/// Runs `ip`.
pub(crate) fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success()), "{arguments}");
}

/// The address of the second pod, of the family of these ends.
pub(crate) fn second_pod(ends: Ends) -> IpAddr {
    match ends.pod {
        IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 3).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3).into(),
    }
}

/// The pod's identity: loopback is its interface, no namespace whose sockets could be asked.
pub(crate) fn identity() -> Identity {
    let (IpAddr::V4(address4), IpAddr::V6(address6)) = (V4.pod, V6.pod) else { unreachable!("by definition") };
    Identity {
        ifindex: 1,
        netns_id: None,
        address4: Some(address4),
        address6: Some(address6),
        routes: false,
        keep: false,
    }
}
