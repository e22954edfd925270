//! A pod that asks its own Service and is given itself.

use podgate_lab::{Fate, Result, Wiring};

use super::shop::{CLUSTER_IPS, NODE_PORT, PORT, Plan, Shop, ips, make};
use crate::support::deny_all;

#[test]
fn a_pod_isolated_both_ways_reaches_itself_through_its_service() -> Result<()> {
    for plan in [Plan::ROUTED_NFTABLES, Plan::TUNNELLED_IPTABLES] {
        for wiring in [Wiring::Ptp, Wiring::Bridge] {
            let mut shop = Shop::empty("itself", Plan { wiring, ..plan })?;
            shop.backend("near-self", wiring, "none")?;
            shop.set(&shop.api())?;
            shop.world.write("policies.yaml", &deny_all("shop", "{}"))?;
            shop.start_agents(&[])?;
            let own = shop.pod("near-self").clone();
            let loads = [shop.loads(ips(CLUSTER_IPS), PORT, 10), shop.loads(shop.node_ips(), NODE_PORT, 10)].concat();
            for attempt in make(&own, &loads)?.concat() {
                assert_eq!(attempt.fate, Fate::Answered(1), "{} on {wiring} by {:?}", attempt.from, plan.mode);
            }
            let reasons: Vec<String> = shop.world.allowed(&own, "egress")?.into_keys().collect();
            assert!(reasons.contains(&"itself".to_owned()), "{reasons:?}");
            shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 10), &[])?;
        }
    }
    Ok(())
}
