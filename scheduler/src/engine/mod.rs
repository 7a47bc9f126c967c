//! The engine: the same decisions as [`crate::cycle::place`], without asking every node again for every pod.
//!
//! The plain path over the plugins is the definition; the engine keeps its answers for as long as they hold. What
//! plugins say that look at one node at a time is kept in columns a shape of pod ([`shape`]) and asked again only of
//! nodes that changed. What depends on pods elsewhere (spreading, pods near pods) is counted in tables that each pod
//! that comes or goes corrects ([`tables`], [`sums`]). Where a plugin or a pod needs anything else, the engine
//! answers `None` and the plain path decides. Promise: same node, same draw from the generator, same failure. A fuzz
//! test holds it to that. Reads the snapshot and its journal; writes nothing but its own tables.

mod across;
mod decide;
mod groups;
mod local;
mod log;
mod named;
mod plan;
mod ranks;
mod refuse;
mod room;
mod score;
mod shape;
mod sums;
mod tables;
mod topology;

#[cfg(test)]
mod fuzz;

use crate::cache::{Delta, Snapshot, Unread};
use crate::cycle::Placement;
use crate::failure::Failure;
use crate::framework::{Profile, Profiles};
use crate::pod::PodInfo;
use across::{AcrossNodes, Maker, Resolved, Rules};
use component::random::Random;
use decide::Question;
use log::{Log, What};
use objects::{affinity, owner};
use plan::Plan;
use rustc_hash::FxHashMap;
use score::Scratch;
use shape::{Shape, shape_hash};
use std::collections::BTreeMap;
use std::sync::Arc;
use sums::World;
use tables::{At, ClassId, Tables, hash_of};
use topology::Topology;

/// Shapes kept; at more of them the ones not used lately are dropped. Each has a few bytes a node.
const SHAPES_LIMIT: usize = 512;
/// Sets of rules kept, like shapes. Each has some numbers a node and rule.
const RULES_LIMIT: usize = 256;
/// Classes, counters and wishes kept before all tables are made anew without those that nobody uses any more.
const TABLES_LIMIT: usize = 1 << 16;
/// Label values kept beyond those that nodes can have now, before all tables are made anew.
const VALUES_SLACK: usize = 1 << 14;

/// The engine. See the file header.
#[derive(Debug, Default)]
pub struct Engine {
    /// By scheduler name; without one: the plain path.
    plans: BTreeMap<String, Plan>,
    shapes: FxHashMap<ShapeId, Kept<Shape>>,
    shapes_by_hash: FxHashMap<(u32, u64), Vec<ShapeId>>,
    next_shape: ShapeId,
    rules: FxHashMap<RulesId, Kept<AcrossNodes>>,
    rules_of: FxHashMap<(ShapeId, Rules), RulesId>,
    /// The last that were made for a shape.
    newest_rules: FxHashMap<ShapeId, RulesId>,
    next_rules: RulesId,
    /// How often rules took over what was kept of others.
    taken_over: u64,
    /// The rules of pods that were seen before, while nothing they come from has changed.
    resolved: FxHashMap<Origin, (Versions, Option<RulesId>)>,
    tables: Tables,
    topology: Topology,
    log: Log,
    /// Grows whenever nodes change their places.
    order: u64,
    nodes: usize,
    started: bool,
    uses: u64,
    /// What making room would cost.
    rooms: room::Kept,
    scratch: Scratch,
}

type ShapeId = u32;
type RulesId = u32;

#[derive(Debug)]
struct Kept<T> {
    value: T,
    used: u64,
}

/// What rules come from: shape, class, and the pod's owner where that counts.
type Origin = (ShapeId, ClassId, u64);
/// When: of wishes and of selectors.
type Versions = (u64, u64);

impl Engine {
    /// An engine for these profiles that knows nothing yet.
    pub fn new(profiles: &Profiles) -> Self {
        let plans = profiles.iter().enumerate().filter_map(|(id, profile)| {
            let plan = Plan::of(profile, u32::try_from(id).ok()?)?;
            Some((profile.scheduler_name.clone(), plan))
        });
        Self { plans: plans.collect(), ..Self::default() }
    }

    /// Takes in what changed in the snapshot. To be called before [`Self::decide`].
    pub fn follow(&mut self, cluster: &mut Snapshot) {
        let unread = cluster.take_changes();
        let full = self.tables.len() > TABLES_LIMIT || self.topology.len() > self.values_limit();
        match unread {
            Unread::Since(deltas) if self.started && !full => self.take_in(deltas, cluster),
            _ => self.start(cluster),
        }
    }

