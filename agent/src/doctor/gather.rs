//! Finds out what is known of a node, without changing anything on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podgate_datapath::{examine, interfaces_with_other_programs};
use podgate_engine::now;
use podgate_host::netlink::{self, HostView};
use podgate_source::{Source, SourceStatus, api};
use tokio::runtime;
use tokio::time::timeout;

use super::facts::{Binary, Chain, Cni, Facts, Host, Known, Resource};
use crate::admin;
use crate::cni::Places;

/// How long the API may take.
const API: Duration = Duration::from_secs(8);

/// How long kube-proxy may take.
const PROXY: Duration = Duration::from_secs(2);

/// Where kube-proxy tells its mode (`--metrics-bind-address`).
const PROXY_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// The settings of the kernel that are looked at.
const SETTINGS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
    "net/core/bpf_jit_enable",
];

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// What stands for `/`, as far as files of the host are read.
    pub(crate) root: PathBuf,
    /// Where podgate pins.
    pub(crate) bpffs: PathBuf,
    /// The agent's admin socket.
    pub(crate) socket: PathBuf,
    /// The runtime's directories.
    pub(crate) places: Places,
    /// The node's name.
    pub(crate) node_name: Option<String>,
    /// How to reach the API, if no agent answers.
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Finds it out.
pub(crate) fn gather(question: &Question) -> Facts {
    let below = |path: &Path| question.root.join(path.strip_prefix("/").unwrap_or(path));
    let agent = admin::fetch_status(&question.socket).map_err(|error| error.to_string());
    let api = match &agent {
        Ok(_) => Err("the agent was asked".to_owned()),
        Err(_) => ask_api(question),
    };
    Facts {
        kernel: examine(&question.bpffs),
        bpffs: question.bpffs.clone(),
        lockdown: lockdown(&below(Path::new("/sys/kernel/security/lockdown"))),
        clock: u64::try_from(now() / 1_000_000_000).unwrap_or(0),
        host: host(&question.bpffs),
        cni: cni(&Places { bin: below(&question.places.bin), conf: below(&question.places.conf) }),
        processes: processes(&below(Path::new("/proc"))),
        k3s_enforces: k3s_enforces(&below(Path::new("/proc")), &below(Path::new("/etc/rancher/k3s"))),
        bpf_names: names(question.bpffs.parent().unwrap_or(Path::new("/"))).unwrap_or_default(),
        proxy_mode: proxy_mode(),
        namespaces: names(&below(Path::new("/run/netns"))).ok().map(|names| names.len()),
        settings: settings(&below(Path::new("/proc/sys"))),
        agent,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api,
        node_name: question.node_name.clone(),
    }
}

/// The word in brackets.
fn lockdown(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn host(bpffs: &Path) -> Known<Host> {
    let watcher = netlink::watch(netlink::Options::default()).map_err(|error| error.to_string())?;
    let view = watcher.views().borrow().clone();
    Ok(of_view(&view, bpffs))
}

fn of_view(view: &HostView, bpffs: &Path) -> Host {
    let veths = view.veths.values();
    let names = view.devices.values().map(|device| &device.name).chain(veths.clone().map(|veth| &veth.name));
    let indexes: Vec<u32> = view.veths.keys().copied().collect();
    let name = |index: u32| view.veths.get(&index).map(|veth| veth.name.clone());
    let others = interfaces_with_other_programs(bpffs, &indexes).map_err(|error| error.to_string());
    Host {
        devices: names.cloned().collect(),
        veths: view.veths.len(),
        has_ipv6_pods: veths.flat_map(|veth| &veth.peer_addresses).any(IpAddr::is_ipv6),
        unsupported: view.unsupported(),
        other_programs: others.map(|others| others.into_iter().filter_map(name).collect()),
    }
}

fn cni(places: &Places) -> Cni {
    let chain = places.chain().map_err(|error| format!("{error:#}"));
    Cni {
        conf: places.conf.clone(),
        has_conf: places.conf.is_dir(),
        chain: chain.map(|chain| chain.map(|(file, plugins)| Chain { file, plugins })),
        is_installed: places.is_installed(),
        binary: places.binary(),
        found: binary(places),
    }
}

fn binary(places: &Places) -> Binary {
    if !places.bin.is_dir() {
        return Binary::NoDirectory;
    }
    let Ok(found) = fs::metadata(places.binary()) else { return Binary::Missing };
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Binary::NotExecutable;
    }
    let is_same = || -> io::Result<bool> {
        let ours = std::env::current_exe()?;
        Ok(fs::metadata(&ours)?.len() == found.len() && fs::read(ours)? == fs::read(places.binary())?)
    };
    if is_same().unwrap_or(false) { Binary::Same } else { Binary::Other }
}

