//! Changes of files take effect at once, in the sense of a person who waits.

use std::time::{Duration, Instant};

use podgate_lab::{Result, Seen, Wiring};

use super::{Shop, serve_client};
use crate::support::{Questions, deny_all, everything};

const AT_ONCE: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

/// The time in the middle: a busy machine may make a single one long.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_policy_that_is_added_changed_or_removed_is_in_force_within_a_second() -> Result<()> {
    let mut shop = Shop::started("speed", Wiring::Ptp)?;
    shop.world.remove("policies.yaml")?;
    let (client, server) = (shop.client.clone(), shop.server.addresses().both());
    let mut times = [vec![], vec![], vec![]];
    for _ in 0..ROUNDS {
        let policies = [
            (Some(deny_all("shop", "{}")), Seen::Silence),
            (Some(serve_client()), Seen::Answered),
            (None, Seen::Answered),
        ];
        for ((policies, expected), times) in policies.into_iter().zip(&mut times) {
            let start = Instant::now();
            match policies {
                Some(policies) => shop.world.write("policies.yaml", &policies)?,
                None => shop.world.remove("policies.yaml")?,
            }
            times.push(start.elapsed());
            Questions::new().expect(&client, everything(server, 80), expected).ask();
        }
    }
    let times = times.map(median);
    assert!(times.iter().all(|time| *time < AT_ONCE), "added, changed, removed: {times:?}");
    Ok(())
}
