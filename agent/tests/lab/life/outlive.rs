//! The agent dies, returns and is replaced again and again, while packets that are denied and packets that are allowed
//! flow all the time. A few rounds of each, or as many as a soak asks for.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use podgate_lab::{Agent, Pod, Result, Wiring};

use super::Shop;
use crate::support::{ANSWER, Questions, everything, policy, tcp, times};

/// Between two datagrams of each family, so that there are more than 1,000 a second of each kind.
const PACE: Duration = Duration::from_millis(1);
/// A port of the server for what must not arrive.
const DENIED: u16 = 4242;
/// A port of the server for what must.
const ALLOWED: u16 = 4243;

/// A time between nothing and this, never the same.
fn random(most: Duration) -> Duration {
    most.mul_f64(RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64)
}

/// What was sent and what came of it.
#[derive(Debug, Default)]
struct Counts {
    denied: AtomicU64,
    denied_arrived: AtomicU64,
    allowed: AtomicU64,
    allowed_arrived: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
}

fn sockets(pod: &Pod, port: u16) -> [UdpSocket; 2] {
    pod.addresses().both().map(|address| {
        let socket = pod.run(|| UdpSocket::bind((address, port))).expect("the port is free");
        // What the receiver misses on a busy machine must not look like a drop.
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).expect("root may");
        socket
    })
}

/// Sends to a port of the server until `done`.
fn send(from: &Pod, to: [IpAddr; 2], port: u16, sent: &AtomicU64, done: &AtomicBool) {
    let sockets = sockets(from, 0);
    while !done.load(Ordering::Relaxed) {
        for (socket, to) in sockets.iter().zip(to) {
            socket.send_to(b"hello", (to, port)).expect("the kernel takes the datagram");
            sent.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(PACE);
    }
}

/// Counts what arrives until `done`, and then what is there already.
fn receive(socket: &UdpSocket, arrived: &AtomicU64, done: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket option");
    loop {
        let over = done.load(Ordering::Relaxed);
        match socket.recv(&mut [0; 64]) {
            Ok(_) => drop(arrived.fetch_add(1, Ordering::Relaxed)),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("{error}"),
            Err(_) if over => return,
            Err(_) => {}
        }
    }
}

/// Asks over a connection of each family, opened before all else, until `done`.
fn talk(streams: &mut [TcpStream; 2], counts: &Counts, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        for stream in &mut *streams {
            counts.asked.fetch_add(1, Ordering::Relaxed);
            stream.set_read_timeout(Some(ANSWER)).expect("a socket option");
            let mut ask = || stream.write_all(b"still there?").and_then(|()| stream.read_exact(&mut [0; 12]));
            counts.answered.fetch_add(u64::from(ask().is_ok()), Ordering::Relaxed);
        }
        thread::sleep(PACE);
    }
}

/// Two states of a policy that differ, and not in what this traffic meets.
fn variant(number: usize) -> String {
    let rule = if number.is_multiple_of(2) {
        "{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{protocol: UDP, port: 4243}, {port: 80}]}"
    } else {
        "{from: [{podSelector: {matchLabels: {app: client}}}, {ipBlock: {cidr: 192.0.2.0/24}}], ports: [{protocol: UDP, \
         port: 4000, endPort: 4300}, {port: 80}, {port: 443}]}"
    };
    let spec =
        format!("podSelector: {{matchLabels: {{app: server}}}}\npolicyTypes: [Ingress, Egress]\ningress: [{rule}]");
    policy("shop", "serve-client", &spec)
}

/// Lets traffic flow while `work` goes on, and asserts that nothing denied arrived and nothing allowed was lost.
fn under_traffic(shop: &Shop, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (counts, sent, done) = (Counts::default(), AtomicBool::new(false), AtomicBool::new(false));
    let server = shop.server.addresses().both();
    let (denied, allowed) = (sockets(&shop.server, DENIED), sockets(&shop.server, ALLOWED));
    let connect = |to| shop.client.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, 80), ANSWER));
    let mut streams = server.map(|to| connect(to).expect("it may connect"));
    let outcome = thread::scope(|scope| {
        for socket in &denied {
            scope.spawn(|| receive(socket, &counts.denied_arrived, &done));
        }
        for socket in &allowed {
            scope.spawn(|| receive(socket, &counts.allowed_arrived, &done));
        }
        let senders = [
            scope.spawn(|| send(&shop.stranger, server, DENIED, &counts.denied, &sent)),
            scope.spawn(|| send(&shop.client, server, ALLOWED, &counts.allowed, &sent)),
            scope.spawn(|| talk(&mut streams, &counts, &sent)),
        ];
        let outcome = work();
        sent.store(true, Ordering::Relaxed);
        let ended: Vec<_> = senders.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.expect("it does not panic"));
        outcome
    });
    outcome?;
    println!("{counts:?}");
    let Counts { denied, denied_arrived, allowed, allowed_arrived, asked, answered } = counts;
    assert_eq!(denied_arrived.into_inner(), 0, "denied datagrams that arrived");
    assert_eq!(allowed_arrived.into_inner(), allowed.load(Ordering::Relaxed), "allowed datagrams that arrived");
    assert_eq!(answered.into_inner(), asked.load(Ordering::Relaxed), "answers over connections from before");
    assert!(
        [denied, allowed, asked].into_iter().all(|count| count.into_inner() > 100),
        "there was traffic all the time"
    );
    Questions::new().answered(&shop.client, tcp(server, 80)).silent(&shop.stranger, everything(server, 80)).ask();
    Ok(())
}

