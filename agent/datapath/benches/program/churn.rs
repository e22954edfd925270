//! Packets of an established flow while pods of other nodes come and go: the planner's operations change the tables that
//! the programs read.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use podgate_common::Direction;
use podgate_common::map::capacity;
use podgate_datapath::{Datapath, Hook, Identity, OnLink, Options, TestContext, empty_program, test_run};
use podgate_policy::compile::{Changes, Endpoint};
use podgate_policy::model::ObjectKey;
use podgate_policy::plan::Planner;
use podgate_policy::tables::Limits;
use serde_json::json;

use crate::cluster::{Big, Size};
use crate::frames::{ACK, SYN, SYN_ACK, tcp};
use crate::measure::Effort;
use crate::rig::ELSEWHERE;

const SIZE: Size = Size { namespaces: 100, apps: 20, replicas: 5, policies: 10, local: 250 };

/// Pods that go in a second. Each comes back at once.
const A_SECOND: u32 = 100;

/// So many times as often as other cases a packet is run, so that a run sees dozens of pods come and go.
const LONGER: u32 = 10;

/// The pod that is measured, by its place among those of the node: its interface is loopback.
const MEASURED: usize = 1;

const ROWS: [&str; 2] = ["no pod comes or goes", "100 pods of other nodes go and come each second"];

/// Measures the flow with and without changes, by turns. `others`: the CPUs that the changes are made on.
pub(crate) fn measure(effort: &Effort, others: &CpuSet) {
    let mut node = Node::new();
    let program = node.datapath.program(Direction::Egress).try_clone_to_owned().expect("a free descriptor");
    let ack = established(&node);
    let empty = empty_program().expect("root");
    let mut samples = [const { Vec::new() }; 2];
    for round in 0..effort.rounds {
        eprintln!("programs among changes: round {} of {}", round + 1, effort.rounds);
        let repeat = effort.repeat * LONGER;
        let nothing = run(empty.as_fd(), &ack, repeat);
        for turn in 0..2 {
            let case = (turn + round as usize) % 2;
            let nanoseconds = match case {
                0 => run(program.as_fd(), &ack, repeat),
                _ => node.while_pods_come_and_go(others, || run(program.as_fd(), &ack, repeat)),
            };
            samples[case].push(nanoseconds - nothing);
        }
    }
    for (row, samples) in ROWS.into_iter().zip(samples) {
        let (table, column) = ("Pods that come and go", "established TCP, out of the pod");
        println!("{}", json!({ "table": table, "row": row, "column": column, "unit": "ns", "samples": samples }));
    }
}

fn run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> f64 {
    let run = test_run(program, frame, &TestContext::default(), repeat).expect("a test run");
    assert_eq!(run.verdict, -1, "an established flow goes on");
    run.duration.as_nanos() as f64
}

/// A packet of a connection of the measured pod to the world, as its policies let it.
fn established(node: &Node) -> Vec<u8> {
    let (pod, world) = ((node.address, 5000), (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 443));
    let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
    let send = |direction, frame: &[u8]| {
        let run = test_run(node.datapath.program(direction), frame, &context, 1).expect("a test run");
        assert_eq!(run.verdict, -1, "policy allows HTTPS to the world");
    };
    let ack = tcp(pod, world, ACK);
    send(Direction::Egress, &tcp(pod, world, SYN));
    send(Direction::Ingress, &tcp(world, pod, SYN_ACK));
    send(Direction::Egress, &ack);
    ack
}

/// A node of a big cluster, with its tables as the planner has them.
struct Node {
    datapath: Datapath,
    big: Big,
    planner: Planner,
    /// The address of the measured pod.
    address: IpAddr,
    /// Pods of other nodes, and which is next.
    foreign: Vec<ObjectKey>,
    next: usize,
}

impl Node {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("root, to make a network namespace");
        let options = Options { bpffs: None, hook: Hook::Auto, ..Options::default() };
        let mut datapath = Datapath::load(&options).expect("the programs load");
        datapath.finish_takeover().expect("nothing to take over");
        let big = Big::new(SIZE);
        let everything = big.everything();
        for (place, Endpoint { slot, pod }) in everything.bound.iter().enumerate() {
            let ifindex = if place == MEASURED { 1 } else { 1000 + slot };
            datapath.identify(*slot, &identity(ifindex, &big.cluster.pods[pod].addresses)).expect("a free slot");
            let change = [((*slot, ifindex), Some(OnLink::default()))].into();
            datapath.own_on_link(&change).expect("room for an address");
        }
        let Endpoint { slot, pod } = everything.bound[MEASURED].clone();
        datapath.attach(slot).expect("loopback takes programs");
        let address = big.cluster.pods[&pod].addresses[0];
        let is_local = |key: &&ObjectKey| everything.bound.iter().all(|endpoint| endpoint.pod != **key);
        let foreign = big.cluster.pods.keys().filter(is_local).cloned().collect();
        let mut node = Self { datapath, big, planner: Planner::new(limits()), address, foreign, next: 0 };
        node.update(&everything);
        node
    }

    /// Does something while pods of other nodes go and come.
    fn while_pods_come_and_go<T>(&mut self, cpus: &CpuSet, work: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let changes = scope.spawn(|| {
                sched_setaffinity(Pid::from_raw(0), cpus).expect("CPUs of this process");
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    self.one_goes_and_comes();
                    due += Duration::from_secs(1) / A_SECOND;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            });
            let result = work();
            stop.store(true, Ordering::Relaxed);
            changes.join().expect("the tables have room");
            result
        })
    }

    fn one_goes_and_comes(&mut self) {
        let key = self.foreign[self.next % self.foreign.len()].clone();
        self.next += 1;
        let changes = Changes { pods: [key.clone()].into(), ..Changes::default() };
        let pod = self.big.cluster.pods.remove(&key).expect("a pod of the cluster");
        self.update(&changes);
        self.big.cluster.pods.insert(key, pod);
        self.update(&changes);
    }

    fn update(&mut self, changes: &Changes) {
        let plan = self.planner.update(&self.big.cluster, changes);
        assert_eq!(plan.unfit, [], "the benchmark's cluster fits");
        assert!(!plan.ops.is_empty(), "policies of this node tell the pod from others");
        self.datapath.apply(&plan.ops).expect("operations on tables with room");
    }
}

fn identity(ifindex: u32, addresses: &[IpAddr]) -> Identity {
    let address4 = addresses.iter().find_map(|address| if let IpAddr::V4(it) = address { Some(*it) } else { None });
    let address6 = addresses.iter().find_map(|address| if let IpAddr::V6(it) = address { Some(*it) } else { None });
    Identity { ifindex, netns_id: None, address4, address6, routes: false, keep: false }
}

/// What the tables have room for.
fn limits() -> Limits {
    Limits {
        addresses4: capacity::ADDRESSES4,
        addresses6: capacity::ADDRESSES6,
        groups: capacity::GROUPS,
        blocks4: capacity::BLOCKS4,
        blocks6: capacity::BLOCKS6,
        class_rows: capacity::CLASS_ROWS,
        rows: capacity::ROWS,
        row_ports: capacity::ROW_PORTS,
        port_classes: capacity::PORTS,
    }
}
