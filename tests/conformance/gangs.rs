//! Pods that start together or not at all, over the real API server: PodGroup, Workload and `spec.schedulingGroup`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1alpha2::{PodGroup, Workload};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::scheduling::Scene;

/// Longer than a refused pod is set back.
const A_WHILE: Duration = Duration::from_secs(30);

fn groups(scene: &Scene) -> Api<PodGroup> {
    scene.cluster.api()
}

async fn gang(scene: &Scene, name: &str, least: i32) {
    let group =
        json!({"metadata": {"name": name}, "spec": {"schedulingPolicy": {"gang": {"minCount": least}}}});
    let group = serde_json::from_value(group).unwrap();
    groups(scene).create(&PostParams::default(), &group).await.unwrap();
}

async fn member(scene: &Scene, name: &str, group: &str, cpu: &str) {
    scene.pod(name, cpu, json!({"schedulingGroup": {"podGroupName": group}})).await;
}

/// Those that have a node, by name.
async fn placed(scene: &Scene) -> Vec<String> {
    let pods: Vec<Pod> = scene.cluster.all().await;
    let with_node = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let mut names: Vec<_> =
        pods.iter().filter(with_node).filter_map(|pod| pod.metadata.name.clone()).collect();
    names.sort();
    names
}

/// Status, reason and message of PodGroupScheduled, once it has this status.
async fn said(scene: &Scene, group: &str, status: &str) -> (String, String) {
    let groups = groups(scene);
    scene
        .cluster
        .eventually(&format!("group {group} is scheduled: {status}"), async || {
            let conditions = groups.get(group).await.unwrap().status.unwrap_or_default().conditions;
            let conditions = conditions.unwrap_or_default();
            let known = conditions.iter().find(|known| known.type_ == "PodGroupScheduled");
            let found = known.filter(|known| known.status == status);
            found.map(|known| (known.reason.clone(), known.message.clone())).ok_or_else(|| conditions.clone())
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_gang_waits_until_enough_of_it_are_there_and_starts_together() {
    let scene = Scene::new().await;
    scene.node("n1", json!({}), json!({})).await;
    scene.node("n2", json!({}), json!({})).await;
    gang(&scene, "train", 3).await;
    member(&scene, "a", "train", "1").await;
    member(&scene, "b", "train", "1").await;
    tokio::time::sleep(A_WHILE).await;
    for name in ["a", "b"] {
        let status = scene.pods().get(name).await.unwrap().status.unwrap();
        assert_eq!(status.conditions, None, "it is held back, which is no attempt");
    }
    assert_eq!(placed(&scene).await, Vec::<String>::new(), "two of three do not start");
    assert_eq!(groups(&scene).get("train").await.unwrap().status.unwrap_or_default().conditions, None);

    member(&scene, "c", "train", "1").await;
    for name in ["a", "b", "c"] {
        scene.bound(name).await;
    }
    let (reason, message) = said(&scene, "train", "True").await;
    assert_eq!((reason.as_str(), message.as_str()), ("Scheduled", ""));
    // One beyond the least starts when there is room, and may wait for it; the gang stays scheduled.
    member(&scene, "d", "train", "1").await;
    scene.bound("d").await;
    member(&scene, "e", "train", "1").await;
    scene.refused("e").await;
    assert_eq!(said(&scene, "train", "True").await.0, "Scheduled");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gang_that_does_not_fit_binds_none_and_keeps_no_room() {
    let scene = Scene::new().await;
    scene.node("n1", json!({}), json!({})).await;
    gang(&scene, "train", 3).await;
    for name in ["a", "b", "c"] {
        member(&scene, name, "train", "1").await;
    }
    let (reason, message) = said(&scene, "train", "False").await;
    assert_eq!((reason.as_str(), message.as_str()), ("Unschedulable", "pod group is unschedulable"));
    for name in ["a", "b", "c"] {
        scene.refused(name).await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(placed(&scene).await, Vec::<String>::new());
    // The whole node is free for another.
    scene.pod("single", "2", json!({})).await;
    assert_eq!(scene.bound("single").await, "n1");
    scene.pods().delete("single", &DeleteParams::default().grace_period(0)).await.unwrap();

    // Room comes: all of them start.
    scene.node("n2", json!({}), json!({})).await;
    for name in ["a", "b", "c"] {
        scene.bound(name).await;
    }
    assert_eq!(said(&scene, "train", "True").await.0, "Scheduled");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_gangs_that_fit_one_at_a_time_do_not_block_each_other() {
    let scene = Scene::new().await;
    scene.node("n1", json!({}), json!({})).await;
    scene.node("n2", json!({}), json!({})).await;
    gang(&scene, "g", 3).await;
    gang(&scene, "h", 3).await;
    for number in 0..3 {
        member(&scene, &format!("g{number}"), "g", "1").await;
        member(&scene, &format!("h{number}"), "h", "1").await;
    }
    let complete =
        |all: &[String]| ["g", "h"].map(|gang| all.iter().filter(|name| name.starts_with(gang)).count());
    let first = scene
        .cluster
        .eventually("one gang runs", async || {
            let counts = complete(&placed(&scene).await);
            if counts.contains(&3) { Ok(counts) } else { Err(counts) }
        })
        .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(complete(&placed(&scene).await), first);
    assert_eq!(first.iter().sum::<usize>(), 3, "and none of the other");
    let (done, other) = if first[0] == 3 { ("g", "h") } else { ("h", "g") };
    for number in 0..3 {
        let name = format!("{done}{number}");
        scene.pods().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    for number in 0..3 {
        scene.bound(&format!("{other}{number}")).await;
    }
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_comes_late_or_is_basic() {
    let scene = Scene::new().await;
    scene.node("n1", json!({}), json!({})).await;
    member(&scene, "a", "late", "1").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(placed(&scene).await, Vec::<String>::new());
    let basic = json!({"metadata": {"name": "late"}, "spec": {"schedulingPolicy": {"basic": {}}}});
    scene.cluster.create::<PodGroup>(basic).await;
    assert_eq!(scene.bound("a").await, "n1");
    assert_eq!(said(&scene, "late", "True").await.0, "Scheduled");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn groups_are_made_from_templates_and_keep_what_they_ask_for() {
    let scene = Scene::without_scheduler().await;
    let workload = json!({"metadata": {"name": "job"}, "spec": {
        "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "job"},
        "podGroupTemplates": [{"name": "workers", "schedulingPolicy": {"gang": {"minCount": 4}}}]}});
    let made: Workload = scene.cluster.create(workload).await;
    assert_eq!(made.spec.pod_group_templates[0].scheduling_policy.gang.as_ref().unwrap().min_count, 4);

    let groups = groups(&scene);
    let create = async |name: &str, template: &str, extra: Value| {
        let mut group = json!({"metadata": {"name": name}, "spec": {
            "podGroupTemplateRef": {"workload": {"workloadName": "job", "podGroupTemplateName": template}},
            "schedulingPolicy": {"gang": {"minCount": 4}}}});
        group["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        groups.create(&PostParams::default(), &serde_json::from_value(group).unwrap()).await
    };
    let dropped =
        json!({"priorityClassName": "high", "schedulingConstraints": {"topology": [{"key": "rack"}]}});
    let made = create("job-0", "workers", dropped).await.unwrap();
    assert_eq!((made.spec.priority_class_name, made.spec.scheduling_constraints), (None, None));
    let refused = create("job-1", "drivers", json!({})).await.unwrap_err().to_string();
    let why = "PodGroup rejected: PodGroupTemplate \"drivers\" not found in Workload \"job\"";
    assert!(refused.contains(why), "{refused}");

    let patch = |body: Value| Patch::Merge(body);
    let change = patch(json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}}));
    let refused = groups.patch("job-0", &PatchParams::default(), &change).await.unwrap_err().to_string();
    assert!(refused.contains("field is immutable"), "{refused}");
    // Its status is the scheduler's: an update of the rest leaves it alone, and the other way round.
    let condition = json!({"type": "PodGroupScheduled", "status": "True", "reason": "Scheduled", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let both = json!({"metadata": {"labels": {"a": "b"}}, "status": {"conditions": [condition]}});
    let after = groups.patch("job-0", &PatchParams::default(), &patch(both.clone())).await.unwrap();
    assert_eq!(after.status.unwrap_or_default().conditions, None);
    assert_eq!(after.metadata.labels.unwrap()["a"], "b");
    let both = json!({"spec": {"schedulingPolicy": {"basic": {}}}, "status": both["status"]});
    let after = groups.patch_status("job-0", &PatchParams::default(), &patch(both)).await.unwrap();
    assert_eq!(after.status.unwrap().conditions.unwrap()[0].reason, "Scheduled");
    assert_eq!(after.spec.scheduling_policy.gang.unwrap().min_count, 4);
    scene.cluster.stop().await;
}
