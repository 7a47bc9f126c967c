//! One pass over a Deployment, decided: which ReplicaSet to create, resize, annotate or delete, and what to report.
//!
//! Reads the Deployment, its ReplicaSets, whether pods of old templates still exist, and the time. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::rolling::{self, Set};
use super::{REVISION, revisions, status};
use crate::template::{HASH_LABEL, Template};
use crate::views::{Deployment, ReplicaSet};

/// What a pass is to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The ReplicaSet of a new template.
    pub(super) create: Option<Draft>,
    /// Changes to ReplicaSets that exist.
    pub(super) change: Vec<Change>,
    /// ReplicaSets beyond the history limit.
    pub(super) delete: Vec<Arc<ReplicaSet>>,
    /// The Deployment's own revision annotation, if it is to change.
    pub(super) revision: Option<String>,
    /// The whole status after this pass.
    pub(super) status: DeploymentStatus,
    /// When to look again though nothing changed.
    pub(super) look_again: Option<Duration>,
}

/// A ReplicaSet to create.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) replicas: i32,
    pub(super) min_ready_seconds: i32,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) selector: LabelSelector,
    pub(super) template: Template,
}

/// A change to one ReplicaSet. At least one of its parts is set.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) set: Arc<ReplicaSet>,
    pub(super) replicas: Option<i32>,
    pub(super) min_ready_seconds: Option<i32>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Decides one pass. `old_pods` tells whether pods of other sets than the given one (by UID; none: of any set)
/// still exist and have not ended; only Recreate asks.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    old_pods: impl Fn(Option<&str>) -> bool,
    now: Timestamp,
) -> Plan {
    let mut before = deployment.status.clone();
    if deployment.spec.selector == LabelSelector::default() {
        before.observed_generation = deployment.metadata.generation;
        return Plan { status: before, ..Plan::default() };
    }
    let (new, old) = revisions::split(deployment, sets);
    let mut pass = Pass { deployment, now, new, old, plan: Plan::default() };
    if deployment.metadata.deletion_timestamp.is_some() {
        pass.plan.status = status::counts(deployment, &before, pass.new.as_ref(), &pass.old, now);
        return pass.plan;
    }
    status::note_pause(deployment, &mut before, now);
    let scales = rolling::was_resized(deployment, pass.old.iter().chain(&pass.new));
    let rolls = !deployment.spec.paused && !scales;
    pass.find_new(&mut before);
    if !rolls {
        rolling::scale(deployment, pass.new.as_mut(), &mut pass.old);
        if deployment.spec.paused {
            pass.plan.delete = revisions::expired(deployment, &pass.old);
        }
    } else if deployment.recreates() {
        pass.recreate(&mut before, old_pods);
    } else {
        pass.roll(&mut before);
    }
    pass.finish(before, rolls)
}

/// A plan in the making.
struct Pass<'a> {
    deployment: &'a Deployment,
    now: Timestamp,
    new: Option<Set>,
    old: Vec<Set>,
    plan: Plan,
}

