//! Watching without a capability.

use podgate_host::netlink::{self, Options};

use crate::capability::{Capability, drop_capability};
use crate::host::{Host, addresses};
use crate::namespace::Namespace;

#[test]
fn without_net_broadcast_addresses_are_found_all_the_same() {
    let namespace = Namespace::new();
    let watcher = namespace.enter(|| {
        drop_capability(Capability::NetBroadcast);
        netlink::watch(Options::default()).expect("the host can be watched")
    });
    assert!(!watcher.hears_namespaces());
    let mut host = Host { namespace, views: watcher.views(), watcher };
    let pod = host.pod("v1");
    host.until_veth("v1", "the veth", |veth| veth.up);
    // After the last change of the veth, as a CNI plugin does.
    pod.ip("addr add 10.1.0.2/24 dev eth0\naddr add fd01::2/64 dev eth0 nodad");
    let wanted = addresses(["10.1.0.2", "fd01::2"]);
    host.until_veth("v1", "both addresses", |veth| veth.first_addresses == wanted);
}

#[test]
fn without_net_admin_the_error_says_what_to_do() {
    let host = Host::new();
    let _pod = host.pod("v1");
    let error = host.namespace.enter(|| {
        drop_capability(Capability::NetAdmin);
        netlink::watch(Options::default()).expect_err("addresses of other namespaces can't be read").to_string()
    });
    assert!(error.starts_with("reading addresses in pods' network namespaces by netlink failed: "), "{error}");
    assert!(error.ends_with("; podgate needs the capability NET_ADMIN"), "{error}");
}
