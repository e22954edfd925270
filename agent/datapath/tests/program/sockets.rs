//! Connections of which the pod's own sockets tell, in a network namespace that is the pod's: what they license, whatever
//! the pod made of them.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use podgate_common::Reason;
use podgate_datapath::{Identity, boot_time};

use crate::frames::{ACK, FIN, RST, SYN, SYN_ACK, tcp};
use crate::inside::{Inside, add, connected, connecting, listener, repaired};
use crate::rig::{Ends, FAMILIES, Rig, SLOT, Side, identity};

/// A way for a pod to have a socket for a connection from its port 80 to the friend's port 4000, beside a listener.
type Forgery = (&'static str, fn(&Inside, Ends) -> Vec<OwnedFd>);

const FORGERIES: [Forgery; 3] = [
    ("it waits for an answer", |inside, Ends { pod, friend, .. }| {
        inside.run(|| vec![listener((pod, 80)), connecting((pod, 80), (friend, 4000))])
    }),
    ("the friend's address is the pod's too", |inside, Ends { pod, friend, .. }| {
        inside.run(|| {
            add(friend);
            vec![listener((pod, 80)), connected((friend, 4000), (pod, 80))]
        })
    }),
    ("it was repaired", |inside, Ends { pod, friend, .. }| {
        inside.run(|| vec![listener((pod, 80)), repaired((pod, 80), (friend, 4000))])
    }),
];

/// A rig whose pod has a namespace, with sockets in it.
fn rig(
    forge: fn(&Inside, Ends) -> Vec<OwnedFd>,
    ends: Ends,
    keep: bool,
    ingress: Side,
    egress: Side,
) -> (Rig, Vec<OwnedFd>) {
    let mut rig = Rig::new(ingress, egress);
    let inside = Inside::new();
    let sockets = forge(&inside, ends);
    rig.datapath.identify(SLOT, &inside.identity(keep)).expect("the pod's slot");
    (rig, sockets)
}

#[test]
fn a_pods_sockets_let_nothing_out_of_it_that_its_egress_policy_denies() {
    for (name, forge) in FORGERIES {
        for ends in FAMILIES {
            let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
            for ingress in [Side::Open, Side::Web, Side::All] {
                let (rig, _sockets) = rig(forge, ends, false, ingress, Side::Deny);
                for flags in [ACK, "PA", SYN_ACK, FIN, RST] {
                    let reason = rig.egress(&tcp(pod, friend, flags));
                    assert!(
                        matches!(reason, Reason::NoRule | Reason::Cut),
                        "{name}: {flags} {ingress:?} {reason:?} {ends:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn with_keep_a_pods_sockets_keep_nothing() {
    for (name, forge) in FORGERIES {
        for ends in FAMILIES {
            let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
            let (rig, _sockets) = rig(forge, ends, true, Side::Deny, Side::Deny);
            for _ in 0..2 {
                assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut, "{name} {ends:?}");
                assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Cut, "{name} {ends:?}");
            }
        }
    }
}

/// A connection that the friend opened to the pod's port 80, as far as the pod's kernel knows.
const SERVED: fn(&Inside, Ends) -> Vec<OwnedFd> = FORGERIES[1].1;

#[test]
fn what_a_peer_opened_goes_on_once_the_peer_has_spoken() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        let (mut rig, _sockets) = rig(SERVED, ends, false, Side::Web, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::NoRule);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Rule);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
        rig.switch(Side::Deny, Side::Friend);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut, "it is still the friend's");
    }
}

#[test]
fn what_a_peer_opened_against_ingress_policy_stays_cut_though_the_pod_may_speak() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        let (rig, _sockets) = rig(SERVED, ends, false, Side::Deny, Side::Friend);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Cut);
    }
}

#[test]
fn where_both_ways_are_allowed_a_peers_connection_goes_on_and_leaves_no_entry_before_the_peer_speaks() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        let (mut rig, _sockets) = rig(SERVED, ends, false, Side::Web, Side::Friend);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Rule);
        rig.switch(Side::Web, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::NoRule, "no more than it may");
    }
}

#[test]
fn what_the_pod_opened_goes_on_and_waits_for_an_answer() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 4000), (ends.friend, 80));
        let opened: fn(&Inside, Ends) -> Vec<OwnedFd> =
            |inside, Ends { pod, friend, .. }| inside.run(|| vec![repaired((pod, 4000), (friend, 80))]);
        let (mut rig, _sockets) = rig(opened, ends, true, Side::Deny, Side::Web);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Rule);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut, "nobody has answered, so nothing is kept");
        rig.switch(Side::Deny, Side::Web);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Kept);
    }
}

#[test]
fn an_answer_to_what_the_pod_opened_comes_in_first() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 4000), (ends.friend, 80));
        let waits: fn(&Inside, Ends) -> Vec<OwnedFd> =
            |inside, Ends { pod, friend, .. }| inside.run(|| vec![connecting((pod, 4000), (friend, 80))]);
        let (rig, _sockets) = rig(waits, ends, false, Side::Deny, Side::Web);
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN_ACK)), Reason::Rule);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::NoRule);
    }
}

/// Isolates a pod that was open, with connections that its sockets know.
fn isolated(ends: Ends, keep: bool, ingress: Side, egress: Side) -> (Rig, Vec<OwnedFd>) {
    let (mut rig, sockets) = rig(SERVED, ends, keep, Side::Open, Side::Open);
    rig.switch(ingress, egress);
    (rig, sockets)
}

