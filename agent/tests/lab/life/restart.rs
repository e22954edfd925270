//! The agent ends and comes back; enforcement goes on all the time.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use podgate_lab::{Connection, Pod, Result, Wiring};

use super::Shop;
use crate::connections::assert_alive;
use crate::support::{ANSWER, Questions, everything};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(2);
/// A port of the server for what must not arrive.
const WATCHED: u16 = 4242;

fn assert_enforced(shop: &Shop) {
    let server = shop.server.addresses().both();
    Questions::new()
        .answered(&shop.client, everything(server, 80))
        .silent(&shop.stranger, everything(server, 80))
        .silent(&shop.server, everything(shop.client.addresses().both(), 80))
        .ask();
}

fn sockets(pod: &Pod, port: u16) -> Vec<UdpSocket> {
    let bind = |address: IpAddr| pod.run(|| UdpSocket::bind((address, port))).expect("the port is free");
    pod.addresses().both().map(bind).into()
}

/// Sends from the stranger to the server, as fast as is sensible, until `done`; the number of datagrams sent.
fn knock(shop: &Shop, done: &AtomicBool) -> usize {
    let sockets = sockets(&shop.stranger, 0);
    let mut sent = 0;
    while !done.load(Ordering::Relaxed) {
        for (socket, to) in sockets.iter().zip(shop.server.addresses().both()) {
            socket.send_to(b"let me in", (to, WATCHED)).expect("the kernel takes the datagram");
            sent += 1;
        }
        thread::sleep(PACE);
    }
    sent
}

/// Asks the server for the client, in one flow of each family, until `done`; questions asked and answers.
fn talk(shop: &Shop, done: &AtomicBool) -> (usize, usize) {
    let sockets = sockets(&shop.client, 0);
    let (mut asked, mut answered) = (0, 0);
    for (socket, to) in sockets.iter().zip(shop.server.addresses().both()) {
        socket.connect(SocketAddr::new(to, 80)).expect("there is a route");
        socket.set_read_timeout(Some(ANSWER)).expect("the limit is not zero");
    }
    while !done.load(Ordering::Relaxed) {
        for socket in &sockets {
            asked += 1;
            answered += usize::from(socket.send(b"still there?").and_then(|_| socket.recv(&mut [0; 64])).is_ok());
        }
        thread::sleep(PACE);
    }
    (asked, answered)
}

/// Lets the stranger knock and the client talk while the agent is killed, restarted, ended and restarted.
fn survive(name: &str, hook: &str, wiring: Wiring) -> Result<()> {
    let mut shop = Shop::new(name, wiring)?;
    shop.world.run_agent(&["--hook", hook])?;
    let mut connections = Vec::new();
    for to in shop.server.addresses().both() {
        connections.push(Connection::open(&shop.client, &shop.server, SocketAddr::new(to, 8080))?);
    }
    let watched = sockets(&shop.server, WATCHED);
    let agent = shop.world.take_agent();
    let (start, lab, node) = (shop.world.start.clone(), &shop.world.lab, &shop.world.node);
    let done = AtomicBool::new(false);
    let (sent, (asked, answered)) = thread::scope(|scope| -> Result<_> {
        let knocking = scope.spawn(|| knock(&shop, &done));
        let talking = scope.spawn(|| talk(&shop, &done));
        let ends_and_returns = || -> Result<()> {
            agent.kill()?;
            let agent = start.start_ready(lab, node)?;
            agent.terminate()?;
            start.start_ready(lab, node)?.kill()
        };
        let outcome = ends_and_returns();
        done.store(true, Ordering::Relaxed);
        let counts = (knocking.join().expect("it does not panic"), talking.join().expect("it does not panic"));
        outcome.map(|()| counts)
    })?;
    assert!(sent > 100 && asked > 100, "there was traffic all the time: {sent} datagrams, {asked} questions");
    assert_eq!(answered, asked, "answers to the client");
    for socket in &watched {
        socket.set_nonblocking(true).expect("a socket option");
        assert!(socket.recv(&mut [0; 64]).is_err(), "nothing of {sent} datagrams arrived");
    }
    assert_alive(&mut connections, "after all that");
    assert_enforced(&shop);
    Ok(())
}

#[test]
fn with_tcx_the_agent_may_die_and_return_without_a_denied_packet_passing_or_an_allowed_one_lost() -> Result<()> {
    survive("survive-tcx", "tcx", Wiring::Ptp)
}

#[test]
fn with_clsact_the_agent_may_die_and_return_without_a_denied_packet_passing_or_an_allowed_one_lost() -> Result<()> {
    survive("survive-clsact", "clsact", Wiring::Bridge)
}

#[test]
fn what_changed_while_the_agent_was_dead_is_in_force_when_it_is_ready_again() -> Result<()> {
    let mut shop = Shop::started("changed-meanwhile", Wiring::Ptp)?;
    shop.world.take_agent().kill()?;
    let (client, stranger) = (shop.client.clone(), shop.stranger.clone());
    shop.world.declare(&client.manifest().label("app", "stranger"), &client)?;
    shop.world.declare(&stranger.manifest().label("app", "client"), &stranger)?;
    let late = shop.world.pod("shop/late", Wiring::Ptp)?;
    shop.world.restart()?;
    let server = shop.server.addresses().both();
    Questions::new()
        .silent(&client, everything(server, 80))
        .answered(&stranger, everything(server, 80))
        .silent(&late, everything(server, 80))
        .silent(&shop.server, everything(late.addresses().both(), 80))
        .ask();
    Ok(())
}

#[test]
fn counters_go_on_after_a_restart() -> Result<()> {
    let mut shop = Shop::started("counters", Wiring::Ptp)?;
    let server = shop.server.clone();
    for packets in [6, 12] {
        Questions::new().silent(&shop.stranger, everything(server.addresses().both(), 80)).ask();
        assert_eq!(shop.world.denied(&server, "ingress")?, [("no_rule".to_owned(), packets)].into());
        shop.world.take_agent().kill()?;
        shop.world.restart()?;
    }
    Ok(())
}

#[test]
fn sigterm_ends_the_agent_well_and_takes_its_socket_away_but_not_enforcement() -> Result<()> {
    let mut shop = Shop::started("sigterm", Wiring::Ptp)?;
    let agent = shop.world.take_agent();
    let socket = agent.socket().to_owned();
    assert!(socket.exists());
    assert_eq!(agent.terminate()?.code(), Some(0));
    assert!(!socket.exists());
    assert_enforced(&shop);
    Ok(())
}
