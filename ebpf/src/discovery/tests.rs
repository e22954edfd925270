use podgate_common::Direction::{Egress, Ingress};
use proptest::prelude::*;

use super::*;

#[path = "reference.rs"]
mod reference;

type Octets = [u8; 16];

const NONE: Octets = [0; 16];
const POD: Octets = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
const POD_ON_LINK: Octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
const ROUTER: Octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NEIGHBOUR: Octets = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9];
const SOLICITED: Octets = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 7, 8, 9];
const NODES: Octets = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ROUTERS: Octets = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const LISTENERS: Octets = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
const GROUP: Octets = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb];
const ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];

/// A message with the headers that its kind asks for.
#[derive(Clone, Debug)]
struct Sent {
    from: Octets,
    to: Octets,
    hop_limit: u8,
    /// The number of the first header, and what stands before the message.
    headers: (u8, Vec<u8>),
    message: Vec<u8>,
}

impl Sent {
    /// Type, the word that follows the checksum, and the rest.
    fn new(from: Octets, to: Octets, kind: u8, word: [u8; 4], rest: &[&[u8]]) -> Self {
        let is_mld = matches!(kind, 130..=132 | 143);
        let (hop_limit, headers) = if is_mld { (1, (0, ALERT.to_vec())) } else { (255, (58, Vec::new())) };
        let message = [&[kind, 0, 0, 0], &word[..], &rest.concat()].concat();
        Self { from, to, hop_limit, headers, message }
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(self.headers.1.len() + self.message.len()).expect("a small packet").to_be_bytes());
        frame.extend([self.headers.0, self.hop_limit]);
        frame.extend(self.from);
        frame.extend(self.to);
        frame.extend(&self.headers.1);
        frame.extend(&self.message);
        frame
    }

    /// Whether it is valid into a pod, and out of one.
    fn valid(&self) -> [bool; 2] {
        let frame = self.frame();
        [Ingress, Egress].map(|direction| is_valid(&frame, direction))
    }
}

fn read(frame: &[u8]) -> Message {
    let mut message = Message::NONE;
    // What can't be followed leaves no message.
    let _unreadable = Message::read(&Frame::new(frame), &mut message);
    message
}

fn is_valid(frame: &[u8], direction: Direction) -> bool {
    read(frame).is_valid(direction)
}

fn option(kind: u8) -> [u8; 8] {
    [kind, 1, 2, 0, 0, 0, 0, 9]
}

const QUIET: [u8; 4] = [0; 4];

/// One valid message of each kind, and whether pods send it.
fn valid_ones() -> Vec<(&'static str, Sent, bool)> {
    let (source, target, nonce) = (option(1), option(2), option(14));
    let record = [&[4, 0, 0, 0][..], &GROUP].concat();
    vec![
        ("router solicitation", Sent::new(POD_ON_LINK, ROUTERS, 133, QUIET, &[&source]), true),
        ("router solicitation without an address", Sent::new(NONE, ROUTERS, 133, QUIET, &[]), true),
        ("router advertisement", Sent::new(ROUTER, NODES, 134, QUIET, &[&[0; 8], &source]), false),
        ("neighbour solicitation", Sent::new(POD, SOLICITED, 135, QUIET, &[&NEIGHBOUR, &source]), true),
        ("reachability probe", Sent::new(POD, NEIGHBOUR, 135, QUIET, &[&NEIGHBOUR, &source]), true),
        ("duplicate address detection", Sent::new(NONE, SOLICITED, 135, QUIET, &[&NEIGHBOUR, &nonce]), true),
        ("solicited advertisement", Sent::new(POD, NEIGHBOUR, 136, [0x60, 0, 0, 0], &[&POD, &target]), true),
        ("unsolicited advertisement", Sent::new(POD, NODES, 136, [0x20, 0, 0, 0], &[&POD, &target]), true),
        ("redirect", Sent::new(ROUTER, POD, 137, QUIET, &[&ROUTER, &NEIGHBOUR]), false),
        ("query of MLDv1", Sent::new(ROUTER, NODES, 130, QUIET, &[&NONE]), false),
        ("query of MLDv2", Sent::new(ROUTER, GROUP, 130, QUIET, &[&GROUP, &[2, 125, 0, 1], &POD]), false),
        ("report of MLDv1", Sent::new(POD_ON_LINK, GROUP, 131, QUIET, &[&GROUP]), true),
        ("done of MLDv1", Sent::new(POD_ON_LINK, ROUTERS, 132, QUIET, &[&GROUP]), true),
        ("report of MLDv2", Sent::new(NONE, LISTENERS, 143, [0, 0, 0, 2], &[&record, &record]), true),
        ("report of MLDv2 with a source", Sent::new(NONE, LISTENERS, 143, [0, 0, 0, 1], &[&record, &POD]), true),
    ]
}

