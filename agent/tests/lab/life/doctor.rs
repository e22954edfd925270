//! `podgate doctor` on a node: what is planted in kernel and network is found, and nothing is changed.

use std::fs;
use std::process::Command;

use podgate_lab::{Answer, ChainPosition, ForeignLink, Hook, Result, Wiring};
use serde_json::Value;

use super::Shop;
use crate::fits::assert_fits;
use crate::support::{Questions, everything};

/// What the doctor says of the shop's node with these words before its command, and its exit status.
fn doctor(shop: &mut Shop, before: &[&str]) -> Result<(Value, Option<i32>)> {
    let (bpffs, lab) = (shop.world.lab.bpffs()?.join(shop.world.node.name()), shop.world.lab.directory().to_owned());
    let ask = shop.world.agent().podgate("doctor");
    let mut command = match before {
        [] => ask,
        [program, arguments @ ..] => {
            let mut command: Command = shop.world.node.command(program);
            command.args(arguments).arg(ask.get_program()).args(ask.get_args());
            command
        }
    };
    command.arg("--bpffs").arg(bpffs).args(["-o", "json"]);
    command.arg("--cni-bin-dir").arg(lab.join("cni-bin")).arg("--cni-conf-dir").arg(lab.join("cni-conf"));
    let output = command.output().expect("the binary can be run");
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_fits("doctor", &report);
    Ok((report, output.status.code()))
}

/// State and finding of a check.
fn found(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["name"] == name).expect("a check");
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("finding"))
}

fn assert_found(report: &Value, name: &str, state: &str, words: &str) {
    let (is, finding) = found(report, name);
    assert!(is == state && finding.contains(words), "{name}: expected {state}, {words}: {report:#}");
}

#[test]
fn what_is_planted_on_a_node_is_found_by_the_doctor_and_enforcement_goes_on() -> Result<()> {
    let mut shop = Shop::started("doctor", Wiring::Ptp)?;
    let server = shop.server.addresses().both();

    let (report, _) = doctor(&mut shop, &[])?;
    for (name, words) in [
        ("agent", "ready"),
        ("agent-version", env!("CARGO_PKG_VERSION")),
        ("bpf-features", "ring buffers"),
        ("bpf-file-system", "is on one"),
        ("capabilities", "CAP_BPF"),
        ("kernel", "Linux "),
        ("kernel-settings", "IPv4 and IPv6 are forwarded"),
        ("other-enforcer", "none was found"),
        ("pins", "outlives the agent"),
        ("pod-interfaces", "lead to other network namespaces"),
    ] {
        assert_found(&report, name, "ok", words);
    }
    assert_found(&report, "cni-plugin", "not_checked", "are not here");
    assert_eq!(report["node"], "node-1");

    let interface = shop.stranger.host_interface().name.clone();
    let other = ForeignLink::attach(&shop.world.node, &interface, Hook::Ingress, ChainPosition::Last, Answer::Next)?;
    let second = shop.world.lab.bpffs()?.join("second");
    for name in ["sets", "kept", "links"] {
        fs::create_dir_all(second.join(name)).expect("pins can be made");
    }
    shop.world.node.set("ipv4/ip_forward", "0")?;
    let (report, status) = doctor(&mut shop, &[])?;
    assert_found(&report, "other-enforcer", "warning", &interface);
    assert_found(&report, "pins", "fault", &second.display().to_string());
    assert_found(&report, "kernel-settings", "fault", "net.ipv4.ip_forward is 0");
    assert_eq!(status, Some(1));
    drop(other);
    fs::remove_dir_all(&second).expect("pins can be removed");
    shop.world.node.set("ipv4/ip_forward", "1")?;

    let (report, _) = doctor(&mut shop, &["setpriv", "--bounding-set=-all"])?;
    assert_found(&report, "capabilities", "fault", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN");
    assert_found(&report, "bpf-features", "not_checked", "lacks");

    Questions::new()
        .answered(&shop.client, everything(server, 80))
        .silent(&shop.stranger, everything(server, 80))
        .ask();
    assert_eq!(shop.world.status()?["repairs"], serde_json::json!({"hooks": 0, "pins": 0, "tables": 0}));
    Ok(())
}
