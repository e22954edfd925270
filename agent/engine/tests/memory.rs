//! What a pod of another node takes: there are a hundred thousand of them in a large cluster, and every node keeps them
//! all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use podgate_engine::{AttributionSettings, Config, Granularity, Left, Outcome, Room, Services, State};
use podgate_policy::model::{ContainerPort, Labels, ObjectKey, Phase, Pod, Protocol};
use podgate_policy::tables::Limits;
use podgate_source::{Change, Object};

/// Counts the bytes that are asked for and not given back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PODS: u32 = 20_000;

/// The most that one may take, the source's hold on it included. It is what was measured, and a little.
const MOST: usize = 1000;

fn state() -> State {
    let config = Config {
        node: "node-a".into(),
        keep: false,
        routing: BTreeSet::new(),
        services: Services::Exit,
        attribution: AttributionSettings { granularity: Granularity::Policy, series: 1000 },
        audit: false,
        isolate_unknown: false,
    };
    let limits = Limits::each(1 << 17);
    State::new(config, Room { limits, slots: 512, addresses: 1024 }, Left::default())
}

/// A pod as the source makes them, with what pods of one template share.
fn pod(number: u32, labels: &[Labels], nodes: &[Arc<str>], port: &Arc<str>) -> Pod {
    let of = |count: usize| number as usize % count;
    Pod {
        key: ObjectKey::new(nodes[of(nodes.len())].clone(), format!("checkout-7d9c5b6f8d-{number:05}")),
        workload: None,
        uid: nodes[0].clone(),
        labels: labels[of(labels.len())].clone(),
        node: Some(nodes[of(nodes.len())].clone()),
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![Ipv4Addr::from(0x0a40_0000 + number).into()],
        ports: vec![ContainerPort { name: Some(port.clone()), protocol: Protocol::Tcp, number: 8080, host_port: None }],
    }
}

#[test]
fn a_pod_of_another_node_takes_little() {
    let label =
        |number: u32| Labels::from([("app".into(), format!("app-{number}").into()), ("tier".into(), "web".into())]);
    let labels: Vec<Labels> = (0..1000).map(label).collect();
    let nodes: Vec<Arc<str>> = (0..500).map(|number| format!("node-{number}").into()).collect();
    let port: Arc<str> = "http".into();
    let mut state = state();
    state.take_view(Arc::default());
    let before = LIVE.load(Relaxed);
    let pods = (0..PODS).map(|number| Object::Pod(Arc::new(pod(number, &labels, &nodes, &port))));
    let store: BTreeMap<_, _> = pods.map(|object| (object.reference(), object)).collect();
    state.take_update(store.values().cloned().map(Change::Apply).collect());
    let made = state.begin_plan().expect("there is something to plan").run();
    state.end_plan(made);
    let now = Instant::now();
    while let Some(command) = state.next(now) {
        state.report(command, Outcome::Done, now);
    }
    let each = (LIVE.load(Relaxed) - before) / PODS as usize;
    println!("{each} bytes for each pod");
    assert!(each <= MOST, "{each} bytes");
    drop(store);
}
