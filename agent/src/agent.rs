//! Wires source, netlink, engine and servers together, and ends them.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use podgate_common::map::{self, capacity};
use podgate_datapath::Datapath;
use podgate_host::netlink;
use podgate_policy::tables::Limits;
use podgate_source::{Location, Source, api, manifests};
use tokio::net::{TcpListener, lookup_host};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::admin;
use crate::cli::{AgentArgs, Attribution, ClusterPolicies, Hook, JudgedAt, LiveConnections, UnknownPods, VERSION};
use crate::cni;
use crate::http::{self, Door};
use crate::lock::Lock;
use podgate_engine::Durations;
use podgate_engine::flows::Feed;
use podgate_engine::{
    self, AttributionSettings, Config, Granularity, Handle, Inputs, Left, Memory, Pulse, Room, ServiceRoom, Services,
    State,
};

/// Threads for sources and servers; the engine and netlink have threads of their own.
const WORKERS: usize = 2;

/// How long the API server's name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A run of the CNI plugin without an agent takes milliseconds.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Port classes are numbered with 16 bits.
const PORT_CLASSES: u32 = 65_536;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// What is in the way of starting, in one line that says what to do.
pub(crate) fn run(args: &AgentArgs) -> anyhow::Result<()> {
    let node = args.node_name()?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let result = runtime.block_on(serve(args, &node));
    // A blocking look-up of a name must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(args: &AgentArgs, node: &str) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics = listen("--metrics-listen", args.metrics_listen)?;
    let health = listen("--health-listen", args.health_listen)?;
    // Before anything in the kernel is touched: it also tells whether another agent is at work.
    let socket = admin::Socket::bind(&args.socket)?;
    // A run of the CNI plugin that found no agent may still be at work on what this one is going to read.
    let _lock = Lock::wait(&args.socket, PLUGIN_TIMEOUT).await?;
    let (engine, handle) = Engine::start(args, node).await?;
    let mut ended = engine.ended;
    tokio::select! {
        () = http::serve(health, Door::Health, handle.clone()) => {}
        () = http::serve(metrics, Door::Metrics(args.metrics_readers()), handle.clone()) => {}
        () = admin::serve(socket, handle) => {}
        () = keep_plugin(args) => {}
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "ending; enforcement goes on"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "ending; enforcement goes on"),
        _ = &mut ended => {}
    }
    drop(engine.stop);
    engine.thread.join().map_err(|_| anyhow!("the engine panicked: see the message above, and report it"))?
}

fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    http::listen(address).with_context(|| format!("{flag}: cannot listen on {address}: choose another address or port"))
}

/// Keeps the CNI plugin in the network's list, where that is wanted; does not end.
async fn keep_plugin(args: &AgentArgs) {
    match &args.cni_conf_dir {
        Some(directory) => cni::keep(directory).await,
        None => pending().await,
    }
}

/// The engine's thread.
struct Engine {
    thread: JoinHandle<anyhow::Result<()>>,
    /// Dropped, it ends the engine.
    stop: oneshot::Sender<()>,
    /// Resolves when the engine has ended.
    ended: oneshot::Receiver<()>,
    /// Dropped, it ends the following of the host's network.
    _watcher: netlink::Watcher,
}

impl Engine {
    async fn start(args: &AgentArgs, node: &str) -> anyhow::Result<(Self, Handle)> {
        let datapath = Datapath::load(&options(args))?;
        tracing::info!(version = VERSION, node, hook = ?datapath.hook(), "loaded");
        let source = open_source(args, node).await?;
        let location = source.status.borrow().source.clone();
        let api_servers = api_servers(&location).await;
        let watcher = netlink::watch(netlink::Options { api_servers, ..netlink::Options::default() })?;
        if !watcher.hears_namespaces() {
            tracing::info!("without CAP_NET_BROADCAST addresses of new pods are looked for at intervals");
        }
        let memory = Memory::new(&args.bindings());
        let enforced = memory.recall().unwrap_or_else(|error| {
            tracing::warn!(%error, path = %args.bindings().display(), "cannot read what the former agent enforced");
            None
        });
        let limits = limits(&args.table_entries());
        // The last one is for all who find no other.
        let room = Room { limits, slots: datapath.last_slot(), addresses: deferring(args) };
        let state = State::new(config(args, node), room, Left { enforced, slots: datapath.former_slots() });
        let flows = Feed::new(node, args.flow_buffer as usize);
        let (inputs, handle, stop) = channels(source, &watcher, args.cni_pod_wait(), flows);
        let (ending, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || {
            // Dropped when the engine ends, by a panic too.
            let _ending: oneshot::Sender<()> = ending;
            let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
            runtime.block_on(podgate_engine::run(inputs, state, datapath, memory))
        })?;
        Ok((Self { thread, stop, ended, _watcher: watcher }, handle))
    }
}

/// What connects the engine to everything else.
fn channels(
    source: Source,
    watcher: &netlink::Watcher,
    pod_wait: Duration,
    flows: Feed,
) -> (Inputs, Handle, oneshot::Sender<()>) {
    let (request, requests) = mpsc::channel(8);
    let (not_ready_sender, not_ready) = watch::channel(vec!["starting".to_owned()]);
    let (stop_sender, stop) = oneshot::channel();
    let (pulse, durations) = (Pulse::default(), Durations::default());
    let inputs = Inputs {
        source,
        views: watcher.views(),
        requests,
        not_ready: not_ready_sender,
        pulse: pulse.clone(),
        durations: durations.clone(),
        flows: flows.clone(),
        pod_wait,
        stop,
    };
    (inputs, Handle { requests: request, not_ready, pulse, durations, flows }, stop_sender)
}

