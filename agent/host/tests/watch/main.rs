//! The watcher in network namespaces: as root, with iproute2.

mod capability;
mod host;
mod idle;
mod namespace;
mod pods;
mod restricted;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use host::{Host, addresses, ifindex, veth};
use namespace::Namespace;
use podgate_host::netlink::{Options, Veth};

#[test]
fn a_veth_that_is_there_at_the_start_shows_with_the_addresses_of_its_peers_namespace() {
    let pod = Namespace::new();
    let wiring = format!("link add v1 type veth peer name eth0 netns {}\nlink set v1 up", pod.path());
    let namespace = Namespace::new();
    namespace.ip(&wiring);
    pod.ip("link set eth0 up\naddr add 10.1.0.2/24 dev eth0\naddr add fd01::2/64 dev eth0 nodad\naddr add 10.9.0.1/32 dev lo");
    let host = Host::watching(namespace, "", Options::default());
    let view = host.views.borrow().clone();
    let found = veth(&view, "v1").expect("the veth is seen").clone();
    let expected = Veth {
        ifindex: found.ifindex,
        name: "v1".to_owned(),
        netns_id: found.netns_id,
        peer_index: pod.enter(|| nix::net::if_::if_nametoindex("eth0")).expect("eth0 is there"),
        peer_addresses: addresses(["10.1.0.2", "fd01::2", "10.9.0.1"]),
        interface_addresses: addresses(["10.1.0.2", "fd01::2"]),
        link_local_addresses: found.link_local_addresses.clone(),
        first_addresses: addresses(["10.1.0.2", "fd01::2", "10.9.0.1"]),
        duplicate_addresses: BTreeSet::new(),
        up: true,
        master: None,
        xdp: false,
        peer_mac: found.peer_mac,
    };
    assert_eq!(found, expected);
    assert!(found.netns_id >= 0 && host.watcher.hears_namespaces());
}

#[test]
fn a_link_local_address_is_seen_before_duplicate_address_detection_lets_the_pod_send_from_it() {
    let mut host = Host::new();
    let pod = host.pod("v1");
    pod.enter(|| fs::write("/proc/sys/net/ipv6/conf/eth0/dad_transmits", "1000")).expect("IPv6 is there");
    for _ in 0..2 {
        pod.ip("link set eth0 down");
        host.until_veth("v1", "no address", |veth| veth.link_local_addresses.is_empty());
        pod.ip("link set eth0 up");
        host.until_veth("v1", "the tentative address", |veth| veth.link_local_addresses.len() == 1);
    }
}

#[test]
fn an_address_added_to_a_pod_later_is_heard_at_once() {
    let mut host = Host::new();
    let pod = host.pod("v1");
    host.until_veth("v1", "the veth", |veth| veth.up);
    let mut quickest = Duration::MAX;
    for (address, prefix) in [("10.1.0.2", 24), ("10.1.0.3", 32), ("fd01::2", 64), ("fd01::3", 128)] {
        let begin = Instant::now();
        pod.ip(&format!("addr add {address}/{prefix} dev eth0"));
        let wanted = addresses([address]);
        host.until_veth("v1", "the address", |veth| veth.interface_addresses.is_superset(&wanted));
        quickest = quickest.min(begin.elapsed());
    }
    // 2 to 3 ms on an idle machine, of which running `ip` is the larger part; a busy one may hold up some of them.
    assert!(quickest < Duration::from_millis(100), "took {quickest:?} at best");
}

#[test]
fn what_a_pod_adds_to_itself_is_told_from_what_it_was_given() {
    let mut host = Host::new();
    let pod = host.pod("v1");
    pod.ip("addr add 10.1.0.2/24 dev eth0");
    host.until_veth("v1", "the first address", |veth| !veth.peer_addresses.is_empty());
    pod.ip("addr add 10.1.0.77/24 dev eth0\naddr add fd01::2/64 dev eth0\naddr del 10.1.0.2/24 dev eth0");
    let wanted = addresses(["10.1.0.77", "fd01::2"]);
    // Removing the primary address of a subnet takes the others of that subnet with it.
    pod.ip("addr replace 10.1.0.77/24 dev eth0");
    let veth = host.until_veth("v1", "the later addresses alone", |veth| veth.peer_addresses == wanted);
    assert_eq!(veth.first_addresses, addresses(["10.1.0.2", "fd01::2"]));
}

