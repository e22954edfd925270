//! Why packets of pods came to an exit hook without their tag, as far as that can be told.
//!
//! An interface that is just being hooked, or that goes with its pod, lets some packets by without one, and nobody else has a
//! part in that. So what is counted while hooks come and go, and until the next look after that, is told apart from what is
//! counted while all of them stand.

/// Packets that came without their tag.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// The kernel's count at the last look; `None`: there was none yet.
    seen: Option<u64>,
    /// What came between the last two looks.
    latest: Latest,
    /// Whether hooks have changed since the last look.
    changed: bool,
    told: Untagged,
}

/// What came between two looks. Nobody knows why before the next: that an interface is gone is heard of after the fact.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    packets: u64,
    /// Whether hooks had changed in that time, or in that before it.
    changed: bool,
    /// Whether they had in that time.
    changed_then: bool,
}

/// Packets without their tag since the agent began to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Untagged {
    /// While hooks came or went.
    pub(super) changing: u64,
    /// While all stood.
    pub(super) standing: u64,
}

impl Tags {
    /// Notes that hooks have come or gone.
    pub(super) fn hooks_changed(&mut self) {
        self.changed = true;
    }

    /// Takes in how many packets the kernel has counted until now.
    pub(super) fn look(&mut self, total: u64) {
        let changed = std::mem::take(&mut self.changed);
        let Some(seen) = self.seen.replace(total) else { return };
        let told = if self.latest.changed || changed { &mut self.told.changing } else { &mut self.told.standing };
        *told += self.latest.packets;
        self.latest = Latest {
            packets: total.saturating_sub(seen),
            changed: changed || self.latest.changed_then,
            changed_then: changed,
        };
    }

    /// What is known of all but the latest.
    pub(super) const fn told(&self) -> Untagged {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once for each of these: packets since the look before, and whether hooks have changed in that time.
    fn told(looks: &[(u64, bool)]) -> (u64, u64) {
        let (mut tags, mut total) = (Tags::default(), 149);
        tags.look(total);
        for &(packets, changed) in looks {
            if changed {
                tags.hooks_changed();
            }
            total += packets;
            tags.look(total);
        }
        (tags.told().changing, tags.told().standing)
    }

    const STILL: (u64, bool) = (0, false);

    #[test]
    fn what_was_counted_before_the_first_look_is_not_told() {
        assert_eq!(told(&[STILL, STILL]), (0, 0));
    }

    #[test]
    fn what_comes_without_a_tag_while_all_hooks_stand_is_told_by_the_second_look() {
        assert_eq!(told(&[(5, false)]), (0, 0));
        assert_eq!(told(&[(5, false), (2, false), STILL]), (0, 7));
    }

    #[test]
    fn what_comes_while_hooks_change_or_one_look_before_or_after_is_nobodys_doing() {
        assert_eq!(told(&[STILL, (3, true), STILL]), (3, 0));
        assert_eq!(told(&[(3, false), (0, true), STILL]), (3, 0), "an interface was gone before that was known");
        assert_eq!(told(&[(0, true), (3, false), STILL]), (3, 0), "packets were still on their way");
        assert_eq!(told(&[(0, true), STILL, (3, false), STILL, STILL]), (0, 3));
    }
}
