//! A lab with one node and the agent on it, and questions asked many at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{
    Addresses, Agent, Lab, Manifests, Namespace, Node, Pod, PodManifest, Probe, Result, RunningAgent, Seen, Wiring,
};
use serde_json::Value;

/// How long an answer may take to come. The machine may be busy.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// How long silence is listened to: less than TCP's first retransmission takes, so that one probe is one denied packet.
pub(crate) const SILENCE: Duration = Duration::from_millis(600);
/// How long the agent may take to enforce what was written.
pub(crate) const IN_FORCE: Duration = Duration::from_secs(10);
/// The ports that [`serve`] serves.
pub(crate) const PORTS: [u16; 2] = [80, 81];

/// A lab with the node `node-1`, a directory of manifests, and the agent once [`World::run_agent`] was called. Dropped, it
/// ends the agent and removes the lab.
pub(crate) struct World {
    agent: Option<RunningAgent>,
    /// How the agent is started; arguments and capabilities can be added.
    pub(crate) start: Agent,
    pub(crate) manifests: Manifests,
    /// NetworkPolicies in each file that this has written.
    policies: BTreeMap<String, usize>,
    pub(crate) node: Node,
    pub(crate) lab: Lab,
}

impl World {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node-1")?;
        let manifests = Manifests::new(&lab, "manifests")?;
        let start = agent_of(&lab, &node).manifests(manifests.path());
        Ok(Self { agent: None, start, manifests, policies: BTreeMap::new(), node, lab })
    }

    /// A world in which the agent runs, with these arguments besides.
    pub(crate) fn started(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut world = Self::new(name)?;
        world.run_agent(arguments)?;
        Ok(world)
    }

    /// Starts the agent, with these arguments besides, and waits until it is ready.
    pub(crate) fn run_agent(&mut self, arguments: &[&str]) -> Result<()> {
        self.start = arguments.iter().fold(self.start.clone(), |start, argument| start.arg(argument));
        self.restart()
    }

    /// Starts the agent as it was started before, and waits until it is ready.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.agent = Some(self.start.start_ready(&self.lab, &self.node)?);
        Ok(())
    }

    /// The agent that runs.
    pub(crate) fn agent(&mut self) -> &mut RunningAgent {
        self.agent.as_mut().expect("the agent was started")
    }

    /// The agent that runs, to be ended by the caller.
    pub(crate) fn take_agent(&mut self) -> RunningAgent {
        self.agent.take().expect("the agent was started")
    }

    /// Adds a pod, `namespace/name`, that serves [`PORTS`], as an object with the label `app=NAME`, and waits until it is
    /// enforced if the agent runs.
    pub(crate) fn pod(&mut self, name: &str, wiring: Wiring) -> Result<Pod> {
        let pod = self.node.pod(name, wiring)?;
        self.take_in(pod)
    }

    /// As [`World::pod`], with addresses that a removed pod had.
    pub(crate) fn pod_at(&mut self, name: &str, wiring: Wiring, addresses: Addresses) -> Result<Pod> {
        let pod = self.node.pod_at(name, wiring, addresses)?;
        self.take_in(pod)
    }

    fn take_in(&mut self, pod: Pod) -> Result<Pod> {
        serve(&pod)?;
        self.declare(&labelled(&pod), &pod)?;
        Ok(pod)
    }

    /// Writes the object of a pod, or changes it, and waits until it is enforced if the agent runs.
    pub(crate) fn declare(&mut self, manifest: &PodManifest, pod: &Pod) -> Result<()> {
        self.write(&file_of(pod), &manifest.json().to_string())
    }

    /// Removes the object of a pod and waits until the agent knows.
    pub(crate) fn forget(&mut self, pod: &Pod) -> Result<()> {
        self.remove(&file_of(pod))
    }

    /// Writes a file of manifests and waits until it is in force, if the agent runs.
    pub(crate) fn write(&mut self, file: &str, manifests: &str) -> Result<()> {
        self.put(file, manifests)?;
        self.settle()
    }

    /// As [`World::declare`], but waits only until the agent knows: it need not be ready.
    pub(crate) fn tell(&mut self, manifest: &PodManifest, pod: &Pod) -> Result<()> {
        self.put(&file_of(pod), &manifest.json().to_string())?;
        self.taken_in()
    }

    fn put(&mut self, file: &str, manifests: &str) -> Result<()> {
        let old = self.policies.get(file).copied().unwrap_or(0);
        let own = manifests.matches("NetworkPolicy").count() - manifests.matches("ClusterNetworkPolicy").count();
        // The number of policies tells when the agent has taken a file in: there must always be another number of them,
        // and at least one.
        let marks = if own + 1 == old { 2 } else { 1 };
        let marks: Vec<String> = (0..marks).map(|number| mark(file, number)).collect();
        self.policies.insert(file.to_owned(), own + marks.len());
        self.manifests.write(file, format!("{manifests}\n---\n{}", marks.join("\n---\n")))
    }

    /// Removes a file and waits until that is in force, if the agent runs.
    pub(crate) fn remove(&mut self, file: &str) -> Result<()> {
        self.policies.remove(file);
        self.manifests.remove(file)?;
        self.settle()
    }

    /// Waits until the agent, if it runs, enforces every file that this has written.
    fn settle(&mut self) -> Result<()> {
        self.taken_in()?;
        let Some(agent) = &mut self.agent else { return Ok(()) };
        until("the agent has applied what was written", || {
            Ok(agent.metrics()?.sum("podgate_apply_pending", &[]) == 0.0)
        })?;
        agent.wait_ready()
    }

    /// Waits until the agent, if it runs, knows every file that this has written.
    fn taken_in(&mut self) -> Result<()> {
        let expected = self.policies.values().sum::<usize>() as f64;
        let Some(agent) = &mut self.agent else { return Ok(()) };
        until("the agent has taken in what was written", || {
            Ok(agent.metrics()?.sum("podgate_policies", &[]) == expected)
        })
    }

    /// Waits until the agent is not ready, for a reason with these words.
    pub(crate) fn wait_not_ready(&mut self, reason: &str) -> Result<()> {
        let agent = self.agent();
        until(&format!("the agent is not ready because {reason}"), || {
            let ready = agent.get("/readyz")?;
            Ok(ready.status == 503 && ready.body.contains(reason))
        })
    }

    /// What `podgate status -o json` prints.
    pub(crate) fn status(&mut self) -> Result<Value> {
        let output = self.agent().podgate("status").args(["-o", "json"]).output().expect("the binary can be run");
        // Its exit status also says whether the agent is ready.
        let message = String::from_utf8_lossy(&output.stderr);
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("podgate status: {error}: {message}")))
    }

    /// The packets of a pod that were denied in a direction, by reason.
    pub(crate) fn denied(&mut self, pod: &Pod, direction: &str) -> Result<BTreeMap<String, u64>> {
        self.verdicts(pod, direction, "denied")
    }

    /// The packets of a pod that were allowed in a direction, by reason.
    pub(crate) fn allowed(&mut self, pod: &Pod, direction: &str) -> Result<BTreeMap<String, u64>> {
        self.verdicts(pod, direction, "allowed")
    }

    /// The packets of a pod with a verdict in a direction, by reason.
    pub(crate) fn verdicts(&mut self, pod: &Pod, direction: &str, verdict: &str) -> Result<BTreeMap<String, u64>> {
        let name = pod.name().clone();
        let labels =
            [("namespace", &*name.namespace), ("pod", &*name.name), ("direction", direction), ("verdict", verdict)];
        let metrics = self.agent().metrics()?;
        let series = metrics.matching("podgate_verdicts_total", &labels).filter(|series| series.value > 0.0);
        Ok(series.map(|series| (series.label("reason").to_owned(), series.value as u64)).collect())
    }
}

