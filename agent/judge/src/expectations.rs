//! Expected reachability, compared with what policies allow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Pod, Selector};

use crate::explain::{Answer, Asked, Destination, End, ExplainError, Query, explain, words};
use crate::groups::{Marks, Parties};

/// What somebody expects of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Who opens them.
    pub from: Source,
    /// Who is connected to.
    pub to: Target,
    /// What they carry.
    pub asked: Asked,
    /// What should become of every one of them.
    pub expected: Expected,
}

/// Who opens connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A pod or an address.
    One(End),
    /// Every one of these pods.
    Pods(Group),
}

/// Who is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pod, a Service or an address.
    One(Destination),
    /// Every one of these pods.
    Pods(Group),
}

/// Pods of a namespace by their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Which pods there.
    pub pods: Selector,
}

/// What should become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It passes: over every pair of addresses, at every backend.
    Allow,
    /// It doesn't: over no pair of addresses, at no backend.
    Deny,
}

/// How an expectation compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How many pairs of ends were judged; a pod and itself are none.
    pub pairs: usize,
    /// What is not as expected.
    pub wrong: Vec<Wrong>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The verdict is another, for this many pairs: those of pods that are alike have one.
    Verdict(Box<Answer>, usize),
    /// There is no verdict, for this many pairs.
    NoAnswer(Query, Box<ExplainError>, usize),
    /// There is no such pod, so that nothing was judged.
    Nobody(Group),
    /// The only pair is a pod and itself, which is no matter of policy.
    Itself(ObjectKey),
}

impl Judgement {
    /// Whether everything is as expected, and there was something to judge.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.wrong.is_empty()
    }

    /// How many pairs are not as expected.
    #[must_use]
    pub fn wrong_pairs(&self) -> usize {
        self.wrong.iter().map(Wrong::pairs).sum()
    }
}

impl Wrong {
    /// Of how many pairs it is the reason.
    #[must_use]
    pub fn pairs(&self) -> usize {
        match self {
            Self::Verdict(_, pairs) | Self::NoAnswer(_, _, pairs) => *pairs,
            Self::Nobody(_) | Self::Itself(_) => 0,
        }
    }
}

impl Expected {
    /// As files spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    fn is_met_by(self, answer: &Answer) -> bool {
        match self {
            Self::Allow => answer.is_allowed(),
            Self::Deny => answer.is_denied(),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match words::selector(&self.pods) {
            labels if labels.is_empty() => write!(f, "pods of namespace {}", self.namespace),
            labels => write!(f, "pods of namespace {} with {labels}", self.namespace),
        }
    }
}

/// The reason, as [`explain`] gives it: several lines, each ended.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(answer, _) => answer.fmt(f),
            Self::NoAnswer(_, error, _) => writeln!(f, "no verdict: {error}"),
            Self::Nobody(group) => writeln!(f, "no verdict: there are no {group}"),
            Self::Itself(pod) => {
                writeln!(f, "no verdict: the only pair is {pod} and itself, which always reach each other")
            }
        }
    }
}

/// Judges every pair of ends that an expectation names: pairs of pods that are alike once, or each by itself.
#[must_use]
pub fn judge(cluster: &Cluster, expectation: &Expectation, parties: Parties) -> Judgement {
    let sources = match &expectation.from {
        Source::One(end) => Ok(vec![end.clone()]),
        Source::Pods(group) => members(cluster, group).map(|keys| keys.into_iter().map(End::Pod).collect()),
    };
    let targets = match &expectation.to {
        Target::One(destination) => Ok(vec![destination.clone()]),
        Target::Pods(group) => members(cluster, group).map(|keys| keys.into_iter().map(Destination::Pod).collect()),
    };
    match (sources, targets) {
        (Ok(sources), Ok(targets)) => judge_all(cluster, expectation, parties, &sources, &targets),
        (sources, targets) => {
            Judgement { pairs: 0, wrong: [sources.err(), targets.err()].into_iter().flatten().collect() }
        }
    }
}

