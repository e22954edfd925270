//! The agent ends and comes back; enforcement goes on all the time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use podgate_lab::{Connection, Pod, Result, Wiring};

use super::Shop;
use super::command::dead_api;
use crate::connections::assert_alive;
use crate::support::{ANSWER, Questions, agent_of, everything, until};

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

/// Asks the server for the client, over one connection of each family, until `done`; questions asked and answered.
fn talk(shop: &Shop, done: &AtomicBool) -> (usize, usize) {
    let connect = |to| shop.client.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, 80), ANSWER));
    let mut streams = shop.server.addresses().both().map(|to| connect(to).expect("it may connect"));
    let (mut asked, mut answered) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        for stream in &mut streams {
            asked += 1;
            answered += usize::from(ask(stream).is_ok());
        }
        thread::sleep(PACE);
    }
    (asked, answered)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"still there?")?;
    stream.read_exact(&mut [0; 12])
}

/// Lets the stranger knock and the client talk while the agent is killed, restarted, ended and restarted, each time with
/// the next of these hooks.
fn survive(name: &str, hooks: [&str; 3], wiring: Wiring) -> Result<()> {
    let mut shop = Shop::new(name, wiring)?;
    let [first, second, third] = hooks.map(|hook| shop.world.start.clone().arg("--hook").arg(hook));
    shop.world.start = first;
    shop.world.run_agent(&[])?;
    let listener = shop.server.listen(8080)?;
    let connect = |to| Connection::open_to(&shop.client, &listener, SocketAddr::new(to, 8080), 0);
    let mut silent = shop.server.addresses().both().into_iter().map(connect).collect::<Result<Vec<_>>>()?;
    let watched = sockets(&shop.server, WATCHED);
    let agent = shop.world.take_agent();
    let (lab, node) = (&shop.world.lab, &shop.world.node);
    let done = AtomicBool::new(false);
    let (sent, (asked, answered)) = thread::scope(|scope| -> Result<_> {
        let knocking = scope.spawn(|| knock(&shop, &done));
        let talking = scope.spawn(|| talk(&shop, &done));
        let ends_and_returns = || -> Result<()> {
            agent.kill()?;
            let agent = second.start_ready(lab, node)?;
            agent.terminate()?;
            third.start_ready(lab, node)?.kill()
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
    assert_alive(&mut silent, "after all that");
    assert_enforced(&shop);
    Ok(())
}

#[test]
fn with_tcx_the_agent_may_die_and_return_without_a_denied_packet_passing_or_an_allowed_one_lost() -> Result<()> {
    survive("survive-tcx", ["tcx"; 3], Wiring::Ptp)
}

#[test]
fn with_clsact_the_agent_may_die_and_return_without_a_denied_packet_passing_or_an_allowed_one_lost() -> Result<()> {
    survive("survive-clsact", ["clsact"; 3], Wiring::Bridge)
}

#[test]
fn the_hook_may_be_another_at_each_start_without_a_denied_packet_passing_or_an_allowed_one_lost() -> Result<()> {
    survive("survive-hooks", ["clsact", "tcx", "clsact"], Wiring::Routed)
}

#[test]
fn flows_and_counters_go_on_when_the_agent_returns() -> Result<()> {
    let mut shop = Shop::started("go-on", Wiring::Ptp)?;
    let server = shop.server.addresses().both();
    Questions::new().silent(&shop.stranger, everything(server, 80)).ask();
    let before = shop.world.denied(&shop.server, "ingress")?;
    let (asking, answering) = (sockets(&shop.client, 0), sockets(&shop.server, 5000));
    for (socket, to) in asking.iter().zip(server) {
        socket.send_to(b"who is there?", (to, 5000)).expect("the kernel takes the datagram");
    }
    let receive = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(ANSWER)).expect("a socket option");
        socket.recv_from(&mut [0; 64]).map(|(_, from)| from)
    };
    let from: Vec<_> = answering.iter().map(|socket| receive(socket).expect("the question arrives")).collect();

    shop.world.take_agent().kill()?;
    shop.world.restart()?;
    for (socket, to) in answering.iter().zip(from) {
        socket.send_to(b"still me", to).expect("the kernel takes the datagram");
    }
    for socket in &asking {
        assert!(receive(socket).is_ok(), "an answer to a question from before");
    }
    let after = shop.world.denied(&shop.server, "ingress")?;
    assert_eq!(after, before, "nothing was denied in between");
    assert!(!before.is_empty());
    Ok(())
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
fn an_agent_that_returns_while_the_api_server_is_away_leaves_enforcement_as_it_was() -> Result<()> {
    let mut shop = Shop::started("api-away", Wiring::Ptp)?;
    shop.world.take_agent().kill()?;
    let (lab, node) = (&shop.world.lab, &shop.world.node);
    let agent = agent_of(lab, node).arg("--kubeconfig").arg(dead_api(lab)).start(lab, node)?;
    until("the agent knows nothing", || {
        Ok(agent.get("/readyz").is_ok_and(|ready| ready.body.contains("not read yet")))
    })?;
    assert_enforced(&shop);
    agent.terminate()?;
    assert_enforced(&shop);
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
