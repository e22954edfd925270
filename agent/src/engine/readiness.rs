//! Why the agent is not ready.

use podgate_datapath::binding::Anomaly;
use podgate_policy::plan::Subject;

use super::anomalies::no_veth;
use super::endpoints::Stage;
use super::state::State;

/// Lines that are told; more are counted.
const TOLD: usize = 20;

impl State {
    /// Why the agent is not ready, a line each; empty: every source is synced, everything is applied, and every pod of
    /// this node is enforced as its policies say.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let steps = [self.unread(), self.unapplied(), self.unbound(), self.unattached(), self.too_large()];
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

    fn unapplied(&self) -> Vec<String> {
        let errors = self.apply_error.iter();
        errors.map(|error| format!("{} table changes wait to be applied: {error}", self.ops.len())).collect()
    }

    /// Pods of this node that have no interface or no slot.
    pub(super) fn unbound(&self) -> Vec<String> {
        let Some(view) = &self.view else { return Vec::new() };
        let without = self.bindings.anomalies().iter().filter_map(|anomaly| match anomaly {
            Anomaly::PodWithoutVeth { pod, cause } => {
                Some(format!("pod {pod} has no interface: {}", no_veth(cause, view)))
            }
            _ => None,
        });
        let waiting = self.endpoints.waiting().map(|tenant| format!("{tenant}: every slot for pods is taken"));
        without.chain(waiting).collect()
    }

    fn unattached(&self) -> Vec<String> {
        let unfinished = self.endpoints.iter().filter(|(_, endpoint)| {
            endpoint.stage != Stage::Attached || endpoint.error.is_some() || !endpoint.identified
        });
        let reason = |error: Option<&str>| error.unwrap_or("its policies are being applied").to_owned();
        unfinished
            .map(|(_, endpoint)| format!("{} is not enforced: {}", endpoint.tenant, reason(endpoint.error.as_deref())))
            .collect()
    }

    fn too_large(&self) -> Vec<String> {
        let reasons = self.unfit.iter().map(|unfit| {
            let room = format!("table {} has {} entries, {} are needed", unfit.table, unfit.capacity, unfit.needed);
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
