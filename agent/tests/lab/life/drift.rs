//! Somebody else takes away what podgate has put into the kernel.

use std::fs;
use std::time::{Duration, Instant};

use podgate_lab::{Result, Wiring};

use super::Shop;
use crate::support::{Questions, everything, until};

/// How often something of this kind was put right.
fn repairs(shop: &mut Shop, what: &str) -> Result<f64> {
    Ok(shop.world.agent().metrics()?.sum("podgate_repairs_total", &[("what", what)]))
}

/// Waits until something was put right, for a second at most.
fn assert_repaired(shop: &mut Shop, what: &str, since: Instant) -> Result<()> {
    until(what, || Ok(repairs(shop, what)? >= 1.0))?;
    let took = since.elapsed();
    // A scrape of a busy machine takes its time too.
    assert!(took < Duration::from_millis(1500), "{what} were put right after {took:?}");
    let server = shop.server.addresses().both();
    Questions::new()
        .answered(&shop.client, everything(server, 80))
        .silent(&shop.stranger, everything(server, 80))
        .ask();
    Ok(())
}

#[test]
fn a_qdisc_that_is_removed_is_back_within_a_second() -> Result<()> {
    let mut shop = Shop::new("drift-qdisc", Wiring::Ptp)?;
    shop.world.run_agent(&["--hook", "clsact"])?;
    let device = shop.server.host_interface().name.clone();
    let since = Instant::now();
    let removed = shop.world.node.command("tc").args(["qdisc", "del", "dev", &device, "clsact"]).status();
    assert!(removed.is_ok_and(|status| status.success()));
    assert_repaired(&mut shop, "hooks", since)
}

#[test]
fn pins_that_are_removed_are_back_within_a_second_and_the_next_agent_goes_on_from_them() -> Result<()> {
    let mut shop = Shop::started("drift-pins", Wiring::Ptp)?;
    let pins = shop.world.lab.bpffs()?.join(shop.world.node.name());
    let since = Instant::now();
    fs::remove_dir_all(&pins).expect("root may");
    assert_repaired(&mut shop, "pins", since)?;
    let before = shop.world.denied(&shop.server, "ingress")?;
    shop.world.take_agent().kill()?;
    shop.world.restart()?;
    assert_eq!(shop.world.denied(&shop.server, "ingress")?, before);
    Ok(())
}
