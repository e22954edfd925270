use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use podgate_common::Direction;
use podgate_policy::op::EndpointPolicies;

use super::foreign::{Foreign, add_ok_filter, device};
use super::sandbox::{Pod, deny_all, enforce, pinned, run, sandbox, unpinned, with_both_hooks};
use crate::attach::programs_at;
use crate::{Datapath, Hook, Options, sys};

fn our_id(datapath: &Datapath, direction: Direction) -> u32 {
    sys::program_id(datapath.program(direction).as_fd()).unwrap()
}

/// What runs at both hooks of an interface.
fn order(hook: Hook, ifindex: u32) -> [Vec<u32>; 2] {
    Direction::ALL.map(|direction| programs_at(hook, ifindex, direction).unwrap())
}

#[test]
fn the_programs_hang_on_both_hooks_until_the_slot_is_released() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        assert_eq!(datapath.hook(), hook);
        let pod = Pod::new(1);
        enforce(&mut datapath, 1, &pod, deny_all());
        let ours = Direction::ALL.map(|direction| vec![our_id(&datapath, direction)]);
        assert_eq!(order(hook, pod.ifindex), ours);
        datapath.attach(1).unwrap();
        assert_eq!(order(hook, pod.ifindex), ours, "attaching again changes nothing");
        datapath.release(1).unwrap();
        assert_eq!(order(hook, pod.ifindex), [vec![], vec![]]);
    });
}

#[test]
fn both_directions_are_enforced_on_real_packets() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        let (isolated, open) = (Pod::new(1), Pod::new(2));
        enforce(&mut datapath, 2, &open, EndpointPolicies::default());
        assert_eq!([open.reaches(&isolated, &datapath), isolated.reaches(&open, &datapath)], [true, true]);
        enforce(&mut datapath, 1, &isolated, deny_all());
        assert_eq!([open.reaches(&isolated, &datapath), isolated.reaches(&open, &datapath)], [false, false]);
    });
}

#[test]
fn a_strangers_program_that_was_there_first_runs_after_ours() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        let (pod, open) = (Pod::new(1), Pod::new(2));
        let strangers = Direction::ALL.map(|direction| Foreign::in_front(hook, pod.ifindex, direction));
        enforce(&mut datapath, 1, &pod, deny_all());
        let expected = [0, 1].map(|side| vec![our_id(&datapath, Direction::ALL[side]), strangers[side].id()]);
        assert_eq!(order(hook, pod.ifindex), expected);
        assert_eq!([open.reaches(&pod, &datapath), pod.reaches(&open, &datapath)], [false, false]);
    });
}

#[test]
fn a_strangers_program_that_put_itself_in_front_is_overtaken_when_we_attach_again() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        let (pod, open) = (Pod::new(1), Pod::new(2));
        enforce(&mut datapath, 1, &pod, deny_all());
        for round in 0..3 {
            let strangers = Direction::ALL.map(|direction| Foreign::in_front(hook, pod.ifindex, direction));
            assert_eq!(
                [open.reaches(&pod, &datapath), pod.reaches(&open, &datapath)],
                [true, true],
                "the stranger hides packets from us"
            );
            datapath.attach(1).unwrap();
            assert_eq!([open.reaches(&pod, &datapath), pod.reaches(&open, &datapath)], [false, false], "round {round}");
            let ids = strangers.each_ref().map(Foreign::id);
            let order = order(hook, pod.ifindex);
            let places = [0, 1].map(|side| order[side].iter().position(|&id| id == ids[side]));
            assert_eq!(places, [Some(1), Some(1)], "round {round}: {order:?}");
            if strangers.iter().any(|stranger| !stranger.is_linked()) {
                // Filters stay when the program's descriptor is closed; the next round would meet this one again.
                return;
            }
        }
    });
}

#[test]
fn the_bandwidth_plugins_qdisc_is_named_as_what_is_in_the_way() {
    sandbox(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Clsact)).unwrap();
        let pod = Pod::new(1);
        run("tc qdisc add dev pod1 ingress");
        datapath.identify(1, &pod.identity()).unwrap();
        assert_eq!(
            datapath.attach(1).unwrap_err().to_string(),
            "can't attach to the interface with index 101: its ingress qdisc (of the bandwidth plugin?) excludes \
             clsact: remove it, or use Linux 6.6 or later"
        );
        run("tc qdisc del dev pod1 ingress");
        datapath.attach(1).unwrap();
    });
}

#[test]
fn a_strangers_filter_that_holds_our_preference_for_one_protocol_is_named() {
    sandbox(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Clsact)).unwrap();
        let pod = Pod::new(1);
        add_ok_filter(pod.ifindex, Direction::Ingress, "pref 1 protocol ip");
        datapath.identify(1, &pod.identity()).unwrap();
        let error = datapath.attach(1).unwrap_err().to_string();
        assert!(
            error.contains("preference 1 of the egress hook is held by a bpf filter of another program"),
            "{error}"
        );
    });
}

