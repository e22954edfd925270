//! What rows say: by protocol and port, allowed, denied and undecided, and the rule that stands behind it.

use std::collections::BTreeMap;

use podgate_common::{Direction, FlowEvent, Reason, Tag};
use podgate_datapath::Options;
use podgate_policy::id::{PolicyId, PortClassId, RowId, RuleId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{EndpointPolicies, EndpointPolicy, Entry, Op, RowHeader, Saying};

use crate::frames::{ACK, SYN, SYN_ACK, echo_request, tcp, udp};
use crate::rig::{Ends, FAMILIES, Rig, SLOT, Side, V4, identity};

const POLICY: PolicyId = PolicyId::from_raw(20);
const ROW: RowId = RowId::from_raw(20);

fn by(says: fn(Option<RuleId>) -> Saying, rule: u32) -> Saying {
    says(RuleId::from_raw(rule))
}

/// Ports of TCP pass undecided but for 80, those of UDP pass though a rule in audit mode would deny them, and a rule denies
/// everything else.
fn guarded() -> RowHeader {
    let protocols = [by(Saying::Allowed, 0), by(Saying::WouldDeny, 6), by(Saying::Denied, 7)];
    RowHeader { portless: by(Saying::Denied, 7), protocols, by_port: [true, false, false] }
}

/// A rig whose pod is told in both directions what a row says.
fn rig(header: RowHeader, options: Options) -> Rig {
    let mut rig = Rig::with_options(options, identity(), Side::Open, Side::Open);
    let port_class = PortClassId::from_raw(1);
    let of_port = Entry::RowPort { row: ROW, protocol: Protocol::Tcp, port_class, says: by(Saying::Denied, 8) };
    rig.apply(&[Op::Write(Entry::Row { row: ROW, header }), Op::Write(of_port)]);
    judge(&mut rig);
    rig
}

fn judge(rig: &mut Rig) {
    let policy = EndpointPolicy::Isolated { policy: POLICY, default_row: ROW };
    rig.apply(&[Op::Switch { slot: SLOT, policies: EndpointPolicies { ingress: policy, egress: policy } }]);
}

fn into_pod(ends: Ends) -> [(Vec<u8>, Reason); 4] {
    let from = |port| (ends.stranger, port);
    [
        (tcp(from(1), (ends.pod, 443), SYN), Reason::Undecided),
        (tcp(from(2), (ends.pod, 80), SYN), Reason::RuleDenied),
        (udp(from(3), (ends.pod, 80)), Reason::RuleDeniedAudited),
        (echo_request(ends.stranger, ends.pod, 4), Reason::RuleDenied),
    ]
}

fn events(rig: &mut Rig) -> Vec<(Option<Reason>, u32)> {
    let mut events: Vec<FlowEvent> = Vec::new();
    rig.datapath.drain_events(|event| events.push(*event));
    events.iter().map(|event| (Reason::from_code(event.reason), event.rule)).collect()
}

#[test]
fn a_row_says_what_it_says_by_protocol_and_port_and_events_name_the_rule() {
    for ends in FAMILIES {
        let mut rig = rig(guarded(), Options::default());
        for (frame, reason) in into_pod(ends) {
            assert_eq!(rig.ingress(&frame), reason);
        }
        let expected = [
            (Some(Reason::Undecided), 0),
            (Some(Reason::RuleDenied), 8),
            (Some(Reason::RuleDeniedAudited), 6),
            (Some(Reason::RuleDenied), 7),
        ];
        assert_eq!(events(&mut rig), expected);
        assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::from([(6, 1), (7, 1), (8, 1)]));
    }
}

#[test]
fn a_row_that_says_the_same_of_everything_is_not_asked_for_ports() {
    for ends in FAMILIES {
        let rig = rig(RowHeader::uniform(by(Saying::Denied, 5)), Options::default());
        for (frame, _) in into_pod(ends) {
            assert_eq!(rig.ingress(&frame), Reason::RuleDenied);
        }
        assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::from([(5, 4)]));
    }
}

#[test]
fn a_row_that_is_not_there_denies() {
    for ends in FAMILIES {
        let rig = rig(RowHeader::default(), Options::default());
        for (frame, _) in into_pod(ends) {
            assert_eq!(rig.ingress(&frame), Reason::NoRule);
        }
    }
}

#[test]
fn every_denial_by_a_rule_is_counted_though_few_are_reported() {
    const PACKETS: u16 = 40;
    let mut rig = rig(guarded(), Options { event_rate: 1, ..Options::default() });
    for port in 1..=PACKETS {
        assert_eq!(rig.ingress(&tcp((V4.stranger, port), (V4.pod, 80), SYN)), Reason::RuleDenied);
    }
    assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::from([(8, u64::from(PACKETS))]));
    assert!((1..=8).contains(&events(&mut rig).len()));
}

#[test]
fn a_connection_that_a_rule_denies_from_now_on_is_cut_and_the_rule_is_named() {
    for ends in FAMILIES {
        let mut rig = rig(RowHeader::uniform(by(Saying::Allowed, 0)), Options::default());
        let (pod, stranger) = ((ends.pod, 80), (ends.stranger, 1));
        assert_eq!(rig.ingress(&tcp(stranger, pod, SYN)), Reason::Undecided);
        assert_eq!(rig.egress(&tcp(pod, stranger, SYN_ACK)), Reason::Established);
        events(&mut rig);
        rig.apply(&[Op::Write(Entry::Row { row: ROW, header: guarded() })]);
        judge(&mut rig);
        assert_eq!(rig.ingress(&tcp(stranger, pod, ACK)), Reason::Cut);
        assert_eq!(rig.egress(&tcp(pod, stranger, ACK)), Reason::Cut, "what goes back too");
        assert_eq!(events(&mut rig), [(Some(Reason::Cut), 8), (Some(Reason::Cut), 8)]);
    }
}

#[test]
fn the_exit_hook_says_what_the_row_says() {
    for ends in FAMILIES {
        let rig = rig(guarded(), Options::default());
        let exit = |port| rig.exit(&tcp((ends.pod, port), (ends.stranger, port), SYN), Tag::deferred(0, SLOT, false));
        assert_eq!(exit(80), [(Direction::Egress, Reason::RuleDenied)]);
        assert_eq!(exit(443), [(Direction::Egress, Reason::Undecided)]);
    }
}
