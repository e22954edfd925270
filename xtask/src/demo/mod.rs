//! `cargo xtask demo`: the three-tier example in a lab, policy by policy, with real traffic.

mod dns;
mod leave;
mod phase;
mod question;
mod screen;
mod services;
mod shop;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use podgate_lab::{RunningAgent, Seen};

use self::phase::PHASES;
use self::question::{QUESTIONS, Question};
use self::screen::Screen;
use self::shop::Shop;
use crate::setup;
use crate::workspace::{cargo, shell, target};

/// The phase after which a denied probe is explained: all policies are there.
const EXPLAINED: usize = 5;

/// Runs the demo; `keep` leaves the lab up in the end, as it is before the policies are removed.
pub(crate) fn run(podgate: Option<PathBuf>, keep: bool) -> Result<()> {
    println!("demo: sets up, builds podgate, at first some ten minutes on two cores, and shows it for half a minute");
    setup::for_demo()?;
    let podgate = podgate.map_or_else(build, Ok)?;
    let screen = Screen::new();
    screen.title("a node with the shop's pods, wired by the CNI plugins ptp and bridge and by routes");
    let mut shop = Shop::open()?;
    end_with_interrupt(shop.lab.id())?;
    shop.pods().for_each(|pod| screen.pod(pod));
    screen.title("Services in front of them, translated by nftables as kube-proxy does it");
    shop.services().for_each(|(name, [v4, v6])| screen.service(name, v4, v6));
    let agent = shop.start_agent(&podgate)?;
    let phases = if keep { &PHASES[..PHASES.len() - 1] } else { &PHASES[..] };
    let mut wrong = 0;
    for (number, phase) in phases.iter().enumerate() {
        screen.title(&format!("{number}. {}", phase.title));
        (phase.change)(&mut shop)?;
        wrong += ask_all(&shop, &screen, number)?;
        if number == EXPLAINED {
            explain(&shop, &screen, &podgate)?;
        }
    }
    report(&agent, &screen)?;
    screen.verdict(wrong, phases.len() * QUESTIONS.len() * 2);
    if keep {
        leave::leave(&mut shop, agent, &podgate)?;
    }
    ensure!(wrong == 0, "enforcement is not what the policies say: see the lines that say \"but should be\"");
    Ok(())
}

/// Removes labs that the demo kept, and no others.
pub(crate) fn remove() -> Result<()> {
    setup::need_root("the demo's network namespaces and processes are root's")?;
    let kept = podgate_lab::kept_under(shop::LAB);
    if kept.is_empty() {
        println!("no demo was kept");
    }
    for id in kept {
        podgate_lab::remove(&id)?;
        println!("removed {id}");
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    setup::for_build()?;
    let shell = shell()?;
    cargo(&shell, "build --locked --package podgate").run().context("build podgate")?;
    Ok(target().join("debug/podgate"))
}

/// Ctrl-C must not leave the lab behind.
fn end_with_interrupt(lab: &str) -> Result<()> {
    let lab = lab.to_owned();
    let end = move || {
        if let Err(error) = podgate_lab::remove(&lab) {
            eprintln!("{error}");
        }
        std::process::exit(130);
    };
    ctrlc::set_handler(end).context("handle Ctrl-C")
}

/// Asks every question over both families at once, and returns how many answers are wrong.
fn ask_all(shop: &Shop, screen: &Screen, phase: usize) -> Result<usize> {
    let seen: Vec<[Seen; 2]> = thread::scope(|scope| {
        let ask =
            |question: &'static Question, v6| scope.spawn(move || question.ask(shop, v6, question.expected(phase)));
        let asked: Vec<_> = QUESTIONS.iter().map(|question| [ask(question, false), ask(question, true)]).collect();
        asked.into_iter().map(|both| both.map(|thread| thread.join().unwrap_or(Seen::Unreachable))).collect()
    });
    let mut wrong = 0;
    for (question, seen) in QUESTIONS.iter().zip(seen) {
        ensure!(question.phases() == PHASES.len(), "the table of questions knows other phases than the demo");
        let expected = question.expected(phase);
        screen.answers(question, phase, seen);
        wrong += seen.iter().filter(|seen| **seen != expected).count();
    }
    Ok(wrong)
}

fn explain(shop: &Shop, screen: &Screen, podgate: &Path) -> Result<()> {
    let question = ["--from", "shop/frontend", "--to", "svc/shop/database", "--port", "15432"];
    let mut command = Command::new(podgate);
    let output = command.arg("explain").arg("-f").arg(shop.manifests.path()).args(question).output();
    let output = output.context("run podgate explain")?;
    screen.title("why a probe was dropped");
    screen.output(&format!("podgate explain -f … {}", question.join(" ")), &String::from_utf8_lossy(&output.stdout));
    if output.status.code() != Some(1) {
        bail!("podgate explain did not say \"denied\": {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn report(agent: &RunningAgent, screen: &Screen) -> Result<()> {
    screen.title("what the agent counted, from /metrics");
    let metrics = agent.metrics()?;
    screen.counters(&metrics);
    ensure!(metrics.sum("podgate_verdicts_total", &[]) > 0.0, "/metrics has no counter that moved");
    screen.title("what the agent says");
    let output = agent.podgate("status").output().context("run podgate status")?;
    screen.output("podgate status", &String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "podgate status: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
