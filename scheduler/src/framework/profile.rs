//! A profile: the plugins that decide for the pods that name one `schedulerName`, in order, with weights.

use super::{
    Bind, Change, Filter, Gate, Lack, Order, Permit, Plugin, PreBind, Preempt, Rank, Reserve, Score, Subject,
    Verdict, Wakeup, WakeupSet,
};
use crate::cache::Snapshot;
use crate::metrics::{Code, PluginMetrics, Point, Watch};
use crate::pod::PodInfo;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A plugin as a profile has it.
#[derive(Debug)]
pub struct Enabled {
    /// The plugin.
    pub plugin: Box<dyn Plugin>,
    /// What its normalised score counts; 0 keeps it from scoring.
    pub weight: i64,
    /// In which of its roles it is used.
    pub points: Points,
}

/// The roles in which a plugin is enabled (configuration can disable one of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    /// PreEnqueue.
    pub gate: bool,
    /// QueueSort.
    pub order: bool,
    /// PreFilter and Filter.
    pub filter: bool,
    /// PreScore and Score.
    pub score: bool,
    /// PostFilter.
    pub preempt: bool,
    /// Reserve.
    pub reserve: bool,
    /// Permit.
    pub permit: bool,
    /// PreBind.
    pub pre_bind: bool,
    /// Bind.
    pub bind: bool,
}

impl Points {
    /// Every role the plugin plays: upstream's MultiPoint.
    pub const ALL: Self = Self::every(true);
    /// No role at all.
    pub const NONE: Self = Self::every(false);

    const fn every(on: bool) -> Self {
        Self {
            gate: on,
            order: on,
            filter: on,
            score: on,
            preempt: on,
            reserve: on,
            permit: on,
            pre_bind: on,
            bind: on,
        }
    }
}

/// The plugins of one scheduler name.
#[derive(Debug)]
pub struct Profile {
    /// `spec.schedulerName` of the pods it decides for; also the reporting controller of its events.
    pub scheduler_name: String,
    enabled: Vec<Enabled>,
    /// Percent of the nodes.
    sample: Option<u8>,
}

/// However few percent are asked for, a search goes on until so many nodes fit (upstream: minFeasibleNodesToFind).
const SAMPLE_MIN: usize = 100;

impl Profile {
    /// A profile of these plugins, asked in this order.
    pub fn new(scheduler_name: impl Into<String>, enabled: Vec<Enabled>) -> Self {
        Self { scheduler_name: scheduler_name.into(), enabled, sample: None }
    }

    /// Looks for fitting nodes only until this percentage of all nodes fits (upstream's percentageOfNodesToScore), and
    /// chooses among those. `None`: looks at every node.
    #[must_use]
    pub fn sampling(self, percentage: Option<u8>) -> Self {
        Self { sample: percentage.filter(|percentage| *percentage < 100), ..self }
    }

    /// How many fitting nodes are enough among `nodes`; `None`: every node is to be looked at.
    pub fn enough(&self, nodes: usize) -> Option<usize> {
        let enough = (nodes * usize::from(self.sample?) / 100).max(SAMPLE_MIN);
        (enough < nodes).then_some(enough)
    }

    /// All its plugins.
    pub fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.enabled.iter().map(|enabled| &*enabled.plugin)
    }

    /// The same with their weights and roles.
    pub fn enabled(&self) -> &[Enabled] {
        &self.enabled
    }

    /// The filters in order.
    pub fn filters(&self) -> impl Iterator<Item = &dyn Filter> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.filter)
            .filter_map(|enabled| enabled.plugin.filter())
    }

    /// The scores in order, with their weights.
    pub fn scores(&self) -> impl Iterator<Item = (&dyn Score, i64)> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.score && enabled.weight != 0)
            .filter_map(|enabled| Some((enabled.plugin.score()?, enabled.weight)))
    }

    /// What is tried when no node fits, in order.
    pub fn preempts(&self) -> impl Iterator<Item = &dyn Preempt> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.preempt)
            .filter_map(|enabled| enabled.plugin.preempt())
    }

    /// Those that take something for a pod, in order; it is given back in the opposite one.
    pub fn reserves(&self) -> impl DoubleEndedIterator<Item = &dyn Reserve> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.reserve)
            .filter_map(|enabled| enabled.plugin.reserve())
    }

    /// Those that may make a pod wait, in order.
    pub fn permits(&self) -> impl Iterator<Item = &dyn Permit> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.permit)
            .filter_map(|enabled| enabled.plugin.permit())
    }

    /// Those that have something written before the bind, in order.
    pub fn pre_binds(&self) -> impl Iterator<Item = &dyn PreBind> {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.pre_bind)
            .filter_map(|enabled| enabled.plugin.pre_bind())
    }

    /// The first plugin that binds.
    pub fn binder(&self) -> Option<&dyn Bind> {
        self.enabled.iter().filter(|enabled| enabled.points.bind).find_map(|enabled| enabled.plugin.bind())
    }

    /// The first gate that holds the pod back, with its reason.
    pub fn gate(&self, pod: &PodInfo, watch: Watch<'_>) -> Option<(&'static str, Verdict)> {
        let held = |held: &Option<(&'static str, Verdict)>| {
            held.as_ref().map_or(Code::Success, |(_, verdict)| Code::of_verdict(verdict))
        };
        watch.point(Point::PreEnqueue, held, || {
            let mut gates = self.gates().filter(|gate| !gate.needs_others());
            gates.find_map(|gate| held_back(gate, watch, || gate.admit(pod)))
        })
    }

    /// The first gate that holds the pod back until others have come, with its reason. The extension point has been
    /// timed when the pod was queued, and is not again.
    pub fn gate_among(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        watch: Watch<'_>,
    ) -> Option<(&'static str, Verdict)> {
        let mut gates = self.gates().filter(|gate| gate.needs_others());
        gates.find_map(|gate| held_back(gate, watch, || gate.admit_among(pod, cluster)))
    }

    fn gates(&self) -> impl Iterator<Item = &dyn Gate> {
        self.enabled.iter().filter(|enabled| enabled.points.gate).filter_map(|enabled| enabled.plugin.gate())
    }

    /// The rank of a pod in the active queue; without an ordering plugin the earlier goes first.
    pub fn rank(&self, pod: &PodInfo, since: Timestamp) -> Rank {
        self.enabled
            .iter()
            .filter(|enabled| enabled.points.order)
            .find_map(|enabled| enabled.plugin.order())
            .map_or((0, since), |order: &dyn Order| order.rank(pod, since))
    }

    /// The one that refused a pod.
    fn plugin(&self, name: &str) -> Option<&dyn Plugin> {
        if name == EXTENDER {
            return Some(&Extenders);
        }
        self.plugins().find(|plugin| plugin.name() == name)
    }
}

