//! `podgate cleanup` leaves nothing of podgate behind.

use std::process::Output;

use podgate_lab::{Result, Wiring};

use super::Shop;
use crate::support::{Questions, everything};

/// Runs `podgate cleanup` for the agent of a shop, after ending it if asked to.
fn cleanup(shop: &mut Shop, end_agent: bool) -> Result<Output> {
    let bpffs = shop.world.lab.bpffs()?.join(shop.world.node.name());
    let bindings = shop.world.lab.directory().join("bindings-node-1.json");
    let mut command = shop.world.agent().podgate("cleanup");
    command.arg("--bpffs").arg(bpffs).arg("--bindings").arg(bindings);
    if end_agent {
        shop.world.take_agent().kill()?;
    }
    let output = command.output().expect("the binary runs");
    if !end_agent {
        return Ok(output);
    }
    let again = command.output().expect("the binary runs");
    assert_eq!((again.status.code(), &*again.stdout), (Some(0), &b"nothing of podgate is here\n"[..]), "{again:?}");
    Ok(output)
}

#[test]
fn a_cleaned_node_enforces_nothing_and_has_no_trace_of_podgate() -> Result<()> {
    for hook in ["tcx", "clsact"] {
        let mut shop = Shop::new("cleanup", Wiring::Ptp)?;
        shop.world.run_agent(&["--hook", hook])?;
        let server = shop.server.addresses().both();
        Questions::new().silent(&shop.stranger, everything(server, 80)).ask();
        let pins = shop.world.lab.bpffs()?.join("node-1");
        assert!(pins.exists());
        let output = cleanup(&mut shop, true)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // The interfaces of three pods and the uplink.
        assert!(text.starts_with("took programs off 4 interfaces: "), "{text}");
        assert!(!pins.exists(), "{text}");
        let qdiscs = shop.world.node.output("tc", &["qdisc", "show"])?;
        assert!(!qdiscs.contains("clsact"), "{qdiscs}");
        Questions::new().answered(&shop.stranger, everything(server, 80)).ask();
    }
    Ok(())
}

#[test]
fn a_node_with_an_agent_at_work_is_not_cleaned() -> Result<()> {
    let mut shop = Shop::started("cleanup-refused", Wiring::Ptp)?;
    let output = cleanup(&mut shop, false)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(message.starts_with("podgate: another agent listens on ") && message.lines().count() == 1, "{message}");
    Questions::new().silent(&shop.stranger, everything(shop.server.addresses().both(), 80)).ask();
    Ok(())
}
