//! Egress to Services that is judged where it leaves the pod, by all of their backends.

use std::net::{IpAddr, SocketAddr};

use podgate_common::{MAX_BACKENDS, Reason};
use podgate_datapath::{Deferring, Lead, ServiceEgress};
use podgate_policy::model::Protocol;
use podgate_policy::op::{Key, Op};
use podgate_policy::services::Frontend;

use crate::frames::{ACK, SYN, SYN_ACK, echo_request, sctp, tcp, udp};
use crate::rig::{Ends, FAMILIES, Rig, Side};

const PORT: u16 = 8000;
/// Backends by TCP, and by UDP.
type Backends<'a> = [&'a [(IpAddr, u16)]; 2];

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// An address of a Service, of the same family as another address.
fn service_of(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { IpAddr::from([10, 96, 0, 1]) } else { "fd96::1".parse().expect("an address") }
}

fn frontend(address: IpAddr, protocol: Protocol) -> Frontend {
    Frontend { address, protocol, port: PORT }
}

fn mark(rig: &mut Rig, address: IpAddr, host: bool, service: ServiceEgress) {
    rig.datapath.defer(&[(address, Some(Deferring { host, service: Some(service) }))].into()).expect("room");
}

fn lead(rig: &mut Rig, frontend: Frontend, lead: Option<Lead>) {
    rig.datapath.lead(&[(frontend, lead)].into()).expect("room for a frontend");
}

fn to(backends: &[(IpAddr, u16)]) -> Option<Lead> {
    Some(Lead::Backends(backends.iter().map(|&backend| SocketAddr::from(backend)).collect()))
}

/// Lets the Service of the ends' family lead to backends of their own ports by TCP and by UDP.
fn serve(rig: &mut Rig, ends: Ends, backends: Backends<'_>) {
    let address = service_of(ends.pod);
    mark(rig, address, false, ServiceEgress::Source);
    for (protocol, backends) in BOTH.into_iter().zip(backends) {
        lead(rig, frontend(address, protocol), to(backends));
    }
}

/// What the pod's hook says of a new connection to the Service, by TCP and by UDP.
fn asked(rig: &Rig, ends: Ends, from: u16) -> [Reason; 2] {
    let service = (service_of(ends.pod), PORT);
    [tcp((ends.pod, from), service, SYN), udp((ends.pod, from), service)].map(|frame| rig.egress(&frame))
}

#[test]
fn a_service_is_allowed_where_every_backend_is_at_its_own_port() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for ends in FAMILIES {
        let (friend, stranger) = (ends.friend, ends.stranger);
        let cases: [(&str, Backends<'_>, Reason); 5] = [
            ("one that is allowed", [&[(friend, 80)], &[(friend, 53)]], Reason::Rule),
            ("one at another port", [&[(friend, 8000)], &[(friend, 8000)]], Reason::NoRule),
            ("the other protocol's port", [&[(friend, 53)], &[(friend, 80)]], Reason::NoRule),
            ("the first denied", [&[(stranger, 80), (friend, 80)], &[(stranger, 53), (friend, 53)]], Reason::NoRule),
            ("the last denied", [&[(friend, 80), (friend, 81)], &[(friend, 53), (friend, 54)]], Reason::NoRule),
        ];
        for (name, backends, expected) in cases {
            serve(&mut rig, ends, backends);
            assert_eq!(asked(&rig, ends, 4000), [expected; 2], "{name}, {}", ends.pod);
        }
    }
}

#[test]
fn as_many_backends_are_judged_as_there_is_room_for_and_more_are_denied() {
    let mut rig = Rig::new(Side::Open, Side::All);
    for ends in FAMILIES {
        let many = |count: u32| (1..=count).map(|port| (ends.stranger, port as u16)).collect::<Vec<_>>();
        let (most, more) = (many(MAX_BACKENDS), many(MAX_BACKENDS + 1));
        serve(&mut rig, ends, [&most; 2]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::Rule; 2]);
        serve(&mut rig, ends, [&more; 2]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::BackendsUnknown; 2]);
        serve(&mut rig, ends, [&[]; 2]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::BackendsUnknown; 2]);
        for protocol in BOTH {
            lead(&mut rig, frontend(service_of(ends.pod), protocol), Some(Lead::Unknown));
        }
        assert_eq!(asked(&rig, ends, 4000), [Reason::BackendsUnknown; 2]);
    }
    rig.switch(Side::Open, Side::Web);
    for ends in FAMILIES {
        let mut most = vec![(ends.friend, 80); MAX_BACKENDS as usize - 1];
        most.push((ends.friend, 81));
        serve(&mut rig, ends, [&most; 2]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::NoRule; 2], "the last of them counts");
    }
}