fn held_back(
    gate: &dyn Gate,
    watch: Watch<'_>,
    admit: impl FnOnce() -> Verdict,
) -> Option<(&'static str, Verdict)> {
    let verdict = watch.plugin(gate.name(), Point::PreEnqueue, Code::of_verdict, admit);
    (!verdict.fits()).then_some((gate.name(), verdict))
}

/// The extenders, among the plugins that refused a pod.
pub const EXTENDER: &str = "Extender";

/// Stands for the extenders. What may change their mind is not known, so a pod that they refused is woken by any change,
/// as upstream does.
#[derive(Debug)]
struct Extenders;

impl Plugin for Extenders {
    fn name(&self) -> &'static str {
        EXTENDER
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &Wakeup::ALL
    }
}

/// All profiles of the process, by scheduler name.
#[derive(Debug, Default)]
pub struct Profiles {
    by_name: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The profiles; of two with one name the later stays (configuration refuses that before).
    pub fn new(profiles: Vec<Profile>) -> Self {
        Self {
            by_name: profiles.into_iter().map(|profile| (profile.scheduler_name.clone(), profile)).collect(),
        }
    }

    /// The profile for pods that name `scheduler_name`; `None`: they are another scheduler's.
    pub fn get(&self, scheduler_name: &str) -> Option<&Profile> {
        self.by_name.get(scheduler_name)
    }

    /// The profile of a pod.
    pub fn of(&self, pod: &PodInfo) -> Option<&Profile> {
        self.get(pod.scheduler_name())
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.by_name.values()
    }

    /// The changes for which a pod refused by `rejectors` waits. Refused by none means that there was no node.
    pub fn wakeups(&self, pod: &PodInfo, rejectors: &[&'static str]) -> WakeupSet {
        if rejectors.is_empty() {
            return WakeupSet::of(&[Wakeup::NodeAdded]);
        }
        let Some(profile) = self.of(pod) else { return WakeupSet::default() };
        rejectors
            .iter()
            .filter_map(|name| profile.plugin(name))
            .fold(WakeupSet::default(), |set, plugin| set.union(WakeupSet::of(plugin.wakeups())))
    }

    /// Where a pod refused by `rejectors` is to be found when a change of this kind comes, one that [`Self::wakeups`] has.
    pub(crate) fn lacks(&self, pod: &PodInfo, rejectors: &[&'static str], kind: Wakeup) -> Vec<Lack> {
        let Some(profile) = self.of(pod).filter(|_| !rejectors.is_empty()) else {
            return vec![Lack::Anything];
        };
        let plugins = rejectors.iter().filter_map(|name| profile.plugin(name));
        let asked = plugins.filter(|plugin| plugin.wakeups().contains(&kind));
        asked.map(|plugin| plugin.lacks(pod, kind)).collect()
    }

    /// Whether `change` may help a pod that `rejectors` refused: one of them waits for it and does not deny it. `hints` notes
    /// how long each takes to answer.
    pub fn helps(
        &self,
        pod: &PodInfo,
        rejectors: &[&'static str],
        change: &Change<'_>,
        hints: Option<&PluginMetrics>,
    ) -> bool {
        let Some(profile) = self.of(pod) else { return false };
        if is_of_its_own_gang(pod, change) {
            return false;
        }
        if rejectors.is_empty() {
            return change.kinds.contains(Wakeup::NodeAdded);
        }
        rejectors
            .iter()
            .filter_map(|name| profile.plugin(name))
            .filter(|plugin| WakeupSet::of(plugin.wakeups()).meets(change.kinds))
            .any(|plugin| match (hints, change.kinds.iter().next()) {
                (Some(hints), Some(kind)) => {
                    hints.hint(plugin.name(), kind.label(), || plugin.helps(pod, change))
                }
                _ => plugin.helps(pod, change),
            })
    }
}

/// A placement that was taken back because the gang cannot be complete makes no room for the gang itself.
fn is_of_its_own_gang(pod: &PodInfo, change: &Change<'_>) -> bool {
    let Subject::Pod(other) = change.subject else { return false };
    change.kinds.contains(Wakeup::PodRemoved)
        && other.node().is_none()
        && pod.group().is_some_and(|group| other.group() == Some(group))
}
