//! One pod, top to bottom: prepare the checks, ask them about every node, score the nodes that are left, pick one.
//!
//! Pure: reads a profile and a snapshot, draws only the choice between equally good nodes from the generator it is
//! given, writes nothing. Every node is scored (upstream samples above 100 nodes). Upstream: `schedule_one.go`.

use crate::cache::{NodeInfo, Snapshot};
use crate::failure::{Failure, Rejection};
use crate::framework::{ForPod, NodeCheck, Profile, Score, Verdict};
use crate::metrics::{Code, Point, Watch};
use crate::pod::{NodeName, PodInfo};
use component::random::Random;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// A node for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node chosen.
    pub node: NodeName,
    /// How many nodes it was chosen from.
    pub feasible: usize,
}

/// Finds the node for `pod`, or says of every node why not.
pub fn place(
    pod: &PodInfo,
    profile: &Profile,
    cluster: &Snapshot,
    random: &Random,
) -> Result<Placement, Failure> {
    place_watched(pod, profile, cluster, random, &Watch::OFF)
}

/// [`place`], noting how often plugins are asked and how long they take.
pub fn place_watched(
    pod: &PodInfo,
    profile: &Profile,
    cluster: &Snapshot,
    random: &Random,
    watch: &Watch<'_>,
) -> Result<Placement, Failure> {
    if cluster.is_empty() {
        return Err(Failure::no_nodes());
    }
    let checks = watch.point(Point::PreFilter, refusal_or_success, || {
        Checks::prepare_watched(pod, profile, cluster, watch)
    })?;
    if let Some(node) = promised(pod, &checks, cluster) {
        return Ok(Placement { node, feasible: 1 });
    }
    let sample = profile.enough(cluster.len()).map(|enough| Sample {
        enough,
        // Upstream goes on where the last search stopped, for the same reason: no node is always the last.
        start: usize::try_from(random.below(cluster.len() as u64)).unwrap_or(0),
    });
    let feasible = watch
        .point(Point::Filter, refusal_or_success, || search_watched(pod, &checks, cluster, sample, watch))?;
    let node = match feasible.as_slice() {
        [only] => only,
        several => several[best(&score_watched(pod, profile, cluster, several, watch), random)],
    };
    Ok(Placement { node: node.name.clone(), feasible: feasible.len() })
}

/// The node that preemption made room on, if the pod fits it now: taken without looking further.
fn promised(pod: &PodInfo, checks: &Checks<'_>, cluster: &Snapshot) -> Option<NodeName> {
    let node = cluster.node(cluster.promised_to(&pod.uid)?)?;
    (!checks.leaves_out(node) && checks.ask_with_nominated(pod, node, cluster).is_none())
        .then(|| node.name.clone())
}

/// The nodes that `pod` fits, in the order of the cluster; or what each said.
pub fn fitting<'a>(
    pod: &PodInfo,
    checks: &Checks<'_>,
    cluster: &'a Snapshot,
) -> Result<Vec<&'a NodeInfo>, Failure> {
    search_watched(pod, checks, cluster, None, &Watch::OFF)
}

fn refusal_or_success<T>(result: &Result<T, Failure>) -> Code {
    if result.is_ok() { Code::Success } else { Code::Unschedulable }
}

/// A search that ends early. See [`Profile::sampling`].
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Fitting nodes after which it ends.
    enough: usize,
    /// The node it begins with.
    start: usize,
}

fn search_watched<'a>(
    pod: &PodInfo,
    checks: &Checks<'_>,
    cluster: &'a Snapshot,
    sample: Option<Sample>,
    watch: &Watch<'_>,
) -> Result<Vec<&'a NodeInfo>, Failure> {
    let mut feasible = Vec::new();
    let mut rejections = Vec::new();
    let mut ask = |at: usize| {
        let node = &*cluster.nodes()[at];
        match checks.ask_with_nominated(pod, node, cluster) {
            None => feasible.push(node),
            Some((plugin, verdict)) => rejections.push(Rejection { node: at, plugin, verdict }),
        }
        feasible.len()
    };
    match (&checks.only, sample) {
        (Some(names), _) => {
            names.iter().filter_map(|name| cluster.position(name)).for_each(|at| _ = ask(at));
        }
        (None, None) => (0..cluster.len()).for_each(|at| _ = ask(at)),
        (None, Some(Sample { enough, start })) => {
            let _ = (start..cluster.len()).chain(0..start).find(|at| ask(*at) >= enough);
        }
    }
    checks.note(&feasible, &rejections, cluster, watch);
    if feasible.is_empty() {
        return Err(Failure::no_fit(cluster.len(), rejections, checks.only_by.clone()));
    }
    Ok(feasible)
}