fn config(args: &AgentArgs, node: &str) -> Config {
    Config {
        node: node.into(),
        keep: args.live_connections == LiveConnections::Keep,
        routing: args.allow_foreign_source.iter().cloned().collect(),
        services: match args.services {
            JudgedAt::Exit => Services::Exit,
            JudgedAt::Source => Services::Source(service_room(&args.table_entries())),
        },
        attribution: AttributionSettings {
            granularity: match args.metrics_attribution {
                Attribution::None => Granularity::None,
                Attribution::Namespace => Granularity::Namespace,
                Attribution::Policy => Granularity::Policy,
                Attribution::Rule => Granularity::Rule,
            },
            series: args.metrics_attribution_series as usize,
        },
        audit: args.audit,
        isolate_unknown: args.unknown_pods == UnknownPods::Isolate,
    }
}

fn options(args: &AgentArgs) -> podgate_datapath::Options {
    podgate_datapath::Options {
        bpffs: Some(args.bpffs.clone()),
        hook: match args.hook {
            Hook::Auto => podgate_datapath::Hook::Auto,
            Hook::Tcx => podgate_datapath::Hook::Tcx,
            Hook::Clsact => podgate_datapath::Hook::Clsact,
        },
        event_rate: args.event_rate,
        flow_rate: args.flow_rate,
        capacities: capacities(args),
        trace: args.datapath_log,
    }
}

/// The tables of another size than the default. Those that nothing is written to need no memory.
fn capacities(args: &AgentArgs) -> BTreeMap<String, u32> {
    let mut entries = args.table_entries();
    if args.services == JudgedAt::Exit {
        for unused in [map::FRONTENDS4, map::FRONTENDS6, map::BACKENDS4, map::BACKENDS6] {
            entries.insert(unused.to_owned(), 1);
        }
    }
    entries
}

/// How much room the planner has: what the kernel's tables are made with.
fn limits(entries: &BTreeMap<String, u32>) -> Limits {
    let of = |name, default| entries_of(entries, name, default);
    Limits {
        addresses4: of(map::ADDRESSES4, capacity::ADDRESSES4),
        addresses6: of(map::ADDRESSES6, capacity::ADDRESSES6),
        groups: of(map::GROUPS, capacity::GROUPS),
        blocks4: of(map::BLOCKS4, capacity::BLOCKS4),
        blocks6: of(map::BLOCKS6, capacity::BLOCKS6),
        class_rows: of(map::CLASS_ROWS, capacity::CLASS_ROWS),
        rows: of(map::ROWS, capacity::ROWS),
        row_ports: of(map::ROW_PORTS, capacity::ROW_PORTS),
        port_classes: PORT_CLASSES,
    }
}

/// How many addresses of each family the programs have room for that are Services' or this host's own.
fn deferring(args: &AgentArgs) -> usize {
    let entries = args.table_entries();
    let of = |name, default| entries_of(&entries, name, default);
    of(map::DEFERRING4, capacity::DEFERRING4).min(of(map::DEFERRING6, capacity::DEFERRING6)) as usize
}

/// How much room of each family there is for Services that are judged where packets leave the pod.
fn service_room(entries: &BTreeMap<String, u32>) -> ServiceRoom {
    let of = |name, default| entries_of(entries, name, default) as usize;
    let frontends4 = of(map::FRONTENDS4, capacity::FRONTENDS4);
    let backends4 = of(map::BACKENDS4, capacity::BACKENDS4);
    ServiceRoom {
        frontends: frontends4.min(of(map::FRONTENDS6, capacity::FRONTENDS6)),
        // The other half is for those that take the place of others.
        backends: backends4.min(of(map::BACKENDS6, capacity::BACKENDS6)) / 2,
    }
}

/// The entries of a table: those that were asked for, else the default.
fn entries_of(entries: &BTreeMap<String, u32>, name: &str, default: u32) -> u32 {
    entries.get(name).copied().unwrap_or(default)
}

async fn open_source(args: &AgentArgs, node: &str) -> anyhow::Result<Source> {
    let cluster_policies = match args.cluster_policies {
        ClusterPolicies::Auto => podgate_source::ClusterPolicies::Auto,
        ClusterPolicies::Off => podgate_source::ClusterPolicies::Off,
    };
    match &args.manifests {
        Some(directory) => Ok(manifests::spawn(directory.clone(), cluster_policies)),
        None => {
            let endpoint_slices = args.services == JudgedAt::Source;
            let (kubeconfig, node) = (args.kubeconfig.clone(), node.to_owned());
            let options = api::Options { kubeconfig, node, cluster_policies, endpoint_slices };
            Ok(api::spawn(&options).await?)
        }
    }
}

/// The addresses of the API server that a source reads; none for files, or if its name can't be resolved.
async fn api_servers(location: &Location) -> Vec<IpAddr> {
    let Location::Api { host, port, .. } = location else { return Vec::new() };
    match timeout(RESOLVE_TIMEOUT, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            tracing::warn!(host, %error, "cannot resolve the API server's name");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_api_server_is_where_its_source_reads() {
        let at = |host: &str| Location::Api { url: String::new(), host: host.to_owned(), port: 6443 };
        for host in ["10.0.0.1", "fd00::1"] {
            assert_eq!(api_servers(&at(host)).await, [host.parse::<IpAddr>().unwrap()]);
        }
        assert!(api_servers(&Location::Directory("/etc/podgate".into())).await.is_empty());
    }

    #[test]
    fn the_planner_is_told_of_tables_of_another_size() {
        let limits = limits(&BTreeMap::from([(map::ROWS.to_owned(), 64)]));
        assert_eq!((limits.rows, limits.groups), (64, capacity::GROUPS));
    }
}