    fn values_limit(&self) -> usize {
        VALUES_SLACK + 16 * self.nodes
    }

    fn start(&mut self, cluster: &Snapshot) {
        let plans = std::mem::take(&mut self.plans);
        *self = Self { plans, started: true, nodes: cluster.len(), ..Self::default() };
        for (at, node) in cluster.nodes().iter().enumerate() {
            for pod in &node.pods {
                self.tables.count(pod, place(at), 1, cluster.namespaces());
            }
        }
    }

    fn take_in(&mut self, deltas: Vec<Delta>, cluster: &Snapshot) {
        let first = self.log.end();
        let mut removed = false;
        for delta in deltas {
            match delta {
                Delta::Node(at) => {
                    self.nodes = self.nodes.max(at + 1);
                    self.log.note(place(at), What::Object);
                }
                Delta::Removed(at) => {
                    removed = true;
                    self.nodes -= 1;
                    self.tables.remove_node(place(at), place(self.nodes));
                }
                Delta::PodAdded(at, pod) => self.count(&pod, at, 1, cluster),
                Delta::PodRemoved(at, pod) => self.count(&pod, at, -1, cluster),
                Delta::PodRefreshed(at) => self.log.note(place(at), What::Versions),
                Delta::Promises(at) => self.log.note(place(at), What::Pods),
                Delta::Namespace(name) if self.tables.concerns(&name) => return self.start(cluster),
                Delta::Namespace(_) => {}
            }
        }
        if removed {
            // Places have changed: what is kept by place is filled anew when it is next used.
            self.order += 1;
            self.topology.read_again(cluster);
            return;
        }
        for (at, _) in
            self.log.since(first).unwrap_or_default().iter().filter(|(_, what)| *what == What::Object)
        {
            self.topology.set_node(*at, &cluster.nodes()[*at as usize]);
        }
    }

    fn count(&mut self, pod: &Arc<PodInfo>, at: usize, by: i64, cluster: &Snapshot) {
        self.tables.count(pod, place(at), by, cluster.namespaces());
        self.log.note(place(at), What::Pods);
    }

    /// What [`crate::cycle::place`] would answer; `None`: ask it.
    pub fn decide(
        &mut self,
        pod: &Arc<PodInfo>,
        profile: &Profile,
        cluster: &Snapshot,
        random: &Random,
    ) -> Option<Result<Placement, Failure>> {
        let plan = self.plans.get(&profile.scheduler_name)?;
        let samples = profile.enough(cluster.len()).is_some();
        if cluster.is_empty() || samples || !plan.covers(profile, pod, cluster) {
            return None;
        }
        if affinity::named_nodes(pod.spec().affinity.as_deref()).is_some() {
            return self.decide_named(pod, profile, cluster);
        }
        let shape = self.shape(pod, profile, cluster)?;
        let rules = self.rules(pod, shape, profile, cluster);
        let plan = self.plans.get(&profile.scheduler_name)?;
        let kept = self.shapes.get_mut(&shape)?;
        kept.used = self.uses;
        if !kept.value.refresh(plan, profile, cluster, &self.log, self.order) {
            return None;
        }
        let rules = match rules {
            // Scores that are normalised by the greatest are weighed by group too.
            None if kept.value.is_scaled() => Some(self.keep(shape, Resolved::default())),
            rules => rules,
        };
        let plan = self.plans.get(&profile.scheduler_name)?;
        let kept = self.shapes.get(&shape)?;
        let question = Question { pod, plan, profile, cluster, random };
        let Some(rules) = rules else {
            return decide::alone(&kept.value, &question);
        };
        let across = self.rules.get_mut(&rules)?;
        across.used = self.uses;
        let Self { tables, topology, log, order, .. } = self;
        let world = World { cluster, tables, topology, log, order: *order };
        across.value.refresh(&kept.value, &world);
        decide::across(&kept.value, &mut across.value, &question, &world, &mut self.scratch)
    }

    fn shape(&mut self, pod: &Arc<PodInfo>, profile: &Profile, cluster: &Snapshot) -> Option<ShapeId> {
        self.uses += 1;
        let plan = self.plans.get(&profile.scheduler_name)?;
        let hash = (plan.id, shape_hash(pod, cluster));
        let known = self.shapes_by_hash.get(&hash).into_iter().flatten();
        if let Some(known) = known.copied().find(|id| self.shapes[id].value.fits(pod, cluster)) {
            return Some(known);
        }
        let shape = Kept { value: Shape::new(pod.clone(), plan, cluster), used: self.uses };
        if self.shapes.len() >= SHAPES_LIMIT {
            self.drop_old_shapes();
        }
        self.next_shape += 1;
        self.shapes.insert(self.next_shape, shape);
        self.shapes_by_hash.entry(hash).or_default().push(self.next_shape);
        Some(self.next_shape)
    }

