//! Arguments and objects that the commands share that need no agent.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use podgate_engine::printable;
use podgate_judge::groups::{Group, Parties};
use podgate_judge::matrix::PortChoice;
use podgate_policy::cluster::Cluster;
use podgate_policy::model::Protocol;
use podgate_source::api::{Access, snapshot};
use podgate_source::manifests::{Loaded, load};
use podgate_source::{Problem, ProblemKind};
use tokio::runtime;

use super::progress::Progress;

/// Where the objects are read.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// A file of Kubernetes YAML (any number of documents), a directory of such files, or - for standard input;
    /// repeatable. Workloads stand for the pods that they are to make. Without it, the objects of a cluster
    #[arg(short = 'f', long = "file", value_name = "FILE_OR_DIR")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which cluster is meant where no files are given.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig file for the cluster [default: the pod's service account, else $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl ClusterArgs {
    /// Reads the cluster's objects.
    pub(super) fn read(&self, progress: &Progress) -> anyhow::Result<Loaded> {
        progress.doing("reading the cluster");
        let access = Access { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() };
        let tell = |objects| progress.doing(format!("reading the cluster: {objects} objects so far"));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(snapshot(&access, tell))?)
    }
}

impl Files {
    /// Reads everything.
    ///
    /// # Errors
    /// When anything in the files is invalid: each problem is a line on standard error, since a verdict from half of
    /// the policies would mislead. What is passed over is a line there too, and no error. When the cluster can't be read.
    pub(super) fn load(&self, progress: &Progress) -> anyhow::Result<Cluster> {
        sound(self.read(progress)?, progress)
    }

    /// Reads everything, mistakes in objects included.
    ///
    /// # Errors
    /// When a file, or the cluster, can't be read, as [`Self::load`].
    pub(super) fn load_readable(&self, progress: &Progress) -> anyhow::Result<Loaded> {
        let loaded = self.read(progress)?;
        let unreadable = loaded.problems.iter().filter(|problem| problem.kind == ProblemKind::File);
        progress.aside(|| refuse(unreadable))?;
        Ok(loaded)
    }

    fn read(&self, progress: &Progress) -> anyhow::Result<Loaded> {
        if self.files.is_empty() { self.cluster.read(progress) } else { Ok(read_files(&self.files, progress)) }
    }
}

/// Reads files and directories.
pub(super) fn read_files(paths: &[PathBuf], progress: &Progress) -> Loaded {
    progress.doing("reading the files");
    load(paths)
}

/// The state of objects without a mistake, as [`Files::load`] asks for it.
pub(super) fn sound(loaded: Loaded, progress: &Progress) -> anyhow::Result<Cluster> {
    let is_judged = |problem: &&Problem| problem.is_passed_over() || problem.fails_closed_as_served();
    let (judged, wrong): (Vec<_>, Vec<_>) = loaded.problems.iter().partition(is_judged);
    progress.aside(|| {
        judged.iter().for_each(|problem| eprintln!("warning: {}", warning(problem)));
        refuse(wrong.into_iter())?;
        if !loaded.cluster.cluster_policies.is_empty() {
            eprintln!("note: judged by ClusterNetworkPolicies too, which podgate's agent enforces with --cluster-policies=auto");
        }
        anyhow::Ok(())
    })?;
    Ok(loaded.cluster)
}

/// Names the problems and fails, if there are any.
fn refuse<'p>(problems: impl Iterator<Item = &'p Problem>) -> anyhow::Result<()> {
    let count = problems.inspect(|problem| eprintln!("{}", line(problem))).count();
    match count {
        0 => Ok(()),
        1 => bail!("1 problem in the input: nothing was judged"),
        n => bail!("{n} problems in the input: nothing was judged"),
    }
}

/// A problem without what an agent would do about it.
fn line(problem: &Problem) -> String {
    let parts = [Some(problem.origin.to_string()), problem.object.clone(), problem.field.clone()];
    let mut line: String = parts.into_iter().flatten().map(|part| part + ": ").collect();
    line.push_str(&problem.message);
    // A name or value from a hostile file may hold anything; a problem stays one line all the same.
    printable(&line)
}

/// A problem in spite of which everything is judged, with what it changes.
fn warning(problem: &Problem) -> String {
    match problem.fails_closed_as_served() {
        true => format!("{}; {}", line(problem), problem.effect),
        false => line(problem),
    }
}

