use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use podgate_policy::model::Protocol;
use podgate_policy::services::Frontend;

use super::Lead;
use super::sets::{Sets, Step, Target};

/// The kernel's tables, which see to it that nothing is removed under a program's eyes.
#[derive(Debug, Default)]
struct Kernel {
    frontends: BTreeMap<Frontend, Target>,
    sets: BTreeMap<u32, Vec<SocketAddr>>,
    /// Sets that a program may still be looking at.
    seen: BTreeSet<u32>,
    raised: BTreeSet<IpAddr>,
}

impl Kernel {
    fn take(&mut self, step: &Step, sets: &Sets) {
        match step {
            Step::Fill(set) => {
                assert!(!self.seen.contains(set), "set {set} is written anew while it is looked at");
                self.sets.insert(*set, sets.backends(*set).to_vec());
            }
            Step::Switch(frontend, target) => {
                match target {
                    Some(target) => self.frontends.insert(*frontend, *target),
                    None => self.frontends.remove(frontend),
                };
                self.look();
            }
            Step::Raise(addresses) => self.raised.extend(addresses),
            Step::Grace => {
                self.seen.clear();
                self.look();
            }
            Step::Empty(set) => {
                assert!(!self.seen.contains(set), "set {set} is removed while it is looked at");
                self.sets.remove(set);
            }
        }
    }

    /// Programs look at every set that is named.
    fn look(&mut self) {
        let named = self.frontends.values().filter_map(|target| match target {
            Target::Set(set) => Some(*set),
            Target::Unknown => None,
        });
        self.seen.extend(named);
    }

    /// What a packet finds.
    fn found(&self) -> Leads {
        let found = |target: &Target| match target {
            Target::Set(set) => Lead::Backends(self.sets[set].clone().into()),
            Target::Unknown => Lead::Unknown,
        };
        self.frontends.iter().map(|(&frontend, target)| (frontend, found(target))).collect()
    }
}

type Leads = BTreeMap<Frontend, Lead>;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 96, 0, last])
}

fn frontend(last: u8, port: u16) -> Frontend {
    Frontend { address: address(last), protocol: Protocol::Tcp, port }
}

fn pod(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn to(pods: &[u8]) -> Lead {
    Lead::Backends(pods.iter().map(|&last| SocketAddr::new(pod(last), 8080)).collect())
}

/// What makes one state the other.
fn changes(old: &Leads, new: &Leads) -> BTreeMap<Frontend, Option<Lead>> {
    let gone = old.keys().filter(|frontend| !new.contains_key(frontend)).map(|&frontend| (frontend, None));
    let put = new.iter().filter(|(frontend, lead)| old.get(frontend) != Some(lead));
    gone.chain(put.map(|(&frontend, lead)| (frontend, Some(lead.clone())))).collect()
}

/// States one after the other, with every kind of change between them.
fn states() -> Vec<Leads> {
    let [web, admin, dns] = [frontend(1, 80), frontend(1, 81), frontend(2, 53)];
    vec![
        [(web, to(&[1, 2]))].into(),
        [(web, to(&[2, 3])), (admin, to(&[1])), (dns, to(&[4, 5]))].into(),
        [(web, Lead::Unknown), (dns, to(&[5]))].into(),
        [(web, to(&[1])), (admin, to(&[1])), (dns, to(&[5]))].into(),
        Leads::new(),
    ]
}

/// Takes a plan's first steps; every packet on the way finds what it would have found before, or what it will find.
fn go(sets: &mut Sets, kernel: &mut Kernel, old: &Leads, new: &Leads, steps: usize) {
    let before = kernel.found();
    for step in sets.plan(&changes(old, new)).into_iter().take(steps) {
        kernel.take(&step, sets);
        sets.done(&step);
        for (frontend, lead) in kernel.found() {
            let expected = [before.get(&frontend), new.get(&frontend)];
            assert!(expected.contains(&Some(&lead)), "{frontend:?} leads to {lead:?} after {step:?}");
        }
    }
}

#[test]
fn packets_find_the_old_backends_or_the_new_and_nothing_is_left_over() {
    let (mut sets, mut kernel, mut old) = (Sets::default(), Kernel::default(), Leads::new());
    for new in states() {
        go(&mut sets, &mut kernel, &old, &new, usize::MAX);
        assert_eq!(kernel.found(), new);
        assert_eq!(kernel.sets.len(), new.values().filter(|lead| **lead != Lead::Unknown).count());
        old = new;
    }
}

#[test]
fn a_change_that_failed_at_any_step_is_ended_by_the_next_that_has_it_too() {
    for failing in 0..states().len() {
        for steps in 0..12 {
            let (mut sets, mut kernel, mut old) = (Sets::default(), Kernel::default(), Leads::new());
            for (number, new) in states().into_iter().enumerate() {
                if number == failing {
                    go(&mut sets, &mut kernel, &old, &new, steps);
                }
                go(&mut sets, &mut kernel, &old, &new, usize::MAX);
                assert_eq!(kernel.found(), new, "{steps} steps of change {failing}");
                let named = new.values().filter(|lead| **lead != Lead::Unknown).count();
                assert_eq!(kernel.sets.len(), named, "{steps} steps of change {failing}");
                old = new;
            }
        }
    }
}

#[test]
fn flows_to_what_leads_elsewhere_are_judged_again_and_those_to_what_is_gone_are_not() {
    let (mut sets, mut kernel, mut old) = (Sets::default(), Kernel::default(), Leads::new());
    let raised = states().into_iter().map(|new| {
        go(&mut sets, &mut kernel, &old, &new, usize::MAX);
        old = new;
        std::mem::take(&mut kernel.raised).into_iter().collect::<Vec<_>>()
    });
    let [one, two] = [address(1), address(2)];
    assert_eq!(raised.collect::<Vec<_>>(), [vec![one], vec![one, two], vec![one, two], vec![one], vec![]]);
}

#[test]
fn a_backend_tells_the_frontends_that_lead_to_it_and_those_that_led_until_their_flows_are_judged_again() {
    let mut sets = Sets::default();
    let mut lead = |changes: &[(Frontend, Option<Lead>)]| {
        for step in sets.plan(&changes.iter().cloned().collect()) {
            sets.done(&step);
        }
        sets.clone_leading()
    };
    let (web, dns) = (frontend(1, 80), frontend(2, 53));
    let both = lead(&[(web, Some(to(&[1, 2]))), (dns, Some(to(&[2])))]);
    assert_eq!(both, [(pod(1), address(1)), (pod(2), address(1)), (pod(2), address(2))]);
    assert_eq!(lead(&[(web, Some(to(&[3])))]), [(pod(2), address(2)), (pod(3), address(1))]);
    assert_eq!(lead(&[(web, None)]), [(pod(2), address(2)), (pod(3), address(1))], "its flows live on");
    assert_eq!(lead(&[(web, Some(to(&[4])))]), [(pod(2), address(2)), (pod(4), address(1))]);
    lead(&[(web, None)]);
    sets.raised(&[address(1)].into());
    assert_eq!(sets.clone_leading(), [(pod(2), address(2))]);
}

#[test]
fn what_is_gone_is_not_remembered_for_ever() {
    let mut sets = Sets::default();
    let all: Vec<Frontend> = (0..3000).map(|port| frontend(port as u8, port)).collect();
    for frontend in all {
        for change in [Some(to(&[1])), None] {
            for step in sets.plan(&[(frontend, change)].into()) {
                sets.done(&step);
            }
        }
    }
    assert!(sets.clone_leading().len() <= 1100, "{} are remembered", sets.clone_leading().len());
}