impl Pass<'_> {
    /// Gives the new set, if it exists, the revision and annotations it should have.
    fn find_new(&mut self, before: &mut DeploymentStatus) {
        let Some(new) = &self.new else { return };
        status::note_found(self.deployment, before, new.seen.name(), self.now);
        let next = revisions::next(&self.old).max(revisions::revision(new));
        self.note_revision(next);
    }

    fn note_revision(&mut self, revision: i64) {
        let revision = revision.to_string();
        let current = self.deployment.metadata.annotations.as_ref().and_then(|notes| notes.get(REVISION));
        if current != Some(&revision) {
            self.plan.revision = Some(revision);
        }
    }

    fn roll(&mut self, before: &mut DeploymentStatus) {
        match &mut self.new {
            Some(new) => rolling::roll(self.deployment, new, &mut self.old),
            None => self.create(before),
        }
        self.clean_up();
    }

    /// Old sets to zero, wait until their pods are gone, then the new set at once.
    fn recreate(&mut self, before: &mut DeploymentStatus, old_pods: impl Fn(Option<&str>) -> bool) {
        let mut shrunk = false;
        for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
            set.replicas = 0;
            set.refresh = true;
            shrunk = true;
        }
        let counted = self.old.iter().any(|set| set.seen.status.replicas > 0);
        if shrunk || counted || old_pods(self.new.as_ref().map(|new| new.seen.uid())) {
            return;
        }
        match &mut self.new {
            Some(new) if new.replicas != self.deployment.replicas() => {
                new.replicas = self.deployment.replicas();
                new.refresh = true;
            }
            Some(_) => {}
            None => self.create(before),
        }
        self.clean_up();
    }

    fn create(&mut self, before: &mut DeploymentStatus) {
        let deployment = self.deployment;
        let hash = deployment.spec.template.hash(deployment.status.collision_count);
        let next = revisions::next(&self.old);
        let mut annotations = revisions::annotations(deployment, None, next);
        annotations.extend(revisions::sizes(deployment));
        let mut selector = deployment.spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
        let name = format!("{}-{hash}", deployment.name());
        status::note_created(deployment, before, &name, self.now);
        self.note_revision(next);
        self.plan.create = Some(Draft {
            replicas: rolling::new_size(deployment, 0, rolling::size(&self.old)),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            annotations,
            selector,
            template: deployment.spec.template.with_label(HASH_LABEL, &hash),
            name,
        });
    }

    /// Old sets go once the rollout has been reported complete.
    fn clean_up(&mut self) {
        if status::complete(self.deployment, &self.deployment.status) {
            self.plan.delete = revisions::expired(self.deployment, &self.old);
        }
    }

    fn finish(mut self, before: DeploymentStatus, rolls: bool) -> Plan {
        let (deployment, now, new) = (self.deployment, self.now, self.new.as_ref());
        self.plan.status = if rolls {
            status::rollout(deployment, &before, new, &self.old, now)
        } else {
            status::counts(deployment, &before, new, &self.old, now)
        };
        self.plan.look_again = status::check_deadline_in(deployment, &self.plan.status, now);
        if let Some(new) = new {
            let annotations = revisions::annotations(deployment, Some(new), revisions::next(&self.old));
            self.plan.change.extend(change(
                deployment,
                new,
                annotations,
                Some(deployment.spec.min_ready_seconds),
            ));
        }
        for set in &self.old {
            self.plan.change.extend(change(deployment, set, BTreeMap::new(), None));
        }
        self.plan
    }
}

/// The difference between a set as it is and as it is to be; none when there is none.
fn change(
    deployment: &Deployment,
    set: &Set,
    mut annotations: BTreeMap<String, String>,
    min_ready_seconds: Option<i32>,
) -> Option<Change> {
    if set.refresh {
        annotations.extend(revisions::sizes(deployment));
    }
    annotations.retain(|key, value| set.seen.annotation(key) != Some(value));
    let replicas = set.resized().then_some(set.replicas);
    let min_ready_seconds = min_ready_seconds.filter(|seconds| *seconds != set.seen.spec.min_ready_seconds);
    let any = replicas.is_some() || min_ready_seconds.is_some() || !annotations.is_empty();
    any.then(|| Change { set: set.seen.clone(), replicas, min_ready_seconds, annotations })
}

