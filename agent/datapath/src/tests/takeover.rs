use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use podgate_common::{Addr4, Direction, Flow, FlowKey4, FlowPorts, Holder, NetPort, Reason, SlotWord, map, place};
use podgate_policy::op::Op;

use super::sandbox::{Pod, deny_all, enforce, pinned, run, sandbox, with_both_hooks};
use crate::attach::programs_at;
use crate::{Datapath, FormerSlot, Hook, Options, TestContext, preflight, sys, test_run};

fn programs(hook: Hook, pod: &Pod) -> usize {
    Direction::ALL.map(|direction| programs_at(hook, pod.ifindex, direction).unwrap().len()).iter().sum()
}

/// Lets a pod send datagrams to the host before, during and after `work`; returns how many the host received.
fn received_during(pod: &Pod, work: impl FnOnce()) -> usize {
    const MOST: usize = 200_000;
    let host = UdpSocket::bind("10.0.1.1:4000").unwrap();
    host.set_nonblocking(true).unwrap();
    let receive = || std::iter::from_fn(|| host.recv(&mut [0; 16]).ok()).count();
    let socket = pod.run(|| UdpSocket::bind("10.0.1.2:4000").unwrap());
    let (sent, received, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let more = |count: usize| {
        let enough = sent.load(Ordering::Relaxed) + count;
        while sent.load(Ordering::Relaxed) < enough.min(MOST) {
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && sent.fetch_add(1, Ordering::Relaxed) < MOST {
                // Fails where the interface has no buffer left, which is no matter.
                let _sent = socket.send_to(b"flood", "10.0.1.1:4000");
                received.fetch_add(receive(), Ordering::Relaxed);
                thread::sleep(Duration::from_micros(20));
            }
        });
        more(100);
        work();
        more(100);
        over.store(true, Ordering::Relaxed);
    });
    received.into_inner() + receive()
}

#[test]
fn no_packet_passes_between_two_starts() {
    with_both_hooks(|hook| {
        let pod = Pod::new(1);
        // A new link may take up to a second until it carries anything.
        assert!((0..200).any(|_| received_during(&pod, || {}) > 0), "the flood arrives where nothing is enforced");
        let mut first = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut first, 1, &pod, deny_all());
        let received = received_during(&pod, || {
            drop(first);
            let mut second = Datapath::load(&pinned(hook)).unwrap();
            // The next start may well give the pod another slot.
            enforce(&mut second, 2, &pod, deny_all());
            assert_eq!(second.finish_takeover().unwrap(), []);
        });
        assert_eq!((received, programs(hook, &pod)), (0, 2));
    });
}

#[test]
fn a_start_clears_what_former_ones_left_on_interfaces_that_are_nobodys() {
    with_both_hooks(|hook| {
        let (kept, left) = (Pod::new(1), Pod::new(2));
        for _ in 0..2 {
            let mut former = Datapath::load(&pinned(hook)).unwrap();
            enforce(&mut former, 1, &kept, deny_all());
            enforce(&mut former, 2, &left, deny_all());
        }
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut datapath, 1, &kept, deny_all());
        assert_eq!([programs(hook, &kept), programs(hook, &left)], [2, 2]);
        assert_eq!(datapath.finish_takeover().unwrap(), [left.ifindex]);
        assert_eq!([programs(hook, &kept), programs(hook, &left)], [2, 0]);
        assert_eq!(datapath.finish_takeover().unwrap(), []);
        let names = |directory: &str| -> Vec<String> {
            let entries = fs::read_dir(format!("/sys/fs/bpf/podgate/{directory}")).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let hooks = match hook {
            Hook::Auto | Hook::Tcx => (vec!["101-egress", "101-ingress"], vec![]),
            Hook::Clsact => (vec![], vec!["101"]),
        };
        let set = || vec!["3".to_owned()];
        assert_eq!(
            (names("sets"), names("whole"), names("links"), names("filters")),
            (set(), set(), owned(hooks.0), owned(hooks.1))
        );
    });
}