/// Names of processes, of which containers see only their own.
fn processes(proc: &Path) -> Known<BTreeSet<String>> {
    let pids = names(proc).map_err(|error| error.to_string())?;
    let pids = pids.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let comm = |pid: String| Some(fs::read_to_string(proc.join(pid).join("comm")).ok()?.trim_end().to_owned());
    Ok(pids.filter_map(comm).collect())
}

/// Whether a server of k3s runs whose arguments and configuration don't have the switch of its own enforcer.
fn k3s_enforces(proc: &Path, configuration: &Path) -> bool {
    const SWITCH: &str = "disable-network-policy";
    let read =
        |path: PathBuf| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let is_server = |pid: &String| read(proc.join(pid).join("comm")).trim_end() == "k3s-server";
    let Some(server) = names(proc).unwrap_or_default().into_iter().find(is_server) else { return false };
    let more = names(&configuration.join("config.yaml.d")).unwrap_or_default();
    let more = more.into_iter().map(|name| configuration.join("config.yaml.d").join(name));
    let told = more.chain([configuration.join("config.yaml"), proc.join(server).join("cmdline")]);
    !told.map(read).any(|text| text.contains(SWITCH))
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn settings(sys: &Path) -> BTreeMap<String, String> {
    let read = |&path: &&str| Some((path.to_owned(), fs::read_to_string(sys.join(path)).ok()?.trim().to_owned()));
    SETTINGS.iter().filter_map(read).collect()
}

/// What kube-proxy says its mode is.
fn proxy_mode() -> Known<String> {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&PROXY_ADDRESS, PROXY)?;
        stream.set_read_timeout(Some(PROXY))?;
        stream.write_all(b"GET /proxyMode HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|_| format!("no kube-proxy answers on {PROXY_ADDRESS}"))?;
    mode_in(&answer).ok_or_else(|| format!("what answers on {PROXY_ADDRESS} does not tell kube-proxy's mode"))
}

/// The mode in an answer of HTTP.
fn mode_in(answer: &str) -> Option<String> {
    let (head, mode) = answer.split_once("\r\n\r\n")?;
    let is_word = !mode.trim().is_empty() && mode.trim().bytes().all(|byte| byte.is_ascii_alphanumeric());
    (head.split(' ').nth(1) == Some("200") && is_word).then(|| mode.trim().to_owned())
}

/// Reads the API as an agent does, until each resource was read, or could not be.
fn ask_api(question: &Question) -> Known<Vec<Resource>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let node = question.node_name.clone().unwrap_or_default();
    let options = api::Options { kubeconfig: question.kubeconfig.clone(), node, ..api::Options::default() };
    runtime.block_on(async {
        // Its watches end with it.
        let mut source: Source = api::spawn(&options).await.map_err(|error| error.to_string())?;
        let is_told =
            |status: &SourceStatus| status.resources.values().all(|it| it.synced.is_some() || it.failure().is_some());
        let asked = async {
            loop {
                tokio::select! {
                    told = source.status.wait_for(is_told) => return told.map(|status| resources(&status)).ok(),
                    Some(_) = source.updates.recv() => {}
                }
            }
        };
        let told = timeout(API, asked).await.ok().flatten();
        let status = source.status.borrow();
        Ok(told.unwrap_or_else(|| resources(&status)))
    })
}

fn resources(status: &SourceStatus) -> Vec<Resource> {
    let resource = |(name, it): (&String, &podgate_source::ResourceStatus)| Resource {
        name: name.clone(),
        objects: it.synced.map(|_| it.objects),
        error: it.failure().map(|error| error.message.clone()),
    };
    status.resources.iter().map(resource).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxy_tells_its_mode_in_one_word() {
        let answer = |status: &str, body: &str| mode_in(&format!("HTTP/1.1 {status}\r\nDate: x\r\n\r\n{body}"));
        assert_eq!(answer("200 OK", "nftables").as_deref(), Some("nftables"));
        assert_eq!(answer("404 Not Found", "nftables"), None);
        assert_eq!([answer("200 OK", "<html>"), answer("200 OK", ""), mode_in("nftables")], [None, None, None]);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "none integrity [confidentiality]\n").unwrap();
        assert_eq!(lockdown(file.path()).as_deref(), Some("confidentiality"));
        assert_eq!(lockdown(Path::new("/nowhere")), None);
    }
}