/// The checks of a profile, prepared for one pod.
#[derive(Debug)]
pub struct Checks<'a> {
    checks: Vec<(&'static str, Box<dyn NodeCheck + 'a>)>,
    /// The only nodes worth asking, sorted by name.
    only: Option<Vec<&'a str>>,
    /// The plugins that said so.
    only_by: Vec<&'static str>,
}

impl<'a> Checks<'a> {
    /// These checks, of every node.
    pub(crate) fn of(checks: Vec<(&'static str, Box<dyn NodeCheck + 'a>)>) -> Self {
        Self { checks, only: None, only_by: Vec::new() }
    }

    /// Asks each filter once about the pod.
    pub fn prepare(pod: &'a PodInfo, profile: &'a Profile, cluster: &'a Snapshot) -> Result<Self, Failure> {
        Self::prepare_watched(pod, profile, cluster, &Watch::OFF)
    }

    fn prepare_watched(
        pod: &'a PodInfo,
        profile: &'a Profile,
        cluster: &'a Snapshot,
        watch: &Watch<'_>,
    ) -> Result<Self, Failure> {
        let mut all = Self { checks: Vec::new(), only: None, only_by: Vec::new() };
        let code = |answer: &ForPod<'_>| match answer {
            ForPod::Nothing => Code::Skip,
            ForPod::Check { .. } => Code::Success,
            ForPod::Refuse(_) => Code::Unschedulable,
        };
        for filter in profile.filters() {
            let ask = || filter.for_pod(pod, cluster);
            let answer = watch.plugin(filter.name(), Point::PreFilter, code, ask);
            watch.evaluated(filter.name(), Point::PreFilter, usize::from(code(&answer) != Code::Skip));
            match answer {
                ForPod::Nothing => {}
                ForPod::Refuse(verdict) => {
                    return Err(Failure::refused(cluster.len(), filter.name(), verdict));
                }
                ForPod::Check { check, only } => {
                    if let Some(only) = only {
                        all.restrict(filter.name(), only, cluster.len())?;
                    }
                    all.checks.push((filter.name(), check));
                }
            }
        }
        Ok(all)
    }

    /// Notes how often each was asked: about the nodes that those before it did not refuse. In a cycle that is measured,
    /// each is asked about one more node.
    fn note(&self, feasible: &[&NodeInfo], rejections: &[Rejection], cluster: &Snapshot, watch: &Watch<'_>) {
        let mut asked = feasible.len() + rejections.len();
        for (plugin, _) in &self.checks {
            watch.evaluated(plugin, Point::Filter, asked);
            asked -= rejections.iter().filter(|rejection| rejection.plugin == *plugin).count();
        }
        if !watch.measures() {
            return;
        }
        let one = feasible.first().copied();
        let Some(node) = one.or_else(|| cluster.nodes().first().map(|node| &**node)) else { return };
        for (plugin, check) in &self.checks {
            if watch.plugin(plugin, Point::Filter, Code::of_verdict, || check.check(node)) != Verdict::Fits {
                return;
            }
        }
    }

    fn restrict(
        &mut self,
        plugin: &'static str,
        mut names: Vec<&'a str>,
        nodes: usize,
    ) -> Result<(), Failure> {
        names.sort_unstable();
        names.dedup();
        if let Some(before) = &self.only {
            names.retain(|name| before.binary_search(name).is_ok());
        }
        self.only_by.push(plugin);
        if names.is_empty() {
            return Err(Failure::no_common_node(nodes, &self.only_by));
        }
        self.only = Some(names);
        Ok(())
    }

    /// The first check that refuses the node, stopping there as upstream does.
    pub fn ask(&self, node: &NodeInfo) -> Option<(&'static str, Verdict)> {
        first_refusal(self.checks.iter().map(|(name, check)| (*name, &**check)), node)
    }

    /// What each check says about the node, also those behind the first that refuses it.
    pub fn ask_each(&self, node: &NodeInfo) -> Vec<(&'static str, Verdict)> {
        self.checks.iter().map(|(name, check)| (*name, check.check(node))).collect()
    }

    /// The plugins that leave the pod only the nodes it names.
    pub fn only_by(&self) -> &[&'static str] {
        &self.only_by
    }

    /// The same as [`Self::ask`], counting pods of at least this priority that were promised room there. They may never come, so the
    /// pod has to fit with and without them.
    pub fn ask_with_nominated(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        cluster: &Snapshot,
    ) -> Option<(&'static str, Verdict)> {
        let nominated = cluster.nominated(&node.name);
        let mut ahead =
            nominated.iter().filter(|other| other.priority >= pod.priority && other.uid != pod.uid);
        let first = ahead.next();
        if first.is_some() {
            let mut trial = self.trial(node);
            first.into_iter().chain(ahead).for_each(|other| trial.add_pod(other));
            let refusal = trial.ask();
            if refusal.is_some() {
                return refusal;
            }
        }
        self.ask(node)
    }

    /// A dry run on a copy of `node`.
    pub fn trial<'s>(&'s self, node: &NodeInfo) -> Trial<'s> {
        let checks = self.checks.iter().map(|(name, check)| {
            let check = check.fork().map_or(TrialCheck::Shared(&**check), TrialCheck::Own);
            (*name, check)
        });
        Trial { checks: checks.collect(), node: node.clone() }
    }

    /// True when the restriction to named nodes leaves this one out.
    pub fn leaves_out(&self, node: &NodeInfo) -> bool {
        self.only.as_ref().is_some_and(|only| only.binary_search(&&*node.name).is_err())
    }
}

