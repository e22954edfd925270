//! The program that judges most packets by one look-up judges none otherwise than the whole program, to which it leaves
//! the rest.

use podgate_common::{Direction, Tag};
use podgate_datapath::{Tagged, TestContext};

use crate::frames::{ACK, FIN, RST, SYN, SYN_ACK, tcp, udp};
use crate::rig::{ELSEWHERE, FAMILIES, Rig, SLOT, Side};

/// Bytes of an Ethernet, an IPv6 and a TCP header, but for the Ethernet addresses.
const HEADERS: std::ops::Range<usize> = 12..74;

/// A rig with flows of both families, and packets that belong to them or to none.
fn rig(ingress: Side, egress: Side) -> (Rig, Vec<(Direction, Vec<u8>)>) {
    let rig = Rig::new(ingress, egress);
    let mut frames = Vec::new();
    for ends in FAMILIES {
        let (friend, web, asks, dns) = ((ends.friend, 4000), (ends.pod, 80), (ends.friend, 4001), (ends.pod, 53));
        rig.ingress(&tcp(friend, web, SYN));
        rig.egress(&tcp(web, friend, SYN_ACK));
        rig.ingress(&tcp(friend, web, ACK));
        for answered in [ends.friend, ends.stranger] {
            rig.ingress(&udp((answered, 4002), dns));
            rig.egress(&udp(dns, (answered, 4002)));
        }
        let flags = [ACK, "PA", SYN, SYN_ACK, FIN, RST, ""];
        frames.extend(flags.map(|flags| (Direction::Ingress, tcp(friend, web, flags))));
        frames.extend([
            (Direction::Egress, tcp(web, friend, ACK)),
            (Direction::Ingress, udp(asks, dns)),
            (Direction::Ingress, udp((ends.friend, 4002), dns)),
            (Direction::Egress, udp(dns, (ends.friend, 4002))),
            (Direction::Ingress, udp((ends.stranger, 4002), dns)),
        ]);
    }
    (rig, frames)
}

/// Runs a frame until its flow is what it makes of it; then both programs must say the same.
fn compare(rig: &Rig, direction: Direction, frame: &[u8], tag: Tag, ingress_ifindex: u32) {
    let context = TestContext { ingress_ifindex, ..TestContext::default() };
    let run = |program| {
        let tagged = Tagged::new(program, tag).expect("the kernel takes a small program");
        rig.run_program(tagged.program(), frame, &context)
    };
    run(rig.datapath.program(direction));
    let whole = run(rig.datapath.whole_program(direction));
    let either = run(rig.datapath.program(direction));
    assert_eq!(either, whole, "{direction:?} {tag:?} by {ingress_ifindex}: {frame:02x?}");
}

#[test]
fn a_packet_of_which_any_bit_is_another_is_judged_as_by_the_whole_program() {
    let (rig, frames) = rig(Side::Web, Side::Web);
    let is_plain = |frame: &&(Direction, Vec<u8>)| frame.1.len() > 42 || frame.1[23] == 17;
    for (direction, frame) in frames.iter().filter(is_plain) {
        for at in HEADERS.start..HEADERS.end.min(frame.len()) {
            for bit in 0..8 {
                let mut changed = frame.clone();
                changed[at] ^= 1 << bit;
                let tag = if *direction == Direction::Ingress { Tag::FOREIGN } else { Tag::from_raw(0) };
                compare(&rig, *direction, &changed, tag, 0);
            }
        }
    }
}

#[test]
fn a_packet_from_anywhere_is_judged_as_by_the_whole_program() {
    let tags = [
        Tag::from_raw(0),
        Tag::FOREIGN,
        Tag::judged(0, SLOT + 1),
        Tag::settled(0, SLOT + 1),
        Tag::deferred(0, SLOT + 1, true),
        Tag::judged(0, SLOT),
        Tag::judged(1, SLOT),
    ];
    for (ingress, egress) in [(Side::Web, Side::Web), (Side::Web, Side::Open), (Side::Open, Side::Open)] {
        let (rig, frames) = rig(ingress, egress);
        for (direction, frame) in &frames {
            let entered = |tag: &Tag| *direction == Direction::Ingress || !tag.is_present();
            for tag in tags.into_iter().filter(entered) {
                for ifindex in [0, ELSEWHERE] {
                    compare(&rig, *direction, frame, tag, ifindex);
                    compare(&rig, *direction, &frame[..frame.len() - 1], tag, ifindex);
                }
            }
        }
    }
}