    /// Drops the half that was used least lately.
    fn drop_old_shapes(&mut self) {
        let oldest = median(self.shapes.values().map(|shape| shape.used));
        self.shapes.retain(|_, shape| shape.used > oldest);
        let shapes = &self.shapes;
        self.rooms.retain(|(shape, _), _| shapes.contains_key(shape));
        self.shapes_by_hash.retain(|_, ids| {
            ids.retain(|id| shapes.contains_key(id));
            !ids.is_empty()
        });
        self.rules_of.retain(|(shape, _), _| shapes.contains_key(shape));
        self.newest_rules.retain(|shape, _| shapes.contains_key(shape));
        let kept: rustc_hash::FxHashSet<RulesId> = self.rules_of.values().copied().collect();
        self.rules.retain(|id, _| kept.contains(id));
        self.resolved.clear();
    }

    fn drop_old_rules(&mut self) {
        let oldest = median(self.rules.values().map(|rules| rules.used));
        self.rules.retain(|_, rules| rules.used > oldest);
        let rules = &self.rules;
        self.rules_of.retain(|_, id| rules.contains_key(id));
        self.resolved.clear();
    }

    /// The rules of a pod; `None`: nothing elsewhere concerns it.
    fn rules(
        &mut self,
        pod: &Arc<PodInfo>,
        shape: ShapeId,
        profile: &Profile,
        cluster: &Snapshot,
    ) -> Option<RulesId> {
        let plan = self.plans.get(&profile.scheduler_name)?;
        if plan.across.is_empty() && plan.wishes.is_empty() {
            return None;
        }
        let class = self.tables.class(pod, cluster.namespaces());
        let defaults = pod.spec().topology_spread_constraints.is_empty();
        let owner = owner::controller_of(&pod.view().metadata).filter(|_| defaults);
        let owner = owner.map_or(0, |owner| hash_of(&(&owner.api_version, &owner.kind, &owner.name)));
        let origin = (shape, class, owner);
        let selectors = if defaults { cluster.selectors().version() } else { 0 };
        if let Some((versions, rules)) = self.resolved.get(&origin)
            && *versions == (self.tables.version(), selectors)
        {
            return *rules;
        }
        let mut maker =
            Maker { plan, profile, cluster, tables: &mut self.tables, topology: &mut self.topology };
        let resolved = maker.resolve(pod, class);
        let versions = (self.tables.version(), selectors);
        let nothing = resolved.rules.refuse_nothing() && resolved.rules.wish_nothing();
        let rules = (!nothing).then(|| self.keep(shape, resolved));
        if self.resolved.len() > TABLES_LIMIT {
            self.resolved.clear();
        }
        self.resolved.insert(origin, (versions, rules));
        rules
    }

    /// True when those rules can refuse a node.
    fn refuses(&self, rules: RulesId) -> bool {
        self.rules.get(&rules).is_none_or(|rules| !rules.value.resolved.rules.refuse_nothing())
    }

    fn keep(&mut self, shape: ShapeId, resolved: Resolved) -> RulesId {
        let key = (shape, resolved.rules.clone());
        if let Some(known) = self.rules_of.get(&key) {
            return *known;
        }
        if self.rules.len() >= RULES_LIMIT {
            self.drop_old_rules();
        }
        let like = self.newest_rules.get(&shape).and_then(|newest| self.rules.get(newest));
        let like = like.and_then(|like| like.value.with_rules(&resolved, &self.tables));
        self.taken_over += u64::from(like.is_some());
        let value = like.unwrap_or_else(|| AcrossNodes::new(resolved));
        self.next_rules += 1;
        self.newest_rules.insert(shape, self.next_rules);
        self.rules.insert(self.next_rules, Kept { value, used: self.uses });
        self.rules_of.insert(key, self.next_rules);
        self.next_rules
    }
}

fn median(uses: impl Iterator<Item = u64>) -> u64 {
    let mut uses: Vec<u64> = uses.collect();
    uses.sort_unstable();
    uses.get(uses.len() / 2).copied().unwrap_or(0)
}

fn place(at: usize) -> At {
    At::try_from(at).expect("fewer nodes than 2^32")
}
