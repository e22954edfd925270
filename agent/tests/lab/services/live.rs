//! What becomes of connections that live while Services, endpoints and policies change.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use podgate_lab::{Attempt, Fate, Load, Outside, Result, Service, ServicePort, Transport, Wiring};

use super::shop::{BOTH, CLUSTER_IPS, PORT, Plan, Shop, TARGET, egress, ips, make, received, to_open_backends};
use crate::support::{deny_all, policy};

const OPEN: [&str; 2] = ["near-open", "far-open"];
/// What goes on between one change and the next.
const MEANWHILE: Duration = Duration::from_millis(500);

/// Connections that ask every 50 ms for this long, and wait for an answer for several retransmissions.
fn talk(shop: &Shop, transport: Transport, to: SocketAddr, time: Duration) -> Load {
    let pause = Duration::from_millis(50);
    let rounds = (time.as_millis() / pause.as_millis()) as u32;
    Load { rounds, pause, patience: Duration::from_secs(3), ..shop.load(transport, to, 10) }
}

/// Makes connections to both addresses of the Service, and changes while they live.
fn while_talking(
    shop: &mut Shop,
    transports: &[Transport],
    time: Duration,
    change: impl FnOnce(&mut Shop) -> Result<()>,
) -> Result<Vec<Attempt>> {
    let at = ips(CLUSTER_IPS).map(|address| SocketAddr::new(address, PORT));
    let talks = transports.iter().flat_map(|transport| at.map(|at| talk(shop, *transport, at, time)));
    let loads: Vec<Load> = talks.collect();
    let client = shop.client.clone();
    thread::scope(|scope| {
        let talking = scope.spawn(|| make(&client, &loads));
        thread::sleep(MEANWHILE);
        change(shop)?;
        Ok(talking.join().expect("making attempts does not panic")?.concat())
    })
}

/// How many attempts ended how; where a cut came does not matter.
fn summary(attempts: &[Attempt]) -> BTreeMap<&'static str, usize> {
    let mut summary = BTreeMap::new();
    for attempt in attempts {
        let word = match attempt.fate {
            Fate::Answered(_) => "answered",
            Fate::Cut(_) => "cut",
            Fate::Silence => "silence",
            Fate::Failed(_) => "failed",
            Fate::Wrong => "wrong",
        };
        *summary.entry(word).or_default() += 1;
    }
    summary
}

#[test]
fn a_client_with_session_affinity_gets_the_verdict_of_its_backend() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::started("session-affinity", plan, &to_open_backends())?;
        shop.set(&shop.api().sticky())?;
        for address in ips(CLUSTER_IPS) {
            let to = SocketAddr::new(address, PORT);
            let [first, more] = [1, 20].map(|attempts| shop.load(Transport::Tcp, to, attempts));
            shop.assert_judged(&[first], &OPEN)?;
            shop.assert_judged(&[more], &OPEN)?;
            let mut landed: Vec<u64> = shop.landed(&more)?.into_values().collect();
            landed.dedup();
            assert_eq!(landed.len(), 1, "{plan:?}");
        }
    }
    Ok(())
}

#[test]
fn connections_outlive_their_endpoints_and_their_service() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::started("endpoints-go", plan, &to_open_backends())?;
        shop.set(&shop.api_of(OPEN))?;
        let time = Duration::from_secs(4);
        let attempts = while_talking(&mut shop, &[Transport::Tcp], time, |shop| {
            for service in [shop.api_of(["far-closed"]), shop.api_of([])] {
                shop.set(&service)?;
                thread::sleep(MEANWHILE);
            }
            shop.unset(&shop.api())
        })?;
        assert_eq!(summary(&attempts), [("answered", 20)].into(), "{plan:?}");
        assert_eq!(shop.world.denied(&shop.client.clone(), "egress")?, BTreeMap::new(), "{plan:?}");
    }
    Ok(())
}

#[test]
fn a_policy_that_takes_an_allow_away_cuts_connections_through_services() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::started("service-cut", plan, &to_open_backends())?;
        shop.set(&shop.api_of(OPEN))?;
        let attempts = while_talking(&mut shop, &BOTH, Duration::from_secs(8), |shop| {
            shop.set_policies(&deny_all("shop", "{matchLabels: {app: client}}"))
        })?;
        assert_eq!(summary(&attempts), [("cut", 40)].into(), "{plan:?}");
        shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 10), &[])?;
    }
    Ok(())
}

#[test]
fn a_policy_that_allows_the_same_otherwise_leaves_connections_through_services_alone() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::started("service-same", plan, &to_open_backends())?;
        shop.set(&shop.api_of(OPEN))?;
        let attempts = while_talking(&mut shop, &BOTH, Duration::from_secs(3), |shop| {
            shop.set_policies(&egress(
                "to: [{podSelector: {}}], ports: [{port: 8000, endPort: 8100}, {protocol: UDP}]",
            ))?;
            thread::sleep(MEANWHILE);
            shop.set_policies("")
        })?;
        assert_eq!(summary(&attempts), [("answered", 40)].into(), "{plan:?}");
    }
    Ok(())
}