#[test]
fn what_is_no_port_of_a_service_is_judged_as_the_address_unless_some_had_no_room() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        mark(&mut rig, friend, false, ServiceEgress::Source);
        lead(&mut rig, frontend(friend, Protocol::Tcp), to(&[(stranger, 80)]));
        let said = |rig: &Rig, from: u16| {
            [
                rig.egress(&tcp((pod, from), (friend, PORT), SYN)),
                rig.egress(&tcp((pod, from), (friend, 80), SYN)),
                rig.egress(&udp((pod, from), (friend, PORT))),
                rig.egress(&udp((pod, from), (friend, 53))),
                rig.egress(&sctp((pod, from), (friend, PORT))),
                rig.egress(&echo_request(pod, friend, from)),
            ]
        };
        use Reason::{BackendsUnknown, NoRule, Rule};
        assert_eq!(said(&rig, 1), [NoRule, Rule, NoRule, Rule, NoRule, NoRule]);
        mark(&mut rig, friend, false, ServiceEgress::SourceShort);
        let short = [NoRule, BackendsUnknown, BackendsUnknown, BackendsUnknown, BackendsUnknown, BackendsUnknown];
        assert_eq!(said(&rig, 2), short);
        lead(&mut rig, frontend(friend, Protocol::Tcp), None);
        mark(&mut rig, friend, false, ServiceEgress::Source);
        assert_eq!(said(&rig, 3), [NoRule, Rule, NoRule, Rule, NoRule, NoRule], "a Service without backends");
    }
}

#[test]
fn an_address_of_the_host_is_left_to_the_exit_hook_but_for_the_ports_that_lead_somewhere() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for ends in FAMILIES {
        let address = service_of(ends.pod);
        mark(&mut rig, address, true, ServiceEgress::Source);
        assert_eq!(asked(&rig, ends, 4000), [Reason::Deferred; 2]);
        lead(&mut rig, frontend(address, Protocol::Tcp), to(&[(ends.stranger, 80)]));
        assert_eq!(asked(&rig, ends, 4001), [Reason::NoRule, Reason::Deferred]);
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service_and_no_other_backend_without_a_rule() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for ends in FAMILIES {
        serve(&mut rig, ends, [&[(ends.pod, 9000)], &[(ends.pod, 9000)]]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::Itself; 2]);
        serve(&mut rig, ends, [&[(ends.pod, 9000), (ends.friend, 80)], &[(ends.pod, 9000), (ends.friend, 53)]]);
        assert_eq!(asked(&rig, ends, 4001), [Reason::Rule; 2]);
        serve(&mut rig, ends, [&[(ends.pod, 9000), (ends.friend, 81)], &[(ends.pod, 9000), (ends.friend, 54)]]);
        assert_eq!(asked(&rig, ends, 4002), [Reason::NoRule; 2]);
    }
}

/// The packets of a connection to the Service, and what the pod's hooks say of them.
struct Talk {
    question: [Vec<u8>; 2],
    answer: [Vec<u8>; 2],
}

impl Talk {
    fn begin(rig: &Rig, ends: Ends) -> Self {
        let (client, service) = ((ends.pod, 5000), (service_of(ends.pod), PORT));
        assert_eq!(rig.egress(&tcp(client, service, SYN)), Reason::Rule);
        assert_eq!(rig.ingress(&tcp(service, client, SYN_ACK)), Reason::Established);
        assert_eq!(rig.egress(&udp(client, service)), Reason::Rule);
        let question = [tcp(client, service, ACK), udp(client, service)];
        let answer = [tcp(service, client, ACK), udp(service, client)];
        let talk = Self { question, answer };
        assert_eq!(talk.goes_on(rig), [Reason::Established; 4]);
        talk
    }

    fn goes_on(&self, rig: &Rig) -> [Reason; 4] {
        let [question, datagram] = self.question.each_ref().map(|frame| rig.egress(frame));
        let [answer, reply] = self.answer.each_ref().map(|frame| rig.ingress(frame));
        [question, answer, datagram, reply]
    }
}