#[cfg(test)]
mod tests {
    use super::super::{DESIRED, MAX};
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn deployment(extra: serde_json::Value) -> Deployment {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
            "spec": {
                "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "web:2"}]}},
            },
        });
        json_patch_merge(&mut object, extra);
        serde_json::from_value(object).unwrap()
    }

    fn json_patch_merge(into: &mut serde_json::Value, from: serde_json::Value) {
        match from {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    json_patch_merge(&mut into[key], value);
                }
            }
            value => *into = value,
        }
    }

    fn set(name: &str, image: &str, revision: u8, desired: i32, counts: (i32, i32)) -> Arc<ReplicaSet> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": name, "uid": name, "creationTimestamp": format!("2026-01-0{revision}T00:00:00Z"),
                    "annotations": {REVISION: revision.to_string(), DESIRED: desired.to_string(), MAX: (desired + 1).to_string()},
                },
                "spec": {
                    "replicas": counts.0,
                    "selector": {"matchLabels": {"app": "web", HASH_LABEL: name}},
                    "template": {"metadata": {"labels": {"app": "web", HASH_LABEL: name}}, "spec": {"containers": [{"image": image}]}},
                },
                "status": {"replicas": counts.1, "readyReplicas": counts.1, "availableReplicas": counts.1},
            }))
            .unwrap(),
        )
    }

    fn sizes(plan: &Plan) -> Vec<(&str, i32)> {
        plan.change.iter().filter_map(|change| Some((change.set.name(), change.replicas?))).collect()
    }

    #[test]
    fn a_new_template_gets_a_new_set() {
        let plan = plan(&deployment(json!({})), &[], |_| false, now());
        let draft = plan.create.unwrap();
        let hash = draft.name.strip_prefix("web-").unwrap();
        assert_eq!(draft.replicas, 3);
        assert_eq!(draft.template.labels()[HASH_LABEL], hash);
        assert_eq!(draft.selector.match_labels.unwrap()[HASH_LABEL], hash);
        assert_eq!(draft.annotations[REVISION], "1");
        assert_eq!((&*draft.annotations[DESIRED], &*draft.annotations[MAX]), ("3", "4"));
        assert_eq!(plan.revision.as_deref(), Some("1"));
        assert!(plan.look_again.is_some());
    }

    #[test]
    fn an_update_starts_with_the_surge() {
        let plan = plan(&deployment(json!({})), &[set("a", "web:1", 1, 3, (3, 3))], |_| true, now());
        assert_eq!(plan.create.as_ref().unwrap().replicas, 1);
        assert_eq!(plan.create.as_ref().unwrap().annotations[REVISION], "2");
        assert!(plan.change.is_empty());
    }

    #[test]
    fn rollback_gives_the_old_set_the_next_revision() {
        let sets = [set("b", "web:2", 1, 3, (0, 0)), set("c", "web:3", 2, 3, (3, 3))];
        let plan = plan(&deployment(json!({})), &sets, |_| true, now());
        assert!(plan.create.is_none());
        assert_eq!(sizes(&plan), [("b", 1)]);
        assert_eq!(plan.change[0].annotations[REVISION], "3");
        assert_eq!(plan.revision.as_deref(), Some("3"));
    }

    #[test]
    fn paused_scales_but_does_not_roll() {
        let paused = deployment(json!({"spec": {"paused": true, "replicas": 5}}));
        let plan = plan(&paused, &[set("a", "web:1", 1, 3, (3, 3))], |_| true, now());
        assert!(plan.create.is_none());
        assert_eq!(sizes(&plan), [("a", 5)]);
        assert_eq!(plan.look_again, None);
        assert_eq!(plan.change[0].annotations[DESIRED], "5");
    }

    #[test]
    fn recreate_waits_for_the_old_pods() {
        let web = deployment(json!({"spec": {"strategy": {"type": "Recreate"}}}));
        let running = [set("a", "web:1", 1, 3, (3, 3))];
        assert_eq!(sizes(&plan(&web, &running, |_| true, now())), [("a", 0)]);
        let stopping = [set("a", "web:1", 1, 3, (0, 0))];
        let waiting = plan(&web, &stopping, |_| true, now());
        assert!(waiting.create.is_none() && waiting.change.is_empty());
        let gone = plan(&web, &stopping, |_| false, now());
        assert_eq!(gone.create.unwrap().replicas, 3);
    }

    #[test]
    fn a_settled_deployment_writes_nothing() {
        let web = deployment(json!({
            "metadata": {"annotations": {REVISION: "1"}},
            "status": {
                "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                "conditions": [
                    {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
                ],
            },
        }));
        let plan = plan(&web, &[set("a", "web:2", 1, 3, (3, 3))], |_| true, now());
        assert!(
            plan.create.is_none()
                && plan.change.is_empty()
                && plan.delete.is_empty()
                && plan.revision.is_none()
        );
        assert_eq!(plan.status, web.status);
        assert_eq!(plan.look_again, None);
    }

    #[test]
    fn complete_rollouts_drop_old_history() {
        let mut web = deployment(json!({"spec": {"revisionHistoryLimit": 1}}));
        let sets = [
            set("a", "web:0", 1, 3, (0, 0)),
            set("b", "web:1", 2, 3, (0, 0)),
            set("c", "web:2", 3, 3, (3, 3)),
        ];
        assert!(plan(&web, &sets, |_| false, now()).delete.is_empty(), "not reported complete yet");
        web.status = plan(&web, &sets, |_| false, now()).status;
        let names: Vec<String> =
            plan(&web, &sets, |_| false, now()).delete.iter().map(|set| set.name().to_owned()).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn a_deleting_deployment_only_reports() {
        let web = deployment(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let plan = plan(&web, &[set("a", "web:1", 1, 3, (3, 3))], |_| true, now());
        assert!(plan.create.is_none() && plan.change.is_empty() && plan.delete.is_empty());
        assert_eq!(plan.status.replicas, Some(3));
    }
}
