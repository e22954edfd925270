//! Questions to the kernel with answers of the right type.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

use super::Error;
use super::message::{Address, Link, Message};
use super::request::{Family, Request};
use super::socket::Asker;
use super::view::Mac;

impl Asker {
    /// Every device of the host.
    pub(super) fn links(&mut self) -> Result<Vec<Link>, Error> {
        Ok(self.ask(Request::Links)?.into_iter().filter_map(link).collect())
    }

    /// One device of the host; `None` if there is none with this ifindex.
    pub(super) fn link(&mut self, ifindex: u32) -> Result<Option<Link>, Error> {
        match self.ask(Request::Link(ifindex)) {
            Ok(answer) => Ok(answer.into_iter().find_map(link)),
            Err(error) if error.is(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every address of the host.
    pub(super) fn own_addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.all_addresses(Request::OwnAddresses)
    }

    /// Every address of the namespace with this id; none if the id stands for no namespace (any more).
    pub(super) fn addresses(&mut self, netns_id: i32) -> Result<Vec<Address>, Error> {
        match self.all_addresses(|family| Request::Addresses(family, netns_id)) {
            Err(error) if error.is(Errno::EINVAL) => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// The Ethernet address of a device in the namespace with this id; `None`: there is no such device (any more).
    pub(super) fn mac(&mut self, netns_id: i32, ifindex: u32) -> Result<Option<Mac>, Error> {
        match self.ask(Request::LinkIn(ifindex, netns_id)) {
            Ok(answer) => Ok(answer.into_iter().find_map(link).and_then(|link| link.mac)),
            Err(error) if error.is(Errno::EINVAL) || error.is(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn all_addresses(&mut self, request: impl Fn(Family) -> Request) -> Result<Vec<Address>, Error> {
        let mut all = Vec::new();
        for family in Family::ALL {
            all.extend(self.ask(request(family))?.into_iter().filter_map(address));
        }
        Ok(all)
    }

    /// The devices that carry a default route.
    pub(super) fn default_route_devices(&mut self) -> Result<BTreeSet<u32>, Error> {
        let mut all = BTreeSet::new();
        for family in Family::ALL {
            for message in self.ask(Request::Routes(family))? {
                if let Message::Route(route) = message
                    && route.default
                {
                    all.extend(route.devices);
                }
            }
        }
        Ok(all)
    }

    /// The id of the namespace that an open file stands for; `None`: the host has none for it.
    pub(super) fn namespace_id(&mut self, file: BorrowedFd<'_>) -> Result<Option<i32>, Error> {
        let answer = self.ask(Request::Namespace(file.as_raw_fd()))?;
        Ok(answer.into_iter().find_map(|message| match message {
            Message::Namespace(id) if id >= 0 => Some(id),
            _ => None,
        }))
    }

    /// The devices towards an address; none if it can't be reached.
    pub(super) fn devices_towards(&mut self, address: IpAddr) -> BTreeSet<u32> {
        match self.ask(Request::RouteTo(address)) {
            Ok(answer) => answer.into_iter().flat_map(devices).collect(),
            Err(error) => {
                tracing::debug!(%address, %error, "no route");
                BTreeSet::new()
            }
        }
    }
}

fn link(message: Message) -> Option<Link> {
    if let Message::Link(link) = message { Some(link) } else { None }
}

fn address(message: Message) -> Option<Address> {
    if let Message::Address(address) = message { Some(address) } else { None }
}

fn devices(message: Message) -> Vec<u32> {
    if let Message::Route(route) = message { route.devices } else { Vec::new() }
}
