//! Pods whose traffic is shaped.

use podgate_lab::Result;

use super::shop::{CLUSTER_IPS, PORT, Plan, Shop, ips, to_open_backends};

/// What a pod sends makes a detour, as the CNI plugin `bandwidth` has it, before the host routes and translates it.
#[test]
fn what_a_shaped_pod_sends_to_a_service_is_judged_by_the_backend() -> Result<()> {
    let mut shop = Shop::new("shaped", Plan::ROUTED_NFTABLES)?;
    let node = shop.world.node.clone();
    node.ip(&["link add shaper type ifb", "link set shaper up"])?;
    shop.world.write("policies.yaml", &to_open_backends())?;
    let interface = shop.client.host_interface().name.clone();
    let tc = |line: &str| node.output("tc", &line.split(' ').collect::<Vec<_>>()).map(drop);
    tc(&format!("qdisc add dev {interface} ingress"))?;
    tc(&format!(
        "filter add dev {interface} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev shaper"
    ))?;
    // The plugin is done with a pod before its object says where it is.
    shop.start_agents(&[])?;
    shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 20), &["near-open", "far-open"])
}
