//! `podgate diff`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

use anyhow::bail;
use clap::Args;
use podgate_judge::diff::{Cause, Change, Comparison, Diff, End, Move, NotCompared, leaves_out_nodes, not_compared};
use podgate_policy::cluster::Cluster;
use podgate_policy::model::ObjectKey;
use serde::Serialize;

use super::NOTHING_JUDGED;
use super::input::{ClusterArgs, PartiesArgs, PortChoiceArgs, read_files, several, sound};
use super::output::{Format, print, print_json};
use super::progress::Progress;

/// Exit status when something opens or closes.
const DIFFERENT: u8 = 1;

/// Tell which connections open or close between two sets of objects
///
/// Two sets of files, or a cluster as it is and one set of files. Both sets hold everything: namespaces, pods or
/// workloads, and policies. Compared are all pairs of pods, and pods with the addresses outside that ipBlocks of either
/// set tell apart. Pods that are alike in both are shown as one. Exit status: 0 nothing opens or closes, 1 something
/// does, 2 when the input is invalid, 3 when nothing was compared: there are no pods, no ports, or none that the
/// policies that differ select.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// A file of Kubernetes YAML or a directory of such files: first the old state, then the new one. Given once, the old
    /// state is a cluster's
    #[arg(short = 'f', long = "file", value_name = "FILE_OR_DIR", required = true)]
    states: Vec<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    ports: PortChoiceArgs,

    #[command(flatten)]
    parties: PartiesArgs,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

/// The JSON output. Scripts read it: fields are added, not renamed.
#[derive(Serialize)]
struct View {
    changes: Vec<ChangeView>,
    pods_added: Vec<String>,
    pods_removed: Vec<String>,
    not_compared: Option<String>,
}

/// A connection that opens or closes. An end that is no pod is a block, which stands for its addresses outside the cluster.
#[derive(Serialize)]
struct ChangeView {
    change: &'static str,
    because: &'static str,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_pods: Option<usize>,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_pods: Option<usize>,
    outside: Option<&'static str>,
    protocol: &'static str,
    port: u16,
}

impl DiffArgs {
    /// Prints the differences.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let (old, new) = self.read(&progress)?;
        let compared = Comparison::new(&old, &new, &self.ports.choice(), &mut progress.judging_pairs());
        let compared = self.parties.choice().of(compared, Comparison::by_pod);
        let diff = compared.diff();
        drop(progress);
        let not_compared = not_compared(&old, &new, &self.ports.choice(), &diff);
        if leaves_out_nodes(&old, &new) {
            eprintln!(
                "note: connections with nodes, and with pods on their network, are not compared: ask podgate explain"
            );
        }
        match (self.output, &not_compared) {
            (Format::Text, Some(why)) => eprintln!("podgate: {why}"),
            (Format::Text, None) => print(&compared.render(&diff))?,
            (Format::Json, _) => print_json(&view(&diff, not_compared.as_ref()))?,
        }
        Ok(match (diff.is_empty(), not_compared) {
            (_, Some(_)) => ExitCode::from(NOTHING_JUDGED),
            (true, None) => ExitCode::SUCCESS,
            (false, None) => ExitCode::from(DIFFERENT),
        })
    }

    /// The old state and the new one.
    fn read(&self, progress: &Progress) -> anyhow::Result<(Cluster, Cluster)> {
        let from_files = |path| sound(read_files(slice::from_ref(path), progress), progress);
        match self.states.as_slice() {
            [old, new] => Ok((from_files(old)?, from_files(new)?)),
            [new] => Ok((sound(self.cluster.read(progress)?, progress)?, from_files(new)?)),
            states => bail!("two -f are the most, the old state and the new one; there are {}", states.len()),
        }
    }
}

fn view(diff: &Diff, not_compared: Option<&NotCompared>) -> View {
    let names = |pods: &std::collections::BTreeSet<ObjectKey>| pods.iter().map(ToString::to_string).collect();
    View {
        changes: diff.changes.iter().map(change).collect(),
        pods_added: names(&diff.added),
        pods_removed: names(&diff.removed),
        not_compared: not_compared.map(ToString::to_string),
    }
}

fn change(change: &Change) -> ChangeView {
    ChangeView {
        change: match change.what {
            Move::Opens => "opens",
            Move::Closes => "closes",
        },
        because: match change.cause {
            Cause::Policy => "policy",
            Cause::Pod => "pod",
        },
        from: name(&change.from),
        from_pods: pods(&change.from),
        to: name(&change.to),
        to_pods: pods(&change.to),
        outside: match (&change.from, &change.to) {
            (End::Outside(_), _) => Some("from"),
            (_, End::Outside(_)) => Some("to"),
            _ => None,
        },
        protocol: change.protocol.as_str(),
        port: change.port,
    }
}

fn name(end: &End) -> String {
    match end {
        End::Pod(group) => group.name.to_string(),
        End::Outside(block) => block.to_string(),
    }
}

fn pods(end: &End) -> Option<usize> {
    match end {
        End::Pod(group) => several(group),
        End::Outside(_) => None,
    }
}
