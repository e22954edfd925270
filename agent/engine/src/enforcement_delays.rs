//! How long pods' interfaces were there before they were enforced.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use podgate_host::netlink::HostView;

/// The times between an interface's appearance and its enforcement.
#[derive(Debug, Default)]
pub(super) struct EnforcementDelays {
    /// When each interface appeared; `None`: it was there before, or is measured already.
    appeared: Option<BTreeMap<u32, Option<Instant>>>,
    measured: Vec<Duration>,
    count: u64,
    longest: Duration,
}

impl EnforcementDelays {
    /// Notes which interfaces are there. Of those that are there at first it is not known since when.
    pub(super) fn look(&mut self, view: &HostView, now: Instant) {
        let former = self.appeared.take();
        let since = |ifindex: &u32| match &former {
            Some(former) => former.get(ifindex).copied().unwrap_or(Some(now)),
            None => None,
        };
        self.appeared = Some(view.veths.keys().map(|ifindex| (*ifindex, since(ifindex))).collect());
    }

    /// Notes that an interface is enforced.
    pub(super) fn enforced(&mut self, ifindex: u32, now: Instant) {
        let appeared = self.appeared.as_mut().and_then(|appeared| appeared.get_mut(&ifindex)).and_then(Option::take);
        if let Some(appeared) = appeared {
            let window = now.saturating_duration_since(appeared);
            self.measured.push(window);
            self.count += 1;
            self.longest = self.longest.max(window);
        }
    }

    /// The times that were measured since the last call.
    pub(super) fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.measured)
    }

    /// How many times were measured, and the longest of them.
    pub(super) fn summary(&self) -> (u64, Duration) {
        (self.count, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::host;
    use super::*;

    #[test]
    fn the_time_from_appearance_to_enforcement_is_measured_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut delays = EnforcementDelays::default();
        delays.look(&host(&[(10, "10.0.0.1")]), at(0));
        delays.look(&host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]), at(5));
        delays.look(&host(&[(10, "10.0.0.1"), (11, "10.0.0.2"), (12, "10.0.0.3")]), at(7));
        for (ifindex, time) in [(10, 8), (11, 9), (11, 50), (12, 8)] {
            delays.enforced(ifindex, at(time));
        }
        assert_eq!(delays.take(), [4, 1].map(Duration::from_millis));
        assert_eq!((delays.take(), delays.summary()), (vec![], (2, Duration::from_millis(4))));
    }

    #[test]
    fn an_interface_that_goes_and_comes_back_is_measured_again() {
        let now = Instant::now();
        let mut delays = EnforcementDelays::default();
        delays.look(&host(&[(10, "10.0.0.1")]), now);
        delays.look(&host(&[]), now);
        delays.look(&host(&[(10, "10.0.0.1")]), now);
        delays.enforced(10, now + Duration::from_secs(1));
        assert_eq!(delays.summary(), (1, Duration::from_secs(1)));
    }
}
