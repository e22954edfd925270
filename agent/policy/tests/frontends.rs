//! The addresses of Services, kept up to date one Service at a time.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::{Labels, ObjectKey};
use podgate_policy::services::{Frontends, Rank, Service, ServiceForm, TrafficPolicy};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use proptest::sample::{select, subsequence};

use crate::cases::cases;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn service(cluster_ips: &[&str]) -> Service {
    Service {
        key: ObjectKey::new("shop", "web"),
        form: ServiceForm::Virtual,
        cluster_ips: ips(cluster_ips),
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports: vec![],
        selector: Labels::new(),
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
    }
}

fn addresses(frontends: &Frontends) -> Vec<IpAddr> {
    frontends.addresses().map(|(address, _)| address).collect()
}

fn frontends(services: &[Service]) -> Vec<IpAddr> {
    let mut frontends = Frontends::default();
    for service in services {
        frontends.update(None, Some(service));
    }
    addresses(&frontends)
}

#[test]
fn service_is_reached_at_all_its_cluster_external_and_load_balancer_addresses() {
    let service = Service {
        external_ips: ips(&["192.0.2.9", "192.0.2.10"]),
        load_balancer_ips: ips(&["198.51.100.7", "192.0.2.9"]),
        ..service(&["10.96.0.1", "fd00::96"])
    };
    assert_eq!(frontends(&[service]), ips(&["10.96.0.1", "192.0.2.9", "192.0.2.10", "198.51.100.7", "fd00::96"]));
}

#[test]
fn headless_and_external_services_and_those_of_other_proxies_are_reached_at_no_address_of_theirs() {
    for form in [ServiceForm::Headless, ServiceForm::ExternalName, ServiceForm::OtherProxy] {
        let service = Service { form, external_ips: ips(&["192.0.2.9"]), ..service(&["10.96.0.1"]) };
        assert_eq!(frontends(&[service]), ips(&[]), "{form:?}");
    }
}

#[test]
fn addresses_that_no_other_host_can_have_never_get_in() {
    let service = Service {
        external_ips: ips(&["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"]),
        load_balancer_ips: ips(&["127.0.0.1", "127.1.2.3", "::1", "192.0.2.1"]),
        ..service(&[])
    };
    assert_eq!(frontends(&[service]), ips(&["192.0.2.1"]));
}

#[test]
fn addresses_of_a_family_without_a_cluster_ip_are_not_served() {
    let service = Service { external_ips: ips(&["192.0.2.9", "2001:db8::9"]), ..service(&["10.96.0.1"]) };
    assert_eq!(frontends(&[service]), ips(&["10.96.0.1", "192.0.2.9"]));
}

#[test]
fn address_of_two_services_stays_until_both_are_gone() {
    let (one, other) = (service(&["10.96.0.1"]), service(&["10.96.0.1", "10.96.0.2"]));
    let mut frontends = Frontends::default();
    assert!(frontends.update(None, Some(&one)));
    assert!(frontends.update(None, Some(&other)));
    assert!(!frontends.update(Some(&one), None), "the other Service has the address too");
    assert_eq!(addresses(&frontends), ips(&["10.96.0.1", "10.96.0.2"]));
    assert!(frontends.update(Some(&other), None));
    assert_eq!(frontends, Frontends::default());
}

#[test]
fn change_of_anything_but_addresses_is_none() {
    let before = service(&["10.96.0.1", "10.96.0.2"]);
    let after =
        Service { selector: Labels::from([("app".into(), "web".into())]), ..service(&["10.96.0.2", "10.96.0.1"]) };
    let mut frontends = Frontends::default();
    frontends.update(None, Some(&before));
    assert!(!frontends.update(Some(&before), Some(&after)));
    assert_eq!(addresses(&frontends), ips(&["10.96.0.1", "10.96.0.2"]));
}

/// A Service with few addresses among few, so that several share one and one has the same twice.
fn any_service() -> impl Strategy<Value = Service> {
    let list = || subsequence(ips(&["10.0.0.1", "10.0.0.2", "fd00::1", "127.0.0.1"]), 0..3);
    let form = select(vec![ServiceForm::Virtual, ServiceForm::Virtual, ServiceForm::Headless, ServiceForm::OtherProxy]);
    (form, list(), list(), list()).prop_map(|(form, cluster_ips, external_ips, load_balancer_ips)| Service {
        form,
        cluster_ips,
        external_ips,
        load_balancer_ips,
        ..service(&[])
    })
}

/// The addresses as the API's documentation has them, from all Services at once, with the best rank of each.
fn from_scratch<'s>(services: impl Iterator<Item = &'s Service>) -> Vec<(IpAddr, Rank)> {
    let mut all: BTreeMap<IpAddr, Rank> = BTreeMap::new();
    for it in services.filter(|service| service.form == ServiceForm::Virtual) {
        let lists = [&it.cluster_ips, &it.external_ips, &it.load_balancer_ips];
        let has =
            |is_ipv4: bool| it.cluster_ips.is_empty() || it.cluster_ips.iter().any(|own| own.is_ipv4() == is_ipv4);
        let served = |address: &IpAddr| !address.is_loopback() && has(address.is_ipv4());
        let of_service: BTreeSet<IpAddr> = lists.into_iter().flatten().copied().filter(served).collect();
        for address in &of_service {
            let rank = match it.cluster_ips.contains(address) {
                true => Rank::ClusterIp,
                false => Rank::OneOf(of_service.len()),
            };
            let best = all.entry(*address).or_insert(rank);
            *best = rank.min(*best);
        }
    }
    all.into_iter().collect()
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn addresses_after_any_changes_are_those_from_scratch(
        changes in vec((0..4_u8, option::weighted(0.7, any_service())), 0..24)
    ) {
        let (mut services, mut frontends) = (BTreeMap::new(), Frontends::default());
        for (name, new) in changes {
            let before: Vec<_> = frontends.addresses().collect();
            let old = match new.clone() {
                Some(new) => services.insert(name, new),
                None => services.remove(&name),
            };
            let differs = frontends.update(old.as_ref(), new.as_ref());
            let expected = from_scratch(services.values());
            prop_assert_eq!((frontends.addresses().collect(), differs), (expected.clone(), expected != before));
        }
    }
}
