//! What is to be done at hooks, in three steps: who owns the tables begins it, an [`Attacher`] does it, and the owner ends it.
//!
//! Whatever is asked of hooks takes the kernel's lock on its network configuration (RTNL). Others hold that for long: for
//! a grace period with every TCX link that comes, and for seconds while many interfaces with links go. So the second step
//! can be done on another thread than that of the tables' owner.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podgate_common::Direction;
use podgate_policy::op::EndpointPolicies;

use crate::attach::Hooks;
use crate::load::{Classifier, Programs};
use crate::{Datapath, Error, Identity};

/// Something to do at hooks. One at a time: what is begun is ended before something else about the same interface begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTask(Task);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Nothing,
    Attach { ifindex: u32, classifiers: Vec<Classifier>, filter_first: bool },
    Link { ifindex: u32 },
    Detach { ifindex: u32 },
    FinishTakeover,
}

impl HookTask {
    /// Nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(Task::Nothing)
    }

    /// The same with a filter until there is a link, which takes the kernel longer. Only for veths whose CNI plugins have done
    /// their work: to give a device the qdisc of filters the kernel stops its queues for a moment, and drops what is in
    /// them; and that qdisc excludes the ingress qdisc, which the plugin `bandwidth` adds.
    #[must_use]
    pub fn with_filter_first(mut self) -> Self {
        if let Task::Attach { filter_first, .. } = &mut self.0 {
            *filter_first = true;
        }
        self
    }

    /// Put a TCX link in the place of a filter of an interface, at one of its hooks that [`HookReport::provisional`] is
    /// about. Until the link judges the filter does, and for a moment both.
    #[must_use]
    pub const fn link(ifindex: u32) -> Self {
        Self(Task::Link { ifindex })
    }

    /// Take the programs off an interface, which may be gone; [`Datapath::end_detach`] follows.
    #[must_use]
    pub const fn detach(ifindex: u32) -> Self {
        Self(Task::Detach { ifindex })
    }

    /// Take the programs of former starts off the interfaces that have none of this; [`Datapath::end_takeover`] follows.
    #[must_use]
    pub const fn finish_takeover() -> Self {
        Self(Task::FinishTakeover)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookReport {
    /// Whether anything at the hooks is other than before.
    pub changed: bool,
    /// Whether a filter judges where a TCX link is to: [`HookTask::link`] is to follow, which takes the kernel longer.
    pub provisional: bool,
    /// The interfaces that a former start's programs were taken off.
    pub left: Vec<u32>,
}

/// Does what is to be done at hooks, in the network namespace of the calling thread. Cheap to clone.
#[derive(Clone)]
pub struct Attacher {
    hooks: Arc<Mutex<Hooks>>,
    programs: Programs,
}

impl Attacher {
    pub(crate) fn new(hooks: Hooks, programs: Programs) -> Self {
        Self { hooks: Arc::new(Mutex::new(hooks)), programs }
    }

    /// Does something; what is attached is so without a grace period, where that is possible.
    ///
    /// # Errors
    /// An interface is gone, something of another program is in the way, or the kernel refused something.
    pub fn carry_out(&self, HookTask(task): &HookTask) -> Result<HookReport, Error> {
        let mut hooks = self.hooks();
        let mut report = HookReport::default();
        match task {
            Task::Nothing => {}
            Task::Attach { ifindex, classifiers, filter_first } => {
                let attach = if *filter_first { Hooks::attach_soon } else { Hooks::attach };
                for &classifier in classifiers {
                    report.changed |= attach(&mut hooks, &self.programs, *ifindex, classifier)?;
                }
                report.provisional = hooks.is_provisional(*ifindex);
            }
            Task::Link { ifindex } => {
                hooks.link(&self.programs, *ifindex)?;
                report.provisional = hooks.is_provisional(*ifindex);
            }
            Task::Detach { ifindex } => hooks.detach(*ifindex)?,
            Task::FinishTakeover => report.left = hooks.finish_takeover()?,
        }
        Ok(report)
    }

    pub(crate) fn hooks(&self) -> MutexGuard<'_, Hooks> {
        // Whoever panicked with them has ended the agent.
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Datapath {
    /// Who does what is to be done at hooks.
    #[must_use]
    pub fn attacher(&self) -> Attacher {
        self.attacher.clone()
    }

    /// Begins [`Self::attach`]; nothing is to end.
    ///
    /// # Errors
    /// The slot has no identity, or the kernel refused a write.
    pub fn begin_attach(&mut self, slot: u32) -> Result<HookTask, Error> {
        let ifindex = self.slots.endpoint(slot)?.identity.ifindex;
        self.enter_interface(ifindex, slot)?;
        Ok(attach(ifindex, Direction::ALL.map(Classifier::of_pod)))
    }

    /// Puts the programs on the interface of a slot, first at both its hooks; where a former start's are there,
    /// without a gap between the two. Calling it again sees that they are still first and pinned, and puts them there if
    /// not. Whether that was needed.
    ///
    /// # Errors
    /// The slot has no identity, the interface is gone, or something of another program is in the way.
    pub fn attach(&mut self, slot: u32) -> Result<bool, Error> {
        let task = self.begin_attach(slot)?;
        Ok(self.attacher.carry_out(&task)?.changed)
    }

    /// Begins [`Self::confine`]; nothing is to end.
    ///
    /// # Errors
    /// The kernel refused a write.
    pub fn begin_confine(&mut self, ifindex: u32) -> Result<HookTask, Error> {
        let slot = self.last_slot();
        let is_ready = self.slots.endpoint(slot).is_ok_and(|it| it.policies == Some(EndpointPolicies::NOTHING));
        if !is_ready {
            self.identify(slot, &Identity::shared())?;
            self.switch(slot, EndpointPolicies::NOTHING)?;
        }
        self.enter_interface(ifindex, slot)?;
        Ok(attach(ifindex, Direction::ALL.map(Classifier::of_pod)))
    }

    /// Isolates an interface in both directions though there is no slot for it. [`Self::attach`] gives it one without a gap.
    /// Calling it again sees that the programs are still first. Whether anything was to be done to the hooks.
    ///
    /// # Errors
    /// As for [`Self::attach`].
    pub fn confine(&mut self, ifindex: u32) -> Result<bool, Error> {
        let task = self.begin_confine(ifindex)?;
        Ok(self.attacher.carry_out(&task)?.changed)
    }

    /// Undoes [`Self::confine`] for an interface, which may be gone.
    ///
    /// # Errors
    /// The kernel refused something; calling again goes on.
    pub fn unconfine(&mut self, ifindex: u32) -> Result<(), Error> {
        self.attacher.carry_out(&HookTask::detach(ifindex))?;
        self.end_detach(ifindex)
    }

    /// Ends what [`HookTask::detach`] was about.
    ///
    /// # Errors
    /// The kernel refused a write; doing all of it again goes on.
    pub fn end_detach(&mut self, ifindex: u32) -> Result<(), Error> {
        self.strike_interface(ifindex)
    }

    /// Begins [`Self::release`].
    #[must_use]
    pub fn begin_release(&self, slot: u32) -> HookTask {
        HookTask(match self.slots.endpoint(slot) {
            Ok(endpoint) => Task::Detach { ifindex: endpoint.identity.ifindex },
            Err(_) => Task::Nothing,
        })
    }

    /// Ends [`Self::release`].
    ///
    /// # Errors
    /// The kernel refused a write; doing all of it again goes on.
    pub fn end_release(&mut self, slot: u32) -> Result<(), Error> {
        let Ok(endpoint) = self.slots.endpoint(slot) else { return Ok(()) };
        let identity = endpoint.identity.clone();
        self.strike_interface(identity.ifindex)?;
        self.vacate(slot, &identity)
    }

    /// Takes the programs off the interface of a slot, which may be gone, and frees the slot. A slot without identity
    /// is free already.
    ///
    /// # Errors
    /// The kernel refused something; what was done stays done, and calling again goes on.
    pub fn release(&mut self, slot: u32) -> Result<(), Error> {
        let task = self.begin_release(slot);
        self.attacher.carry_out(&task)?;
        self.end_release(slot)
    }

    /// Takes the programs of former starts off the interfaces that no slot has now; returns those interfaces. To be
    /// called when every endpoint that exists is attached.
    ///
    /// # Errors
    /// The kernel refused something; calling again goes on.
    pub fn finish_takeover(&mut self) -> Result<Vec<u32>, Error> {
        let report = self.attacher.carry_out(&HookTask::finish_takeover())?;
        self.end_takeover()?;
        Ok(report.left)
    }
}

/// Make programs the first at their hooks of an interface.
pub(crate) fn attach(ifindex: u32, classifiers: impl IntoIterator<Item = Classifier>) -> HookTask {
    HookTask(Task::Attach { ifindex, classifiers: classifiers.into_iter().collect(), filter_first: false })
}

impl Drop for Datapath {
    fn drop(&mut self) {
        if self.pins.is_some() {
            return;
        }
        let mut hooks = self.attacher.hooks();
        for ifindex in hooks.interfaces() {
            if let Err(error) = hooks.detach(ifindex) {
                log::warn!("{error}");
            }
        }
    }
}
