//! Attempts by the thousand, with everything at rest and with everything in change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Attempt, Fate, Load, Result, Service, ServicePort, Transport};

use super::shop::{BOTH, CLUSTER_IPS, PORT, Plan, Shop, TARGET, egress, ips, make, received, to_open_backends};
use crate::support::policy;

/// For each family and protocol.
const ATTEMPTS: u16 = 10_000;

const OPEN: [&str; 2] = ["near-open", "far-open"];
const CLOSED: [&str; 2] = ["near-closed", "far-closed"];
/// A backend that comes and goes, and that is open at times.
const FICKLE: &str = "near-fickle";
/// The Service whose backends are always the open ones.
const STEADY: [&str; 2] = ["10.96.0.20", "fd00:10:96::20"];
/// Time from one change to the next, of Services as of policies: fifty changes a second together.
const CHANGE: Duration = Duration::from_millis(40);
/// How many connections the kernel may fail to translate while rules are replaced.
const UNTRANSLATED: usize = 10;
/// No run of changes is longer.
const END: Duration = Duration::from_secs(120);

/// Many at once, since those that are denied take their time.
fn bulk(shop: &Shop, at_once: usize) -> Vec<Load> {
    let loads = shop.loads(ips(CLUSTER_IPS), PORT, ATTEMPTS);
    loads.into_iter().map(|load| Load { at_once, ..load }).collect()
}

#[test]
fn of_many_attempts_each_gets_the_verdict_of_its_backend() -> Result<()> {
    for plan in Plan::ALL {
        let shop = Shop::started("bulk", plan, &to_open_backends())?;
        shop.assert_judged(&bulk(&shop, 1000), &OPEN)?;
    }
    Ok(())
}

#[test]
fn many_attempts_get_a_verdict_of_before_or_after_while_everything_changes() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::new("bulk-changes", plan)?;
        shop.backend(FICKLE, plan.wiring, "fickle")?;
        shop.set(&shop.api())?;
        shop.set(&steady(&shop))?;
        shop.world.write("policies.yaml", &to_open_backends())?;
        shop.start_agents(&[])?;
        let closed = CLOSED.map(|name| shop.pod(name).clone());
        let before = received(&closed.each_ref())?;
        let (bulk, talks) = (bulk(&shop, 400), talks(&shop));
        let (made, talked, changes) = in_change(&mut shop, &bulk, &talks)?;
        // Shown where the rate is asked for, with `--nocapture`.
        println!("{plan:?}: {changes:?}");
        let rates = changes.each_ref().map(Changes::per_second);
        assert!(rates.iter().all(|rate| *rate > 3.0), "the machine is too busy to change much: {changes:?}");
        for (load, attempts) in bulk.iter().zip(made) {
            assert_fates_in_change(&shop, load, &attempts)?;
        }
        let cut: Vec<&Attempt> =
            talked.iter().flatten().filter(|attempt| !matches!(attempt.fate, Fate::Answered(_))).collect();
        assert!(cut.is_empty(), "{plan:?}: connections to open backends ended: {cut:?}");
        assert_eq!(received(&closed.each_ref())?, before, "{plan:?}: something reached a backend that is closed");
    }
    Ok(())
}

fn steady(shop: &Shop) -> Service {
    let backends: Vec<SocketAddr> = OPEN.iter().flat_map(|name| shop.pod(name).backends(TARGET)).collect();
    let ports = BOTH.map(|transport| ServicePort::new(transport, PORT).to(backends.iter().copied()));
    ports.into_iter().fold(Service::new("shop/steady").cluster_ips(ips(STEADY)), Service::port)
}

/// Long conversations with the steady Service.
fn talks(shop: &Shop) -> Vec<Load> {
    let loads = shop.loads(ips(STEADY), PORT, 10).into_iter();
    let pause = Duration::from_millis(50);
    loads.map(|load| Load { rounds: 60, pause, patience: Duration::from_secs(4), ..load }).collect()
}

type Made = Vec<Vec<Attempt>>;

/// How many changes were made in which time.
#[derive(Debug)]
struct Changes {
    number: u32,
    time: Duration,
}

impl Changes {
    fn per_second(&self) -> f64 {
        f64::from(self.number) / self.time.as_secs_f64()
    }
}

/// Makes both kinds of attempts while everything changes, and returns them with the changes of Services and of policies.
fn in_change(shop: &mut Shop, bulk: &[Load], talks: &[Load]) -> Result<(Made, Made, [Changes; 2])> {
    let (client, over) = (shop.client.clone(), AtomicBool::new(false));
    let (loads, manifests) = ([bulk, talks].concat(), shop.world.manifests.clone());
    thread::scope(|scope| {
        let attempts = scope.spawn(|| {
            let made = make(&client, &loads);
            over.store(true, Ordering::Relaxed);
            made
        });
        let of_policies =
            scope.spawn(|| change_until(&over, 1, |number| manifests.write("policies.yaml", policies(number))));
        let of_services = change_until(&over, 2, |number| change_services(shop, number));
        let mut made = attempts.join().expect("making attempts does not panic")?;
        let talked = made.split_off(bulk.len());
        let of_policies = of_policies.join().expect("writing a file does not panic");
        Ok((made, talked, [of_services?, of_policies?]))
    })
}