#[test]
fn the_qdisc_and_filters_of_others_survive_our_release() {
    sandbox(|| {
        let mut datapath = Datapath::load(&pinned(Hook::Clsact)).unwrap();
        let pod = Pod::new(1);
        add_ok_filter(pod.ifindex, Direction::Ingress, "pref 5 protocol ip");
        let before = order(Hook::Clsact, pod.ifindex);
        enforce(&mut datapath, 1, &pod, deny_all());
        datapath.release(1).unwrap();
        assert_eq!(order(Hook::Clsact, pod.ifindex), before);
    });
}

#[test]
fn an_interface_may_be_renamed_or_gone() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        let (renamed, gone) = (Pod::new(1), Pod::new(2));
        run("ip link set pod1 down");
        run("ip link set pod1 name other");
        run("ip link set other up");
        enforce(&mut datapath, 1, &renamed, deny_all());
        assert_eq!(device(renamed.ifindex), "other");
        enforce(&mut datapath, 2, &gone, deny_all());
        run("ip link del pod2");
        let left = programs_at(hook, gone.ifindex, Direction::Ingress).map_err(|error| error.to_string());
        let told = match hook {
            // The kernel lists no filters of an interface that is not there: that accuses nobody.
            Hook::Clsact => Ok(vec![]),
            _ => Err("can't attach to the interface with index 102: the interface is gone".to_owned()),
        };
        assert_eq!(left, told);
        datapath.release(2).unwrap();
        datapath.release(1).unwrap();

        datapath.identify(2, &gone.identity()).unwrap();
        assert_eq!(
            datapath.attach(2).unwrap_err().to_string(),
            "can't attach to the interface with index 102: the interface is gone"
        );
    });
}

#[test]
fn without_pins_the_programs_go_with_the_datapath() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&unpinned(hook)).unwrap();
        let pod = Pod::new(1);
        enforce(&mut datapath, 1, &pod, deny_all());
        assert_eq!(order(hook, pod.ifindex).map(|programs| programs.len()), [1, 1]);
        drop(datapath);
        assert_eq!(order(hook, pod.ifindex), [vec![], vec![]]);
    });
}

#[test]
fn a_bpffs_is_mounted_where_there_is_none_or_the_error_says_how() {
    sandbox(|| {
        run("mount -t tmpfs tmpfs /mnt");
        let options = |directory: &str| Options { bpffs: Some(PathBuf::from(directory)), ..pinned(Hook::Auto) };
        Datapath::load(&options("/mnt/pins/podgate")).unwrap();
        assert!(PathBuf::from("/mnt/pins/podgate/sets/1/maps/slots").exists());
        assert_eq!(
            Datapath::load(&options("/proc/podgate")).unwrap_err().to_string(),
            "/proc/podgate is on no BPF file system (mounting one failed: No such file or directory (os error 2)): run \
             `mount -t bpf bpf /proc/podgate`, or mount the host's into the container"
        );
    });
}

#[test]
fn a_directory_that_a_stranger_made_on_the_bpffs_keeps_nothing_from_being_pinned() {
    sandbox(|| {
        let root = Path::new("/sys/fs/bpf/podgate");
        for number in 1..=2 {
            fs::create_dir_all(root.join("links")).unwrap();
            [root, &root.join("links")].into_iter().for_each(|path| chown(path, Some(65534), None).unwrap());
            Datapath::load(&pinned(Hook::Auto)).unwrap();
            assert!(root.join("sets/1/maps/slots").exists());
            assert!(Path::new(&format!("/sys/fs/bpf/podgate-foreign-{number}/links")).is_dir());
            fs::remove_dir_all(root).unwrap();
        }
    });
}

#[test]
fn interfaces_without_a_slot_are_isolated_in_one_that_they_share_and_get_their_own_without_a_gap() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        let [open, first, second] = [1, 2, 3].map(Pod::new);
        enforce(&mut datapath, 1, &open, EndpointPolicies::default());
        for pod in [&first, &second] {
            let changed = [(); 2].map(|()| datapath.confine(pod.ifindex).unwrap());
            assert_eq!(changed, [true, false]);
        }
        let reaches = |datapath: &Datapath| {
            [&first, &second].map(|pod| (open.reaches(pod, datapath), pod.reaches(&open, datapath)))
        };
        assert_eq!(reaches(&datapath), [(false, false); 2]);
        assert!(!first.reaches(&second, &datapath), "nor do they reach each other");
        enforce(&mut datapath, 2, &first, deny_all());
        assert_eq!(reaches(&datapath), [(false, false); 2]);
        enforce(&mut datapath, 2, &first, EndpointPolicies::default());
        assert_eq!(reaches(&datapath), [(true, true), (false, false)]);
        datapath.unconfine(second.ifindex).unwrap();
        assert_eq!(order(hook, second.ifindex), [vec![], vec![]]);
        assert_eq!(reaches(&datapath), [(true, true); 2], "the slot that is shared says nothing of it any more");
    });
}