#[test]
fn flows_to_a_service_follow_its_backends() {
    let mut rig = Rig::new(Side::Deny, Side::Web);
    for ends in FAMILIES {
        let allowed: Backends<'_> = [&[(ends.friend, 80)], &[(ends.friend, 53)]];
        let denied: Backends<'_> =
            [&[(ends.friend, 80), (ends.stranger, 80)], &[(ends.friend, 53), (ends.stranger, 53)]];
        serve(&mut rig, ends, allowed);
        let talk = Talk::begin(&rig, ends);
        serve(&mut rig, ends, allowed);
        assert_eq!(talk.goes_on(&rig), [Reason::Established; 4]);
        serve(&mut rig, ends, denied);
        assert_eq!(talk.goes_on(&rig), [Reason::Cut, Reason::Cut, Reason::NoRule, Reason::NoRule]);
        assert_eq!(asked(&rig, ends, 4000), [Reason::NoRule; 2]);
        serve(&mut rig, ends, allowed);
        assert_eq!(talk.goes_on(&rig), [Reason::Established; 4]);
        for protocol in BOTH {
            lead(&mut rig, frontend(service_of(ends.pod), protocol), None);
        }
        assert_eq!(talk.goes_on(&rig), [Reason::Established; 4], "they outlive the Service");
        assert_eq!(asked(&rig, ends, 4001), [Reason::NoRule; 2]);
    }
}

#[test]
fn flows_to_a_service_are_judged_again_when_a_backend_may_have_lost_an_allow() {
    for gone in [false, true] {
        let mut rig = Rig::new(Side::Deny, Side::Web);
        for ends in FAMILIES {
            serve(&mut rig, ends, [&[(ends.friend, 80)], &[(ends.friend, 53)]]);
            let talk = Talk::begin(&rig, ends);
            if gone {
                for protocol in BOTH {
                    lead(&mut rig, frontend(service_of(ends.pod), protocol), None);
                }
            }
            rig.apply(&[Op::Invalidate { address: ends.stranger }]);
            assert_eq!(talk.goes_on(&rig), [Reason::Established; 4]);
            rig.apply(&[Op::Delete(Key::Address { address: ends.friend }), Op::Invalidate { address: ends.friend }]);
            assert_eq!(talk.goes_on(&rig), [Reason::Cut, Reason::Cut, Reason::NoRule, Reason::NoRule]);
        }
    }
}

#[test]
fn flows_to_an_address_that_becomes_a_services_are_judged_by_its_backends() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        let datagram = udp((pod, 4000), (friend, 53));
        assert_eq!(rig.egress(&datagram), Reason::Rule);
        mark(&mut rig, friend, false, ServiceEgress::Source);
        lead(&mut rig, Frontend { port: 53, ..frontend(friend, Protocol::Udp) }, to(&[(stranger, 53)]));
        assert_eq!(rig.egress(&datagram), Reason::NoRule);
    }
}

#[test]
fn a_flow_that_was_left_to_the_exit_hook_is_judged_here_from_now_on() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for ends in FAMILIES {
        let address = service_of(ends.pod);
        mark(&mut rig, address, false, ServiceEgress::Exit);
        assert_eq!(asked(&rig, ends, 4000), [Reason::Deferred; 2]);
        let ack = tcp((ends.pod, 4000), (address, PORT), ACK);
        serve(&mut rig, ends, [&[(ends.friend, 80)], &[(ends.friend, 53)]]);
        assert_eq!(rig.egress(&ack), Reason::Established);
        serve(&mut rig, ends, [&[(ends.friend, 81)], &[(ends.friend, 54)]]);
        assert_eq!(rig.egress(&ack), Reason::Cut);
        assert_eq!(asked(&rig, ends, 4000), [Reason::NoRule; 2]);
    }
}

#[test]
fn a_policy_that_changes_reaches_flows_to_a_service() {
    let mut rig = Rig::new(Side::Deny, Side::Web);
    for ends in FAMILIES {
        rig.switch(Side::Deny, Side::Web);
        serve(&mut rig, ends, [&[(ends.friend, 80)], &[(ends.friend, 53)]]);
        let talk = Talk::begin(&rig, ends);
        rig.switch(Side::Deny, Side::Friend);
        assert_eq!(talk.goes_on(&rig), [Reason::Established; 4]);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(talk.goes_on(&rig), [Reason::Cut, Reason::Cut, Reason::NoRule, Reason::NoRule]);
    }
}