/// Which ports are asked for.
#[derive(Args, Debug)]
pub(crate) struct PortChoiceArgs {
    /// A port to ask for, such as TCP/80; repeatable. Without it: the container ports of each destination
    #[arg(long = "port", value_name = "PROTOCOL/PORT", value_parser = port)]
    ports: Vec<(Protocol, u16)>,
}

impl PortChoiceArgs {
    /// Whether ports are given.
    pub(crate) fn is_given(&self) -> bool {
        !self.ports.is_empty()
    }

    /// The choice.
    pub(crate) fn choice(&self) -> PortChoice {
        if self.ports.is_empty() {
            return PortChoice::ContainerPorts;
        }
        PortChoice::Listed(self.ports.iter().copied().collect())
    }
}

/// What is shown as one party.
#[derive(Args, Debug)]
pub(crate) struct PartiesArgs {
    /// Show every pod by itself, not groups of pods with the same connections
    #[arg(long)]
    pods: bool,
}

impl PartiesArgs {
    /// The choice.
    pub(crate) fn choice(&self) -> Parties {
        if self.pods { Parties::Pods } else { Parties::Groups }
    }
}

/// How many pods a party stands for, if it is not one.
pub(super) fn several(group: &Group) -> Option<usize> {
    (!group.is_pod()).then_some(group.pods)
}

/// Parses `PROTOCOL/PORT`.
fn port(text: &str) -> Result<(Protocol, u16), String> {
    let (name, number) = text.split_once('/').ok_or("expected PROTOCOL/PORT, such as TCP/80")?;
    let protocol = protocol(name).ok_or("the protocol is TCP, UDP or SCTP")?;
    Ok((protocol, port_number(number)?))
}

/// Parses a protocol in any case.
pub(crate) fn protocol(text: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
}

/// Parses a port number.
pub(crate) fn port_number(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("a port number is between 1 and 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_source::{Effect, Origin};

    #[test]
    fn a_problem_is_one_line_whatever_it_names() {
        let problem = Problem {
            origin: Origin::File { path: PathBuf::from("a.yaml").into(), document: Some(2) },
            object: Some("NetworkPolicy shop/\u{1b}[31mapi\n".to_owned()),
            field: Some("spec.ingress[0]".to_owned()),
            kind: ProblemKind::Invalid,
            message: "wrong".to_owned(),
            effect: Effect::Isolated,
        };
        assert_eq!(
            line(&problem),
            "a.yaml, document 2: NetworkPolicy shop/\u{fffd}[31mapi\u{fffd}: spec.ingress[0]: wrong"
        );
    }

    #[test]
    fn a_rule_of_a_server_that_fails_closed_is_judged_and_one_of_a_file_is_not() {
        let problem = |origin| Problem {
            origin,
            object: Some("ClusterNetworkPolicy guard".to_owned()),
            field: Some("spec.ingress[0].from[0]".to_owned()),
            kind: ProblemKind::Schema,
            message: "unknown field".to_owned(),
            effect: Effect::RuleDeniesAll,
        };
        let judged = |origin| {
            let loaded = Loaded { problems: vec![problem(origin)], ..Loaded::default() };
            sound(loaded, &Progress::new()).is_ok()
        };
        assert_eq!((judged(Origin::Api), judged(Origin::file("a.yaml"))), (true, false));
        assert_eq!(
            warning(&problem(Origin::Api)),
            "Kubernetes API: ClusterNetworkPolicy guard: spec.ingress[0].from[0]: unknown field; until it is understood, the rule \
             denies everything from its place on"
        );
    }

    #[test]
    fn ports_carry_their_protocol() {
        assert_eq!(port("udp/53"), Ok((Protocol::Udp, 53)));
        for bad in ["80", "TCP/0", "ICMP/1", "TCP/", "/80", "TCP/80/1"] {
            assert!(port(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn ports_are_between_1_and_65535() {
        assert_eq!((port_number("1"), port_number("65535")), (Ok(1), Ok(65535)));
        for bad in ["0", "65536", "-1", "http", ""] {
            assert!(port_number(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn protocols_are_known_in_any_case() {
        assert_eq!(
            (protocol("tcp"), protocol("SCTP"), protocol("icmp")),
            (Some(Protocol::Tcp), Some(Protocol::Sctp), None)
        );
    }
}
