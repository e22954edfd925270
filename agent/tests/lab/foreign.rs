//! Somebody else's TC programs beside ours. One that says OK hides the packet from all programs behind it, so ours must
//! come first, wherever the other one wants to be.

use std::collections::BTreeMap;

use podgate_lab::{Answer, ChainPosition, ForeignLink, Hook, Pod, Result, Wiring, add_foreign_filter};

use crate::support::{Questions, World, deny_all, everything};

/// A pod that denies everything, beside an open one.
struct Pair {
    world: World,
    closed: Pod,
    open: Pod,
}

impl Pair {
    /// The agent does not run yet.
    fn new(name: &str) -> Result<Self> {
        let mut world = World::new(name)?;
        let (closed, open) = (world.pod("shop/closed", Wiring::Ptp)?, world.pod("shop/open", Wiring::Ptp)?);
        world.write("policies.yaml", &deny_all("shop", "{matchLabels: {app: closed}}"))?;
        Ok(Self { world, closed, open })
    }

    fn link(&self, position: ChainPosition) -> Result<Vec<ForeignLink>> {
        let attach = |hook| {
            ForeignLink::attach(&self.world.node, &self.closed.host_interface().name, hook, position, Answer::Ok)
        };
        Hook::ALL.into_iter().map(attach).collect()
    }

    fn filter(&self, preference: u16) -> Result<()> {
        let interface = &self.closed.host_interface().name;
        let add = |hook| add_foreign_filter(&self.world.lab, &self.world.node, interface, hook, preference);
        Hook::ALL.into_iter().try_for_each(add)
    }

    fn assert_enforced(&self) {
        Questions::new()
            .silent(&self.open, everything(self.closed.addresses().both(), 80))
            .silent(&self.closed, everything(self.open.addresses().both(), 80))
            .ask();
    }

    fn assert_open(&self) {
        Questions::new()
            .answered(&self.open, everything(self.closed.addresses().both(), 80))
            .answered(&self.closed, everything(self.open.addresses().both(), 80))
            .ask();
    }
}

#[test]
fn a_foreign_tcx_program_that_was_first_before_the_agent_came_hides_nothing() -> Result<()> {
    let mut pair = Pair::new("tcx-first")?;
    let _links = pair.link(ChainPosition::First)?;
    pair.assert_open();
    pair.world.run_agent(&["--hook", "tcx"])?;
    pair.assert_enforced();
    Ok(())
}

#[test]
fn a_foreign_tcx_program_added_behind_ours_hides_nothing() -> Result<()> {
    let mut pair = Pair::new("tcx-last")?;
    pair.world.run_agent(&["--hook", "tcx"])?;
    let _links = pair.link(ChainPosition::Last)?;
    pair.assert_enforced();
    Ok(())
}

#[test]
fn a_foreign_tcx_program_put_before_ours_is_overtaken_when_the_agent_starts_again() -> Result<()> {
    let mut pair = Pair::new("tcx-overtaken")?;
    pair.world.run_agent(&["--hook", "tcx"])?;
    let _links = pair.link(ChainPosition::First)?;
    // What leaves the closed pod is still judged where it enters the other one; but nobody sees what enters it.
    Questions::new().silent(&pair.open, everything(pair.closed.addresses().both(), 80)).ask();
    let nothing = BTreeMap::new();
    assert_eq!(pair.world.denied(&pair.closed, "ingress")?, nothing);
    pair.world.take_agent().kill()?;
    pair.world.restart()?;
    pair.assert_enforced();
    assert_ne!(pair.world.denied(&pair.closed, "ingress")?, nothing);
    Ok(())
}

#[test]
fn a_foreign_clsact_filter_of_any_preference_that_was_there_before_hides_nothing() -> Result<()> {
    for preference in [1, 2] {
        let mut pair = Pair::new("clsact-before")?;
        pair.filter(preference)?;
        pair.assert_open();
        pair.world.run_agent(&["--hook", "clsact"])?;
        pair.assert_enforced();
    }
    Ok(())
}

#[test]
fn a_foreign_clsact_filter_added_later_behind_ours_hides_nothing() -> Result<()> {
    let mut pair = Pair::new("clsact-after")?;
    pair.world.run_agent(&["--hook", "clsact"])?;
    pair.filter(2)?;
    pair.assert_enforced();
    Ok(())
}

#[test]
fn a_foreign_clsact_filter_says_nothing_against_tcx() -> Result<()> {
    let mut pair = Pair::new("clsact-tcx")?;
    pair.filter(1)?;
    pair.world.run_agent(&["--hook", "tcx"])?;
    pair.assert_enforced();
    Ok(())
}

#[test]
fn programs_of_others_still_run_on_the_packets_that_ours_allows() -> Result<()> {
    let mut pair = Pair::new("next")?;
    pair.world.run_agent(&["--hook", "tcx"])?;
    let open = pair.open.addresses().both();
    Questions::new().answered(&pair.world.node, everything(open, 80)).ask();
    let interface = &pair.open.host_interface().name;
    let _link = ForeignLink::attach(&pair.world.node, interface, Hook::Egress, ChainPosition::Last, Answer::Shot)?;
    Questions::new().silent(&pair.world.node, everything(open, 80)).ask();
    Ok(())
}
