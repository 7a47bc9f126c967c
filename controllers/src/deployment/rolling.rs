//! How big each ReplicaSet of a Deployment is to be: the arithmetic of rolling updates and of scaling.
//!
//! Works on copies ([`Set`]) whose `replicas` it changes; the caller turns the differences into writes.
//! Numbers as upstream's deployment controller computes them. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{DESIRED, MAX};
use crate::views::{Deployment, ReplicaSet};

/// A ReplicaSet while its new size is worked out.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) seen: Arc<ReplicaSet>,
    /// The size it is to have.
    pub(super) replicas: i32,
    /// Its desired and max annotations are to follow the Deployment, even if the size stays.
    pub(super) refresh: bool,
}

impl Set {
    pub(super) fn of(seen: Arc<ReplicaSet>) -> Self {
        Self { replicas: seen.replicas(), refresh: false, seen }
    }

    pub(super) fn available(&self) -> i32 {
        self.seen.status.available_replicas.unwrap_or(0)
    }

    pub(super) fn resized(&self) -> bool {
        self.replicas != self.seen.replicas()
    }

    fn resize(&mut self, replicas: i32) {
        self.replicas = replicas.max(0);
        self.refresh = true;
    }

    pub(super) fn created(&self) -> (Option<Timestamp>, &str) {
        (self.seen.metadata.creation_timestamp.as_ref().map(|time| time.0), self.seen.name())
    }

    /// A number this controller noted on the set earlier.
    pub(super) fn noted(&self, annotation: &str) -> Option<i32> {
        self.seen.annotation(annotation)?.parse().ok()
    }
}

/// How far a rolling update may leave the wanted size, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Bounds {
    /// Surge rounds up, unavailable rounds down; both zero would never move, so one may be missing then.
    pub(super) fn of(deployment: &Deployment) -> Self {
        if deployment.recreates() {
            return Self { surge: 0, unavailable: 0 };
        }
        let replicas = deployment.replicas();
        let rolling = deployment.spec.strategy.rolling_update.as_ref();
        let default = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&default);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&default);
        let surge = scaled(surge, replicas, true);
        let unavailable = match scaled(unavailable, replicas, false) {
            0 if surge == 0 => 1,
            pods => pods,
        };
        Self { surge, unavailable: unavailable.min(replicas) }
    }
}

fn scaled(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(pods) => *pods,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(total);
            let pods = if up { (hundredths + 99).div_euclid(100) } else { hundredths.div_euclid(100) };
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    }
}

/// The size a new set starts with, or grows to, while the old ones still hold pods.
pub(super) fn new_size(deployment: &Deployment, new: i32, total: i32) -> i32 {
    if deployment.recreates() {
        return deployment.replicas();
    }
    let limit = deployment.replicas() + Bounds::of(deployment).surge;
    if total >= limit {
        return new;
    }
    new + (limit - total).min(deployment.replicas() - new)
}

/// One step of a rolling update: the new set grows, or else the old ones shrink. Waiting for the step to be
/// seen before the next is taken keeps the bounds even if pods come up slowly.
pub(super) fn roll(deployment: &Deployment, new: &mut Set, old: &mut [Set]) {
    let wanted = deployment.replicas();
    let total = new.replicas + size(old);
    if new.replicas > wanted {
        new.resize(wanted);
    } else if new.replicas < wanted {
        let grown = new_size(deployment, new.replicas, total);
        if grown != new.replicas {
            new.resize(grown);
        }
    }
    if !new.resized() {
        shrink_old(deployment, new, old);
    }
}

