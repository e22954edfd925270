//! What the programs report one by one, and which rules they count.

use std::collections::BTreeMap;

use podgate_common::{Direction, FlowEvent, Reason, map};
use podgate_datapath::{Lost, Options};

use crate::frames::{ACK, SYN, SYN_ACK, tcp, udp};
use crate::rig::{FAMILIES, Rig, Side, V4, identity};

/// What was reported: direction, reason and rule.
fn reported(rig: &mut Rig) -> Vec<(u8, Option<Reason>, u32)> {
    let mut events: Vec<FlowEvent> = Vec::new();
    rig.datapath.drain_events(|event| events.push(*event));
    events.iter().map(|event| (event.direction, Reason::from_code(event.reason), event.rule)).collect()
}

#[test]
fn what_opens_a_flow_is_reported_with_its_rule_and_nothing_that_follows() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Open);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 1));
        for (direction, frame) in [
            (Direction::Ingress, tcp(friend, pod, SYN)),
            (Direction::Egress, tcp(pod, friend, SYN_ACK)),
            (Direction::Ingress, tcp(friend, pod, ACK)),
            (Direction::Egress, udp((ends.pod, 7), (ends.stranger, 53))),
            (Direction::Ingress, udp((ends.friend, 9), (ends.pod, 53))),
            (Direction::Ingress, udp((ends.stranger, 9), (ends.pod, 53))),
        ] {
            rig.at(false, direction, &frame);
        }
        let [ingress, egress] = Direction::ALL.map(|direction| direction as u8);
        let expected = [
            (ingress, Some(Reason::Rule), 1),
            (egress, Some(Reason::DirectionNotIsolated), 0),
            (ingress, Some(Reason::Rule), 2),
            (ingress, Some(Reason::NoRule), 0),
        ];
        assert_eq!(reported(&mut rig), expected);
        assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::from([(1, 1), (2, 1)]));
    }
}

#[test]
fn every_allow_of_a_rule_is_counted_though_few_are_reported() {
    const FLOWS: u16 = 40;
    let options = Options { flow_rate: 1, event_rate: 1, ..Options::default() };
    let mut rig = Rig::with_options(options, identity(), Side::Web, Side::Open);
    for port in 1..=FLOWS {
        rig.ingress(&tcp((V4.friend, port), (V4.pod, 80), SYN));
        rig.ingress(&tcp((V4.stranger, port), (V4.pod, 80), SYN));
    }
    assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::from([(1, u64::from(FLOWS))]));
    let events = reported(&mut rig);
    let allowed = events.iter().filter(|(_, reason, _)| *reason == Some(Reason::Rule)).count() as u64;
    let denied = events.len() as u64 - allowed;
    let lost = Lost { denied: u64::from(FLOWS) - denied, allowed: u64::from(FLOWS) - allowed, rules: 0 };
    assert_eq!(rig.datapath.lost().unwrap(), lost);
    assert!((1..=8).contains(&allowed) && (1..=8).contains(&denied), "{events:?}");
}

#[test]
fn rules_without_room_are_counted_together_and_room_is_made() {
    let rig = Rig::sized(&[(map::RULES, 1)], Side::Web, Side::Open);
    rig.ingress(&tcp((V4.friend, 1), (V4.pod, 80), SYN));
    for port in 1..=2000 {
        rig.ingress(&udp((V4.friend, port), (V4.pod, 53)));
    }
    let counted: u64 = rig.datapath.rules().unwrap().values().sum();
    let lost = rig.datapath.lost().unwrap().rules;
    assert_eq!(counted + lost, 2001);
    assert!(lost > 0);
    let rules: Vec<u32> = rig.datapath.rules().unwrap().into_keys().collect();
    rig.datapath.forget_rules(&rules).unwrap();
    assert_eq!(rig.datapath.rules().unwrap(), BTreeMap::new());
}