#[test]
fn when_isolation_begins_a_pods_sockets_tell_of_older_connections() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        let (rig, _sockets) = isolated(ends, false, Side::Web, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Rule, "the pod speaks first");
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
        let (rig, _sockets) = isolated(ends, false, Side::Deny, Side::Friend);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut, "though the pod may speak");
        let (rig, _sockets) = isolated(ends, true, Side::Deny, Side::Deny);
        for _ in 0..2 {
            assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Kept);
            assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Kept);
        }
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::NoRule);
    }
}

#[test]
fn a_moment_after_isolation_began_a_pods_sockets_tell_nothing_more() {
    let ends = FAMILIES[0];
    let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
    let (mut rig, _sockets) = isolated(ends, true, Side::Web, Side::Deny);
    let began = boot_time();
    while boot_time() < began + 4_000_000_000 {
        sleep(Duration::from_millis(100));
    }
    assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::NoRule);
    // More of the same isolation is no beginning.
    rig.switch(Side::Deny, Side::Deny);
    assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut);
}

/// Longer than an entry is kept after a reset.
const AFTER_A_RESET: Duration = Duration::from_secs(12);

#[test]
fn a_connection_that_only_somebody_else_says_is_reset_goes_on() {
    let mut rig = Rig::new(Side::Web, Side::Deny);
    let inside = Inside::new();
    let pod = |ends: Ends| (ends.pod, 80);
    let friend = |ends: Ends, port| (ends.friend, port);
    let more = |ends: Ends| inside.run(|| [4001, 4002].map(|port| connected(friend(ends, port), pod(ends))));
    let _sockets = FAMILIES.map(|ends| (SERVED(&inside, ends), more(ends)));
    rig.datapath.identify(SLOT, &inside.identity(false)).expect("the pod's slot");
    for ends in FAMILIES {
        for port in 4000..4004 {
            let (pod, friend) = (pod(ends), friend(ends, port));
            assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::Rule);
            assert_eq!(rig.egress(&tcp(pod, friend, SYN_ACK)), Reason::Established);
            assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established);
        }
        assert_eq!(rig.ingress(&tcp(friend(ends, 4000), pod(ends), RST)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend(ends, 4001), pod(ends), "RA")), Reason::Established);
        assert_eq!(rig.egress(&tcp(pod(ends), friend(ends, 4002), RST)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend(ends, 4003), pod(ends), RST)), Reason::Established);
    }
    sleep(AFTER_A_RESET);
    for ends in FAMILIES {
        let speaks = |port| rig.egress(&tcp(pod(ends), friend(ends, port), ACK));
        assert_eq!([speaks(4000), speaks(4000)], [Reason::Rule, Reason::Established], "{ends:?}");
        assert_eq!([speaks(4001), speaks(4001)], [Reason::Rule, Reason::Established], "{ends:?}");
        assert_eq!(speaks(4002), Reason::NoRule, "the pod has reset it");
        assert_eq!(speaks(4003), Reason::NoRule, "the pod's kernel has it no more");
    }
    rig.switch(Side::Deny, Side::Deny);
    for ends in FAMILIES {
        assert_eq!(rig.egress(&tcp(pod(ends), friend(ends, 4000), ACK)), Reason::Cut, "as any other");
    }
}

/// Lets the host's connection tracking know of a connection in which both ends have spoken.
fn track(client: (IpAddr, u16), server: (IpAddr, u16)) {
    let [(source, source_port), (destination, destination_port)] =
        [client, server].map(|(address, port)| (address.to_string(), port.to_string()));
    let arguments = ["-I", "-p", "tcp", "-s", &source, "-d", &destination, "--sport", &source_port, "--dport"];
    let more = [destination_port.as_str(), "--state", "ESTABLISHED", "--timeout", "600", "-u", "SEEN_REPLY,ASSURED"];
    let tracked = Command::new("conntrack").args(arguments).args(more).output().expect("conntrack runs");
    assert!(tracked.status.success(), "{tracked:?}");
}

#[test]
fn a_tracked_connection_that_is_older_than_isolation_goes_on_as_it_was_opened() {
    for ends in FAMILIES {
        let (server, client) = ((ends.pod, 80), (ends.friend, 4000));
        let (opener, asked) = ((ends.pod, 4001), (ends.friend, 80));
        let mut rig = Rig::new(Side::Open, Side::Open);
        track(client, server);
        track(opener, asked);
        rig.switch(Side::Web, Side::Deny);
        assert_eq!(rig.egress(&tcp(server, client, ACK)), Reason::Established, "the pod speaks first");
        assert_eq!(rig.egress(&tcp(opener, asked, ACK)), Reason::Cut);
        assert_eq!(rig.ingress(&tcp(asked, opener, ACK)), Reason::Cut, "it was the pod's to open");
        assert_eq!(rig.egress(&tcp((ends.pod, 81), client, ACK)), Reason::NoRule, "another one");
        rig.switch(Side::Deny, Side::Friend);
        assert_eq!(rig.egress(&tcp(server, client, ACK)), Reason::Cut);
        assert_eq!(rig.egress(&tcp(opener, asked, ACK)), Reason::Established);
    }
}

#[test]
fn with_keep_tracked_connections_end_in_peace_and_no_others() {
    for ends in FAMILIES {
        let (server, client) = ((ends.pod, 80), (ends.friend, 4000));
        let mut rig = Rig::with(Identity { keep: true, ..identity() }, Side::Open, Side::Open);
        track(client, server);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(server, client, ACK)), Reason::Kept);
        assert_eq!(rig.ingress(&tcp(client, server, ACK)), Reason::Kept);
        assert_eq!(rig.ingress(&tcp((ends.friend, 4001), server, ACK)), Reason::NoRule);
    }
}
