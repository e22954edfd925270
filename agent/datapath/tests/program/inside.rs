//! A network namespace that is the pod's, with sockets in it.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{self, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::socket;
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt,
};
use podgate_datapath::Identity;

use crate::rig::{FAMILIES, identity, ip};

/// A network namespace behind a veth of the rig's.
pub(crate) struct Inside {
    host: File,
    pod: File,
    netns_id: i32,
}

impl Inside {
    /// The pod's addresses are there, and a way to everywhere that ends in nothing.
    pub(crate) fn new() -> Self {
        let here = || File::open("/proc/thread-self/ns/net").expect("a thread has a namespace");
        let host = here();
        unshare(CloneFlags::CLONE_NEWNET).expect("root, to make a network namespace");
        let pod = here();
        setns(&host, CloneFlags::CLONE_NEWNET).expect("root, to go back");
        let path = format!("/proc/{}/fd/{}", process::id(), pod.as_raw_fd());
        ip(&format!("link add pod type veth peer name eth0 netns {path}"));
        let shown = Command::new("ip").args(["link", "show", "pod"]).output().expect("ip runs").stdout;
        let shown = String::from_utf8(shown).expect("text");
        let mut words = shown.split_whitespace().skip_while(|&word| word != "link-netnsid");
        let netns_id = words.nth(1).and_then(|id| id.parse().ok()).expect("the other end is in another namespace");
        let inside = Self { host, pod, netns_id };
        ip("link set pod up");
        inside.run(|| {
            ["link set lo up", "link set eth0 up"].into_iter().for_each(ip);
            FAMILIES.into_iter().for_each(|ends| add(ends.pod));
            ["route add default dev eth0", "-6 route add default dev eth0"].into_iter().for_each(ip);
        });
        inside
    }

    /// Goes to the namespace of the rig.
    pub(crate) fn enter_host(&self) {
        setns(&self.host, CloneFlags::CLONE_NEWNET).expect("root, to go back");
    }

    /// Does something there.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        setns(&self.pod, CloneFlags::CLONE_NEWNET).expect("root, to enter a network namespace");
        let result = work();
        self.enter_host();
        result
    }

    pub(crate) fn identity(&self, keep: bool) -> Identity {
        Identity { netns_id: Some(self.netns_id), keep, ..identity() }
    }
}

/// Gives the loopback of the namespace where this runs an address.
pub(crate) fn add(address: IpAddr) {
    match address {
        IpAddr::V4(address) => ip(&format!("addr add {address}/32 dev lo")),
        IpAddr::V6(address) => {
            ip(&format!("addr add {address}/128 dev lo nodad"));
            wait_for_local_route(address);
        }
    }
}

/// The kernel makes the route to an IPv6 address after the address, in a worker of its own (`addrconf_dad_work`).
fn wait_for_local_route(address: Ipv6Addr) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let address = address.to_string();
    loop {
        let route = Command::new("ip").args(["-6", "route", "get", &address]).output().expect("ip runs");
        if route.stdout.starts_with(b"local ") {
            return;
        }
        assert!(Instant::now() < deadline, "no route to {address} was made");
        sleep(Duration::from_millis(1));
    }
}

fn storage(address: (IpAddr, u16)) -> SockaddrStorage {
    SockaddrStorage::from(SocketAddr::from(address))
}

/// A socket bound to an address, beside others.
pub(crate) fn bound(address: (IpAddr, u16), flags: SockFlag) -> OwnedFd {
    let family = if address.0.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let made = socket(family, SockType::Stream, flags, None).expect("a socket");
    setsockopt(&made, ReuseAddr, &true).expect("an option");
    setsockopt(&made, ReusePort, &true).expect("an option");
    bind(made.as_raw_fd(), &storage(address)).expect("an address of the namespace");
    made
}

pub(crate) fn listener(address: (IpAddr, u16)) -> OwnedFd {
    let made = bound(address, SockFlag::empty());
    listen(&made, Backlog::new(8).expect("small")).expect("a free port");
    made
}

/// A socket that is connected to another one of the namespace.
pub(crate) fn connected(from: (IpAddr, u16), to: (IpAddr, u16)) -> OwnedFd {
    let made = bound(from, SockFlag::empty());
    connect(made.as_raw_fd(), &storage(to)).expect("a listener in the same namespace");
    made
}

/// A socket that waits for the answer to its SYN.
pub(crate) fn connecting(from: (IpAddr, u16), to: (IpAddr, u16)) -> OwnedFd {
    let made = bound(from, SockFlag::SOCK_NONBLOCK);
    assert_eq!(connect(made.as_raw_fd(), &storage(to)), Err(Errno::EINPROGRESS));
    made
}

/// A socket that says it is connected, though nobody was asked.
pub(crate) fn repaired(from: (IpAddr, u16), to: (IpAddr, u16)) -> OwnedFd {
    let made = bound(from, SockFlag::empty());
    let on = 1_i32;
    // SAFETY: the value is an int, as the option wants, and lives until the call ends.
    let set =
        unsafe { libc::setsockopt(made.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, (&raw const on).cast(), 4) };
    assert_eq!(set, 0, "root, to repair");
    connect(made.as_raw_fd(), &storage(to)).expect("nothing is sent");
    made
}
