use std::collections::BTreeMap;

use podgate_common::{
    Addr4, Addr6, ClassRowKey, EPOCHS, EndpointConfig, PortClasses, Row, RowPortKey, SlotWord, epoch_index4,
    epoch_index6, flags, map, word,
};
use podgate_policy::id::{ClassId, GroupId, PolicyId, PortClassId, RowId, RuleId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{EndpointPolicies, EndpointPolicy, Entry, Key, Op, RowHeader, Saying};

use super::sandbox::{sandbox, unpinned};
use crate::table::BlockKey;
use crate::{Datapath, Hook, Identity, Options};

fn load(capacities: &[(&str, u32)]) -> Datapath {
    let capacities: BTreeMap<String, u32> =
        capacities.iter().map(|&(name, entries)| (name.to_owned(), entries)).collect();
    Datapath::load(&Options { capacities, ..unpinned(Hook::Auto) }).unwrap()
}

fn put_address(address: &str, group: u32) -> Op {
    Op::Write(Entry::Address { address: address.parse().unwrap(), group: GroupId::from_raw(group) })
}

fn delete_address(address: &str) -> Op {
    Op::Delete(Key::Address { address: address.parse().unwrap() })
}

#[test]
fn rows_and_what_they_say_of_ports_are_written_and_removed() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let (row, port_class) = (RowId::from_raw(7), PortClassId::from_raw(3));
        let allowed = |raw| Saying::Allowed(RuleId::from_raw(raw));
        let protocols = [allowed(2), Saying::Denied(RuleId::from_raw(5)), Saying::WouldDeny(None)];
        let header = RowHeader { portless: allowed(0), protocols, by_port: [false, true, false] };
        let key = |protocol, port_class| RowPortKey { row: 7, port_class, protocol };
        let row_port = |protocol, raw| Op::Write(Entry::RowPort { row, protocol, port_class, says: allowed(raw) });
        let put = [
            Op::Write(Entry::Row { row, header }),
            row_port(Protocol::Tcp, 10),
            row_port(Protocol::Udp, 11),
            row_port(Protocol::Sctp, 12),
        ];
        datapath.apply(&put).unwrap();
        let read = |datapath: &Datapath| {
            let ports = [6, 17, 132].map(|protocol| datapath.maps.row_ports.read(&key(protocol, 3)));
            (datapath.maps.rows.read(&7), ports, datapath.maps.rows.used(), datapath.maps.row_ports.used())
        };
        let header =
            Row { any: word::ALLOWED | word::MORE, tcp: word::ALLOWED | 2, udp: word::MORE | 5, sctp: word::AUDITED };
        let ports = [10, 11, 12].map(|raw| Some(word::ALLOWED | raw));
        assert_eq!(read(&datapath), (Some(header), ports, 1, 3));

        let row_port = |protocol| Op::Delete(Key::RowPort { row, protocol, port_class });
        datapath.apply(&[Op::Delete(Key::Row { row }), row_port(Protocol::Tcp), row_port(Protocol::Sctp)]).unwrap();
        assert_eq!(read(&datapath), (Some(Row::default()), [None, Some(word::ALLOWED | 11), None], 0, 1));
    });
}

#[test]
fn a_row_that_says_the_same_of_every_packet_says_so_in_its_first_word() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let row = RowId::from_raw(7);
        let header = RowHeader::uniform(Saying::Denied(RuleId::from_raw(9)));
        datapath.apply(&[Op::Write(Entry::Row { row, header })]).unwrap();
        assert_eq!(datapath.maps.rows.read(&7), Some(Row { any: 9, tcp: 9, udp: 9, sctp: 9 }));
    });
}

