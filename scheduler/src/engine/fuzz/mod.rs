//! Random clusters, random pods, random changes between: the engine has to decide as the plain path does, to the draw.
//!
//! A seeded slice runs with the other tests. `STEERSMAN_FUZZ_PODS` asks for more pods (`make fuzz-scheduler`) and
//! `STEERSMAN_FUZZ_SEED` for others; a failure names the seed of its cluster.

mod generate;

use super::Engine;
use crate::cache::Cache;
use crate::cycle;
use crate::failure::Failure;
use crate::framework::{Profile, Profiles};
use crate::pod::{NodeName, PodInfo};
use crate::preempt::{self, Attempt, Budget, Room};
use component::random::Random;
use generate::Generator;
use std::sync::Arc;

/// Pods decided without being asked for more.
const PODS: u64 = 6_000;
/// Pods decided in one cluster.
const PODS_A_CLUSTER: u64 = 150;

#[test]
fn the_engine_decides_as_the_plain_path_does() {
    let pods = number("STEERSMAN_FUZZ_PODS").unwrap_or(PODS);
    let seed = number("STEERSMAN_FUZZ_SEED").unwrap_or(1);
    let mut tally = Tally::default();
    for cluster in 0..pods.div_ceil(PODS_A_CLUSTER) {
        Case::new(seed * 1_000_000_007 + cluster).run(&mut tally);
    }
    let Tally { placed, refused, plain, by_count, by_node, taken_over, rooms, victims, .. } = tally;
    eprintln!("{tally:?}");
    assert!(placed > pods / 5 && refused > pods / 20, "the clusters are neither empty nor full: {tally:?}");
    assert!(rooms > pods / 50 && victims > pods / 100, "room is looked for, and found: {tally:?}");
    assert!(by_count > pods / 50 && by_node > pods / 200, "groups and nodes are weighed: {tally:?}");
    assert!(taken_over > pods / 200, "rules take over what is kept of others: {tally:?}");
    assert!(plain < pods / 4, "the engine decides most of them: {tally:?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Debug, Default)]
struct Tally {
    clusters: u64,
    placed: u64,
    refused: u64,
    /// Left to the plain path by the engine.
    plain: u64,
    /// Weighed by groups of nodes with equal counts.
    by_count: u64,
    /// Weighed node by node, for there were too many groups.
    by_node: u64,
    /// Rules that took over what was kept of others.
    taken_over: u64,
    /// Searches for room by the engine.
    rooms: u64,
    /// Pods that would have had to go.
    victims: u64,
}

impl Tally {
    /// Notes how the engine came to its last decision.
    fn weighed(&mut self, engine: &mut Engine) {
        self.taken_over += std::mem::take(&mut engine.taken_over);
        let rules = engine.rules.values().find(|rules| rules.used == engine.uses);
        let groups = rules.map(|rules| &rules.value.groups);
        self.by_count += u64::from(groups.is_some_and(|groups| groups.usable() && groups.by_count()));
        self.by_node += u64::from(groups.is_some_and(|groups| !groups.usable()));
    }
}

struct Case {
    seed: u64,
    generator: Generator,
    profiles: Profiles,
    cache: Cache,
    engine: Engine,
    /// Pods on nodes.
    placed: Vec<(Arc<PodInfo>, NodeName)>,
    /// Pods that found no node.
    waiting: Vec<Arc<PodInfo>>,
    /// Pods that were promised room.
    promised: Vec<Arc<PodInfo>>,
    budgets: Vec<Budget>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut generator = Generator::new(seed);
        let profiles = Profiles::new(vec![generator.profile()]);
        let engine = Engine::new(&profiles);
        let mut cache = Cache::default();
        for namespace in generate::NAMESPACES {
            cache.snapshot_mut().set_namespace(namespace, Some(generator.namespace_labels()));
        }
        let (placed, waiting, promised, budgets) = Default::default();
        Self { seed, generator, profiles, cache, engine, placed, waiting, promised, budgets }
    }

    fn run(mut self, tally: &mut Tally) {
        tally.clusters += 1;
        for _ in 0..self.generator.between(1, 30) {
            self.add_node();
        }
        for step in 0..PODS_A_CLUSTER {
            for _ in 0..self.generator.below(3) {
                self.change();
            }
            self.decide(step, tally);
        }
    }

    fn profile(&self) -> &Profile {
        self.profiles.iter().next().unwrap()
    }

    fn decide(&mut self, step: u64, tally: &mut Tally) {
        let pod = match self.generator.below(4) {
            0 if !self.waiting.is_empty() => {
                let at = self.generator.index(self.waiting.len());
                self.waiting.swap_remove(at)
            }
            _ => self.generator.pod(),
        };
        let draw = self.generator.below(u64::MAX);
        let plain = cycle::place(&pod, self.profile(), self.cache.snapshot(), &Random::from_seed(draw));
        self.engine.follow(self.cache.snapshot_mut());
        let profile = self.profiles.iter().next().unwrap();
        let fast = self.engine.decide(&pod, profile, self.cache.snapshot(), &Random::from_seed(draw));
        match fast {
            None => tally.plain += 1,
            Some(fast) => {
                assert_eq!(fast, plain, "seed {}, step {step}: {:#?}", self.seed, pod.view());
                tally.weighed(&mut self.engine);
            }
        }
        match plain {
            Ok(placement) => {
                tally.placed += 1;
                self.cache.snapshot_mut().drop_nomination(&pod.uid);
                self.cache.assume(pod.clone(), placement.node.clone());
                self.placed.push((pod, placement.node));
            }
            Err(failure) => {
                tally.refused += 1;
                self.make_room(&pod, &failure, step, tally);
                self.waiting.push(pod);
            }
        }
    }

    /// Both have to choose the same victims, who then go, and the pod has a promise.
    fn make_room(&mut self, pod: &Arc<PodInfo>, failure: &Failure, step: u64, tally: &mut Tally) {
        if failure.is_empty_cluster() {
            return;
        }
        let budgets = self.budgets.clone();
        let profile = self.profiles.iter().next().unwrap();
        let now = self.generator.now();
        let cluster = self.cache.snapshot();
        let attempt = Attempt { pod, profile, cluster, failure, budgets: &budgets, now };
        let plain = preempt::find(&attempt, None);
        match self.engine.make_room(&attempt) {
            None => {}
            Some(fast) => {
                tally.rooms += 1;
                assert_eq!(fast, plain, "seed {}, step {step}: {:#?}", self.seed, pod.view());
            }
        }
        let Room::Made { node, victims } = plain else { return };
        tally.victims += victims.len() as u64;
        // Not always, or the cluster would hold no pod of low priority for long.
        if self.generator.below(3) == 0 {
            for victim in victims {
                self.cache.remove_pod(&victim.uid);
                self.placed.retain(|(pod, _)| pod.uid != victim.uid);
            }
            if self.generator.below(2) == 0 {
                self.cache.snapshot_mut().nominate(pod, node);
                self.promised.push(pod.clone());
            }
        }
    }

    fn add_node(&mut self) {
        let node = self.generator.node();
        self.cache.upsert_node(node);
    }

    fn change(&mut self) {
        let name = |case: &mut Self| {
            let at = case.generator.index(case.cache.snapshot().len().max(1));
            case.cache.snapshot().nodes().get(at).map(|node| node.name.clone())
        };
        match self.generator.below(24) {
            0 => self.add_node(),
            1 => {
                if let Some(name) = name(self) {
                    self.cache.remove_node(&name);
                }
            }
            2..=5 => {
                if let Some(name) = name(self) {
                    let node = self.generator.node_named(&name);
                    self.cache.upsert_node(node);
                }
            }
            6..=10 if !self.placed.is_empty() => {
                let at = self.generator.index(self.placed.len());
                let (pod, _) = self.placed.swap_remove(at);
                self.cache.remove_pod(&pod.uid);
            }
            11..=13 if !self.placed.is_empty() => {
                let at = self.generator.index(self.placed.len());
                let (pod, node) = self.placed[at].clone();
                let pod = self.generator.changed(&pod);
                self.cache.upsert_pod(pod.clone(), node.clone());
                self.placed[at].0 = pod;
            }
            14 => {
                let (name, labels) = (self.generator.namespace(), self.generator.namespace_labels());
                let labels = (self.generator.below(4) > 0).then_some(labels);
                self.cache.snapshot_mut().set_namespace(name, labels);
            }
            15 => {
                let (namespace, name, selector) = self.generator.service();
                self.cache.snapshot_mut().selectors_mut().set_service(namespace, &name, selector);
            }
            16 => {
                let (owner, selector) = self.generator.owner_selector();
                self.cache.snapshot_mut().selectors_mut().set_owner(owner, selector);
            }
            17 if !self.waiting.is_empty() && self.generator.below(3) == 0 => {
                let at = self.generator.index(self.waiting.len());
                if let Some(name) = name(self) {
                    let pod = self.waiting[at].clone();
                    self.cache.snapshot_mut().nominate(&pod, name);
                    self.promised.push(pod);
                }
            }
            18..=20 if !self.promised.is_empty() => {
                let at = self.generator.index(self.promised.len());
                let pod = self.promised.swap_remove(at);
                self.cache.snapshot_mut().drop_nomination(&pod.uid);
            }
            21 => {
                self.budgets = self.generator.budgets();
                self.engine.forget_rooms();
            }
            22 => {
                let class = Generator::device_class();
                let snapshot = self.cache.snapshot_mut();
                if snapshot.devices().class_for(generate::DEVICES).is_some() {
                    snapshot.gone(&class);
                } else {
                    snapshot.see(&class);
                }
            }
            _ => {}
        }
    }
}
