//! Endpoints that change many times a second, between backends that policy allows and others that it denies. Traffic
//! goes on, translations are forgotten and entries evicted: not one frame may reach a backend that is denied.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use podgate_lab::{Fate, Load, Node, Pod, Proxy, Result, Service, Transport};

use super::evidence::{syn, too_large};
use super::shop::{CLUSTER_IPS, PORT, Plan, Shop, TARGET, egress, ips, make};
use crate::evidence::{datagram, to_gateway};
use crate::packets::link;
use crate::support::{arrivals, count_arrivals, policy, times};

const OPEN: [&str; 2] = ["near-open", "far-open"];
const CLOSED: [&str; 2] = ["near-closed", "far-closed"];
/// So small that floods fill the pod's share, and conversations evict each other.
const SMALL_TABLES: &str = "pending4=1024,pending6=1024,flows4=256,flows6=256";
/// Source ports of the sockets that outlive every change, of short attempts, of long ones, and of floods.
const KEPT: u16 = 9_000;
const SHORT: u16 = 10_000;
const LONG: u16 = 20_000;
const FLOOD: u16 = 30_000;
/// Sockets that are kept, of each family.
const SOCKETS: u16 = 16;
/// Frames of a flood, of each kind and family.
const FRAMES: u16 = 50;
/// Three fragments in either family.
const LARGE: [u8; 4000] = [7; 4000];

/// The client may ask the open backends, and nobody may ask it where its ingress is restricted too.
fn to_open_backends(restricted: &str) -> String {
    let client = format!("podSelector: {{matchLabels: {{app: client}}}}\npolicyTypes: {restricted}\n");
    let ports = "ports: [{port: 8080}, {port: 8080, protocol: UDP}]";
    policy(
        "shop",
        "client",
        &format!("{client}egress: [{{to: [{{podSelector: {{matchLabels: {{access: open}}}}}}], {ports}}}]"),
    )
}

/// Has the pod's kernel count the frames that are for it and carry IP, neighbour discovery left out: before podgate or
/// anybody else behind the pod's interface has a say.
fn watch(pod: &Pod) -> Result<()> {
    let discovery = "icmpv6 type {nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert}";
    let seen = "meta pkttype host meta protocol {ip, ip6} counter name seen".to_owned();
    count_arrivals(pod, &["seen"], &[format!("{discovery} return"), seen])
}