/// A shop whose open backends alone serve, with agents that keep connections.
fn keeping(name: &str) -> Result<Shop> {
    let mut shop = Shop::new(name, Plan::ROUTED_NFTABLES)?;
    shop.set(&shop.api_of(OPEN))?;
    shop.world.write("policies.yaml", &to_open_backends())?;
    shop.start_agents(&["--live-connections=keep"])?;
    Ok(shop)
}

#[test]
fn an_agent_told_to_keep_connections_keeps_those_through_services() -> Result<()> {
    let mut shop = keeping("service-keep")?;
    let attempts = while_talking(&mut shop, &[Transport::Tcp], Duration::from_secs(3), |shop| {
        shop.set_policies(&deny_all("shop", "{matchLabels: {app: client}}"))
    })?;
    assert_eq!(summary(&attempts), [("answered", 20)].into());
    shop.assert_judged(&shop.loads(ips(CLUSTER_IPS), PORT, 10), &[])
}

#[test]
fn a_kept_connection_reaches_no_backend_that_has_not_answered_in_it() -> Result<()> {
    let mut shop = keeping("keep-to-whom")?;
    let closed = ["near-closed", "far-closed"];
    let before = received(&closed.map(|name| shop.pod(name)))?;
    let attempts = while_talking(&mut shop, &[Transport::Tcp], Duration::from_secs(3), |shop| {
        shop.set(&shop.api_of(closed))?;
        // The next packet of each connection begins another one, to a backend that is chosen now.
        shop.world.node.output("conntrack", &["-F"]).map(drop)
    })?;
    assert_eq!(summary(&attempts), [("cut", 20)].into());
    assert_eq!(received(&closed.map(|name| shop.pod(name)))?, before, "something reached a backend that is closed");
    Ok(())
}

#[test]
fn who_has_an_address_that_becomes_a_services_too_is_answered_as_before() -> Result<()> {
    const OUTSIDE: [IpAddr; 2] = [Outside::IP4, Outside::IP6];
    for arguments in [&[][..], &["--services=source"]] {
        let mut shop = Shop::empty("asks-from-service", Plan::ROUTED_NFTABLES)?;
        let server = shop.backend("near-open", Wiring::Ptp, "open")?.pod.clone();
        shop.set(&shop.api())?;
        let from = OUTSIDE.map(|address| format!("{{ipBlock: {{cidr: '{}'}}}}", IpNet::from(address)));
        let spec = "podSelector: {matchLabels: {access: open}}\npolicyTypes: [Ingress, Egress]";
        let policy = policy("shop", "server", &format!("{spec}\ningress: [{{from: [{}]}}]", from.join(", ")));
        shop.world.write("policies.yaml", &policy)?;
        shop.start_agents(arguments)?;
        let loads = |shop: &Shop, time| -> Vec<Load> {
            let backends = server.backends(TARGET);
            BOTH.iter().flat_map(|transport| backends.map(|at| talk(shop, *transport, at, time))).collect()
        };
        let (outside, long) = (shop.world.lab.outside().clone(), loads(&shop, Duration::from_secs(3)));
        let attempts = thread::scope(|scope| -> Result<Vec<Attempt>> {
            let talking = scope.spawn(|| make(&outside, &long));
            thread::sleep(MEANWHILE);
            let theirs = ServicePort::new(Transport::Udp, 9999).to([]);
            let own = ips(["10.96.0.99", "fd00:10:96::99"]);
            shop.set(&Service::new("other/theirs").cluster_ips(own).external_ips(OUTSIDE).port(theirs))?;
            let short = loads(&shop, Duration::from_millis(100));
            let before = talking.join().expect("making attempts does not panic")?;
            Ok([before, make(&outside, &short)?].concat().concat())
        })?;
        assert_eq!(summary(&attempts), [("answered", 80)].into(), "{arguments:?}");
        let denied = ["ingress", "egress"].map(|direction| shop.world.denied(&server, direction));
        assert_eq!(denied.into_iter().collect::<Result<Vec<_>>>()?, [BTreeMap::new(), BTreeMap::new()]);
    }
    Ok(())
}

#[test]
fn connections_through_services_that_are_older_than_isolation_go_on() -> Result<()> {
    let mut shop = Shop::new("service-older", Plan::TUNNELLED_IPTABLES)?;
    shop.set(&shop.api_of(OPEN))?;
    shop.start_agents(&[])?;
    let attempts = while_talking(&mut shop, &[Transport::Tcp], Duration::from_secs(4), |shop| {
        shop.set_policies(&to_open_backends())
    })?;
    assert_eq!(summary(&attempts), [("answered", 20)].into());
    Ok(())
}
