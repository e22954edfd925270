//! `podgate cleanup` leaves nothing of podgate behind.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use podgate_lab::{Lab, Result, Wiring};

use super::Shop;
use crate::support::{Questions, everything};

/// Runs `podgate cleanup` for the agent of a shop, after ending it if asked to.
fn cleanup(shop: &mut Shop, end_agent: bool) -> Result<Output> {
    let bpffs = shop.world.lab.bpffs()?.join(shop.world.node.name());
    let bindings = shop.world.lab.directory().join("bindings-node-1.json");
    let mut command = shop.world.agent().podgate("cleanup");
    command.arg("--bpffs").arg(bpffs).arg("--bindings").arg(bindings);
    let [bin, conf] = plugin_directories(&shop.world.lab);
    command.arg("--cni-bin-dir").arg(bin).arg("--cni-conf-dir").arg(conf);
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

/// The directories of plugins and of networks.
fn plugin_directories(lab: &Lab) -> [PathBuf; 2] {
    ["cni-bin", "cni-conf"].map(|name| lab.directory().join(name))
}

/// Installs the CNI plugin for a network; the network's file.
fn install_plugin(lab: &Lab) -> PathBuf {
    let [bin, conf] = plugin_directories(lab);
    let network = conf.join("10-pods.conflist");
    fs::create_dir(&conf).expect("the lab's directory can be written to");
    fs::write(&network, r#"{"name":"pods","plugins":[{"type":"ptp"}]}"#).expect("it can be written to");
    let mut install = Command::new(env!("CARGO_BIN_EXE_podgate"));
    install.args(["cni", "install", "--cni-bin-dir"]).arg(bin).arg("--cni-conf-dir").arg(conf);
    assert!(install.status().is_ok_and(|status| status.success()));
    assert!(fs::read_to_string(&network).is_ok_and(|list| list.contains("podgate-cni")));
    network
}

#[test]
fn a_cleaned_node_enforces_nothing_and_has_no_trace_of_podgate() -> Result<()> {
    for hook in ["tcx", "clsact"] {
        let mut shop = Shop::new("cleanup", Wiring::Ptp)?;
        shop.world.run_agent(&["--hook", hook])?;
        let server = shop.server.addresses().both();
        Questions::new().silent(&shop.stranger, everything(server, 80)).ask();
        let network = install_plugin(&shop.world.lab);
        let pins = shop.world.lab.bpffs()?.join("node-1");
        assert!(pins.exists());
        let output = cleanup(&mut shop, true)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // The interfaces of three pods and the uplink.
        assert!(text.contains("\ntook programs off 4 interfaces: "), "{text}");
        assert!(fs::read_to_string(&network).is_ok_and(|list| !list.contains("podgate-cni")), "{text}");
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