/// Takes pods from the old sets, oldest first: the unhealthy ones, then as many as are available in excess.
fn shrink_old(deployment: &Deployment, new: &Set, old: &mut [Set]) {
    let minimum = deployment.replicas() - Bounds::of(deployment).unavailable;
    let coming = new.replicas - new.available();
    let mut budget = size(old) + new.replicas - minimum - coming;
    if budget <= 0 {
        return;
    }
    old.sort_by(|a, b| a.created().cmp(&b.created()));
    for set in old.iter_mut().filter(|set| set.replicas > set.available()) {
        let unhealthy = (set.replicas - set.available()).min(budget);
        if unhealthy > 0 {
            set.resize(set.replicas - unhealthy);
            budget -= unhealthy;
        }
    }
    let available: i32 = old.iter().chain([new]).map(Set::available).sum();
    let mut excess = available - minimum;
    for set in old.iter_mut().filter(|set| set.replicas > 0) {
        let gone = set.replicas.min(excess);
        if gone > 0 {
            set.resize(set.replicas - gone);
            excess -= gone;
        }
    }
}

/// Whether the Deployment was resized since the sets were last: then they are scaled before anything rolls.
pub(super) fn was_resized<'a>(deployment: &Deployment, sets: impl IntoIterator<Item = &'a Set>) -> bool {
    let mut active = sets.into_iter().filter(|set| set.replicas > 0);
    active.any(|set| set.noted(DESIRED).is_some_and(|desired| desired != deployment.replicas()))
}

/// Brings the sets to a new total without rolling: all of it to the only active set, or, in the middle of a
/// rollout, to each in proportion to its size.
pub(super) fn scale(deployment: &Deployment, new: Option<&mut Set>, old: &mut [Set]) {
    let wanted = deployment.replicas();
    let saturated = new.as_ref().is_some_and(|new| {
        let full = new.seen.replicas() == wanted && new.available() == wanted;
        full && new.noted(DESIRED) == Some(wanted)
    });
    old.sort_by(|a, b| b.created().cmp(&a.created()));
    let active = old.iter().filter(|set| set.replicas > 0).count()
        + usize::from(new.as_ref().is_some_and(|new| new.replicas > 0));
    let has_new = new.is_some();
    let mut sets: Vec<&mut Set> = new.into_iter().chain(old).collect();
    match active {
        // Nothing runs: the new set if there is one, else the latest of the old.
        0 => sets.truncate(1),
        _ => {
            if active > 1 && saturated {
                sets.drain(..usize::from(has_new));
                sets.iter_mut().filter(|set| set.replicas > 0).for_each(|set| set.resize(0));
                return;
            }
            sets.retain(|set| set.replicas > 0);
        }
    }
    match sets.as_mut_slice() {
        [] => {}
        [only] => only.resize(wanted),
        _ if deployment.recreates() => {}
        several => share(deployment, several),
    }
}

/// Proportional scaling: each active set keeps its part; what rounding leaves over goes to the biggest.
fn share(deployment: &Deployment, sets: &mut [&mut Set]) {
    let limit = match deployment.replicas() {
        0 => 0,
        wanted => wanted + Bounds::of(deployment).surge,
    };
    let total: i32 = sets.iter().map(|set| set.replicas).sum();
    let change = limit - total;
    if change > 0 {
        sets.sort_by(|a, b| (b.replicas, b.created()).cmp(&(a.replicas, a.created())));
    } else {
        sets.sort_by(|a, b| (Reverse(a.replicas), a.created()).cmp(&(Reverse(b.replicas), b.created())));
    }
    let mut shared = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(sets.len());
    for set in sets.iter() {
        let part = part(deployment, set, change, shared);
        shared += part;
        sizes.push(set.replicas + part);
    }
    if let Some(biggest) = sizes.first_mut() {
        *biggest += change - shared;
    }
    for (set, size) in sets.iter_mut().zip(sizes) {
        set.resize(size);
    }
}

