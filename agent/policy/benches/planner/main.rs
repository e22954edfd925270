//! How long the planner takes: for one pod of another node, for one policy, for everything.

mod cluster;

use std::collections::BTreeSet;
use std::sync::Arc;

use divan::{Bencher, black_box};
use podgate_policy::compile::Changes;
use podgate_policy::model::{ObjectKey, Pod, Rule};
use podgate_policy::plan::Planner;
use podgate_policy::tables::Limits;

use cluster::{Big, Size};

/// The agent's default capacities.
const LIMITS: Limits = Limits {
    addresses4: 131_072,
    addresses6: 131_072,
    groups: 65_536,
    blocks4: 65_536,
    blocks6: 65_536,
    class_rows: 65_536,
    rows: 16_384,
    row_ports: 65_536,
    port_classes: 65_536,
};

const MEDIUM: Size = Size { namespaces: 100, apps: 20, replicas: 5, policies: 10, local: 250 };
const LARGE: Size = Size { namespaces: 1000, apps: 20, replicas: 5, policies: 10, local: 250 };

fn main() {
    divan::main();
}

/// A cluster that the planner knows.
fn known(size: Size) -> (Big, Planner) {
    let big = Big::new(size);
    let mut planner = Planner::new(LIMITS);
    let plan = planner.update(&big.cluster, &big.everything());
    assert_eq!(plan.unfit, [], "the benchmark's cluster fits");
    (big, planner)
}

fn pod_changed(key: &ObjectKey) -> Changes {
    Changes { pods: BTreeSet::from([key.clone()]), ..Changes::default() }
}

/// One pod of another node goes and comes back: two plans.
#[divan::bench(sample_count = 200)]
fn remote_pod_goes_and_comes(bencher: Bencher<'_, '_>) {
    let (mut big, mut planner) = known(MEDIUM);
    let key = big.remote_pod();
    let pod = Arc::clone(&big.cluster.pods[&key]);
    let changes = pod_changed(&key);
    bencher.bench_local(|| {
        big.cluster.pods.remove(&key);
        black_box(planner.update(&big.cluster, &changes));
        big.cluster.pods.insert(key.clone(), Arc::clone(&pod));
        black_box(planner.update(&big.cluster, &changes));
    });
}

/// One pod of another node gets the labels of another app and its own back: two plans.
#[divan::bench(sample_count = 200)]
fn remote_pod_is_relabelled(bencher: Bencher<'_, '_>) {
    let (mut big, mut planner) = known(MEDIUM);
    let key = big.remote_pod();
    let pod = Arc::clone(&big.cluster.pods[&key]);
    let mut other = Pod::clone(&pod);
    other.labels.insert("app".into(), "app-1".into());
    let other = Arc::new(other);
    let changes = pod_changed(&key);
    bencher.bench_local(|| {
        for pod in [&other, &pod] {
            big.cluster.pods.insert(key.clone(), Arc::clone(pod));
            black_box(planner.update(&big.cluster, &changes));
        }
    });
}

/// A policy that selects pods of this node is changed: one plan.
#[divan::bench(sample_count = 200)]
fn policy_is_changed(bencher: Bencher<'_, '_>) {
    let (mut big, mut planner) = known(MEDIUM);
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        let key = big.change_policy(round);
        let changes = Changes { policies: BTreeSet::from([key]), ..Changes::default() };
        black_box(planner.update(&big.cluster, &changes));
    });
}

/// A namespace gets other labels: one plan.
#[divan::bench(sample_count = 200)]
fn namespace_is_relabelled(bencher: Bencher<'_, '_>) {
    let (mut big, mut planner) = known(MEDIUM);
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        let name = big.change_namespace(round);
        let changes = Changes { namespaces: BTreeSet::from([name]), ..Changes::default() };
        black_box(planner.update(&big.cluster, &changes));
    });
}

/// A pod of this node gets the labels of another app: one plan.
#[divan::bench(sample_count = 200)]
fn local_pod_is_relabelled(bencher: Bencher<'_, '_>) {
    let (mut big, mut planner) = known(MEDIUM);
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        let key = big.change_local_pod(round);
        black_box(planner.update(&big.cluster, &pod_changed(&key)));
    });
}

/// Plans for a policy of these rules for the namespace of a pod of this node; whether it is enforced.
fn bench_rules(bencher: Bencher<'_, '_>, rules: &[Rule], fits: bool) {
    let fresh = || {
        let (mut big, planner) = known(MEDIUM);
        let key = big.add_policy(rules.to_vec());
        (big, planner, Changes { policies: BTreeSet::from([key]), ..Changes::default() })
    };
    bencher.with_inputs(fresh).bench_local_values(|(big, mut planner, changes)| {
        let plan = planner.update(&big.cluster, &changes);
        assert_eq!(plan.unfit.is_empty(), fits);
        (big, planner, plan)
    });
}

/// A policy whose rules all overlap: it is refused before it is worked out.
#[divan::bench(args = [2000, 15_000], sample_count = 5, sample_size = 1)]
fn rules_that_overlap(bencher: Bencher<'_, '_>, count: usize) {
    bench_rules(bencher, &cluster::overlapping(count), false);
}

/// A policy whose rules share nothing, each with a selector and a port of its own: it is enforced.
#[divan::bench(args = [500, 10_000], sample_count = 5, sample_size = 1)]
fn rules_that_share_nothing(bencher: Bencher<'_, '_>, count: usize) {
    bench_rules(bencher, &cluster::disjoint(count), true);
}

/// Everything, from nothing.
#[divan::bench(args = [MEDIUM, LARGE], sample_count = 3, sample_size = 1)]
fn everything(bencher: Bencher<'_, '_>, size: Size) {
    let big = Big::new(size);
    let changes = big.everything();
    bencher.bench_local(|| black_box(Planner::new(LIMITS).update(&big.cluster, &changes)));
}
