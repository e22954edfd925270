//! The thread that keeps the inventory up to date.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

use super::inventory::Inventory;
use super::message::Message;
use super::rereads::{HEARD, Rereads, UNHEARD};
use super::socket::{Asker, Heard, Listener};
use super::view::HostView;
use super::{Error, Options};

/// How long to let messages gather once one has come: wiring a pod makes dozens.
const GATHER: Duration = Duration::from_millis(1);
/// How many datagrams are taken in before looking at what they ask for.
const DATAGRAMS: usize = 4096;
/// How often reading and hearing alternate before a view is made of what is known.
const ROUNDS: usize = 16;
/// When to try again after an error.
const RETRY: Duration = Duration::from_secs(1);
/// How much longer than reading everything took to wait until doing so again: whoever can make the queue run over,
/// such as a pod that changes its addresses in a loop, gets only a part of the time.
const REST: u32 = 4;

const HOST_GROUPS: [u32; 8] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NSID,
];
const NAMESPACE_GROUPS: [u32; 3] = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];

/// Keeps the inventory up to date and publishes views of it.
pub(super) struct Follower {
    asker: Asker,
    host: Listener,
    /// Hears the pods' namespaces; `None` without CAP_NET_BROADCAST.
    namespaces: Option<Listener>,
    options: Options,
    inventory: Inventory,
    rereads: Rereads,
    /// When to read everything anew, if what is known may be wrong.
    resync: Option<Instant>,
    /// Until when not to.
    rest: Instant,
    views: watch::Sender<Arc<HostView>>,
}