#[test]
fn a_veth_goes_with_the_namespace_of_its_peer() {
    let mut host = Host::new();
    let pod = host.pod("v1");
    pod.ip("addr add 10.1.0.2/24 dev eth0");
    host.until_veth("v1", "the address", |veth| !veth.peer_addresses.is_empty());
    drop(pod);
    host.until("no veth", |view| view.veths.is_empty());
}

#[test]
fn a_peer_that_is_moved_out_of_the_host_later_is_followed() {
    let mut host = Host::prepared("link add v1 type veth peer name p1\nlink set v1 up", Options::default());
    let view = host.views.borrow().clone();
    assert!(view.veths.is_empty());
    assert_eq!(view.devices[&ifindex(&view, "v1")].kind.as_deref(), Some("veth"));
    let pod = Namespace::new();
    host.namespace.ip(&format!("link set p1 netns {}", pod.path()));
    host.until_veth("v1", "the veth into the pod", |veth| veth.netns_id >= 0);
    pod.ip("addr add 10.1.0.2/24 dev p1");
    host.until_veth("v1", "its address", |veth| veth.interface_addresses == addresses(["10.1.0.2"]));
}

#[test]
fn pods_show_alike_however_they_are_wired() {
    let bridge = "link add br0 type bridge\naddr add 10.2.0.1/24 dev br0\nlink set br0 up";
    let mut host = Host::prepared(bridge, Options::default());
    let ptp = host.pod("v-ptp");
    host.namespace.ip("addr add 10.1.0.1/32 dev v-ptp\nroute add 10.1.0.2/32 dev v-ptp scope host src 10.1.0.1");
    ptp.ip("addr add 10.1.0.2/24 dev eth0\naddr add fd01::2/64 dev eth0 nodad");
    let bridged = host.pod("v-bridge");
    host.namespace.ip("link set v-bridge master br0");
    bridged.ip("addr add 10.2.0.2/24 dev eth0\naddr add fd02::2/64 dev eth0 nodad");
    let routed = host.pod("v-routed");
    host.namespace.ip("route add 10.3.0.2/32 dev v-routed\nroute add fd03::2/128 dev v-routed");
    routed.ip("addr add 10.3.0.2/32 dev eth0\naddr add fd03::2/128 dev eth0 nodad");

    let names = ["v-ptp", "v-bridge", "v-routed"];
    let view = host.until("both addresses of all pods", |view| {
        names.iter().all(|name| veth(view, name).is_some_and(|veth| veth.interface_addresses.len() == 2))
    });
    let shape = |name| veth(&view, name).map(|veth| (veth.first_addresses.clone(), veth.master)).expect("it is there");
    assert_eq!(shape("v-ptp"), (addresses(["10.1.0.2", "fd01::2"]), None));
    assert_eq!(shape("v-bridge"), (addresses(["10.2.0.2", "fd02::2"]), Some(ifindex(&view, "br0"))));
    assert_eq!(shape("v-routed"), (addresses(["10.3.0.2", "fd03::2"]), None));
    let local = |address: &str| view.local_addresses.get(&address.parse().expect("an address")).cloned();
    assert_eq!(local("10.1.0.1"), Some(BTreeSet::from([ifindex(&view, "v-ptp")])));
    assert_eq!(local("10.2.0.1"), Some(BTreeSet::from([ifindex(&view, "br0")])));
    assert_eq!(local("10.1.0.2"), None);
}

#[test]
fn fifty_pods_come_and_go() {
    let mut host = Host::new();
    let pods: Vec<Namespace> = (1..=50)
        .map(|index| {
            let pod = host.pod(&format!("v{index}"));
            pod.ip(&format!("addr add 10.1.0.{index}/32 dev eth0\naddr add fd01::{index}/128 dev eth0 nodad"));
            pod
        })
        .collect();
    host.until("fifty pods, each with its own two addresses", |view| {
        let each: BTreeSet<_> = view.veths.values().map(|veth| veth.peer_addresses.clone()).collect();
        each.len() == 50 && each.iter().all(|addresses| addresses.len() == 2)
    });
    drop(pods);
    host.until("no pods", |view| view.veths.is_empty());
}

