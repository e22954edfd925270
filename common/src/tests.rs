use crate::*;

#[test]
fn addresses_keep_the_byte_order_of_packets() {
    let v4 = [10, 244, 1, 7];
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x12, 0x34];
    assert_eq!(Addr4::from_octets(v4).octets(), v4);
    assert_eq!(Addr6::from_octets(v6).octets(), v6);
    assert_eq!(NetPort::from_network(u16::from_ne_bytes([0x1f, 0x90])).number(), 8080);
    assert_eq!(NetPort::new(8080), NetPort::from_network(u16::from_ne_bytes([0x1f, 0x90])));
}

#[test]
fn link_local_is_fe80_slash_10() {
    let starting = |a, b| Addr6::from_octets([a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_link_local();
    assert_eq!(
        [starting(0xfe, 0x80), starting(0xfe, 0xbf), starting(0xfe, 0xc0), starting(0xfd, 0x80)],
        [true, true, false, false]
    );
}

#[test]
fn groups_are_told_from_what_is_reserved_beside_them() {
    let v4 = |octets| Addr4::from_octets(octets).is_group();
    let told = [[223, 255, 255, 255], [224, 0, 0, 0], [239, 1, 2, 3], [240, 0, 0, 9], [255, 255, 255, 254], [255; 4]];
    assert_eq!(told.map(v4), [false, true, true, false, false, true]);
    let v6 = |first| Addr6::from_octets([first, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_group();
    assert_eq!([v6(0xfe), v6(0xff)], [false, true]);
}

#[test]
fn words_carry_both_halves() {
    let slot = SlotWord::new(7, 9);
    assert_eq!((slot.generation(), slot.config(), slot.raw()), (7, 9, 7 << 32 | 9));
    let stamp = Stamp::new(0xffff_ffff, 3);
    assert_eq!((stamp.generation(), stamp.epoch()), (0xffff_ffff, 3));
    let interface = InterfaceSlot::new(41, 2);
    assert_eq!((interface.ifindex(), interface.slot()), (41, 2));
}

#[test]
fn counters_of_different_verdicts_do_not_overlap() {
    let mut seen = std::collections::BTreeSet::new();
    for slot in 0..3 {
        for direction in Direction::ALL {
            for &reason in Reason::ALL {
                assert!(seen.insert(counter_index(slot, direction, reason)));
            }
        }
    }
}

#[test]
fn an_ethernet_source_is_one_address_or_none() {
    let address = [2, 0x11, 0x22, 0x33, 0x44, 0xff];
    let source = EthernetSource::one(address);
    assert_eq!((source.octets(), EthernetSource::from_raw(source.raw())), (Some(address), source));
    assert_eq!(EthernetSource::of([[2, 0x11], [0x22, 0x33], [0x44, 0xff]].map(u16::from_ne_bytes)), source);
    let others = [EthernetSource::ANY, EthernetSource::UNKNOWN, EthernetSource::REFUSED];
    assert_eq!(others.map(EthernetSource::octets), [None; 3]);
    assert!(!others.contains(&EthernetSource::one([0; 6])));
}

#[test]
fn reason_codes_are_read_back() {
    let codes: Vec<_> = Reason::ALL.iter().map(|&reason| Reason::from_code(reason as u8)).collect();
    assert_eq!(codes, Reason::ALL.iter().copied().map(Some).collect::<Vec<_>>());
    assert_eq!(Reason::from_code(Reason::ALL.len() as u8), None);
}

#[test]
fn audit_keeps_what_a_denial_is_called_and_changes_nothing_else() {
    for reason in Reason::ALL.iter().copied() {
        let audited = reason.audited();
        let expected = if audited == reason { reason.verdict() } else { Verdict::WouldDeny };
        assert_eq!((audited.as_str(), audited.verdict()), (reason.as_str(), expected));
    }
    let changed = Reason::ALL.iter().filter(|reason| reason.audited() != **reason);
    assert!(changed.clone().all(|reason| reason.verdict() == Verdict::Denied));
    assert_eq!(changed.count(), 9);
}

#[test]
fn what_is_kept_has_the_layout_of_its_version() {
    use crate::map::{KEPT_VERSION, capacity};
    let flows = (size_of::<FlowKey4>(), size_of::<FlowKey6>(), size_of::<Flow>());
    let fragments = (size_of::<FragmentKey4>(), size_of::<FragmentKey6>(), size_of::<FragmentPorts>());
    let counts = (Reason::ROOM, size_of::<Counter>(), capacity::EVENTS_LOST, capacity::EXITS, EPOCHS);
    let other = (size_of::<FlowEvent>(), size_of::<Resident>());
    let layout = (KEPT_VERSION, flows, fragments, counts, other);
    assert_eq!(layout, (4, (12, 24, 24), (16, 40, 12), (48, 16, 3, 4, 4096), (72, 48)), "then it is another version");
}

#[test]
fn epoch_index_stays_in_range_and_spreads_neighbours() {
    let indexes: std::collections::BTreeSet<_> =
        (0..=255).map(|last| epoch_index4(Addr4::from_octets([10, 244, 1, last]))).collect();
    assert!(indexes.iter().all(|&index| index < EPOCHS));
    assert!(indexes.len() > 200, "256 neighbours share {} epochs", indexes.len());
}

/// The bytes of a value, to compare with what the kernel would see.
fn bytes<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: only types without padding are given, so every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[test]
fn keys_have_the_layout_the_kernel_compares() {
    let key = FlowKey4 {
        remote: Addr4::from_octets([10, 0, 0, 2]),
        ports: FlowPorts::new(NetPort::new(0x0102), NetPort::new(0x0304)),
        holder: Holder::new(6, place::EXIT, 5),
    };
    assert_eq!(bytes(&key)[..8], [10, 0, 0, 2, 1, 2, 3, 4]);
    assert_eq!(bytes(&key)[8..], (6_u32 | 1 << 8 | 5 << 9).to_ne_bytes());
    let row =
        RowPortKey { row: u32::from_ne_bytes([1, 2, 3, 4]), port_class: u16::from_ne_bytes([5, 6]), protocol: 17 };
    assert_eq!(bytes(&row)[..6], [1, 2, 3, 4, 5, 6]);
    let own = OwnAddressKey::v4(u32::from_ne_bytes([1, 2, 3, 4]), Addr4::from_octets([10, 0, 0, 2]));
    let mapped = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2];
    assert_eq!(bytes(&own), mapped);
    assert_eq!(std::mem::offset_of!(EndpointConfig, address4), 28);
    assert_eq!(std::mem::offset_of!(EndpointConfig, address6), 32);
    assert_eq!(std::mem::offset_of!(EndpointConfig, older_until), 48);
    assert_eq!(std::mem::offset_of!(FlowEvent, rule), 64);
    assert_eq!(std::mem::offset_of!(FlowEvent, direction), 56);
}

#[test]
fn a_holder_tells_protocols_places_slots_and_other_addresses_apart() {
    let mut seen = std::collections::BTreeSet::new();
    for protocol in [0, protocol::TCP, u8::MAX] {
        for place in [place::POD, place::EXIT] {
            for slot in [0, 1, map::ENDPOINTS - 1] {
                let own = Holder::new(protocol, place, slot);
                for holder in [own, own.with_other(0), own.with_other(u32::MAX)] {
                    assert_eq!(holder.slot(), slot);
                    assert!(seen.insert(holder));
                }
            }
        }
    }
}

#[test]
fn entries_above_a_share_have_places_of_their_own_and_those_of_a_group_take_turns() {
    let mut seen = std::collections::BTreeSet::new();
    let place = |group, turn| excess_place(group, turn, 16, map::capacity::EXCESS4);
    for share in [0, 2, 4] {
        for hash in (0..EPOCHS).step_by((EPOCHS / EXCESS_GROUPS) as usize) {
            let group = excess_group(share, hash);
            assert!(group < map::capacity::EXCESS_TURNS);
            assert_eq!(group, excess_group(share, hash + EPOCHS / EXCESS_GROUPS - 1));
            assert!((0..16).all(|turn| seen.insert(place(group, turn))));
            assert!((16..32).all(|turn| !seen.insert(place(group, turn))));
        }
    }
}

#[test]
fn a_tag_tells_whose_the_packet_is_and_what_is_left_to_do() {
    let told = |tag: Tag| {
        let fate = [tag.is_present(), tag.is_judged(), tag.is_established(), tag.is_inward(), tag.is_answer()];
        (tag.set(), tag.slot(), fate)
    };
    for (set, slot) in [(0, 0), (0, 1), (Tag::SETS - 1, 0), (Tag::SETS - 1, map::ENDPOINTS - 1)] {
        assert_eq!(told(Tag::judged(set, slot)), (set, slot, [true, true, false, false, false]));
        assert_eq!(told(Tag::deferred(set, slot, false)), (set, slot, [true, false, false, false, false]));
        assert_eq!(told(Tag::deferred(set, slot, true)), (set, slot, [true, false, true, false, false]));
        assert_eq!(told(Tag::inward(set, slot)), (set, slot, [true, false, false, true, false]));
        assert_eq!(told(Tag::answer(set, slot)), (set, slot, [true, false, false, false, true]));
        assert_eq!(Tag::from_raw(Tag::inward(set, slot).raw()), Tag::inward(set, slot));
    }
    assert_eq!(Tag::judged(Tag::SETS, 1), Tag::judged(0, 1));
    let foreign = told(Tag::FOREIGN);
    assert_eq!((foreign.1 < map::ENDPOINTS, foreign.2), (false, [true, false, false, false, false]), "it is of no set");
    assert!(Tag::FOREIGN.is_foreign() && !Tag::FOREIGN.is_settled());
    let none = Tag::from_raw(0);
    assert_eq!((none.is_present(), none.slot() < map::ENDPOINTS), (false, false));
}