#[test]
fn what_an_unfinished_start_has_hung_judges_though_the_next_removes_its_set() {
    with_both_hooks(|hook| {
        let pod = Pod::new(1);
        let judge = {
            let mut unfinished = Datapath::load(&pinned(hook)).unwrap();
            enforce(&mut unfinished, 1, &pod, deny_all());
            unfinished.program(Direction::Ingress).try_clone_to_owned().unwrap()
        };
        let next = Datapath::load(&pinned(hook)).unwrap();
        assert!(!Path::new("/sys/fs/bpf/podgate/sets/1").exists());
        let frame = etherparse::PacketBuilder::ethernet2([2; 6], [2; 6])
            .ipv4([10, 0, 9, 9], [10, 0, 1, 2], 64)
            .tcp(9, 80, 0, 0)
            .syn();
        let mut bytes = Vec::new();
        frame.write(&mut bytes, b"").unwrap();
        let context = TestContext { ifindex: pod.ifindex, ingress_ifindex: 1, ..TestContext::default() };
        let before = next.counters_of(1).unwrap();
        test_run(judge.as_fd(), &bytes, &context, 1).unwrap();
        let moved = next.counters_of(1).unwrap().into_iter().filter(|(key, counter)| before.get(key) != Some(counter));
        assert_eq!(moved.map(|(key, _)| key.reason).collect::<Vec<_>>(), [Reason::NoRule]);
    });
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_start_with_the_other_kind_of_hook_leaves_only_its_own() {
    sandbox(|| {
        if !preflight::check().unwrap() {
            return; // One kind is all that this kernel has.
        }
        let pod = Pod::new(1);
        let mut seen = Vec::new();
        for hook in [Hook::Tcx, Hook::Clsact, Hook::Tcx] {
            let mut datapath = Datapath::load(&pinned(hook)).unwrap();
            enforce(&mut datapath, 1, &pod, deny_all());
            datapath.finish_takeover().unwrap();
            seen.push([Hook::Tcx, Hook::Clsact].map(|hook| programs(hook, &pod)));
        }
        assert_eq!(seen, [[2, 0], [0, 2], [2, 0]]);
    });
}

#[test]
fn an_interface_with_the_index_of_one_that_is_gone_is_attached_like_any_other() {
    with_both_hooks(|hook| {
        let gone = Pod::new(1);
        let mut former = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut former, 1, &gone, deny_all());
        drop(former);
        run("ip link del pod1");
        let pod = Pod::with_index(3, gone.ifindex);
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut datapath, 1, &pod, deny_all());
        assert_eq!(programs(hook, &pod), 2);
        assert_eq!(datapath.finish_takeover().unwrap(), []);
    });
}

fn flow_key(port: u16) -> FlowKey4 {
    FlowKey4 {
        remote: Addr4::from_octets([10, 0, 1, 1]),
        ports: FlowPorts::new(NetPort::new(port), NetPort::new(1025)),
        holder: Holder::new(17, place::POD, 3),
    }
}

fn set_flow(datapath: &Datapath, port: u16, rule: u32) {
    let flow = Flow { rule, ..Flow::default() };
    sys::map_update(datapath.maps.flows4.fd(), &flow_key(port), &flow).unwrap();
}

/// The rules of the flows on ports 1 to 3.
fn rules(datapath: &Datapath) -> [Option<u32>; 3] {
    let rule = |flow: Flow| flow.rule;
    [1, 2, 3].map(|port| sys::map_lookup(datapath.maps.flows4.fd(), &flow_key(port)).unwrap().map(rule))
}

fn drops(datapath: &Datapath, slot: u32) -> u64 {
    let counters = datapath.counters().unwrap().into_iter();
    counters
        .filter(|(key, _)| key.slot == slot && key.reason == Reason::NoRule)
        .map(|(_, counter)| counter.packets)
        .sum()
}

