//! Pods that send and receive from their very first instruction.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Addresses, Pod, Result, RunningAgent, Started, Wiring};

use super::{Site, WIRINGS, file};

/// A port of the starting pod for what must not come in.
const INWARD: u16 = 4242;
/// A port of the stranger for what must not come out.
const OUTWARD: u16 = 4243;
/// How long a pod sends and listens.
const LIFE: Duration = Duration::from_millis(40);
/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);

/// How many pods are started: some in a test, many in a soak.
fn count() -> usize {
    if std::env::var_os("PODGATE_SOAK").is_some() { 500 } else { 40 }
}

fn sockets(pod: &Pod, port: u16) -> Vec<UdpSocket> {
    let bind = |address: IpAddr| {
        let socket = pod.run(|| UdpSocket::bind((address, port))).expect("the port is free");
        socket.set_nonblocking(true).expect("a socket option");
        socket
    };
    pod.addresses().both().map(bind).into()
}

/// What has come in at these sockets.
fn received(sockets: &[UdpSocket]) -> usize {
    let mut buffer = [0; 64];
    sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()).sum()
}

/// Sends one datagram to each address. That nobody has an address, or that its port is closed, is no matter here.
fn send(sockets: &[UdpSocket], to: [IpAddr; 2], port: u16) -> usize {
    sockets.iter().zip(to).filter(|(socket, to)| socket.send_to(b"hello", SocketAddr::new(*to, port)).is_ok()).count()
}

/// Sends to the addresses that pods are going to have until `done`; the number of datagrams.
fn knock(stranger: &Pod, at: &[Addresses], done: &AtomicBool) -> usize {
    let sockets = sockets(stranger, 0);
    let mut sent = 0;
    while !done.load(Ordering::Relaxed) {
        sent += at.iter().map(|addresses| send(&sockets, addresses.both(), INWARD)).sum::<usize>();
        thread::sleep(PACE);
    }
    sent
}

/// The life of a pod: it listens at once, and sends all the time. How many datagrams it sent and received.
fn live(started: &Started, to: [IpAddr; 2]) -> (usize, usize) {
    let (inward, outward) = (sockets(&started.pod, INWARD), sockets(&started.pod, 0));
    let end = Instant::now() + LIFE;
    let mut sent = 0;
    while Instant::now() < end {
        sent += send(&outward, to, OUTWARD);
        thread::sleep(PACE);
    }
    (sent, received(&inward))
}

/// Addresses for a pod of each wiring, which every one that is started will have.
fn reserve(site: &Site) -> Result<Vec<Addresses>> {
    let reserve = |wiring: Wiring| -> Result<Addresses> {
        let started = site.start(&format!("first-{wiring}"), wiring)?;
        let addresses = started.pod.addresses();
        site.chain.remove(&started)?;
        Ok(addresses)
    };
    WIRINGS.into_iter().map(reserve).collect()
}

/// What befalls the agent before a start.
fn befall(site: &mut Site, agent: &mut Option<RunningAgent>, number: usize) -> Result<()> {
    match (number % 10, agent.take()) {
        (3, Some(running)) => running.kill()?,
        (5, None) => *agent = Some(site.world.start.start(&site.world.lab, &site.world.node)?),
        (_, running) => *agent = running,
    }
    Ok(())
}

/// Starts a pod, lives its life and removes it; what it sent and received.
fn start_one(site: &mut Site, number: usize, at: &[Addresses]) -> Result<(usize, usize)> {
    let (name, kind) = (format!("runner-{number}"), number % 2);
    let to = site.stranger.addresses().both();
    // The object of every third pod comes when its network is made already.
    let late = number % 3 == 2;
    if !late {
        site.announce(&name, "closed")?;
    }
    let chain = site.chain.clone();
    let started = thread::scope(|scope| {
        let starting = scope.spawn(|| {
            let started = chain.start(&format!("shop/{name}"), WIRINGS[kind], &name, Some(at[kind]))?;
            Ok((live(&started, to), started))
        });
        if late {
            thread::sleep(Duration::from_millis(300));
            site.announce(&name, "closed")?;
        }
        starting.join().expect("starting a pod does not panic")
    });
    let (counts, started) = started?;
    site.chain.remove(&started)?;
    site.world.manifests.remove(&file(&name))?;
    Ok(counts)
}

#[test]
fn no_denied_packet_comes_out_of_a_pod_or_into_it_from_its_very_first_instruction() -> Result<()> {
    let mut site = Site::started("first-packet", &[])?;
    let at = reserve(&site)?;
    let watched = sockets(&site.stranger, OUTWARD);
    let (stranger, done) = (site.stranger.clone(), AtomicBool::new(false));
    let mut agent = Some(site.world.take_agent());
    let (sent, inward, knocks) = thread::scope(|scope| -> Result<_> {
        let knocking = scope.spawn(|| knock(&stranger, &at, &done));
        let mut all = || -> Result<(usize, usize)> {
            let mut total = (0, 0);
            for number in 0..count() {
                befall(&mut site, &mut agent, number)?;
                let (sent, inward) = start_one(&mut site, number, &at)?;
                assert_eq!(inward, 0, "datagrams that came into pod {number}");
                assert_eq!(received(&watched), 0, "datagrams that came out of pod {number}");
                total = (total.0 + sent, total.1 + inward);
            }
            Ok(total)
        };
        let total = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut all));
        done.store(true, Ordering::Relaxed);
        let knocks = knocking.join().expect("it does not panic");
        let (sent, inward) = total.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((sent, inward, knocks))
    })?;
    assert!(
        sent > count() * 10 && knocks > count() * 20,
        "there was traffic: {sent} sent, {knocks} knocks, {inward} in"
    );
    Ok(())
}

#[test]
fn a_pod_that_no_policy_isolates_sends_and_receives_from_its_first_instruction() -> Result<()> {
    let mut site = Site::started("open-start", &[])?;
    let at = reserve(&site)?;
    let watched = sockets(&site.stranger, OUTWARD);
    let (stranger, done) = (site.stranger.clone(), AtomicBool::new(false));
    thread::scope(|scope| -> Result<()> {
        let knocking = scope.spawn(|| knock(&stranger, &at, &done));
        let mut both = || -> Result<()> {
            for (wiring, addresses) in WIRINGS.into_iter().zip(&at) {
                let name = format!("open-{wiring}");
                site.announce(&name, "open")?;
                let started = site.chain.start(&format!("shop/{name}"), wiring, &name, Some(*addresses))?;
                let (sent, inward) = live(&started, stranger.addresses().both());
                assert!(inward > 0 && received(&watched) > 0, "{wiring}: {sent} sent, {inward} in");
            }
            Ok(())
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut both));
        done.store(true, Ordering::Relaxed);
        knocking.join().expect("it does not panic");
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