/// Makes so many changes at a time, one each [`CHANGE`] as far as the machine can, until it is over.
fn change_until(over: &AtomicBool, at_a_time: u32, mut change: impl FnMut(u32) -> Result<()>) -> Result<Changes> {
    let begun = Instant::now();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) && begun.elapsed() < END {
        change(number)?;
        number += at_a_time;
        thread::sleep((CHANGE * number).saturating_sub(begun.elapsed()));
    }
    Ok(Changes { number, time: begun.elapsed() })
}

/// Changes endpoints and another Service, without waiting for the agents. The other node's proxy has no clients.
fn change_services(shop: &mut Shop, number: u32) -> Result<()> {
    let turn = number / 2;
    let own = [format!("10.96.1.{}", turn % 5), format!("fd00:10:96:1::{}", turn % 5)];
    let own = own.map(|text| text.parse().expect("it is an address"));
    let port = ServicePort::new(Transport::Tcp, PORT).to(shop.pod("far-open").backends(TARGET));
    let other = Service::new(&format!("shop/other-{}", turn % 5)).cluster_ips(own).port(port);
    let (api, stays) = (endpoints(shop, turn), turn.is_multiple_of(2));
    let write = |service: &Service| shop.world.manifests.write(&file_of(service), service.manifests());
    write(&api)?;
    if stays {
        write(&other)?;
    }
    let [api, other_changed] = [(api, true), (other.clone(), stays)]
        .map(|(service, stays)| (service.name().to_string(), stays.then_some(service)));
    shop.proxies[0].sync([api, other_changed])?;
    if !stays {
        // It is not there when the first change of this Service is its removal.
        let _ = shop.world.manifests.remove(&file_of(&other));
    }
    Ok(())
}

fn file_of(service: &Service) -> String {
    format!("service-{}.yaml", service.name().name)
}

/// The Service with the open backends and some of the others. Those of UDP change seldom, since the proxy then looks for
/// flows to forget among the ten thousands that there are.
fn endpoints(shop: &Shop, turn: u32) -> Service {
    let backends = |turn| {
        let names = OPEN.into_iter().chain(CLOSED.into_iter().chain([FICKLE]).skip(turn as usize % 4));
        names.flat_map(|name| shop.pod(name).backends(TARGET)).collect::<Vec<SocketAddr>>()
    };
    let (tcp, udp) = (backends(turn), backends(turn / 8));
    let ports = [(Transport::Tcp, tcp), (Transport::Udp, udp)];
    let service = Service::new("shop/api").cluster_ips(ips(CLUSTER_IPS));
    ports.into_iter().fold(service, |service, (transport, to)| service.port(ServicePort::new(transport, PORT).to(to)))
}

/// Policies that all allow the open backends and none of the closed, each in its way, and the fickle one in some.
fn policies(turn: u32) -> String {
    let ports = "ports: [{port: 8080}, {port: 8080, protocol: UDP}]";
    let other = policy("shop", "other", "podSelector: {matchLabels: {app: client}}\negress: [{ports: [{port: 9}]}]");
    match turn % 4 {
        0 => to_open_backends(),
        1 => egress(&format!(
            "to: [{{podSelector: {{matchExpressions: [{{key: access, operator: In, values: [open, fickle]}}]}}}}], {ports}"
        )),
        2 => format!("{}---\n{other}", to_open_backends()),
        _ => egress("to: [{podSelector: {matchLabels: {access: open}}}]"),
    }
}

/// Attempts at open backends are answered, those at closed ones are not, and those at the fickle one may be. Flows of UDP
/// to backends that have gone were forgotten, and none of these was to an open backend. Of TCP, few went nowhere: a packet
/// on its way through a rule of `nftables` that is replaced finds the choice of backends empty, since the elements of the
/// old one are off in the new generation (`nft_mapelem_deactivate` of Linux).
fn assert_fates_in_change(shop: &Shop, load: &Load, attempts: &[Attempt]) -> Result<()> {
    let landed = shop.landed(load)?;
    let (open, closed) = (shop.identities(OPEN), shop.identities(CLOSED));
    let is_right = |attempt: &Attempt| match (landed.get(&attempt.from), attempt.fate) {
        (Some(by), fate) if open.contains(by) => fate == Fate::Answered(*by),
        (Some(by), fate) if closed.contains(by) => fate == Fate::Silence,
        (Some(_), fate) => !matches!(fate, Fate::Answered(by) if closed.contains(&by)),
        (None, fate) if load.transport == Transport::Udp => !matches!(fate, Fate::Answered(by) if closed.contains(&by)),
        (None, fate) => fate == Fate::Silence,
    };
    let nowhere = attempts.iter().filter(|attempt| !landed.contains_key(&attempt.from)).count();
    assert!(load.transport == Transport::Udp || nowhere <= UNTRANSLATED, "{nowhere} of {load:?} went nowhere");
    let wrong: Vec<&Attempt> = attempts.iter().filter(|attempt| !is_right(attempt)).collect();
    let shown: BTreeMap<&Attempt, Option<&u64>> =
        wrong.iter().take(10).map(|attempt| (*attempt, landed.get(&attempt.from))).collect();
    assert!(
        wrong.is_empty(),
        "{} of {load:?}, open is {open:?}, closed {closed:?}, among them {shown:#?}",
        wrong.len()
    );
    Ok(())
}