#[test]
fn ports_groups_and_class_rows_are_written_and_removed() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let (policy, class, row) = (PolicyId::from_raw(4), ClassId::from_raw(5), RowId::from_raw(6));
        datapath
            .apply(&[
                Op::Write(Entry::Port { port: 65_535, classes: [1, 2, 3].map(PortClassId::from_raw) }),
                Op::Write(Entry::ClassRow { policy, class, row }),
                Op::Write(Entry::Group { group: GroupId::from_raw(8), class: ClassId::from_raw(9) }),
            ])
            .unwrap();
        let key = ClassRowKey { policy: 4, class: 5 };
        let read =
            (datapath.maps.ports.read(&65_535), datapath.maps.class_rows.read(&key), datapath.maps.groups.read(&8));
        let classes = PortClasses { tcp: 1, udp: 2, sctp: 3, reserved: 0 };
        assert_eq!(read, (Some(classes), Some(6_u32), Some(9_u32)));

        datapath.apply(&[Op::Delete(Key::ClassRow { policy, class })]).unwrap();
        assert_eq!(datapath.maps.class_rows.read(&key), None);
    });
}

#[test]
fn addresses_of_both_families_are_written_and_removed() {
    sandbox(|| {
        let mut datapath = load(&[]);
        datapath.apply(&[put_address("10.0.0.1", 3), put_address("10.0.0.2", 4), put_address("fd00::1", 5)]).unwrap();
        let key4 = |last| Addr4::from_octets([10, 0, 0, last]);
        let key6 = Addr6::from_octets([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let read = |datapath: &Datapath| {
            let maps = &datapath.maps;
            [maps.addresses4.read(&key4(1)), maps.addresses4.read(&key4(2)), maps.addresses6.read(&key6)]
        };
        assert_eq!(read(&datapath), [Some(3), Some(4), Some(5)]);

        datapath.apply(&[put_address("10.0.0.2", 6), delete_address("10.0.0.1"), delete_address("fd00::1")]).unwrap();
        assert_eq!(read(&datapath), [None, Some(6), None]);
    });
}

#[test]
fn the_longest_block_around_an_address_gives_its_class() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let block = |block: &str| block.parse().unwrap();
        let put = |text, class| Op::Write(Entry::Block { block: block(text), class: ClassId::from_raw(class) });
        datapath.apply(&[put("10.0.0.0/8", 1), put("10.1.0.0/16", 2), put("fd00::/16", 3)]).unwrap();
        let class4 = |datapath: &Datapath, address: [u8; 4]| {
            let host = ipnet::Ipv4Net::new(address.into(), 32).unwrap();
            datapath.maps.blocks4.read(&BlockKey::from(host))
        };
        let class6 = |datapath: &Datapath| {
            let host = ipnet::Ipv6Net::new("fd00::1".parse().unwrap(), 128).unwrap();
            datapath.maps.blocks6.read(&BlockKey::from(host))
        };
        let read = |datapath: &Datapath| {
            [
                class4(datapath, [10, 2, 0, 1]),
                class4(datapath, [10, 1, 0, 1]),
                class4(datapath, [11, 0, 0, 1]),
                class6(datapath),
            ]
        };
        assert_eq!(read(&datapath), [Some(1), Some(2), None, Some(3)]);

        let deleted = ["10.1.0.0/16", "fd00::/16"].map(|text| Op::Delete(Key::Block { block: block(text) }));
        datapath.apply(&deleted).unwrap();
        assert_eq!(read(&datapath), [Some(1), Some(1), None, None]);
    });
}

#[test]
fn an_invalidation_counts_the_epoch_of_its_address_up() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let invalidate = |address: &str| Op::Invalidate { address: address.parse().unwrap() };
        let at4 = epoch_index4(Addr4::from_octets([10, 0, 0, 1]));
        let at6 = epoch_index6(Addr6::from_octets([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        datapath.apply(&[invalidate("10.0.0.1"), invalidate("fd00::1")]).unwrap();
        datapath.apply(&[invalidate("10.0.0.1")]).unwrap();
        let read = |datapath: &Datapath| -> BTreeMap<u32, u32> {
            (0..EPOCHS).map(|index| (index, datapath.maps.epochs.read(&index).unwrap())).collect()
        };
        let counted: Vec<_> = read(&datapath).into_iter().filter(|&(_, epoch)| epoch != 0).collect();
        let mut expected = [(at4, 2), (at6, 1)];
        expected.sort_unstable();
        assert_eq!(counted, expected);

        let before = read(&datapath);
        datapath.apply(&[Op::InvalidateAll]).unwrap();
        let after = read(&datapath);
        let unchanged: Vec<u32> = (0..EPOCHS).filter(|index| after[index] != before[index] + 1).collect();
        assert_eq!(unchanged, []);
    });
}