/// A datagram of another host that is denied.
fn denied_packet(datapath: &Datapath, pod: &Pod) {
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1];
    frame.extend(pod.address.octets());
    frame.extend([3, 232, 0, 53, 0, 8, 0, 0]);
    let context = TestContext { ifindex: pod.ifindex, ingress_ifindex: 1, ..TestContext::default() };
    test_run(datapath.program(Direction::Ingress), &frame, &context, 1).unwrap();
}

#[test]
fn flows_counters_and_generations_go_on_with_the_next_start() {
    sandbox(|| {
        let (pod, gone) = (Pod::new(1), Pod::new(2));
        let mut first = Datapath::load(&pinned(Hook::Auto)).unwrap();
        enforce(&mut first, 3, &pod, deny_all());
        enforce(&mut first, 4, &gone, deny_all());
        first.apply(&[Op::InvalidateAll]).unwrap();
        denied_packet(&first, &pod);
        denied_packet(&first, &gone);
        set_flow(&first, 1, 77);
        let (birth, epochs) = (first.birth(3), first.epochs.clone());
        drop(first);

        let mut second = Datapath::load(&pinned(Hook::Auto)).unwrap();
        let former = |slot, pod: &Pod| FormerSlot {
            slot,
            ifindex: pod.ifindex,
            addresses: vec![pod.address.into()],
            macs: [None; 2],
            link_locals: BTreeSet::new(),
        };
        assert_eq!(second.former_slots(), [former(3, &pod), former(4, &gone)]);
        enforce(&mut second, 3, &pod, deny_all());
        denied_packet(&second, &pod);
        assert_eq!((drops(&second, 3), rules(&second), &second.epochs), (2, [Some(77), None, None], &epochs));
        let word: SlotWord = second.maps.slots.read(&3).unwrap();
        assert_eq!((second.birth(3), word.generation() > birth.unwrap() + 1), (birth, true));

        second.finish_takeover().unwrap();
        assert_eq!(second.former_slots(), []);
        let next = Pod::new(5);
        enforce(&mut second, 4, &next, deny_all());
        assert_eq!(drops(&second, 4), 0, "the counts of whoever had the slot before");
    });
}

#[test]
fn flows_are_carried_over_into_a_table_of_another_size() {
    sandbox(|| {
        let pod = Pod::new(1);
        let mut first = Datapath::load(&pinned(Hook::Auto)).unwrap();
        enforce(&mut first, 3, &pod, deny_all());
        set_flow(&first, 1, 77);
        let sized = |entries| Options { capacities: [(map::FLOWS4.to_owned(), entries)].into(), ..pinned(Hook::Auto) };
        fs::hard_link(kept("flows4"), kept("pending4")).expect("a pin of a map that a former version shared");
        // A start that ends halfway through, and then another.
        drop(Datapath::load(&sized(5000)).unwrap());
        let mut last = Datapath::load(&sized(5000)).unwrap();
        set_flow(&last, 2, 2);
        set_flow(&first, 2, 1);
        set_flow(&first, 3, 3);
        assert_eq!(rules(&last), [Some(77), Some(2), None]);
        enforce(&mut last, 3, &pod, deny_all());
        last.finish_takeover().unwrap();
        assert_eq!(rules(&last), [Some(77), Some(2), Some(3)]);
        assert!(!kept("outgrown_flows4").exists());
        assert!(!kept("pending4").exists());
    });
}

/// Where a kept map is pinned.
fn kept(name: &str) -> PathBuf {
    format!("/sys/fs/bpf/podgate/kept/{}/{name}", map::KEPT_VERSION).into()
}

#[test]
fn flows_of_which_nobody_knows_whose_they_are_are_forgotten() {
    sandbox(|| {
        let first = Datapath::load(&pinned(Hook::Auto)).unwrap();
        set_flow(&first, 1, 77);
        drop(first);
        fs::remove_file(kept("residents")).unwrap();
        assert_eq!(rules(&Datapath::load(&pinned(Hook::Auto)).unwrap()), [None; 3]);
    });
}
