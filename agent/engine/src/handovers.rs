//! What CNI hands over: while pods are not known yet, for the agent that comes next, and for the plugin that asks.

use std::time::Instant;

use podgate_host::binding::Handover;

use super::command::Command;
use super::endpoints::{Endpoint, NO_SLOT, Stage};
use super::memory::{Enforced, Interface, PodObject};
use super::stale::Derived;
use super::state::State;

/// How far an interface that was handed over is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is enforced as its pod's policies say.
    Enforced,
    /// It is isolated, because its pod is not known.
    Isolated,
    /// Not yet, and why.
    Pending(String),
}

impl State {
    /// As long as pods are not known, nothing is done but to isolate what CNI hands over.
    pub(super) fn next_before_sync(&mut self, now: Instant) -> Option<Command> {
        if let Some(view) = self.view.as_ref().filter(|_| self.stale.take(Derived::Bindings)) {
            let decisions = self.bindings.update_handed_over(view);
            self.carry_out(decisions);
        }
        let command = self.at_free_hooks(|state| state.release(now));
        let command = command.or_else(|| self.identify(now)).or_else(|| self.next_own(now));
        let command = command.or_else(|| self.isolate(now));
        command.or_else(|| self.at_free_hooks(|state| state.attach(now)))
    }

    /// What is to be remembered for the next agent, if that has changed.
    pub fn take_enforced(&mut self) -> Option<Enforced> {
        if !self.stale.take(Derived::Enforced) {
            return None;
        }
        let interfaces = self.bindings.bound().iter().map(|(&ifindex, binding)| {
            let object = self.cluster.pods.get(&binding.pod.key).filter(|pod| pod.uid == binding.pod.uid);
            let interface = Interface {
                pod: (&binding.pod).into(),
                addresses: binding.addresses.clone(),
                firm: self.bindings.is_firm(ifindex),
                object: object.map(|pod| PodObject::from(&**pod)),
            };
            (ifindex, interface)
        });
        let handed_over = self.bindings.handovers().map(Into::into).collect();
        // Before the first update nothing is bound, and what the former agent enforced still is.
        let former = self.former.iter().filter(|_| !self.synced).map(|(&ifindex, it)| (ifindex, it.clone()));
        let interfaces = former.chain(interfaces).collect();
        let isolated = self.bindings.isolated_unknown().collect();
        Some(Enforced { interfaces, handed_over, isolated })
    }

    /// Takes in what CNI says of an interface.
    pub fn hand_over(&mut self, handover: Handover) {
        self.bindings.hand_over(handover);
        self.stale.mark(Derived::Bindings);
        self.stale.mark(Derived::Enforced);
        self.stale.mark(Derived::Neighbours);
    }

    /// How far an interface is.
    pub(super) fn standing(&self, ifindex: u32) -> Standing {
        let Some(view) = &self.view else { return Standing::Pending("the host's interfaces are not known".to_owned()) };
        let Some(veth) = view.veths.get(&ifindex) else {
            return Standing::Pending(format!("there is no veth with the index {ifindex}"));
        };
        let of_pod = |endpoint: &&Endpoint| endpoint.tenant.netns_id == veth.netns_id;
        let slot = self.endpoints.slot_of(ifindex).and_then(|slot| self.endpoints.get(slot));
        // A pod is enforced on one of its interfaces.
        let endpoint = slot.or_else(|| self.endpoints.iter().map(|(_, endpoint)| endpoint).find(of_pod));
        match endpoint {
            Some(endpoint) => standing(endpoint),
            None => match self.endpoints.waiting().find(|waiting| waiting.tenant.ifindex == ifindex) {
                Some(waiting) if waiting.confined => Standing::Isolated,
                Some(waiting) => Standing::Pending(waiting.error.clone().unwrap_or_else(|| NO_SLOT.to_owned())),
                None => Standing::Pending(format!("{} is the node's uplink or the way to the API server", veth.name)),
            },
        }
    }
}

fn standing(endpoint: &Endpoint) -> Standing {
    match (&endpoint.error, endpoint.stage) {
        (Some(error), _) => Standing::Pending(error.clone()),
        (None, Stage::Attached) if endpoint.identified && endpoint.tenant.pod().is_some() => Standing::Enforced,
        (None, Stage::Attached) if endpoint.identified => Standing::Isolated,
        (None, _) => Standing::Pending("its policies are being applied".to_owned()),
    }
}
