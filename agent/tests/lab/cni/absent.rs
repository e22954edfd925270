//! Pods that start while no agent answers.

use podgate_lab::{Result, Started, Wiring};

use super::{Site, WIRINGS, chain};
use crate::packets::{ARRIVES, STAYS_AWAY, arp, link};
use crate::support::{Questions, World, everything, serve, until};

/// Who reaches a pod: the stranger, perhaps; the node always. The pod reaches the stranger as it is reached.
fn assert_reached(site: &Site, started: &Started, by_stranger: bool) {
    let (pod, stranger) = (started.pod.addresses().both(), site.stranger.addresses().both());
    let questions = Questions::new().answered(&site.world.node, everything(pod, 80));
    if by_stranger {
        questions.answered(&site.stranger, everything(pod, 80)).answered(&started.pod, everything(stranger, 80)).ask();
    } else {
        questions.silent(&site.stranger, everything(pod, 80)).silent(&started.pod, everything(stranger, 80)).ask();
    }
}

#[test]
fn with_fail_a_pod_does_not_start_and_the_runtime_is_told_to_try_again() -> Result<()> {
    let mut site = Site::bereft("absent-fail")?;
    site.chain = site.chain.set("whenAgentDown", "fail");
    let error = site.start("runner", Wiring::Ptp).unwrap_err().to_string();
    assert!(error.contains(r#""code":11"#) && error.contains("no agent listens on "), "{error}");
    site.world.restart()?;
    site.announce("runner", "closed")?;
    let started = site.start("runner", Wiring::Ptp)?;
    assert_reached(&site, &started, false);
    Ok(())
}

#[test]
fn with_allow_a_pod_is_not_enforced_until_the_agent_is_back() -> Result<()> {
    let mut site = Site::bereft("absent-allow")?;
    site.chain = site.chain.set("whenAgentDown", "allow");
    let started = site.start("runner", Wiring::Ptp)?;
    assert!(started.said.contains("the pod is not enforced before it is back"), "{}", started.said);
    site.declare(&started, "closed")?;
    assert_reached(&site, &started, true);
    site.world.restart()?;
    assert_reached(&site, &started, false);
    Ok(())
}

#[test]
fn with_last_known_a_pod_that_was_never_known_is_isolated_until_the_agent_is_back() -> Result<()> {
    for (hook, wiring) in ["tcx", "clsact"].into_iter().zip(WIRINGS) {
        let mut site = Site::started(&format!("absent-new-{hook}"), &["--hook", hook])?;
        site.world.take_agent().kill()?;
        let pods = ["open", "closed"].map(|app| (app, site.start(app, wiring)));
        let mut runners = Vec::new();
        for (app, started) in pods {
            let started = started?;
            assert_eq!(started.result, started.wired);
            assert!(started.said.contains("the pod is isolated until the agent is back"), "{}", started.said);
            assert_reached(&site, &started, false);
            // As the API has it: the kubelet tells of the address when the containers run.
            site.announce(app, app)?;
            runners.push((app, started));
        }
        site.world.restart()?;
        for (app, started) in &runners {
            assert_reached(&site, started, *app == "open");
        }
    }
    Ok(())
}

#[test]
fn with_last_known_a_pod_whose_sandbox_is_made_anew_has_the_policies_it_had() -> Result<()> {
    let mut site = Site::started("absent-known", &[])?;
    let friend = site.world.pod("shop/friend", Wiring::Bridge)?;
    site.announce("friendly", "friendly")?;
    let first = site.start("friendly", Wiring::Ptp)?;
    site.announce("open", "open")?;
    let open = site.start("open", Wiring::Ptp)?;
    site.world.take_agent().kill()?;
    for started in [&first, &open] {
        site.chain.remove(started)?;
    }
    let again = site.start("friendly", Wiring::Ptp)?;
    assert!(again.said.contains("the policies that were last known for it"), "{}", again.said);
    let pod = again.pod.addresses().both();
    let ask = |site: &Site| {
        Questions::new()
            .answered(&friend, everything(pod, 80))
            .silent(&site.stranger, everything(pod, 80))
            .silent(&again.pod, everything(site.stranger.addresses().both(), 80))
            .ask();
    };
    ask(&site);
    assert_reached(&site, &site.start("open", Wiring::Ptp)?, true);
    site.world.restart()?;
    ask(&site);
    Ok(())
}

#[test]
fn a_pod_that_starts_without_an_agent_speaks_for_nobody_who_had_its_slot() -> Result<()> {
    let mut site = Site::started("absent-heir", &[])?;
    let listener = site.world.pod("shop/listener", Wiring::Bridge)?;
    site.announce("former", "closed")?;
    let former = site.start("former", Wiring::Bridge)?;
    let formers = former.pod.ip4();
    site.world.take_agent().kill()?;
    site.chain.remove(&former)?;
    let heir = site.start("heir", Wiring::Bridge)?.pod;
    let (sending, mut arriving) = (link(&heir)?, link(&listener)?);
    let mut arrives = |address, limit| -> Result<bool> {
        let frame = arp(&heir, 1, address, [192, 0, 2, 1].into());
        sending.send(&frame)?;
        Ok(arriving.catch(limit, |seen| seen.starts_with(&frame)).is_some())
    };
    assert!(!arrives(formers, STAYS_AWAY)?);
    assert!(arrives(heir.ip4(), ARRIVES)?);
    Ok(())
}

#[test]
fn where_no_agent_has_run_pods_start_but_not_at_once_when_the_node_was_booted() -> Result<()> {
    let world = World::new("absent-never")?;
    let chain = chain(&world)?;
    for when in ["fail", "last-known"] {
        let chain = chain.clone().set("whenAgentDown", when);
        let booted = chain.clone().set("bootGrace", u32::MAX).start(&format!("shop/{when}"), Wiring::Ptp, when, None);
        assert!(
            booted.is_err_and(|error| error.to_string().contains(r#""code":11"#)),
            "the agent may be about to come"
        );
        let started = chain.start(&format!("shop/{when}"), Wiring::Ptp, when, None)?;
        serve(&started.pod)?;
        assert_eq!(started.result, started.wired);
        assert!(
            started.said.contains("nothing of one is left on this node: the pod is not enforced"),
            "{}",
            started.said
        );
        Questions::new().answered(world.lab.outside(), everything(started.pod.addresses().both(), 80)).ask();
    }
    Ok(())
}

#[test]
fn an_agent_that_starts_while_pods_do_takes_them_over() -> Result<()> {
    let mut site = Site::bereft("absent-meanwhile")?;
    let mut runners = Vec::new();
    let mut agent = None;
    for number in 0..8 {
        if number == 2 {
            agent = Some(site.world.start.start(&site.world.lab, &site.world.node)?);
        }
        let name = format!("runner-{number}");
        site.announce(&name, "closed")?;
        runners.push(site.start(&name, WIRINGS[number % 2])?);
    }
    let mut agent = agent.expect("it was started");
    agent.wait_ready()?;
    until("every pod is bound", || {
        Ok(agent.metrics()?.sum("podgate_endpoints", &[("isolation", "both")]) as usize == runners.len())
    })?;
    runners.iter().for_each(|started| assert_reached(&site, started, false));
    Ok(())
}