/// What the checks would say if other pods were on a node.
#[derive(Debug)]
pub struct Trial<'s> {
    checks: Vec<(&'static str, TrialCheck<'s>)>,
    /// The node as it would be.
    pub node: NodeInfo,
}

#[derive(Debug)]
enum TrialCheck<'s> {
    Shared(&'s (dyn NodeCheck + 's)),
    Own(Box<dyn NodeCheck + 's>),
}

impl<'s> Deref for TrialCheck<'s> {
    type Target = dyn NodeCheck + 's;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Shared(check) => *check,
            Self::Own(check) => &**check,
        }
    }
}

impl Trial<'_> {
    /// The first check that refuses the node as it would be.
    pub fn ask(&self) -> Option<(&'static str, Verdict)> {
        first_refusal(self.checks.iter().map(|(name, check)| (*name, &**check)), &self.node)
    }

    /// Puts a pod on the node.
    pub fn add_pod(&mut self, pod: &Arc<PodInfo>) {
        self.node.add_pod(pod.clone());
        for (_, check) in &mut self.checks {
            if let TrialCheck::Own(check) = check {
                check.pod_added(pod, &self.node);
            }
        }
    }

    /// Takes a pod off the node.
    pub fn remove_pod(&mut self, pod: &Arc<PodInfo>) {
        self.node.remove_pod(&pod.uid);
        for (_, check) in &mut self.checks {
            if let TrialCheck::Own(check) = check {
                check.pod_removed(pod, &self.node);
            }
        }
    }
}

fn first_refusal<'c>(
    mut checks: impl Iterator<Item = (&'static str, &'c (dyn NodeCheck + 'c))>,
    node: &NodeInfo,
) -> Option<(&'static str, Verdict)> {
    checks.find_map(|(name, check)| {
        let verdict = check.check(node);
        (!verdict.fits()).then_some((name, verdict))
    })
}

/// The weighted sum of all normalised scores for each node, in the order of `nodes`.
pub fn score(pod: &PodInfo, profile: &Profile, cluster: &Snapshot, nodes: &[&NodeInfo]) -> Vec<i64> {
    score_watched(pod, profile, cluster, nodes, &Watch::OFF)
}

fn score_watched(
    pod: &PodInfo,
    profile: &Profile,
    cluster: &Snapshot,
    nodes: &[&NodeInfo],
    watch: &Watch<'_>,
) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    let mut add = |(plugin, weight): (&dyn Score, i64)| {
        let prepare = || plugin.for_pod(pod, cluster, nodes);
        let code = |scorer: &Option<_>| if scorer.is_some() { Code::Success } else { Code::Skip };
        let Some(scorer) = watch.plugin(plugin.name(), Point::PreScore, code, prepare) else { return };
        watch.evaluated(plugin.name(), Point::PreScore, 1);
        watch.evaluated(plugin.name(), Point::Score, nodes.len());
        let score = || {
            let mut scores: Vec<i64> = nodes.iter().map(|node| scorer.score(node)).collect();
            scorer.normalise(&mut scores, nodes);
            scores
        };
        let scores = watch.plugin_on(nodes.len(), plugin.name(), Point::Score, |_| Code::Success, score);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * weight;
        }
    };
    watch.point(Point::Score, |()| Code::Success, || profile.scores().for_each(&mut add));
    totals
}

/// The place of the greatest score; of equals, each is as likely as the others.
pub(crate) fn best(scores: &[i64], random: &Random) -> usize {
    let (mut top, mut ties) = (i64::MIN, 0);
    for score in scores {
        match score.cmp(&top) {
            Ordering::Greater => (top, ties) = (*score, 1),
            Ordering::Equal => ties += 1,
            Ordering::Less => {}
        }
    }
    let tied = || (0..scores.len()).filter(move |at| scores[*at] == top);
    let nth = if ties > 1 { usize::try_from(random.below(ties)).unwrap_or(0) } else { 0 };
    tied().nth(nth).unwrap_or(0)
}

#[cfg(test)]
mod tests;
