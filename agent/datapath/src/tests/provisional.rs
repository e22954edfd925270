//! Filters that judge until TCX links take their place.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use podgate_common::Direction;
use podgate_policy::op::{EndpointPolicies, Op};

use super::foreign::Foreign;
use super::sandbox::{Pod, deny_all, enforce, pinned, run, sandbox};
use crate::attach::programs_at;
use crate::{Datapath, Hook, HookReport, HookTask, preflight, remove_everything};

/// Runs a test where the kernel has TCX.
fn with_links(test: impl FnOnce() + Send) {
    if preflight::check().unwrap() {
        sandbox(test);
    }
}

/// How many programs are at both hooks of an interface: by links, and by filters.
fn programs(pod: &Pod) -> [usize; 2] {
    let at = |hook, direction| programs_at(hook, pod.ifindex, direction).unwrap().len();
    [Hook::Tcx, Hook::Clsact].map(|hook| Direction::ALL.into_iter().map(|direction| at(hook, direction)).sum())
}

/// Attaches a pod as the agent does.
fn attach_soon(datapath: &mut Datapath, slot: u32, pod: &Pod, policies: EndpointPolicies) -> HookReport {
    datapath.identify(slot, &pod.identity()).unwrap();
    datapath.apply(&[Op::Switch { slot, policies }]).unwrap();
    again(datapath, slot)
}

/// Sees that all is as it should be.
fn again(datapath: &mut Datapath, slot: u32) -> HookReport {
    let task = datapath.begin_attach(slot).unwrap().with_filter_first();
    datapath.attacher().carry_out(&task).unwrap()
}

fn link(datapath: &Datapath, pod: &Pod) -> HookReport {
    datapath.attacher().carry_out(&HookTask::link(pod.ifindex)).unwrap()
}

fn report(changed: bool, provisional: bool) -> HookReport {
    HookReport { changed, provisional, left: vec![] }
}

#[test]
fn a_filter_judges_at_once_and_goes_only_when_the_link_judges() {
    with_links(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        let (pod, open) = (Pod::new(1), Pod::new(2));
        enforce(&mut datapath, 2, &open, EndpointPolicies::default());
        assert_eq!(attach_soon(&mut datapath, 1, &pod, deny_all()), report(true, true));
        assert_eq!(programs(&pod), [0, 2]);
        assert_eq!([open.reaches(&pod, &datapath), pod.reaches(&open, &datapath)], [false, false]);
        assert_eq!(again(&mut datapath, 1), report(false, true));
        let received = pod.run(|| UdpSocket::bind((pod.address, 5000)).unwrap());
        received.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let done = AtomicBool::new(false);
        let reports = thread::scope(|scope| {
            scope.spawn(|| {
                let sender = open.run(|| UdpSocket::bind((open.address, 0)).unwrap());
                while !done.load(Ordering::Relaxed) {
                    sender.send_to(b"hello", (pod.address, 5000)).unwrap();
                }
            });
            let reports = [link(&datapath, &pod), link(&datapath, &pod)];
            done.store(true, Ordering::Relaxed);
            reports
        });
        assert!(received.recv(&mut [0; 16]).is_err(), "a packet passed");
        assert_eq!(reports, [report(false, true), report(false, false)]);
        assert_eq!(programs(&pod), [2, 0]);
        assert_eq!(again(&mut datapath, 1), report(false, false));
    });
}

#[test]
fn where_somebody_has_a_tcx_program_the_link_is_made_at_once() {
    with_links(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        let (pod, other) = (Pod::new(1), Pod::new(2));
        let _before = Foreign::in_front(Hook::Tcx, pod.ifindex, Direction::Ingress);
        assert_eq!(attach_soon(&mut datapath, 1, &pod, deny_all()), report(true, true));
        assert_eq!(programs(&pod), [2, 1], "the stranger's, and ours before it");
        assert_eq!(attach_soon(&mut datapath, 2, &other, deny_all()), report(true, true));
        let _later = Direction::ALL.map(|direction| Foreign::in_front(Hook::Tcx, other.ifindex, direction));
        assert_eq!(again(&mut datapath, 2), report(true, false));
        assert_eq!(programs(&other), [4, 0]);
        assert_eq!([other.reaches(&pod, &datapath), pod.reaches(&other, &datapath)], [false, false]);
    });
}

#[test]
fn where_a_qdisc_of_others_is_in_the_way_the_link_is_made_at_once() {
    with_links(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1);
        run("tc qdisc add dev pod1 ingress");
        assert_eq!(attach_soon(&mut datapath, 1, &pod, deny_all()), report(true, false));
        let at = |direction| programs_at(Hook::Tcx, pod.ifindex, direction).unwrap().len();
        assert_eq!(Direction::ALL.map(at), [1, 1]);
    });
}

#[test]
fn a_filter_that_somebody_removes_is_put_back() {
    with_links(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1);
        attach_soon(&mut datapath, 1, &pod, deny_all());
        run("tc qdisc del dev pod1 clsact");
        assert_eq!(again(&mut datapath, 1), report(true, true));
        assert_eq!(programs(&pod), [0, 2]);
    });
}

#[test]
fn a_start_takes_over_the_filters_of_one_that_ended_before_its_links_were_made() {
    with_links(|| {
        let pod = Pod::new(1);
        let mut former = Datapath::load(&pinned(Hook::Auto)).unwrap();
        attach_soon(&mut former, 1, &pod, deny_all());
        link(&former, &pod);
        drop(former);
        assert_eq!(programs(&pod), [1, 1]);
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        assert_eq!(attach_soon(&mut datapath, 1, &pod, deny_all()), report(true, true));
        assert_eq!(programs(&pod), [1, 1]);
        assert_eq!(link(&datapath, &pod), report(false, false));
        assert_eq!(programs(&pod), [2, 0]);
    });
}

#[test]
fn nothing_is_left_of_a_filter_that_a_link_took_the_place_of() {
    with_links(|| {
        let (linked, filtered) = (Pod::new(1), Pod::new(2));
        let mut datapath = Datapath::load(&pinned(Hook::Auto)).unwrap();
        for (slot, pod) in [(1, &linked), (2, &filtered)] {
            attach_soon(&mut datapath, slot, pod, deny_all());
        }
        link(&datapath, &linked);
        link(&datapath, &linked);
        drop(datapath);
        remove_everything(Path::new("/sys/fs/bpf/podgate")).unwrap();
        assert_eq!([programs(&linked), programs(&filtered)], [[0, 0], [0, 0]]);
        // The kernel lists no such qdisc: one can be added.
        ["pod1", "pod2"].iter().for_each(|name| run(&format!("tc qdisc add dev {name} clsact")));
    });
}