/// What one set gets (or gives) of `change`, of which `shared` is already dealt out.
fn part(deployment: &Deployment, set: &Set, change: i32, shared: i32) -> i32 {
    if set.replicas == 0 || change == shared {
        return 0;
    }
    let left = change - shared;
    let fraction = fraction(deployment, set);
    if change > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(deployment: &Deployment, set: &Set) -> i32 {
    if deployment.replicas() == 0 {
        return -set.replicas;
    }
    let limit = deployment.replicas() + Bounds::of(deployment).surge;
    let before = set.noted(MAX).filter(|max| *max > 0).or(deployment.status.replicas).unwrap_or(0);
    if before <= 0 {
        return 0;
    }
    let exact = f64::from(set.replicas) * f64::from(limit) / f64::from(before);
    exact.round() as i32 - set.replicas
}

pub(super) fn size(sets: &[Set]) -> i32 {
    sets.iter().map(|set| set.replicas).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::RollingUpdateDeployment;

    fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
        let bound = |text: &str| match text.parse() {
            Ok(pods) => IntOrString::Int(pods),
            Err(_) => IntOrString::String(text.into()),
        };
        let mut deployment = Deployment::default();
        deployment.spec.replicas = Some(replicas);
        deployment.spec.strategy.rolling_update = Some(RollingUpdateDeployment {
            max_surge: Some(bound(surge)),
            max_unavailable: Some(bound(unavailable)),
        });
        deployment
    }

    /// A set of `replicas`, `available` of them, born in second `age`, last sized for `desired` (and a quarter more).
    fn set(name: &str, replicas: i32, available: i32, age: i64, desired: i32) -> Set {
        let mut seen = ReplicaSet::default();
        seen.metadata.name = Some(name.into());
        seen.metadata.creation_timestamp = Some(Timestamp::from_second(age).unwrap().into());
        let max = desired + (desired + 3) / 4;
        let notes = [(DESIRED.to_owned(), desired.to_string()), (MAX.to_owned(), max.to_string())];
        seen.metadata.annotations = Some(notes.into());
        seen.spec.replicas = Some(replicas);
        seen.status.available_replicas = Some(available);
        Set::of(Arc::new(seen))
    }

    #[test]
    fn bounds_round_surge_up_and_unavailable_down() {
        for (replicas, surge, unavailable, expected) in [
            (10, "25%", "25%", (3, 2)),
            (1, "25%", "25%", (1, 0)),
            (3, "0", "0", (0, 1)),
            (4, "0%", "10%", (0, 1)),
            (2, "0", "5", (0, 2)),
            (0, "1", "1", (1, 0)),
            (5, "200%", "100%", (10, 5)),
        ] {
            let bounds = Bounds::of(&deployment(replicas, surge, unavailable));
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn each_step_of_a_rolling_update() {
        // (surge, unavailable, new (size, available), old (size, available)...) -> new size, old sizes; 10 wanted.
        type Case = (&'static str, &'static str, (i32, i32), &'static [(i32, i32)], i32, &'static [i32]);
        let cases: &[Case] = &[
            ("25%", "25%", (0, 0), &[(10, 10)], 3, &[10]),
            ("25%", "25%", (3, 0), &[(10, 10)], 3, &[8]),
            ("25%", "25%", (3, 0), &[(8, 8)], 5, &[8]),
            ("25%", "25%", (5, 5), &[(8, 8)], 5, &[3]),
            ("25%", "25%", (10, 10), &[(3, 3)], 10, &[0]),
            ("0", "1", (0, 0), &[(10, 10)], 0, &[9]),
            ("0", "1", (0, 0), &[(9, 9)], 1, &[9]),
            ("1", "0", (1, 0), &[(10, 10)], 1, &[10]),
            ("1", "0", (1, 1), &[(10, 10)], 1, &[9]),
            // Unhealthy old pods go first, the oldest set before the next.
            ("25%", "25%", (3, 0), &[(5, 1), (5, 5)], 3, &[3, 5]),
            ("5", "5", (5, 0), &[(6, 2), (4, 4)], 5, &[1, 4]),
            // Scaled down by the user in the middle: the new set gives way first.
            ("1", "0", (12, 12), &[], 10, &[]),
        ];
        for (surge, unavailable, new, olds, new_after, old_after) in cases {
            let mut new = set("new", new.0, new.1, 100, 10);
            let mut old: Vec<Set> = olds
                .iter()
                .enumerate()
                .map(|(age, (size, available))| set("old", *size, *available, age as i64, 10))
                .collect();
            roll(&deployment(10, surge, unavailable), &mut new, &mut old);
            let sizes: Vec<i32> = old.iter().map(|set| set.replicas).collect();
            assert_eq!(
                (new.replicas, sizes.as_slice()),
                (*new_after, *old_after),
                "{surge} {unavailable} {olds:?}"
            );
        }
    }

    /// Whatever the bounds, a rollout whose pods become available in any order reaches its end and never leaves them.
    #[test]
    fn a_rollout_ends_within_its_bounds() {
        for replicas in 1..12 {
            for (surge, unavailable) in
                [("25%", "25%"), ("1", "0"), ("0", "1"), ("100%", "0"), ("0", "100%"), ("3", "2")]
            {
                let deployment = deployment(replicas, surge, unavailable);
                let bounds = Bounds::of(&deployment);
                let mut new = set("new", 0, 0, 1, replicas);
                let mut old = vec![set("old", replicas, replicas, 0, replicas)];
                let mut steps = 0;
                while new.available() < replicas || old[0].replicas > 0 {
                    roll(&deployment, &mut new, &mut old);
                    let total = new.replicas + old[0].replicas;
                    let available =
                        new.available().min(new.replicas) + old[0].available().min(old[0].replicas);
                    assert!(
                        total <= replicas + bounds.surge,
                        "{replicas} {surge} {unavailable}: {total} pods"
                    );
                    assert!(
                        available >= replicas - bounds.unavailable,
                        "{replicas} {surge} {unavailable}: {available}"
                    );
                    // One more new pod becomes available at each step, if there is one.
                    let ready = (new.available() + 1).min(new.replicas);
                    new = set("new", new.replicas, ready, 1, replicas);
                    let left = old[0].replicas;
                    old = vec![set("old", left, left, 0, replicas)];
                    steps += 1;
                    assert!(steps < 100, "{replicas} {surge} {unavailable} never ends");
                }
            }
        }
    }

    #[test]
    fn scaling_in_the_middle_is_proportional() {
        // Upstream's documented example: 10 replicas, surge 3, 8 old and 5 new, scaled to 15.
        let mut new = set("new", 5, 0, 2, 10);
        let mut old = vec![set("old", 8, 8, 1, 10)];
        let deployment = deployment(15, "3", "2");
        assert!(was_resized(&deployment, old.iter().chain([&new])));
        scale(&deployment, Some(&mut new), &mut old);
        assert_eq!((new.replicas, old[0].replicas), (7, 11));
        assert!(new.refresh && old[0].refresh);
    }

    #[test]
    fn scaling_without_a_rollout() {
        let to = |replicas| deployment(replicas, "25%", "25%");
        let mut new = set("new", 3, 3, 2, 3);
        scale(&to(7), Some(&mut new), &mut []);
        assert_eq!(new.replicas, 7);
        // Scaled to zero in the middle: everything goes.
        let (mut new, mut old) = (set("new", 5, 0, 2, 10), vec![set("old", 8, 8, 1, 10)]);
        scale(&to(0), Some(&mut new), &mut old);
        assert_eq!((new.replicas, old[0].replicas), (0, 0));
        // From zero: the new set, or the latest old one while there is no new (paused after a change).
        let (mut new, mut old) = (set("new", 0, 0, 2, 0), vec![set("old", 0, 0, 1, 0)]);
        scale(&to(2), Some(&mut new), &mut old);
        assert_eq!((new.replicas, old[0].replicas), (2, 0));
        let mut old = vec![set("older", 0, 0, 1, 0), set("old", 0, 0, 2, 0)];
        scale(&to(2), None, &mut old);
        assert_eq!(
            old.iter().map(|set| (set.seen.name(), set.replicas)).collect::<Vec<_>>(),
            [("old", 2), ("older", 0)]
        );
        // The new set is complete: what old ones still hold goes.
        let (mut new, mut old) = (set("new", 4, 4, 2, 4), vec![set("old", 1, 1, 1, 2)]);
        scale(&to(4), Some(&mut new), &mut old);
        assert_eq!((new.replicas, old[0].replicas), (4, 0));
    }
}
