//! What a Deployment reports: counts over its ReplicaSets, and the conditions Available, Progressing, ReplicaFailure.
//!
//! Reasons and messages are upstream's; `kubectl rollout status` and dashboards read them. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rolling::{Bounds, Set};
use crate::views::Deployment;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The counts, and Available. Progressing and ReplicaFailure stay as `before` has them.
pub(super) fn counts(
    deployment: &Deployment,
    before: &DeploymentStatus,
    new: Option<&Set>,
    old: &[Set],
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: fn(&Set) -> i32| old.iter().chain(new).map(count).sum::<i32>();
    let available = sum(Set::available);
    let wanted = sum(|set| set.seen.replicas());
    let terminating = old.iter().chain(new).filter_map(|set| set.seen.status.terminating_replicas);
    let terminating: Vec<i32> = terminating.collect();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(|set| set.seen.status.replicas)),
        updated_replicas: some(new.map_or(0, |new| new.seen.status.replicas)),
        ready_replicas: some(sum(|set| set.seen.status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        terminating_replicas: (!terminating.is_empty()).then(|| terminating.iter().sum()),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let minimum = deployment.replicas() - Bounds::of(deployment).unavailable;
    let enough = if available >= minimum {
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    } else {
        condition(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    };
    set(&mut status, enough);
    status
}

/// Counts and conditions of a Deployment that rolls.
pub(super) fn rollout(
    deployment: &Deployment,
    before: &DeploymentStatus,
    new: Option<&Set>,
    old: &[Set],
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counts(deployment, before, new, old, now);
    let subject = match new {
        Some(new) => format!("ReplicaSet \"{}\"", new.seen.name()),
        None => format!("Deployment \"{}\"", deployment.name()),
    };
    let current = get(before, PROGRESSING);
    if !has_deadline(deployment) {
        remove(&mut status, PROGRESSING);
    } else if !(status.replicas == status.updated_replicas && reason(current) == Some(NEW_SET_AVAILABLE)) {
        if complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut status, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, &message, now));
        } else if progressing(&deployment.status, &status) {
            let message = format!("{subject} is progressing.");
            let mut progress = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
            // The update time moves with every progress: the deadline runs from it.
            if let Some(current) = current.filter(|current| current.status == "True") {
                progress.last_transition_time = current.last_transition_time.clone();
            }
            remove(&mut status, PROGRESSING);
            set(&mut status, progress);
        } else if timed_out(deployment, current, now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut status, condition(PROGRESSING, "False", TIMED_OUT, &message, now));
        }
    }
    match replica_failure(new, old) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

/// Notes that the Deployment was paused or resumed; the deadline does not run while it is paused.
pub(super) fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let current = reason(get(status, PROGRESSING));
    if !has_deadline(deployment) || current == Some(TIMED_OUT) {
        return;
    }
    let noted = current == Some(PAUSED);
    if deployment.spec.paused && !noted {
        set(status, condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now));
    } else if !deployment.spec.paused && noted {
        set(status, condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now));
    }
}

/// Notes that the new set was there already when the Deployment first looked.
pub(super) fn note_found(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    set_name: &str,
    now: Timestamp,
) {
    if has_deadline(deployment) && get(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{set_name}\"");
        set(status, condition(PROGRESSING, "True", "FoundNewReplicaSet", &message, now));
    }
}

/// Notes that the new set is created in this pass.
pub(super) fn note_created(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    set_name: &str,
    now: Timestamp,
) {
    if has_deadline(deployment) {
        let message = format!("Created new replica set \"{set_name}\"");
        set(status, condition(PROGRESSING, "True", "NewReplicaSetCreated", &message, now));
    }
}

