//! What the watcher does when nothing happens.

use std::thread::sleep;
use std::time::Duration;

use crate::host::{Host, addresses};

/// How often a thread of this process has gone to sleep.
fn sleeps(thread: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("the thread lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("it is told");
    line.trim().parse().expect("a number")
}

#[test]
fn nothing_is_done_while_nothing_changes() {
    let mut host = Host::new();
    let pod = host.pod("v1");
    pod.ip("addr add 10.1.0.2/24 dev eth0");
    host.until_veth("v1", "the address", |veth| veth.peer_addresses == addresses(["10.1.0.2"]));
    let watchers = host.namespace.watchers();
    let [watcher] = watchers.as_slice() else { panic!("one thread follows the host, not {watchers:?}") };
    // IPv6 duplicate address detection makes messages for a second or two.
    let quiet = (0..20).any(|_| {
        let before = sleeps(watcher);
        sleep(Duration::from_millis(500));
        sleeps(watcher) == before
    });
    assert!(quiet, "it wakes up at least twice a second");
}

#[test]
fn the_thread_ends_when_the_watcher_is_dropped() {
    let Host { namespace, watcher, views: _ } = Host::new();
    assert!(comes_to(|| namespace.watchers().len() == 1), "no thread follows the host");
    drop(watcher);
    assert!(comes_to(|| namespace.watchers().is_empty()), "the thread still lives");
}

fn comes_to(condition: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        sleep(Duration::from_millis(10));
        condition()
    })
}
