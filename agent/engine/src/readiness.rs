//! Why the agent is not ready.

use std::collections::BTreeSet;
use std::time::SystemTime;

use podgate_host::binding::Anomaly;
use podgate_policy::plan::Subject;
use podgate_source::{Location, ResourceStatus, Stale};

use super::anomalies::no_veth;
use super::endpoints::{NO_SLOT, Stage};
use super::state::State;

/// Lines that are told; more are counted.
const TOLD: usize = 20;

impl State {
    /// Why the agent is not ready, a line each; empty: the node exists, every source is synced and has answered lately,
    /// everything is applied, and every pod of this node is enforced as its policies say.
    pub fn not_ready(&self, now: SystemTime) -> Vec<String> {
        let steps = [
            self.unread(),
            self.blind(now).into_iter().collect(),
            self.unapplied(),
            self.unbound(),
            self.unattached(),
            self.too_large(),
            self.without_deferral().into_iter().collect(),
        ];
        let mut reasons: Vec<_> = steps.into_iter().flatten().collect();
        if reasons.len() > TOLD {
            let more = reasons.len() - TOLD;
            reasons.truncate(TOLD);
            reasons.push(format!("and {more} more reasons"));
        }
        reasons
    }

    fn unread(&self) -> Vec<String> {
        let resources = self.source.iter().flat_map(|source| &source.resources);
        let unread = resources.filter(|(_, resource)| resource.synced.is_none());
        let mut reasons: Vec<_> = unread
            .map(|(name, resource)| match resource.failure() {
                Some(failure) => format!("{name}: not read yet: {}", failure.message),
                None => format!("{name}: not read yet"),
            })
            .collect();
        if reasons.is_empty() && !self.is_synced() {
            reasons.push("objects: not read yet".to_owned());
        }
        if self.view.is_none() {
            reasons.push("network interfaces: not read yet".to_owned());
        }
        reasons
    }

    /// What keeps the agent from knowing which pods this node has, or what policies say now, a line each.
    pub(super) fn blind(&self, now: SystemTime) -> BTreeSet<String> {
        let resources = self.source.iter().flat_map(|source| &source.resources);
        let unheard = ResourceStatus::UNHEARD.as_secs();
        let stale = resources.filter_map(|(name, resource)| match resource.stale(now)? {
            // While it starts, that is as it should be.
            Stale::Unread(_) => None,
            Stale::Unheard(_, Some(error)) => {
                Some(format!("{name}: could not be read for {unheard} seconds: {}", error.message))
            }
            Stale::Unheard(_, None) => Some(format!("{name}: could not be read for {unheard} seconds")),
            Stale::Hangs(_) => Some(format!("{name}: reading does not end: what has changed since is not known")),
        });
        stale.chain(self.without_node()).collect()
    }

    /// This node, if there is no such node. Among files, which need not have nodes, only if there are others.
    fn without_node(&self) -> Option<String> {
        let source = self.source.as_ref().filter(|_| self.is_synced())?;
        let expected = match &source.source {
            Location::Api { .. } => true,
            Location::Directory(_) => !self.cluster.nodes.is_empty(),
        };
        (expected && !self.cluster.nodes.contains_key(self.node())).then(|| {
            format!(
                "node {}: {} has no such node, so no pod is enforced: --node-name must be the name of this machine's \
                 Node object",
                self.node(),
                source.source
            )
        })
    }

    fn unapplied(&self) -> Vec<String> {
        let errors = self.planning.error().into_iter();
        errors.map(|error| format!("{} table changes wait to be applied: {error}", self.planning.ops.len())).collect()
    }

    /// Pods of this node that have no interface.
    pub(super) fn unbound(&self) -> Vec<String> {
        let Some(view) = &self.view else { return Vec::new() };
        let without = self.bindings.anomalies().iter().filter_map(|anomaly| match anomaly {
            Anomaly::PodWithoutVeth { pod, cause } => {
                Some(format!("pod {pod} has no interface: {}", no_veth(cause, view)))
            }
            _ => None,
        });
        without.collect()
    }

    fn unattached(&self) -> Vec<String> {
        let waiting = self.endpoints.waiting().map(|waiting| match &waiting.error {
            Some(error) => format!("{} is not enforced: {NO_SLOT}: {error}", waiting.tenant),
            None if waiting.confined => format!("{} is isolated altogether: {NO_SLOT}", waiting.tenant),
            None => format!("{} is not enforced: {NO_SLOT}", waiting.tenant),
        });
        let unfinished = self.endpoints.unsettled().filter(|(_, endpoint)| {
            endpoint.stage != Stage::Attached || endpoint.error.is_some() || !endpoint.identified
        });
        let reason = |error: Option<&str>| error.unwrap_or("its policies are being applied").to_owned();
        unfinished
            .map(|(_, endpoint)| format!("{} is not enforced: {}", endpoint.tenant, reason(endpoint.error.as_deref())))
            .chain(waiting)
            .collect()
    }

    /// Services that isolated pods can't reach.
    fn without_deferral(&self) -> Option<String> {
        let count = self.services.deferral.left_out();
        (count > 0).then(|| {
            format!("what isolated pods send to {count} addresses of Services is judged by these addresses: no room")
        })
    }

    fn too_large(&self) -> Vec<String> {
        let reasons = self.planning.unfit.iter().map(|unfit| {
            let room = unfit.shortage();
            match unfit.subject {
                Subject::Endpoint { slot, direction } => {
                    let pod = self.endpoints.get(slot).map(|endpoint| endpoint.tenant.to_string());
                    format!("{} is isolated altogether for {direction}: {room}", pod.unwrap_or_default())
                }
                Subject::Addresses(count) => {
                    format!("no rule that selects pods allows {count} of their addresses: {room}")
                }
            }
        });
        reasons.collect()
    }
}