/// Has a pod's kernel count the frames that come by its interface, before podgate or anybody else there has a say. The rules
/// are nft's, and name the counters.
pub(crate) fn count_arrivals(pod: &Pod, counters: &[&str], rules: &[String]) -> Result<()> {
    let mut commands = vec![
        "add table netdev frames".to_owned(),
        "add chain netdev frames arrivals { type filter hook ingress device eth0 priority 0; }".to_owned(),
    ];
    commands.extend(counters.iter().map(|counter| format!("add counter netdev frames {counter}")));
    commands.extend(rules.iter().map(|rule| format!("add rule netdev frames arrivals {rule}")));
    pod.output("nft", &[&commands.join("; ")]).map(drop)
}

/// The frames that one of the counters of [`count_arrivals`] has counted.
pub(crate) fn arrivals(pod: &Pod, counter: &str) -> Result<u64> {
    let shown = pod.output("nft", &["list", "counter", "netdev", "frames", counter])?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    Ok(words.next().and_then(|word| word.parse().ok()).expect("nft shows a number of packets"))
}

/// How often: rarely in a test, often in a soak.
pub(crate) fn times(test: usize, soak: usize) -> usize {
    if std::env::var_os("PODGATE_SOAK").is_some() { soak } else { test }
}

/// Waits until something is so.
///
/// # Panics
/// When it is not within [`IN_FORCE`].
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + IN_FORCE;
    while !is_so()? {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The agent for a node, with nothing in common with those of other labs and nodes.
pub(crate) fn agent_of(lab: &Lab, node: &Node) -> Agent {
    let bindings = lab.directory().join(format!("bindings-{}.json", node.name()));
    Agent::new(env!("CARGO_BIN_EXE_podgate")).arg("--bindings").arg(bindings)
}

/// A pod's object with the label `app=NAME`.
pub(crate) fn labelled(pod: &Pod) -> PodManifest {
    pod.manifest().label("app", &pod.name().name)
}

fn file_of(pod: &Pod) -> String {
    format!("pod-{}-{}.yaml", pod.name().namespace, pod.name().name)
}

/// A policy of a namespace without pods: it changes nothing.
fn mark(file: &str, number: usize) -> String {
    let name = format!("{}-{number}", file.trim_end_matches(".yaml"));
    policy("marks", &name, "podSelector: {}")
}

/// A NetworkPolicy as YAML; `spec` in lines without indentation.
pub(crate) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let spec = spec.trim().replace('\n', "\n  ");
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{ namespace: {namespace}, name: {name} }}\nspec:\n  {spec}\n"
    )
}