/// The frames that [`watch`] has counted.
fn frames(shop: &Shop, names: [&'static str; 2]) -> Result<BTreeMap<&'static str, u64>> {
    names.into_iter().map(|name| Ok((name, arrivals(shop.pod(name), "seen")?))).collect()
}

/// How often each server has answered, by its identity.
type Answers = BTreeMap<u64, u64>;

/// Asks from the same sockets until it is over, also by datagrams in fragments.
fn ask_from_kept_sockets(client: &Pod, over: &AtomicBool) -> Answers {
    let services = ips(CLUSTER_IPS).map(|address| SocketAddr::new(address, PORT));
    let bind = |own, number| client.run(|| UdpSocket::bind((own, KEPT + number))).expect("the port is free");
    let own = client.addresses().both();
    let pairs = own.into_iter().zip(services);
    let sockets: Vec<(u16, UdpSocket, SocketAddr)> =
        pairs.flat_map(|(own, to)| (0..SOCKETS).map(move |number| (number, bind(own, number), to))).collect();
    let mut answers = Answers::new();
    for round in 0_u32.. {
        for (number, socket, to) in &sockets {
            let question = if round % u32::from(SOCKETS) == u32::from(*number) { &LARGE[..] } else { b"still there?" };
            socket.set_nonblocking(true).expect("a socket option");
            // What the kernel does not take now is one question less.
            let _ = socket.send_to(question, to);
            let mut heard = [0; 5000];
            while let Ok(8..) = socket.recv(&mut heard) {
                let by = u64::from_be_bytes(heard[..8].try_into().expect("eight bytes"));
                *answers.entry(by).or_default() += 1;
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    answers
}

/// Attempts by TCP and UDP that ask a few times, and connections that ask two hundred times. Source ports come again.
fn loads(turn: u16) -> Vec<Load> {
    let pause = Duration::from_millis(5);
    let services = ips(CLUSTER_IPS).map(|address| SocketAddr::new(address, PORT));
    let load = |transport, to, first_port, attempts| Load { pause, ..Load::new(transport, to, first_port, attempts) };
    let each = services.into_iter().flat_map(|to| {
        let short = [Transport::Tcp, Transport::Udp].map(|transport| Load {
            at_once: 40,
            rounds: 3,
            patience: Duration::from_millis(250),
            ..load(transport, to, SHORT + turn % 80 * 100, 100)
        });
        let patience = Duration::from_secs(2);
        let long = Load { rounds: 200, patience, ..load(Transport::Tcp, to, LONG + turn % 200 * 20, 20) };
        short.into_iter().chain([long])
    });
    each.collect()
}

/// Makes attempts again and again until it is over.
fn ask_anew(client: &Pod, over: &AtomicBool) -> Result<Answers> {
    let mut answers = Answers::new();
    for turn in 0.. {
        for attempt in make(client, &loads(turn))?.concat() {
            if let Fate::Answered(by) = attempt.fate {
                *answers.entry(by).or_default() += 1;
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(answers)
}

/// Opens flows that nobody means, also to a backend itself, by turns with errors about those of the kept sockets, until it is
/// over.
fn flood(client: &Pod, backend: &Pod, over: &AtomicBool) -> Result<()> {
    let sending = link(client)?;
    let services = ips(CLUSTER_IPS).map(|address| SocketAddr::new(address, PORT));
    for turn in 0_u16.. {
        let backends = backend.addresses().both().map(|address| SocketAddr::new(address, TARGET));
        for ((own, to), itself) in client.addresses().both().into_iter().zip(services).zip(backends) {
            for number in 0..FRAMES {
                let from = SocketAddr::new(own, FLOOD + turn % 100 * FRAMES + number);
                sending.send(&datagram(to_gateway(client), from, itself, b"flood"))?;
                sending.send(&datagram(to_gateway(client), from, to, b"flood"))?;
                sending.send(&syn(client, from, to))?;
            }
            for number in 0..SOCKETS {
                sending.send(&too_large(client, to, KEPT + number, b"too large"))?;
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Gives the Service these endpoints by turns. Every fifth time the node forgets all translations: five is odd, so
/// each of them is in force then.
fn flip(proxy: &mut Proxy, node: &Node, endpoints: &[Service; 2], flips: usize) -> Result<()> {
    for number in 0..flips {
        proxy.set(endpoints[number % 2].clone())?;
        if number % 5 == 4 {
            node.output("conntrack", &["-F"])?;
        }
    }
    Ok(())
}

fn under_traffic(shop: &mut Shop, flips: usize) -> Result<Answers> {
    let endpoints = [shop.api_of(OPEN), shop.api_of(CLOSED)];
    let (client, node, over) = (shop.client.clone(), shop.world.node.clone(), AtomicBool::new(false));
    let backend = shop.pod(OPEN[0]).clone();
    thread::scope(|scope| {
        let kept = scope.spawn(|| ask_from_kept_sockets(&client, &over));
        let anew = scope.spawn(|| ask_anew(&client, &over));
        let floods = scope.spawn(|| flood(&client, &backend, &over));
        let outcome = flip(&mut shop.proxies[0], &node, &endpoints, flips);
        over.store(true, Ordering::Relaxed);
        let (mut answers, anew) = (kept.join().expect("asking does not panic"), anew.join().expect("nor does this"));
        floods.join().expect("sending does not panic")?;
        outcome?;
        for (by, number) in anew? {
            *answers.entry(by).or_default() += number;
        }
        Ok(answers)
    })
}

fn nothing_reaches_closed_backends(name: &str, hook: &str, plan: Plan, restricted: &str) -> Result<()> {
    let mut shop = Shop::new(name, plan)?;
    shop.world.write("policies.yaml", &to_open_backends(restricted))?;
    shop.world.run_agent(&["--hook", hook, "--table-entries", SMALL_TABLES])?;
    for name in [OPEN, CLOSED].concat() {
        watch(shop.pod(name))?;
    }
    let flips = times(100, 2_000);
    let answers = under_traffic(&mut shop, flips)?;
    let (open, closed) = (frames(&shop, OPEN)?, frames(&shop, CLOSED)?);
    let client = shop.client.clone();
    let (allowed, denied) = (shop.world.allowed(&client, "egress")?, shop.world.denied(&client, "egress")?);
    println!("{flips} flips: frames {open:?} {closed:?}, answers {answers:?}, allowed {allowed:?}, denied {denied:?}");
    assert_eq!(closed, CLOSED.map(|name| (name, 0)).into(), "frames that reached a backend that is closed");
    assert!(open.values().all(|frames| *frames > 100), "traffic reached every open backend: {open:?}");
    let by: Vec<u64> = answers.into_keys().collect();
    assert_eq!(by, Vec::from_iter(shop.identities(OPEN)), "who has answered");
    assert!(denied.get("no_rule").is_some_and(|packets| *packets > 100), "closed backends were tried: {denied:?}");
    assert!(allowed.contains_key("over_share"), "the floods filled the pod's share: {allowed:?}");

    let closed_alone = shop.api_of(CLOSED);
    shop.proxies[0].set(closed_alone)?;
    shop.set_policies(&egress(""))?;
    make(&client, &loads(0))?;
    let closed = frames(&shop, CLOSED)?;
    assert!(closed.values().all(|frames| *frames > 0), "what reaches them would have been counted: {closed:?}");
    Ok(())
}

#[test]
fn endpoints_that_flip_under_floods_let_no_frame_reach_a_closed_backend_with_tcx() -> Result<()> {
    nothing_reaches_closed_backends("flips-tcx", "tcx", Plan::ROUTED_NFTABLES, "[Egress]")
}

#[test]
fn endpoints_that_flip_under_floods_let_no_frame_reach_a_closed_backend_with_clsact() -> Result<()> {
    nothing_reaches_closed_backends("flips-clsact", "clsact", Plan::TUNNELLED_IPTABLES, "[Ingress, Egress]")
}

#[test]
fn endpoints_that_flip_under_floods_let_no_frame_reach_a_closed_backend_at_the_nodes_own_addresses() -> Result<()> {
    nothing_reaches_closed_backends("flips-bound", "tcx", Plan::BOUND, "[Ingress, Egress]")
}
