//! Network and mount namespaces for a test, with veths in them.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

use nix::sched::{CloneFlags, setns, unshare};
use podgate_common::Verdict;
use podgate_policy::op::{EndpointPolicies, Op};

use crate::{Datapath, Hook, Identity, Options, preflight};

/// Runs a test on a thread with network and mount namespaces of its own, which end with it, and with them all
/// interfaces, mounts and pins that it made.
pub(super) fn sandbox<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        run("mount --make-rprivate /");
        run("mount -t bpf bpf /sys/fs/bpf");
        // Neighbour discovery and the like would be counted beside what a test sends.
        fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        run("ip link set lo up");
        test()
    })
}

/// Runs a test once with each kind of hook that the kernel has.
pub(super) fn with_both_hooks(test: impl Fn(Hook) + Sync) {
    sandbox(|| test(Hook::Clsact));
    if preflight::check().unwrap() {
        sandbox(|| test(Hook::Tcx));
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outcome = thread::scope(|scope| scope.spawn(work).join());
    outcome.unwrap_or_else(|cause| panic::resume_unwind(cause))
}

/// Runs a command of blanks and words; panics where it fails.
pub(super) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Options for a datapath that pins nothing.
pub(super) fn unpinned(hook: Hook) -> Options {
    Options { bpffs: None, hook, ..Options::default() }
}

/// Options for a datapath whose pins are on a bpffs of the sandbox.
pub(super) fn pinned(hook: Hook) -> Options {
    Options { hook, ..Options::default() }
}

/// A pod: the far end of a veth in a network namespace of its own.
pub(super) struct Pod {
    /// The host-side veth.
    pub(super) ifindex: u32,
    pub(super) address: Ipv4Addr,
    namespace: File,
}

impl Pod {
    /// Makes the pod with address 10.0.`number`.2; the host has 10.0.`number`.1, on the veth `pod<number>`.
    pub(super) fn new(number: u8) -> Self {
        Self::with_index(number, 100 + u32::from(number))
    }

    /// The same, with a given index of its host-side veth.
    pub(super) fn with_index(number: u8, ifindex: u32) -> Self {
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        run(&format!("ip link add pod{number} index {ifindex} type veth peer name eth0 netns {path}"));
        run(&format!("ip link set pod{number} up"));
        run(&format!("ip address add 10.0.{number}.1/24 dev pod{number}"));
        let pod = Self { ifindex, address: Ipv4Addr::new(10, 0, number, 2), namespace };
        pod.run(|| {
            run("ip link set lo up");
            run("ip link set eth0 up");
            run(&format!("ip address add 10.0.{number}.2/24 dev eth0"));
            run(&format!("ip route add default via 10.0.{number}.1"));
        });
        pod
    }

    /// Runs code in the pod's network namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Whether a datagram of this pod arrives at another, and is not counted as dropped.
    pub(super) fn reaches(&self, other: &Self, datapath: &Datapath) -> bool {
        let receiver = other.run(|| UdpSocket::bind((other.address, 0)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let port = receiver.local_addr().unwrap().port();
        let sender = self.run(|| UdpSocket::bind((self.address, 0)).unwrap());
        let before = dropped(datapath);
        sender.send_to(b"hello", (other.address, port)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if receiver.recv(&mut [0; 16]).is_ok() {
                return true;
            }
            if dropped(datapath) > before {
                return false;
            }
        }
        panic!("the datagram neither arrived nor was it dropped");
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            ifindex: self.ifindex,
            netns_id: None,
            address4: Some(self.address),
            address6: None,
            routes: false,
            keep: false,
        }
    }
}

/// Packets dropped so far.
fn dropped(datapath: &Datapath) -> u64 {
    let counters = datapath.counters().unwrap().into_iter();
    counters.filter(|(key, _)| key.reason.verdict() == Verdict::Denied).map(|(_, counter)| counter.packets).sum()
}

/// Isolated in both directions, with nothing allowed.
pub(super) fn deny_all() -> EndpointPolicies {
    EndpointPolicies::NOTHING
}

/// Identifies, switches and attaches.
pub(super) fn enforce(datapath: &mut Datapath, slot: u32, pod: &Pod, policies: EndpointPolicies) {
    datapath.identify(slot, &pod.identity()).unwrap();
    datapath.apply(&[Op::Switch { slot, policies }]).unwrap();
    datapath.attach(slot).unwrap();
}
