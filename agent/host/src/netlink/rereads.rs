//! When to look into namespaces again for what nothing tells of.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(10);
/// Without CAP_NET_BROADCAST nothing tells of a new address in a pod's namespace.
pub(super) const UNHEARD: Duration = Duration::from_secs(20);
/// With it, an IPv6 address is told when duplicate address detection ends, and the kernel sends from a link-local one at
/// that moment (`addrconf_dad_completed` of Linux). It is there, tentative, a second before.
pub(super) const HEARD: Duration = Duration::from_millis(200);

/// An address comes soon after a change of the veth, so the namespace is read again for a while after each, less and less
/// often.
#[derive(Debug)]
pub(super) struct Rereads {
    longest: Duration,
    /// By namespace id: when to read next, and how long was waited for that.
    due: BTreeMap<i32, (Instant, Duration)>,
}

impl Rereads {
    /// None yet; none waits for longer than this.
    pub(super) const fn new(longest: Duration) -> Self {
        Self { longest, due: BTreeMap::new() }
    }

    /// The veth that leads to this namespace has changed.
    pub(super) fn begin(&mut self, id: i32, now: Instant) {
        self.due.insert(id, (now + FIRST, FIRST));
    }

    /// When the next namespace is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.values().map(|(at, _)| *at).min()
    }

    /// The namespaces that are due; each is due again after twice the time, until that gets too long.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<i32> {
        let ids: Vec<i32> = self.due.iter().filter(|(_, (at, _))| *at <= now).map(|(id, _)| *id).collect();
        for id in &ids {
            if let Some((_, waited)) = self.due.remove(id)
                && waited * 2 <= self.longest
            {
                self.due.insert(*id, (now + waited * 2, waited * 2));
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_read_ever_less_often_and_then_no_more() {
        let start = Instant::now();
        let mut rereads = Rereads::new(UNHEARD);
        rereads.begin(7, start);
        let mut waits = Vec::new();
        let mut now = start;
        while let Some(next) = rereads.next() {
            assert_eq!(rereads.take_due(next - Duration::from_millis(1)), []);
            assert_eq!(rereads.take_due(next), [7]);
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240]);
    }

    #[test]
    fn a_change_of_the_veth_begins_anew() {
        let start = Instant::now();
        let mut rereads = Rereads::new(UNHEARD);
        rereads.begin(7, start);
        rereads.take_due(start + FIRST);
        rereads.begin(7, start + FIRST);
        assert_eq!(rereads.next(), Some(start + 2 * FIRST));
    }
}
