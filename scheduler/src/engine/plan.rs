//! What the engine makes of a profile: which answers of its plugins it may keep a node, which it counts in tables of
//! its own, and whom it has to ask each time.
//!
//! Knows plugins by what they say of themselves ([`Reads`], [`Scale`]) and only the two that look across nodes by
//! name. A profile it cannot follow has no plan, and its pods are decided by the plain path.

use crate::framework::{Enabled, Filter, ForPod, MAX_NODE_SCORE, Plugin, Profile, Reads, Scale, Score};
use crate::plugins::{InterPodAffinity, PodTopologySpread};
use crate::pod::PodInfo;

use crate::cache::Snapshot;

/// The greatest sum of weights for which totals fit the columns.
const WEIGHT_LIMIT: i64 = (1 << 29) / MAX_NODE_SCORE;

/// How the engine decides for the pods of one profile. Numbers are places in [`Profile::enabled`].
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Tells plans apart.
    pub(super) id: u32,
    /// Filters whose answers are kept, in order.
    pub(super) filters: Vec<usize>,
    /// Scores whose answers are kept.
    pub(super) scores: Vec<KeptScore>,
    /// Filters that count across nodes, in order; all come after the kept ones.
    pub(super) across: Vec<(usize, Across)>,
    /// Scores that count across nodes, with weights.
    pub(super) wishes: Vec<(usize, Across, i64)>,
    /// Whoever else has a say, unless it ignores the pod.
    others: Vec<usize>,
    /// Kept answers depend on where images are.
    pub(super) reads_images: bool,
}

/// A score whose answers are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptScore {
    pub(super) plugin: usize,
    pub(super) weight: i32,
    /// `None`: normalised as it is. `Some`: by the greatest, in reverse or not.
    pub(super) by_max: Option<bool>,
}

/// A plugin that looks across nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    Spread,
    Pods,
}

impl Plan {
    /// The plan of a profile; `None`: it has something that the engine does not know how to follow.
    pub(super) fn of(profile: &Profile, id: u32) -> Option<Self> {
        let mut plan = Self { id, ..Self::default() };
        let mut weights: i64 = 0;
        for (at, enabled) in profile.enabled().iter().enumerate() {
            let plugin = &*enabled.plugin;
            let filters = enabled.points.filter && plugin.filter().is_some();
            let score = plugin.score().filter(|_| enabled.points.score && enabled.weight != 0);
            if !filters && score.is_none() {
                continue;
            }
            plan.reads_images |= plugin.reads() == Reads::NodeAndImages;
            match (plugin.reads(), across(plugin)) {
                (Reads::Cluster, None) => plan.others.push(at),
                (Reads::Cluster, Some(kind)) => {
                    if filters {
                        plan.across.push((at, kind));
                    }
                    if score.is_some() {
                        plan.wishes.push((at, kind, enabled.weight));
                    }
                }
                (Reads::Node | Reads::NodeAndImages, _) => {
                    if filters && !plan.across.is_empty() {
                        return None; // The order decides which refusal is told.
                    }
                    if filters {
                        plan.filters.push(at);
                    }
                    if let Some(score) = score {
                        plan.scores.push(kept(at, enabled, score)?);
                    }
                }
            }
            weights = weights.checked_add(enabled.weight)?;
        }
        let once = |kind| {
            plan.across.iter().filter(|(_, other)| *other == kind).count() <= 1
                && plan.wishes.iter().filter(|(_, other, _)| *other == kind).count() <= 1
        };
        let known = once(Across::Spread) && once(Across::Pods) && weights <= WEIGHT_LIMIT;
        known.then_some(plan)
    }

    /// True when everyone whom the engine does not know has nothing to say about the pod.
    pub(super) fn covers(&self, profile: &Profile, pod: &PodInfo, cluster: &Snapshot) -> bool {
        // A class may come and go without a node changing.
        let by_class = !cluster.devices().resources_of(pod).is_empty();
        !by_class
            && self.others.iter().all(|at| {
                let Enabled { plugin, points, weight } = &profile.enabled()[*at];
                let silent = |filter: &dyn Filter| matches!(filter.for_pod(pod, cluster), ForPod::Nothing);
                let scores = points.score && *weight != 0 && plugin.score().is_some();
                plugin.ignores(pod)
                    || (!scores && plugin.filter().filter(|_| points.filter).is_none_or(silent))
            })
    }
}

fn kept(plugin: usize, enabled: &Enabled, score: &dyn Score) -> Option<KeptScore> {
    let by_max = match score.scale() {
        Scale::Own => return None,
        Scale::AsIs => None,
        Scale::ByMax { reverse } => Some(reverse),
    };
    let weight = i32::try_from(enabled.weight).ok().filter(|weight| *weight > 0)?;
    Some(KeptScore { plugin, weight, by_max })
}

fn across(plugin: &dyn Plugin) -> Option<Across> {
    let plugin = plugin.as_any()?;
    if plugin.is::<PodTopologySpread>() {
        Some(Across::Spread)
    } else if plugin.is::<InterPodAffinity>() {
        Some(Across::Pods)
    } else {
        None
    }
}

/// The spreading plugin of a profile, at that place.
pub(super) fn spread(profile: &Profile, at: usize) -> &PodTopologySpread {
    profile.enabled()[at].plugin.as_any().and_then(|any| any.downcast_ref()).expect("the plan says so")
}

/// The plugin for pods near pods of a profile, at that place.
pub(super) fn pods(profile: &Profile, at: usize) -> &InterPodAffinity {
    profile.enabled()[at].plugin.as_any().and_then(|any| any.downcast_ref()).expect("the plan says so")
}
