//! What if: where manifests would go, and what becomes of the pods of nodes that are drained, lost or added.
//!
//! The scheduler's own state decides, with queue, priorities and preemption, over a copy of a cluster that was read
//! once; what it wants written is taken as done. Nothing here can write to a cluster: `world::Reader` sends GET only,
//! and the state has no client. `command` is `steersman simulate`, `render` its tables.

mod changes;
mod command;
mod drive;
mod fullness;
mod render;
pub mod report;
mod workloads;

pub use changes::{ChangeError, NodeChanges};
pub use command::{Args, answer, command};
pub use render::text;
pub use workloads::ManifestError;

use crate::cache::{Cache, Snapshot};
use crate::framework::Profiles;
use crate::pod::{NodeName, PodInfo, Uid};
use crate::world::World;
use changes::Aftermath;
use drive::{Driven, again_uid, drive};
use fullness::fullness;
use jiff::Timestamp;
use objects::owner::controller_of;
use objects::views::Pod;
use report::{Origin, PodOutcome, Preempted, Report};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use workloads::Wanted;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node of the question is not there, or is already.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A manifest is not one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Answers what if these changes are made to this cluster, and then these manifests applied.
///
/// # Errors
///
/// When the question does not fit the cluster.
pub fn simulate(
    mut world: World,
    changes: &NodeChanges,
    manifests: Vec<Value>,
    profiles: &Arc<Profiles>,
    now: Timestamp,
) -> Result<Report, Error> {
    let before = fullness(&as_it_is(&world));
    let after = changes::apply(&mut world, changes)?;
    let mut wanted = pending(&world, profiles);
    let daemons = workloads::daemons(&world, &after.added)?;
    let applied = workloads::apply(&mut world, manifests)?;
    let displaced = after.displaced.iter().map(|(pod, _)| Wanted {
        owner: owner_of(pod),
        pod: pod.clone(),
        origin: Origin::Displaced,
    });
    let new: Vec<Wanted> = daemons.into_iter().chain(displaced).chain(applied).collect();
    world.pods.extend(new.iter().map(|wanted| wanted.pod.clone()));
    wanted.extend(new);
    let mut notes = std::mem::take(&mut world.notes);
    let driven = drive(world.into_state(profiles.clone(), now), wanted.len(), now);
    if !driven.at_rest {
        notes.push("the simulation did not come to rest and was ended".to_owned());
    }
    wanted.extend(driven.again.iter().map(|pod| Wanted {
        owner: owner_of(pod),
        pod: pod.clone(),
        origin: Origin::Preempted,
    }));
    Ok(report(&wanted, after, driven, before, notes, (profiles, now)))
}

fn report(
    wanted: &[Wanted],
    aftermath: Aftermath,
    driven: Driven,
    before: report::Fullness,
    notes: Vec<String>,
    (profiles, now): (&Profiles, Timestamp),
) -> Report {
    let name = |pod: &Pod| format!("{}/{}", pod.namespace(), pod.name());
    let displaced = aftermath.displaced.iter().map(|(pod, node)| (pod.uid().to_owned(), node.clone()));
    let evicted = driven.evicted.iter().map(|(victim, node, _)| (again_uid(&victim.uid), node.to_string()));
    let mut from: BTreeMap<String, String> = displaced.chain(evicted).collect();
    let victims: BTreeSet<&Uid> = driven.evicted.iter().map(|(victim, ..)| &victim.uid).collect();
    let mut outcome = |Wanted { pod, owner, origin }: &Wanted| {
        let uid = Uid::of(pod);
        let gone = victims.contains(&uid);
        let node = driven.placed.get(&uid).map(ToString::to_string);
        let node = node.or_else(|| pod.node_name().map(str::to_owned)).filter(|_| !gone);
        let why = || match gone {
            true => Some("evicted again for a more important pod".to_owned()),
            false => driven
                .refused
                .get(&uid)
                .cloned()
                .or_else(|| driven.held_back(profiles, &PodInfo::new(pod.clone())))
                .or_else(|| Some(untried(profiles, pod))),
        };
        PodOutcome {
            pod: name(pod),
            owner: owner.clone(),
            origin: *origin,
            from: from.remove(pod.uid()),
            message: node.is_none().then(why).flatten(),
            node,
        }
    };
    let preempted = driven.evicted.iter().map(|(victim, node, by)| Preempted {
        pod: victim.to_string(),
        node: node.to_string(),
        by: by.to_string(),
    });
    Report {
        at: now,
        pods: wanted.iter().map(&mut outcome).collect(),
        preempted: preempted.collect(),
        lost: aftermath.lost,
        held: aftermath.held,
        before,
        after: fullness(driven.state.cluster()),
        notes,
    }
}

fn untried(profiles: &Profiles, pod: &Pod) -> String {
    let scheduler = pod.spec.scheduler_name.as_deref().filter(|name| !name.is_empty());
    match scheduler.filter(|name| profiles.get(name).is_none()) {
        Some(other) => format!("its scheduler is {other}, which is not simulated"),
        None => "was never tried".to_owned(),
    }
}

/// Pods of ours that wait in the cluster already.
fn pending(world: &World, profiles: &Profiles) -> Vec<Wanted> {
    let waits = |pod: &&Arc<Pod>| {
        pod.node_name().is_none()
            && !PodInfo::has_ended(pod)
            && pod.metadata.deletion_timestamp.is_none()
            && profiles.of(&PodInfo::new(Arc::clone(pod))).is_some()
    };
    let wanted = |pod: &Arc<Pod>| Wanted { owner: owner_of(pod), pod: pod.clone(), origin: Origin::Pending };
    world.pods.iter().filter(waits).map(wanted).collect()
}

fn owner_of(pod: &Pod) -> String {
    match controller_of(&pod.metadata) {
        Some(owner) => format!("{} {}/{}", owner.kind, pod.namespace(), owner.name),
        None => format!("Pod {}/{}", pod.namespace(), pod.name()),
    }
}

/// The cluster without anything being decided.
fn as_it_is(world: &World) -> Snapshot {
    let mut cache = Cache::default();
    for node in &world.nodes {
        cache.upsert_node(node.clone());
    }
    for pod in world.pods.iter().filter(|pod| !PodInfo::has_ended(pod)) {
        if let Some(node) = pod.node_name() {
            cache.upsert_pod(Arc::new(PodInfo::new(pod.clone())), NodeName::from(node));
        }
    }
    cache.snapshot().clone()
}

#[cfg(test)]
mod tests;
