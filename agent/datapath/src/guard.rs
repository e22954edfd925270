//! The hooks of devices that are no pod's.

use podgate_common::InterfaceSlot;

use crate::hooking::attach;
use crate::load::Classifier;
use crate::{Datapath, Error, HookTask};

/// What headers the packets of a device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkLayer {
    /// Ethernet's.
    Ethernet,
    /// None: they begin with the IP header.
    Bare,
}

/// Whose packets come in by a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrivals {
    /// Those of other hosts, or of other network namespaces: tags that they bring along are not this host's.
    Foreign,
    /// Those that were in other packets, which may be a pod's: the device is that of a tunnel.
    Inner(LinkLayer),
    /// The same at a port of a bridge, where none may be a pod's: the bridge would believe where it says it comes from.
    InnerOfPort,
    /// Those of pods too, on their way through the host: a bridge, or what is based on one. Tags stay as they are.
    Passing,
}

/// What to do at a device that is no pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guard {
    /// How its packets begin, if what pods send by it is to be judged.
    pub exit: Option<LinkLayer>,
    /// Whose the packets are that come in by it.
    pub arrivals: Arrivals,
}

impl Datapath {
    /// Puts the programs that a guard asks for on a device, first at its hooks, or sees that they still are; whether they were
    /// not. A slot's interface becomes a pod's again with [`Self::attach`].
    ///
    /// # Errors
    /// The device is gone, takes no programs, or something of another program is in the way.
    pub fn guard(&mut self, ifindex: u32, guard: Guard) -> Result<bool, Error> {
        let task = self.begin_guard(ifindex, guard)?;
        Ok(self.attacher.carry_out(&task)?.changed)
    }

    /// Begins [`Self::guard`]; nothing is to end.
    ///
    /// # Errors
    /// The kernel refused a write.
    pub fn begin_guard(&mut self, ifindex: u32, guard: Guard) -> Result<HookTask, Error> {
        let slot = match guard.arrivals {
            Arrivals::Passing => InterfaceSlot::BRIDGE,
            Arrivals::InnerOfPort => InterfaceSlot::TUNNEL_PORT,
            Arrivals::Foreign | Arrivals::Inner(_) => 0,
        };
        self.enter_interface(ifindex, slot)?;
        let exit = guard.exit.map(|layer| match layer {
            LinkLayer::Ethernet => Classifier::Exit,
            LinkLayer::Bare => Classifier::ExitBare,
        });
        let entry = match guard.arrivals {
            Arrivals::Foreign => Some(Classifier::Entry),
            Arrivals::Inner(LinkLayer::Ethernet) | Arrivals::InnerOfPort => Some(Classifier::Inner),
            Arrivals::Inner(LinkLayer::Bare) => Some(Classifier::InnerBare),
            Arrivals::Passing => None,
        };
        Ok(attach(ifindex, exit.into_iter().chain(entry)))
    }

    /// Takes the programs off a device, which may be gone.
    ///
    /// # Errors
    /// The kernel refused something; what was done stays done, and calling again goes on.
    pub fn unguard(&mut self, ifindex: u32) -> Result<(), Error> {
        self.unconfine(ifindex)
    }
}