/// Notes that the new set could not be created; `message` says why.
pub(super) fn note_create_failed(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    message: &str,
    now: Timestamp,
) {
    if has_deadline(deployment) {
        set(status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    }
}

/// Whether `status` says that the rollout has reached its end.
pub(super) fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.replicas();
    let all = |count: Option<i32>| count.unwrap_or(0) == wanted;
    all(status.updated_replicas)
        && all(status.replicas)
        && all(status.available_replicas)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

/// When to look again whether the deadline has passed.
pub(super) fn check_deadline_in(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let current = get(status, PROGRESSING)?;
    if !has_deadline(deployment) || deployment.spec.paused || complete(deployment, status) {
        return None;
    }
    if matches!(reason(Some(current)), Some(TIMED_OUT | NEW_SET_AVAILABLE)) {
        return None;
    }
    let left = deadline(deployment, current)?.duration_since(now);
    // A second late, so that the deadline has passed for sure.
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}

fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

fn progressing(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn timed_out(deployment: &Deployment, current: Option<&DeploymentCondition>, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match reason(Some(current)) {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(deployment, current).is_some_and(|deadline| deadline < now),
    }
}

fn deadline(deployment: &Deployment, current: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = deployment.spec.progress_deadline_seconds?;
    let from = current.last_update_time.as_ref()?.0;
    from.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// A failure of the new set, else of an old one, as the Deployment's own condition.
fn replica_failure(new: Option<&Set>, old: &[Set]) -> Option<DeploymentCondition> {
    let mut conditions =
        new.into_iter().chain(old).flat_map(|set| set.seen.status.conditions.iter().flatten());
    let failure = conditions.find(|condition| condition.type_ == REPLICA_FAILURE)?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time.clone(),
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn reason(condition: Option<&DeploymentCondition>) -> Option<&str> {
    condition?.reason.as_deref()
}

/// Sets a condition; one of the same status and reason stays as it is, and a status that stays keeps its transition time.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(current) = get(status, &condition.type_) {
        if current.status == condition.status && current.reason == condition.reason {
            return;
        }
        if current.status == condition.status {
            condition.last_transition_time = current.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
}

/// Upstream leaves counts of zero out.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::ReplicaSet;
    use std::sync::Arc;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn deployment(replicas: i32) -> Deployment {
        let mut deployment = Deployment::default();
        deployment.metadata.name = Some("web".into());
        deployment.metadata.generation = Some(1);
        deployment.spec.replicas = Some(replicas);
        deployment.spec.progress_deadline_seconds = Some(600);
        deployment
    }

    /// (wanted, exist, ready and available)
    fn set(name: &str, counts: (i32, i32, i32)) -> Set {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some(name.into());
        set.spec.replicas = Some(counts.0);
        set.status.replicas = counts.1;
        set.status.ready_replicas = some(counts.2);
        set.status.available_replicas = some(counts.2);
        set.status.terminating_replicas = Some(0);
        Set::of(Arc::new(set))
    }

    fn shown(status: &DeploymentStatus, kind: &str) -> Option<(String, String, String)> {
        let found = get(status, kind)?;
        Some((found.status.clone(), found.reason.clone()?, found.message.clone()?))
    }

    fn row(status: &str, reason: &str, message: &str) -> Option<(String, String, String)> {
        Some((status.into(), reason.into(), message.into()))
    }

    /// One Deployment's life: created, pods come, complete, stuck after a change, and unstuck.
    #[test]
    fn progressing_follows_the_rollout() {
        let mut web = deployment(2);
        let mut status = web.status.clone();
        note_created(&web, &mut status, "web-1", at(0));
        web.status = rollout(&web, &status, Some(&set("web-1", (2, 0, 0))), &[], at(0));
        assert_eq!(
            shown(&web.status, PROGRESSING),
            row("True", "NewReplicaSetCreated", "Created new replica set \"web-1\"")
        );
        assert_eq!(
            shown(&web.status, AVAILABLE),
            row("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        );
        assert_eq!(web.status.unavailable_replicas, Some(2));
        assert_eq!(check_deadline_in(&web, &web.status, at(10)), Some(Duration::from_secs(591)));

        web.status = rollout(&web, &web.status, Some(&set("web-1", (2, 2, 1))), &[], at(5));
        assert_eq!(
            shown(&web.status, PROGRESSING),
            row("True", "ReplicaSetUpdated", "ReplicaSet \"web-1\" is progressing.")
        );
        assert_eq!(get(&web.status, PROGRESSING).unwrap().last_transition_time, Some(Time(at(0))));
        assert_eq!(get(&web.status, PROGRESSING).unwrap().last_update_time, Some(Time(at(5))));

        web.status = rollout(&web, &web.status, Some(&set("web-1", (2, 2, 2))), &[], at(6));
        let done = row("True", "NewReplicaSetAvailable", "ReplicaSet \"web-1\" has successfully progressed.");
        assert_eq!(shown(&web.status, PROGRESSING), done);
        assert!(complete(&web, &web.status));
        assert_eq!(check_deadline_in(&web, &web.status, at(6)), None);
        assert_eq!(rollout(&web, &web.status, Some(&set("web-1", (2, 2, 2))), &[], at(900)), web.status);

        web.metadata.generation = Some(2);
        let old = [set("web-1", (2, 2, 2))];
        let mut status = web.status.clone();
        note_created(&web, &mut status, "web-2", at(1000));
        web.status = rollout(&web, &status, Some(&set("web-2", (1, 1, 0))), &old, at(1000));
        web.status = rollout(&web, &web.status, Some(&set("web-2", (1, 1, 0))), &old, at(1600));
        assert_eq!(shown(&web.status, PROGRESSING).unwrap().1, "NewReplicaSetCreated");
        web.status = rollout(&web, &web.status, Some(&set("web-2", (1, 1, 0))), &old, at(1601));
        let stuck =
            row("False", "ProgressDeadlineExceeded", "ReplicaSet \"web-2\" has timed out progressing.");
        assert_eq!(shown(&web.status, PROGRESSING), stuck);
        assert_eq!(check_deadline_in(&web, &web.status, at(1602)), None);
        web.status =
            rollout(&web, &web.status, Some(&set("web-2", (2, 2, 2))), &[set("web-1", (0, 0, 0))], at(2000));
        assert_eq!(shown(&web.status, PROGRESSING).unwrap().1, "NewReplicaSetAvailable");
    }

    #[test]
    fn pausing_stops_the_clock() {
        let mut web = deployment(1);
        web.spec.paused = true;
        let mut status = DeploymentStatus::default();
        note_pause(&web, &mut status, at(0));
        assert_eq!(shown(&status, PROGRESSING), row("Unknown", "DeploymentPaused", "Deployment is paused"));
        assert_eq!(check_deadline_in(&web, &status, at(0)), None);
        web.spec.paused = false;
        note_pause(&web, &mut status, at(5));
        assert_eq!(shown(&status, PROGRESSING), row("Unknown", "DeploymentResumed", "Deployment is resumed"));
        assert_eq!(check_deadline_in(&web, &status, at(5)), Some(Duration::from_secs(601)));
    }

    #[test]
    fn no_deadline_no_progressing() {
        let mut web = deployment(1);
        web.spec.progress_deadline_seconds = None;
        let status = rollout(&web, &DeploymentStatus::default(), None, &[], at(0));
        assert_eq!(shown(&status, PROGRESSING), None);
    }

    #[test]
    fn a_failure_of_a_set_is_the_deployments() {
        use k8s_openapi::api::apps::v1::ReplicaSetCondition;
        let mut failing = ReplicaSet::default();
        failing.status.conditions = Some(vec![ReplicaSetCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: Some("FailedCreate".into()),
            message: Some("exceeded quota".into()),
            last_transition_time: Some(Time(at(0))),
        }]);
        let failing = Set::of(Arc::new(failing));
        let web = deployment(1);
        let status = rollout(&web, &DeploymentStatus::default(), Some(&failing), &[], at(1));
        assert_eq!(shown(&status, REPLICA_FAILURE), row("True", "FailedCreate", "exceeded quota"));
        let status = rollout(&web, &status, Some(&set("web-1", (1, 1, 1))), &[], at(2));
        assert_eq!(shown(&status, REPLICA_FAILURE), None);
    }
}