fn members(cluster: &Cluster, group: &Group) -> Result<Vec<ObjectKey>, Wrong> {
    let fits =
        |pod: &&Pod| pod.is_networked() && pod.key.namespace == group.namespace && group.pods.matches(&pod.labels);
    let pods: Vec<_> = cluster.pods.values().map(|pod| &**pod).filter(fits).map(|pod| pod.key.clone()).collect();
    if pods.is_empty() { Err(Wrong::Nobody(group.clone())) } else { Ok(pods) }
}

fn judge_all(
    cluster: &Cluster,
    expectation: &Expectation,
    parties: Parties,
    sources: &[End],
    targets: &[Destination],
) -> Judgement {
    let alike = match parties {
        Parties::Groups => pairs_of_groups(cluster, sources, targets),
        Parties::Pods => None,
    };
    let pairs = alike.unwrap_or_else(|| all_pairs(sources, targets));
    if let (true, Some(End::Pod(pod))) = (pairs.is_empty(), sources.first()) {
        return Judgement { pairs: 0, wrong: vec![Wrong::Itself(pod.clone())] };
    }
    let wrong = |&(from, to, pairs): &Pairs<'_>| {
        let query = Query { from: from.clone(), to: to.clone(), asked: expectation.asked.clone() };
        match explain(cluster, &query) {
            Ok(answer) if expectation.expected.is_met_by(&answer) => None,
            Ok(answer) => Some(Wrong::Verdict(answer.into(), pairs)),
            Err(error) => Some(Wrong::NoAnswer(query, error.into(), pairs)),
        }
    };
    let wrong = pairs.iter().filter_map(wrong).collect();
    Judgement { pairs: pairs.iter().map(|(.., pairs)| pairs).sum(), wrong }
}

/// A pair of ends, and how many pairs it is judged for.
type Pairs<'e> = (&'e End, &'e Destination, usize);

fn all_pairs<'e>(sources: &'e [End], targets: &'e [Destination]) -> Vec<Pairs<'e>> {
    let pairs = sources.iter().flat_map(|from| targets.iter().map(move |to| (from, to, 1)));
    // Of groups that overlap, only what goes between different pods is meant.
    pairs.filter(|(from, to, _)| !is_itself(from, to)).collect()
}

/// The first pair of each two groups of pods that are alike; `None` where some end is no pod of the pod network, of
/// which answers depend on more.
fn pairs_of_groups<'e>(cluster: &Cluster, sources: &'e [End], targets: &'e [Destination]) -> Option<Vec<Pairs<'e>>> {
    let marks = Marks::of(cluster);
    let (mut from, mut to) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for end in sources {
        let End::Pod(key) = end else { return None };
        from.entry(marks.facts(networked(cluster, key)?)).or_default().push(end);
    }
    for end in targets {
        let Destination::Pod(key) = end else { return None };
        to.entry(marks.facts(networked(cluster, key)?)).or_default().push(end);
    }
    let groups = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
    let pairs = groups.filter_map(|((its, from), (theirs, to))| {
        let is_target = |from: &&&End| to.iter().any(|to| is_itself(from, to));
        let same = if its == theirs { from.iter().filter(is_target).count() } else { 0 };
        let mut all = from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to)));
        all.find(|(from, to)| !is_itself(from, to)).map(|(first, last)| (first, last, from.len() * to.len() - same))
    });
    Some(pairs.collect())
}

fn networked<'c>(cluster: &'c Cluster, key: &ObjectKey) -> Option<&'c Pod> {
    cluster.pods.get(key).map(|pod| &**pod).filter(|pod| pod.is_networked())
}

fn is_itself(from: &End, to: &Destination) -> bool {
    matches!((from, to), (End::Pod(from), Destination::Pod(to)) if from == to)
}
