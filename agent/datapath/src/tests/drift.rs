use std::fs;

use podgate_common::{Addr4, ClassRowKey, Direction, PortClasses, SlotWord};
use podgate_policy::id::{ClassId, GroupId, PolicyId, RowId};
use podgate_policy::op::{EndpointPolicies, Entry, Op};

use super::sandbox::{Pod, deny_all, enforce, pinned, run, sandbox, unpinned, with_both_hooks};
use crate::attach::programs_at;
use crate::table::BlockKey;
use crate::{Datapath, Hook, preflight, sys};

/// Compares everything once; the entries that were put right.
fn audit(datapath: &mut Datapath) -> u64 {
    let most = 2 * datapath.audit_steps();
    let mut repaired = 0;
    for _ in 0..most {
        let audited = datapath.audit().unwrap();
        repaired += audited.repaired;
        if audited.over {
            return repaired;
        }
    }
    panic!("not everything was compared in {most} steps");
}

fn address(last: u8) -> Addr4 {
    Addr4::from_octets([10, 1, 0, last])
}

#[test]
fn what_somebody_else_writes_to_tables_or_removes_is_put_right() {
    sandbox(|| {
        let pod = Pod::new(1);
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        enforce(&mut datapath, 3, &pod, deny_all());
        let blocks = ["10.2.0.0/15", "10.3.0.0/16"].map(|block| block.parse().unwrap());
        let class = ClassId::from_raw(5);
        datapath
            .apply(&[
                Op::Write(Entry::Address { address: [10, 1, 0, 1].into(), group: GroupId::from_raw(1) }),
                Op::Write(Entry::Address { address: [10, 1, 0, 2].into(), group: GroupId::from_raw(2) }),
                Op::Write(Entry::Block { block: blocks[0], class }),
                Op::Write(Entry::Block { block: blocks[1], class }),
                Op::Write(Entry::ClassRow { policy: PolicyId::from_raw(1), class, row: RowId::from_raw(9) }),
            ])
            .unwrap();
        assert_eq!(audit(&mut datapath), 0);

        let maps = &datapath.maps;
        let (rest, open) = (maps.slots.read(&3).unwrap(), SlotWord::new(9, 0));
        sys::map_update(maps.slots.fd(), &3_u32, &open).unwrap();
        sys::map_update(maps.ports.fd(), &80_u32, &PortClasses { tcp: 1, ..PortClasses::default() }).unwrap();
        sys::map_update(maps.addresses4.fd(), &address(1), &7_u32).unwrap();
        sys::map_update(maps.addresses4.fd(), &address(9), &1_u32).unwrap();
        sys::map_delete_batch(maps.addresses4.fd(), &[address(2)]).unwrap();
        let block = |text: &str| BlockKey::from(text.parse::<ipnet::Ipv4Net>().unwrap());
        sys::map_update(maps.blocks4.fd(), &block("10.2.3.0/24"), &6_u32).unwrap();
        sys::map_update(maps.blocks4.fd(), &block("10.2.0.0/15"), &7_u32).unwrap();
        sys::map_delete_batch(maps.blocks4.fd(), &[block("10.3.0.0/16")]).unwrap();
        sys::map_delete_batch(maps.class_rows.fd(), &[ClassRowKey { policy: 1, class: 5 }]).unwrap();

        assert_eq!(audit(&mut datapath), 9);
        let maps = &datapath.maps;
        let found = [1, 2, 9].map(|last| maps.addresses4.read(&address(last)));
        assert_eq!((maps.slots.read(&3), found), (Some(rest), [Some(1), Some(2), None]));
        let classes = ["10.2.3.0/24", "10.3.0.0/32"].map(|text| maps.blocks4.read(&block(text)));
        assert_eq!(classes, [Some(5); 2]);
        sys::map_update(maps.blocks4.fd(), &block("10.2.0.0/15"), &8_u32).unwrap();
        assert_eq!(maps.blocks4.read(&block("10.3.0.0/32")), Some(5), "the longer prefix is there again");
        assert_eq!(audit(&mut datapath), 1);
        assert_eq!(audit(&mut datapath), 0);
    });
}

#[test]
fn tables_of_many_entries_are_compared_to_the_last() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let addresses = (0..10_000_u32).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
        let put = |address| Op::Write(Entry::Address { address, group: GroupId::from_raw(1) });
        datapath.apply(&addresses.map(put).collect::<Vec<_>>()).unwrap();
        for number in [0, 4_999, 9_999_u32] {
            let key = Addr4::from_octets((0x0a00_0000 + number).to_be_bytes());
            sys::map_update(datapath.maps.addresses4.fd(), &key, &2_u32).unwrap();
        }
        for number in 0..5_000_u32 {
            let key = Addr4::from_octets((0x0b00_0000 + number).to_be_bytes());
            sys::map_update(datapath.maps.addresses4.fd(), &key, &2_u32).unwrap();
        }
        assert_eq!(audit(&mut datapath), 5_003);
    });
}

#[test]
fn programs_that_are_taken_off_or_come_second_are_put_back() {
    with_both_hooks(|hook| {
        let pod = Pod::new(1);
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut datapath, 3, &pod, deny_all());
        let programs = || Direction::ALL.map(|direction| programs_at(hook, pod.ifindex, direction).unwrap());
        let before = programs();
        assert!(!datapath.attach(3).unwrap());
        match hook {
            Hook::Auto | Hook::Tcx => {
                // As a program with the rights would, which may detach any link.
                let link =
                    sys::open_pin(format!("/sys/fs/bpf/podgate/links/{}-ingress", pod.ifindex).as_ref()).unwrap();
                sys::link_detach(std::os::fd::AsFd::as_fd(&link)).unwrap();
            }
            Hook::Clsact => run("tc qdisc del dev pod1 clsact"),
        }
        assert!(datapath.attach(3).unwrap());
        assert_eq!(programs(), before);
        assert!(!datapath.attach(3).unwrap());
    });
}

#[test]
fn pins_that_are_removed_are_made_again() {
    sandbox(|| {
        if !preflight::check().unwrap() {
            return; // Filters have no pins.
        }
        let pod = Pod::new(1);
        let mut datapath = Datapath::load(&pinned(Hook::Tcx)).unwrap();
        enforce(&mut datapath, 3, &pod, EndpointPolicies::default());
        datapath.finish_takeover().unwrap();
        let paths = || {
            let mut found: Vec<_> = walk("/sys/fs/bpf/podgate".as_ref());
            found.sort();
            found
        };
        let before = paths();
        assert_eq!((datapath.restore_pins().unwrap(), datapath.attach(3).unwrap()), (false, false));
        fs::remove_dir_all("/sys/fs/bpf/podgate").unwrap();
        assert_eq!((datapath.restore_pins().unwrap(), datapath.attach(3).unwrap()), (true, true));
        assert_eq!(paths(), before);
        assert_eq!((datapath.restore_pins().unwrap(), datapath.attach(3).unwrap()), (false, false));
    });
}

/// The files below a directory.
fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