#[test]
fn nothing_is_missed_when_the_queue_runs_over() {
    // The smallest queue there is holds about two messages.
    let mut host = Host::prepared("link add d0 type bridge", Options { queue: 1, ..Options::default() });
    let pods: Vec<Namespace> = (1..=5).map(|index| host.pod(&format!("v{index}"))).collect();
    let many: String = (1..=100).map(|last| format!("addr add 10.1.0.{last}/32 dev eth0\n")).collect();
    for pod in &pods {
        pod.ip(&many);
    }
    let own: String = (1..=100).map(|last| format!("addr add 10.2.0.{last}/32 dev d0\n")).collect();
    host.namespace.ip(&own);
    host.until("all addresses", |view| {
        let complete = |veth: &Veth| veth.peer_addresses.len() == 100;
        view.veths.len() == 5 && view.veths.values().all(complete) && view.local_addresses.len() >= 100
    });
    drop(pods);
    host.until("no pods", |view| view.veths.is_empty());
}

#[test]
fn the_nodes_uplink_is_known_though_it_is_a_veth_as_in_kind() {
    let api_servers = vec!["192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")];
    let mut host = Host::prepared("", Options { api_servers, ..Options::default() });
    let fabric = host.pod("up0");
    fabric.ip("addr add 172.18.0.1/16 dev eth0");
    let second = host.pod("up1");
    second.ip("addr add fd18::1/64 dev eth0 nodad");
    let view = host.until("both uplinks", |view| view.veths.len() == 2);
    let (up0, up1) = (ifindex(&view, "up0"), ifindex(&view, "up1"));
    assert_eq!((&view.default_route_devices, &view.api_server_devices), (&BTreeSet::new(), &BTreeSet::new()));

    host.namespace.ip("addr add 172.18.0.2/16 dev up0\nroute add default via 172.18.0.1");
    host.until("a default route", |view| view.default_route_devices == BTreeSet::from([up0]));
    host.until("the way to the API server by it", |view| view.api_server_devices == BTreeSet::from([up0]));
    host.namespace.ip("addr add fd18::2/64 dev up1 nodad\nroute add 2001:db8::/32 via fd18::1");
    host.until("the way to the other one", |view| view.api_server_devices == BTreeSet::from([up0, up1]));
    host.namespace.ip("link set up0 down");
    host.until("no default route", |view| view.default_route_devices.is_empty());
}

#[test]
fn default_routes_count_in_every_table_and_over_every_hop_but_not_from_router_advertisements() {
    let devices = "link add d0 type bridge\nlink set d0 up\nlink add d1 type bridge\nlink set d1 up\n\
                   link add d2 type bridge\nlink set d2 up\nlink add d3 type bridge\nlink set d3 up";
    let routes = "route add ::/0 dev d3 proto ra\nroute add unreachable default metric 9000\n\
                  route add default table 77 nexthop dev d0 nexthop dev d1\nroute add ::/0 dev d2 table 78";
    let mut host = Host::prepared(devices, Options::default());
    host.namespace.ip(routes);
    let view = host.until("the default routes", |view| view.default_route_devices.len() >= 3);
    let expected: BTreeSet<u32> = ["d0", "d1", "d2"].map(|name| ifindex(&view, name)).into();
    assert_eq!(view.default_route_devices, expected);
}

#[test]
fn a_renamed_enslaved_or_stopped_veth_is_told_as_it_is() {
    let mut host = Host::prepared("link add br0 type bridge", Options::default());
    let _pod = host.pod("v1");
    host.until_veth("v1", "the veth", |veth| veth.up && veth.master.is_none());
    let br0 = ifindex(&host.views.borrow().clone(), "br0");
    host.namespace.ip("link set v1 master br0");
    host.until_veth("v1", "its bridge", |veth| veth.master == Some(br0));
    host.namespace.ip("link set v1 nomaster");
    host.until_veth("v1", "no bridge", |veth| veth.master.is_none());
    host.namespace.ip("link set v1 down\nlink set v1 name w1");
    host.until_veth("w1", "its new name", |veth| !veth.up);
    assert_eq!(host.views.borrow().veths.len(), 1);
}