#[test]
fn a_switch_writes_a_complete_record_and_then_the_word_that_points_at_it() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let identity = Identity {
            ifindex: 7,
            netns_id: Some(2),
            address4: Some([10, 0, 0, 1].into()),
            address6: None,
            routes: false,
            keep: true,
        };
        datapath.identify(3, &identity).unwrap();
        let policies = EndpointPolicies {
            egress: EndpointPolicy::Isolated { policy: PolicyId::from_raw(5), default_row: RowId::from_raw(6) },
            ..EndpointPolicies::default()
        };
        datapath.apply(&[Op::Switch { slot: 3, policies }]).unwrap();
        let record = |netns_id| EndpointConfig {
            flags: flags::ISOLATED_EGRESS | flags::KEEP,
            netns_id,
            policy: [0, 5],
            default_row: [0, 6],
            birth: 1,
            address4: Addr4::from_octets([10, 0, 0, 1]),
            ..EndpointConfig::default()
        };
        let word = |datapath: &Datapath| datapath.maps.slots.read(&3).unwrap();
        let config = |datapath: &Datapath| {
            let config = datapath.maps.configs.read(&word(datapath).config())?;
            assert_ne!(config.older_until, 0, "an endpoint that is there at the start may have connections");
            Some(EndpointConfig { older_until: 0, ..config })
        };
        assert_eq!((word(&datapath), config(&datapath)), (SlotWord::new(1, 1), Some(record(2))));

        // What becomes known of the pod later goes into a new record, under the same policies.
        datapath.identify(3, &Identity { netns_id: Some(9), ..identity }).unwrap();
        assert_eq!((word(&datapath), config(&datapath)), (SlotWord::new(2, 2), Some(record(9))));

        datapath.apply(&[Op::Switch { slot: 3, policies: EndpointPolicies::default() }, Op::Grace]).unwrap();
        assert_eq!((word(&datapath), datapath.slots.used()), (SlotWord::new(3, 0), (1, 0)));
    });
}

#[test]
fn an_operation_that_fails_says_which_and_how_many_are_in_force() {
    sandbox(|| {
        let mut datapath = load(&[(map::ADDRESSES4, 4)]);
        let mut ops = vec![Op::Write(Entry::Group { group: GroupId::from_raw(1), class: ClassId::from_raw(1) })];
        ops.extend((1..=6).map(|last| put_address(&format!("10.0.0.{last}"), 1)));
        let error = datapath.apply(&ops).unwrap_err();
        assert_eq!((error.applied, &error.op), (5, &ops[5]));
        assert_eq!(
            error.to_string(),
            "operation 5, Write(Address { address: 10.0.0.5, group: 1 }): can't write to table ADDRESSES4: Argument list \
             too long (os error 7)"
        );
        assert_eq!(datapath.maps.addresses4.used(), 4);

        datapath.apply(&[delete_address("10.0.0.1"), delete_address("10.0.0.2")]).unwrap();
        datapath.apply(&ops[error.applied..]).unwrap();
        assert_eq!(datapath.maps.addresses4.used(), 4);
    });
}

#[test]
fn removing_what_is_not_there_removes_the_rest_too() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
        datapath.apply(&[put_address(addresses[1], 1), put_address(addresses[3], 1)]).unwrap();
        datapath.apply(&addresses.map(delete_address)).unwrap();
        let left = [2, 4].map(|last| datapath.maps.addresses4.read(&Addr4::from_octets([10, 0, 0, last])));
        assert_eq!((left, datapath.maps.addresses4.used()), ([None, None], 0));
    });
}

#[test]
fn a_switch_of_a_slot_that_nobody_has_is_refused() {
    sandbox(|| {
        let mut datapath = load(&[]);
        let error = datapath.apply(&[Op::Switch { slot: 3, policies: EndpointPolicies::default() }]).unwrap_err();
        assert_eq!(error.source.to_string(), "slot 3 has no identity: identify it first");
    });
}
