use std::thread;
use std::time::Duration;

use podgate_common::{
    Addr4, Addr6, Flow, FlowKey4, FlowPorts, Holder, InterfaceSlot, NetPort, PodAddresses, SlotWord, Stamp, map, place,
};
use podgate_policy::op::{EndpointPolicies, Op};

use super::sandbox::{Pod, deny_all, enforce, sandbox, unpinned, with_both_hooks};
use crate::{Datapath, Hook, Identity, sys};

#[test]
fn interfaces_that_share_a_place_are_told_apart() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&unpinned(hook)).unwrap();
        let size = map::capacity::INTERFACES;
        let pods = [Pod::with_index(1, 200), Pod::with_index(2, 200 + size), Pod::with_index(3, 200 + 2 * size)];
        for (slot, pod) in (1..).zip(&pods) {
            enforce(&mut datapath, slot, pod, EndpointPolicies::default());
        }
        let read = |datapath: &Datapath| {
            let more = [1, 2].map(|n| datapath.maps.interfaces_more.read(&(200 + n * size)));
            (datapath.maps.interfaces.read(&200), more)
        };
        assert_eq!(read(&datapath), (Some(InterfaceSlot::new(200, 1)), [Some(2), Some(3)]));

        datapath.release(1).unwrap();
        assert_eq!(read(&datapath), (Some(InterfaceSlot::default()), [Some(2), Some(3)]));
        datapath.release(2).unwrap();
        assert_eq!(read(&datapath), (Some(InterfaceSlot::default()), [None, Some(3)]));
    });
}

#[test]
fn a_released_slot_is_open_under_a_generation_of_its_own_and_free() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&unpinned(hook)).unwrap();
        let (pod, next) = (Pod::new(1), Pod::new(2));
        enforce(&mut datapath, 1, &pod, deny_all());
        assert_eq!(datapath.birth(1), Some(1));
        assert!(datapath.identify(1, &next.identity()).is_err(), "the slot is taken");

        datapath.release(1).unwrap();
        datapath.release(1).unwrap();
        assert_eq!(datapath.maps.slots.read(&1), Some(SlotWord::new(2, 0)));
        assert_eq!(datapath.birth(1), None);

        enforce(&mut datapath, 1, &next, deny_all());
        assert_eq!(datapath.birth(1), Some(3));
    });
}

#[test]
fn a_slot_has_the_addresses_of_its_pod() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1).identity();
        let v4 = Addr4::from_octets(pod.address4.unwrap().octets());
        let later = Identity { address6: Some("fd00::5".parse().unwrap()), ..pod.clone() };
        let addresses = |datapath: &Datapath| datapath.maps.pod_addresses.read(&1).unwrap();

        datapath.identify(1, &pod).unwrap();
        assert_eq!(addresses(&datapath), PodAddresses { v4, v6: Addr6::default() });
        datapath.identify(1, &later).unwrap();
        assert_eq!(addresses(&datapath), PodAddresses { v4, v6: later.key6().unwrap() });
        datapath.release(1).unwrap();
        assert_eq!(addresses(&datapath), PodAddresses::default());
    });
}

#[test]
fn when_generations_run_out_all_flows_are_forgotten_and_endpoints_born_anew() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1);
        datapath.identify(1, &pod.identity()).unwrap();
        datapath.apply(&[Op::Switch { slot: 1, policies: deny_all() }]).unwrap();
        let key = FlowKey4 {
            remote: Addr4::from_octets([10, 0, 1, 1]),
            ports: FlowPorts::new(NetPort::new(80), NetPort::new(1025)),
            holder: Holder::new(6, place::POD, 1),
        };
        let flow = Flow { stamp: Stamp::new(1, 0), ..Flow::default() };
        sys::map_update(datapath.maps.flows4.fd(), &key, &flow).unwrap();
        let flows = |datapath: &mut Datapath| {
            datapath.flow_counts = None;
            let usage = datapath.usage().unwrap();
            usage.iter().find(|usage| usage.table == map::FLOWS4).unwrap().used
        };
        assert_eq!(flows(&mut datapath), 1);

        datapath.slots.skip_to_last_generation();
        let open = EndpointPolicies::default();
        datapath
            .apply(&[Op::Switch { slot: 1, policies: open }, Op::Switch { slot: 1, policies: deny_all() }])
            .unwrap();
        // The restart switches the endpoint with the policies it has, then come the new ones.
        let word: SlotWord = datapath.maps.slots.read(&1).unwrap();
        assert_eq!((word.generation(), datapath.birth(1), flows(&mut datapath)), (2, Some(1), 0));
    });
}

#[test]
fn signals_do_not_keep_the_programs_from_loading() {
    extern "C" fn ignore(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = ignore;
    // SAFETY: the handler does nothing; the signal is one that nothing else in this process uses.
    unsafe { libc::signal(libc::SIGURG, handler as libc::sighandler_t) };
    sandbox(|| {
        // SAFETY: asks for the calling thread.
        let thread = unsafe { libc::pthread_self() };
        thread::scope(|scope| {
            let over = scope.spawn(move || {
                // Fewer than the attempts, so that the load ends; close enough to meet the verifier at work.
                for _ in 0..9 {
                    thread::sleep(Duration::from_millis(30));
                    // SAFETY: the thread waits for this one, so it lives.
                    unsafe { libc::pthread_kill(thread, libc::SIGURG) };
                }
            });
            let loaded = Datapath::load(&unpinned(Hook::Auto)).map(drop);
            over.join().unwrap();
            loaded.unwrap();
        });
    });
}