#[test]
fn what_the_rfcs_call_valid_passes_in_the_directions_in_which_pods_meet_it() {
    for (name, sent, leaves) in valid_ones() {
        assert_eq!(sent.valid(), [true, leaves], "{name}");
    }
}

#[test]
fn the_routers_alert_may_be_padded_on_either_side() {
    let mut report = Sent::new(POD_ON_LINK, GROUP, 131, QUIET, &[&GROUP]);
    report.headers.1 = vec![58, 0, 1, 0, 5, 2, 0, 0];
    assert_eq!(report.valid(), [true; 2]);
}

#[test]
fn nothing_else_about_a_valid_message_may_differ() {
    for (name, sent, _) in valid_ones() {
        let changed = |change: fn(&mut Sent)| {
            let mut other = sent.clone();
            change(&mut other);
            assert_eq!(other.valid(), [false; 2], "{name}, {other:?}");
        };
        changed(|sent| sent.hop_limit -= 1);
        changed(|sent| sent.message[1] = 1);
        changed(|sent| sent.message.truncate(7));
        changed(|sent| sent.from = GROUP);
        changed(|sent| sent.headers = (60, vec![58, 0, 1, 4, 0, 0, 0, 0]));
        changed(|sent| sent.headers = (44, vec![58, 0, 0, 0, 0, 0, 0, 1]));
        changed(|sent| sent.headers = if sent.headers.0 == 0 { (58, vec![]) } else { (0, ALERT.to_vec()) });
        if !matches!(sent.message[0], 134 | 137) {
            changed(|sent| sent.message.extend(b"more than belongs there"));
        }
        if !matches!(sent.message[0], 134 | 136 | 137) {
            let to_a_node = Sent { to: [0x20; 16], ..sent.clone() };
            assert_eq!(to_a_node.valid(), [false; 2], "{name}, to a node that it is not about");
        }
    }
}

#[test]
fn a_pod_sends_nothing_that_only_those_see_who_look_for_it() {
    for (name, sent, leaves) in valid_ones() {
        let mut followed = sent.frame();
        followed.push(0);
        let valid = [Ingress, Egress].map(|direction| is_valid(&followed, direction));
        assert_eq!(valid, [true, false], "{name}, with a byte behind it");
        if leaves {
            let mut reserved = sent.clone();
            reserved.message[if sent.message[0] == 143 { 5 } else { 7 }] |= 1;
            assert_eq!(reserved.valid(), [true, false], "{name}, with a reserved bit");
        }
    }
}

#[test]
fn arp_is_followed_by_zeros() {
    let is_bare =
        |frame: &[u8]| Arp::read(&Frame::new(frame)).is_some_and(|arp| arp.is_filled_with_zeros(&Frame::new(frame)));
    let mut padded = arp(1, [10, 0, 0, 1]);
    assert!(is_bare(&padded));
    padded.resize(60, 0);
    assert!(is_bare(&padded));
    for at in [42, 59] {
        let mut filled = padded.clone();
        filled[at] = 1;
        assert!(!is_bare(&filled), "{at}");
    }
}

#[test]
fn a_sender_without_an_address_tells_no_link_layer_address_and_asks_no_node() {
    let told = Sent::new(NONE, SOLICITED, 135, QUIET, &[&NEIGHBOUR, &option(1)]);
    let asked = Sent::new(NONE, NEIGHBOUR, 135, QUIET, &[&NEIGHBOUR]);
    let answered = Sent::new(NONE, NODES, 136, [0x20, 0, 0, 0], &[&POD]);
    let routed = Sent::new(NONE, ROUTERS, 133, QUIET, &[&option(1)]);
    assert_eq!([told, asked, answered, routed].map(|sent| sent.valid()), [[false; 2]; 4]);
}

#[test]
fn an_answer_to_all_nodes_claims_that_nobody_asked() {
    assert_eq!(Sent::new(POD, NODES, 136, [0x60, 0, 0, 0], &[&POD]).valid(), [false; 2]);
}

#[test]
fn a_receiver_believes_what_came_by_no_router() {
    let of = |kind, hop_limit| {
        let sent = Sent { hop_limit, ..Sent::new(ROUTER, NODES, kind, QUIET, &[&[0; 32]]) };
        let message = read(&sent.frame());
        (message.is_of_router(), message.is_of_neighbour(), message.is_advertisement())
    };
    let seen = [133, 134, 135, 136, 137, 143].map(|kind| of(kind, 255));
    let (asks, rules, answers, other) =
        ((false, true, false), (true, false, false), (false, true, true), (false, false, false));
    assert_eq!(seen, [asks, rules, asks, answers, rules, other]);
    assert_eq!([134, 135].map(|kind| of(kind, 254)), [other; 2]);
}