impl Follower {
    /// Listens to the calling thread's namespace and reads everything once.
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        let now = Instant::now();
        let namespaces = namespace_listener(&options)?;
        let mut follower = Self {
            asker: Asker::new()?,
            host: Listener::new(&HOST_GROUPS, options.queue)?,
            rereads: Rereads::new(if namespaces.is_some() { HEARD } else { UNHEARD }),
            namespaces,
            options,
            inventory: Inventory::default(),
            resync: Some(now),
            rest: now,
            views: watch::Sender::default(),
        };
        follower.catch_up()?;
        follower.publish();
        Ok(follower)
    }

    pub(super) fn views(&self) -> watch::Receiver<Arc<HostView>> {
        self.views.subscribe()
    }

    pub(super) fn hears_namespaces(&self) -> bool {
        self.namespaces.is_some()
    }

    /// Follows the host until the other end of `stop` is closed.
    pub(super) fn run(mut self, stop: &PipeReader) {
        loop {
            match self.wait(stop) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.failed(&error),
            }
            match self.catch_up() {
                Ok(()) => self.publish(),
                Err(error) => self.failed(&error),
            }
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        tracing::warn!(%error, "following the host's network failed; reading everything again in a second");
        self.resync = Some(Instant::now() + RETRY);
        thread::sleep(GATHER);
    }

    /// Waits for something to do; `false`: to stop.
    fn wait(&self, stop: &PipeReader) -> io::Result<bool> {
        let mut ready =
            vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(self.host.as_fd(), PollFlags::POLLIN)];
        ready.extend(self.namespaces.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        match poll(&mut ready, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready[0].revents().is_some_and(|events| !events.is_empty()) {
            return Ok(false);
        }
        thread::sleep(GATHER);
        Ok(true)
    }

    /// How long to wait if nothing is heard.
    fn patience(&self) -> PollTimeout {
        let Some(due) = [self.resync, self.rereads.next()].into_iter().flatten().min() else {
            return PollTimeout::NONE;
        };
        // Rounded up, lest it wakes just before the time, in a loop.
        let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    /// Takes in everything heard and reads what that asks for, until nothing is left of either.
    fn catch_up(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            self.hear().map_err(Error::Socket)?;
            if !self.read()? {
                break;
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let view = self.inventory.view();
        self.views.send_if_modified(|published| {
            let changed = **published != view;
            if changed {
                *published = Arc::new(view);
            }
            changed
        });
    }

    /// Takes in what was heard: the host first, for its messages tell what becomes of namespaces.
    fn hear(&mut self) -> io::Result<()> {
        for _ in 0..DATAGRAMS {
            match self.host.hear()? {
                Heard::Nothing => break,
                Heard::Overrun => self.overrun(),
                Heard::Messages(_, messages) => messages.into_iter().for_each(|message| self.hear_host(message)),
            }
        }
        for _ in 0..DATAGRAMS {
            match self.namespaces.as_mut().map_or(Ok(Heard::Nothing), Listener::hear)? {
                Heard::Nothing => break,
                Heard::Overrun => self.overrun(),
                // The host's own addresses are heard by the other socket.
                Heard::Messages(None, _) => {}
                Heard::Messages(Some(id), messages) => {
                    messages.iter().for_each(|message| self.inventory.hear_namespace(id, message));
                }
            }
        }
        Ok(())
    }

    fn hear_host(&mut self, message: Message) {
        if let Message::Link(link) = &message
            && let Some(id) = link.netns_id
        {
            self.rereads.begin(id, Instant::now());
        }
        self.inventory.hear_host(message);
    }

    fn overrun(&mut self) {
        tracing::debug!("netlink messages were lost; reading everything again");
        self.resync.get_or_insert(self.rest);
    }

    /// Reads what is stale; tells whether that may have changed what the messages still to be heard mean.
    fn read(&mut self) -> Result<bool, Error> {
        let begin = Instant::now();
        let resynced = self.resync.is_some_and(|due| due <= begin);
        if resynced {
            self.read_host()?;
        }
        let changed = self.read_stale(begin)?;
        if resynced {
            self.rest = Instant::now() + begin.elapsed() * REST;
            self.resync = None;
        }
        Ok(resynced || changed)
    }

    /// Reads devices and the host's addresses, and marks everything else as not read.
    fn read_host(&mut self) -> Result<(), Error> {
        self.inventory.set_links(self.asker.links()?);
        self.inventory.set_own_addresses(self.asker.own_addresses()?);
        self.inventory.forget_namespaces();
        self.inventory.forget_routes();
        Ok(())
    }

    fn read_stale(&mut self, now: Instant) -> Result<bool, Error> {
        for id in self.rereads.take_due(now) {
            self.inventory.forget_namespace(id);
        }
        let stale = self.inventory.take_stale();
        for ifindex in &stale.links {
            match self.asker.link(*ifindex)? {
                Some(link) => self.inventory.put_link(link),
                None => self.inventory.remove_link(*ifindex),
            }
        }
        if stale.default_routes {
            self.inventory.set_default_route_devices(self.asker.default_route_devices()?);
        }
        if stale.api_servers {
            let servers = self.options.api_servers.iter();
            let devices = servers.flat_map(|address| self.asker.devices_towards(*address)).collect();
            self.inventory.set_api_server_devices(devices);
        }
        let unread = self.inventory.unread_namespaces();
        for id in &unread {
            self.inventory.set_namespace(*id, self.asker.addresses(*id)?);
            for ifindex in self.inventory.peers_in(*id) {
                self.inventory.set_mac(*id, ifindex, self.asker.mac(*id, ifindex)?);
            }
        }
        Ok(!stale.links.is_empty() || !unread.is_empty())
    }
}

/// A socket that hears the pods' namespaces; `None` where the capability for that is missing.
fn namespace_listener(options: &Options) -> Result<Option<Listener>, Error> {
    let listener = Listener::new(&NAMESPACE_GROUPS, options.queue)?;
    match listener.hear_all_namespaces() {
        Ok(()) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                "no CAP_NET_BROADCAST: new addresses of pods are found up to 20 seconds late; \
                 add NET_BROADCAST to the container's securityContext.capabilities"
            );
            Ok(None)
        }
        Err(error) => Err(Error::Socket(error)),
    }
}