/// Isolates the pods that `selector` matches, for instance `{}`, in both directions, and allows nothing.
pub(crate) fn deny_all(namespace: &str, selector: &str) -> String {
    policy(namespace, "deny-all", &format!("podSelector: {selector}\npolicyTypes: [Ingress, Egress]"))
}

/// Serves TCP and UDP echo on [`PORTS`] until the lab ends.
pub(crate) fn serve(namespace: &Namespace) -> Result<()> {
    for port in PORTS {
        namespace.serve_tcp(port)?.detach();
        namespace.serve_udp(port)?.detach();
    }
    Ok(())
}

/// What [`Questions::ask`] asks.
struct Question<'a> {
    from: &'a Namespace,
    /// The address to ask from, where the kernel is not to choose one.
    source: Option<IpAddr>,
    probe: Probe,
    expected: Seen,
}

/// Questions that are asked all at once, since waiting for silence takes time.
#[derive(Default)]
pub(crate) struct Questions<'a> {
    questions: Vec<Question<'a>>,
}

impl<'a> Questions<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// These are answered.
    pub(crate) fn answered(self, from: &'a Namespace, probes: impl IntoIterator<Item = Probe>) -> Self {
        self.expect(from, probes, Seen::Answered)
    }

    /// Nothing comes back for these.
    pub(crate) fn silent(self, from: &'a Namespace, probes: impl IntoIterator<Item = Probe>) -> Self {
        self.expect(from, probes, Seen::Silence)
    }

    /// These are seen as `expected`.
    pub(crate) fn expect(
        mut self,
        from: &'a Namespace,
        probes: impl IntoIterator<Item = Probe>,
        expected: Seen,
    ) -> Self {
        let question = |probe| Question { from, source: None, probe, expected };
        self.questions.extend(probes.into_iter().map(question));
        self
    }

    /// One is seen as `expected` if asked from this address.
    pub(crate) fn expect_from(mut self, from: &'a Namespace, source: IpAddr, probe: Probe, expected: Seen) -> Self {
        self.questions.push(Question { from, source: Some(source), probe, expected });
        self
    }

    /// Asks each once.
    ///
    /// # Panics
    /// When something else is seen than expected: shows every difference.
    #[track_caller]
    pub(crate) fn ask(self) {
        let seen: Vec<Seen> = thread::scope(|scope| {
            let threads: Vec<_> = self.questions.iter().map(|question| scope.spawn(move || question.ask())).collect();
            threads.into_iter().map(|thread| thread.join().expect("probes don't panic")).collect()
        });
        let answers = self.questions.iter().zip(seen);
        let wrong: Vec<String> = answers
            .filter(|(question, seen)| question.expected != *seen)
            .map(|(Question { from, probe, expected, .. }, seen)| {
                format!("{probe} from {}: {seen:?} instead of {expected:?}", from.netns())
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

impl Question<'_> {
    fn ask(&self) -> Seen {
        let patience = if self.expected == Seen::Silence { SILENCE } else { ANSWER };
        self.from.probe_from(self.probe, self.source.map(|address| SocketAddr::new(address, 0)), patience)
    }
}

/// TCP to both addresses.
pub(crate) fn tcp(to: [IpAddr; 2], port: u16) -> [Probe; 2] {
    to.map(|address| Probe::tcp(address, port))
}

/// UDP to both addresses.
pub(crate) fn udp(to: [IpAddr; 2], port: u16) -> [Probe; 2] {
    to.map(|address| Probe::udp(address, port))
}

/// Echo requests to both addresses.
pub(crate) fn ping(to: [IpAddr; 2]) -> [Probe; 2] {
    to.map(Probe::ping)
}

/// TCP and UDP to a port of both addresses, and echo requests to them.
pub(crate) fn everything(to: [IpAddr; 2], port: u16) -> Vec<Probe> {
    [tcp(to, port), udp(to, port), ping(to)].concat()
}
