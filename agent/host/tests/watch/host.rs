//! A watched host in a network namespace of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podgate_host::netlink::{self, HostView, Options, Veth, Watcher};
use tokio::sync::watch::Receiver;

use crate::namespace::Namespace;

/// A host that is watched, with pods.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) watcher: Watcher,
    pub(crate) views: Receiver<Arc<HostView>>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::prepared("", Options::default())
    }

    /// A host on which these `ip` commands are run before it is watched.
    pub(crate) fn prepared(commands: &str, options: Options) -> Self {
        Self::watching(Namespace::new(), commands, options)
    }

    pub(crate) fn watching(namespace: Namespace, commands: &str, options: Options) -> Self {
        namespace.ip(commands);
        let watcher = namespace.enter(|| netlink::watch(options)).expect("the host can be watched");
        Self { namespace, views: watcher.views(), watcher }
    }

    /// A pod wired by a veth of this name, up and with `eth0` in the pod.
    pub(crate) fn pod(&self, veth: &str) -> Namespace {
        let pod = Namespace::new();
        self.namespace
            .ip(&format!("link add {veth} type veth peer name eth0 netns {}\nlink set {veth} up", pod.path()));
        pod.ip("link set eth0 up");
        pod
    }

    /// The first view that fulfils a condition.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&HostView) -> bool) -> Arc<HostView> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let patience = Duration::from_secs(10);
        let views = &mut self.views;
        let found = runtime.block_on(async {
            let found = tokio::time::timeout(patience, views.wait_for(|view| condition(view))).await;
            found.ok().map(|view| Arc::clone(&view.expect("the watcher lives")))
        });
        found.unwrap_or_else(|| panic!("{what}: not seen; the host is {:#?}", self.views.borrow()))
    }

    pub(crate) fn until_veth(&mut self, name: &str, what: &str, condition: impl Fn(&Veth) -> bool) -> Veth {
        let view = self.until(what, |view| veth(view, name).is_some_and(&condition));
        veth(&view, name).expect("it was there").clone()
    }
}

pub(crate) fn veth<'a>(view: &'a HostView, name: &str) -> Option<&'a Veth> {
    view.veths.values().find(|veth| veth.name == name)
}

pub(crate) fn ifindex(view: &HostView, name: &str) -> u32 {
    let device = view.devices.values().find(|device| device.name == name).map(|device| device.ifindex);
    device.or_else(|| veth(view, name).map(|veth| veth.ifindex)).unwrap_or_else(|| panic!("no {name} in {view:#?}"))
}

pub(crate) fn addresses<const N: usize>(all: [&str; N]) -> BTreeSet<IpAddr> {
    all.map(|address| address.parse().expect("an address")).into()
}