/// Kills the agent at random moments, as soon as it starts or later, while its policies change.
fn kills(name: &str, hook: &str, wiring: Wiring, kills: usize) -> Result<()> {
    let mut shop = Shop::new(name, wiring)?;
    shop.world.write("policies.yaml", &variant(0))?;
    shop.world.run_agent(&["--hook", hook])?;
    let first = shop.world.take_agent();
    let world = &shop.world;
    under_traffic(&shop, || {
        first.kill()?;
        for number in 0..kills {
            let mut agent = world.start.start(&world.lab, &world.node)?;
            thread::sleep(random(Duration::from_millis(1500)));
            if number.is_multiple_of(4) {
                agent.wait_ready()?;
            }
            world.manifests.write("policies.yaml", variant(number))?;
            thread::sleep(random(Duration::from_millis(200)));
            agent.kill()?;
        }
        world.start.start_ready(&world.lab, &world.node)?.detach();
        Ok(())
    })
}

#[test]
fn however_often_the_agent_is_killed_nothing_denied_passes_and_nothing_allowed_is_lost_with_tcx() -> Result<()> {
    kills("killed-tcx", "tcx", Wiring::Ptp, times(6, 100))
}

#[test]
fn however_often_the_agent_is_killed_nothing_denied_passes_and_nothing_allowed_is_lost_with_clsact() -> Result<()> {
    kills("killed-clsact", "clsact", Wiring::Bridge, times(6, 100))
}

/// Another build of podgate, where a variable names one.
fn build(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// Replaces the agent by another, ready each time, and back.
fn upgrades(name: &str, hook: &str, other: impl Fn(Agent) -> Agent, upgrades: usize) -> Result<()> {
    let mut shop = Shop::new(name, Wiring::Ptp)?;
    shop.world.write("policies.yaml", &variant(0))?;
    shop.world.run_agent(&["--hook", hook])?;
    let first = shop.world.take_agent();
    let world = &shop.world;
    under_traffic(&shop, || {
        first.terminate()?;
        let versions = [other(world.start.clone()), world.start.clone()];
        for number in 0..upgrades {
            let agent = versions[number % 2].start_ready(&world.lab, &world.node)?;
            if number.is_multiple_of(3) { agent.kill()? } else { assert!(agent.terminate()?.success()) }
        }
        world.start.start_ready(&world.lab, &world.node)?.detach();
        Ok(())
    })
}

/// Programs with other constants and a table of another size, if no other build is at hand.
fn other_build(agent: Agent) -> Agent {
    let agent = agent.arg("--event-rate").arg("3").arg("--table-entries").arg("flows4=50000");
    build("PODGATE_OTHER_BUILD").map_or(agent.clone(), |binary| agent.binary(binary))
}

#[test]
fn an_upgrade_lets_nothing_denied_pass_and_loses_nothing_allowed_with_tcx() -> Result<()> {
    upgrades("upgrade-tcx", "tcx", other_build, times(4, 26))
}

#[test]
fn an_upgrade_lets_nothing_denied_pass_and_loses_nothing_allowed_with_clsact() -> Result<()> {
    upgrades("upgrade-clsact", "clsact", other_build, times(4, 26))
}

/// The same with a build whose tables have another layout.
fn other_abi(name: &str, hook: &str) -> Result<()> {
    let Some(binary) = build("PODGATE_OTHER_ABI") else {
        println!("skipped: PODGATE_OTHER_ABI names no podgate with the feature other-abi; cargo xtask lab builds one");
        return Ok(());
    };
    upgrades(name, hook, |agent| agent.binary(&binary), times(2, 12))
}

#[test]
fn an_upgrade_to_another_layout_of_tables_does_neither_with_tcx() -> Result<()> {
    other_abi("abi-tcx", "tcx")
}

#[test]
fn an_upgrade_to_another_layout_of_tables_does_neither_with_clsact() -> Result<()> {
    other_abi("abi-clsact", "clsact")
}

#[test]
fn a_pod_whose_policies_alternate_is_judged_by_either_and_never_by_neither() -> Result<()> {
    let alternations = times(60, 2000);
    let mut shop = Shop::new("alternate", Wiring::Ptp)?;
    shop.world.write("policies.yaml", &variant(0))?;
    shop.world.run_agent(&[])?;
    let agent = shop.world.take_agent();
    let world = &shop.world;
    let applied = || Ok(agent.metrics()?.sum("podgate_apply_duration_seconds_count", &[]));
    let before = applied()?;
    under_traffic(&shop, || {
        for number in 0..alternations {
            world.manifests.write("policies.yaml", variant(number))?;
            // Files are read once they have rested for 50 ms.
            thread::sleep(Duration::from_millis(60));
        }
        Ok(())
    })?;
    let changes = applied()? - before;
    assert!(changes >= 0.8 * alternations as f64, "{changes} of {alternations} states were applied one by one");
    Ok(())
}