#[test]
fn who_has_no_address_looks_for_a_duplicate_of_what_it_asks_for() {
    let is_detection =
        |kind, from| read(&Sent::new(from, SOLICITED, kind, QUIET, &[&NEIGHBOUR]).frame()).is_duplicate_detection();
    assert_eq!([is_detection(135, NONE), is_detection(135, POD), is_detection(136, NONE)], [true, false, false]);
}

#[test]
fn a_link_layer_address_is_told_in_either_option() {
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let tells_other = |kind, rest: &[&[u8]]| {
        let frame = Sent::new(POD, SOLICITED, kind, QUIET, rest).frame();
        let own = [[2, 0], [0, 0], [0, 9]].map(u16::from_ne_bytes);
        read(&frame).tells_other_than(&Frame::new(&frame), own)
    };
    let (own, nonce, other) = ([&[1, 1][..], &OWN].concat(), [14, 1, 9, 9, 9, 9, 9, 9], [2, 1, 2, 0, 0, 0, 0, 8]);
    assert!(!tells_other(135, &[&NEIGHBOUR, &own, &nonce]));
    assert!(!tells_other(135, &[&NEIGHBOUR]));
    assert!(!tells_other(133, &[&own]));
    assert!(tells_other(135, &[&NEIGHBOUR, &other]));
    assert!(tells_other(136, &[&NEIGHBOUR, &nonce, &other]));
    assert!(tells_other(133, &[&nonce, &other]));
}

fn arp(operation: u8, sender: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1]);
    frame.extend(sender);
    frame.extend([0; 10]);
    frame
}

#[test]
fn arp_asks_or_answers_for_ipv4_on_ethernet_and_carries_nothing_else() {
    let is_valid = |frame: &[u8]| Arp::read(&Frame::new(frame)).is_some_and(|arp| arp.is_valid());
    let good = arp(1, [10, 0, 0, 1]);
    let padded = |length: usize| {
        let mut frame = good.clone();
        frame.resize(length, 0);
        frame
    };
    assert_eq!([good.clone(), arp(2, [10, 0, 0, 1]), padded(60), padded(64)].map(|frame| is_valid(&frame)), [true; 4]);
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    let bad = [padded(65), padded(41), padded(20), changed(15, 6), changed(16, 9), changed(18, 8), changed(21, 3)];
    assert_eq!(bad.map(|frame| is_valid(&frame)), [false; 7]);
}

#[test]
fn only_a_request_may_leave_out_who_asks() {
    let is_probe =
        |operation, sender| Arp::read(&Frame::new(&arp(operation, sender))).is_some_and(|arp| arp.is_probe());
    assert_eq!([is_probe(1, [0; 4]), is_probe(2, [0; 4]), is_probe(1, [10, 0, 0, 1])], [true, false, false]);
}

/// A valid message in which some bytes are others, or that ends early or late.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let change = (12_usize..140, any::<u8>());
    let length = prop_oneof![4 => Just(0_isize), 1 => -30_isize..30];
    let address = prop_oneof![Just(NONE), Just(POD), Just(ROUTER), Just(NODES), Just(LISTENERS), Just(GROUP)];
    let (changes, addresses) = (proptest::collection::vec(change, 0..3), (address.clone(), address, any::<bool>()));
    (0..valid_ones().len(), changes, length, addresses).prop_map(|(index, changes, more, (from, to, moved))| {
        let mut sent = valid_ones().swap_remove(index).1;
        let longer = sent.message.len().saturating_add_signed(more);
        sent.message.resize(longer, 0);
        if moved {
            (sent.from, sent.to) = (from, to);
        }
        let mut frame = sent.frame();
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn discovery_is_what_a_second_reading_of_the_rfcs_says(frame in spoilt()) {
        for direction in [Ingress, Egress] {
            prop_assert_eq!(is_valid(&frame, direction), reference::is_discovery(&frame, direction));
        }
    }

    #[test]
    fn hostile_bytes_are_discovery_only_if_a_second_reading_says_so(
        bytes in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        for direction in [Ingress, Egress] {
            prop_assert_eq!(is_valid(&bytes, direction), reference::is_discovery(&bytes, direction));
        }
        let arp = Arp::read(&Frame::new(&bytes));
        prop_assert_eq!(arp.is_some_and(|arp| arp.is_valid()), reference::is_arp(&bytes));
        let is_bare = arp.is_some_and(|arp| arp.is_valid() && arp.is_filled_with_zeros(&Frame::new(&bytes)));
        prop_assert_eq!(is_bare, reference::is_bare_arp(&bytes));
        prop_assert_eq!(
            arp.map(|arp| [arp.sender, arp.target].map(|address| std::net::Ipv4Addr::from(address.octets()))),
            reference::arp_ends(&bytes)
        );
    }
}
