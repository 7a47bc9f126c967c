//! Deployments from the outside: rollouts within their bounds, rollback, Recreate, pause, deadlines.

use std::collections::BTreeSet;

use harness::cluster::TestCluster;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// A Deployment `web` of image `image`, with `extra` merged into its spec.
fn web(replicas: i32, image: &str, extra: Value) -> Value {
    let mut deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "web", "image": image}]},
            },
        },
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        deployment["spec"][key] = value.clone();
    }
    deployment
}

fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": name}]}}}})
}

fn image_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn condition(status: &DeploymentStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let found = found.cloned().unwrap_or_default();
    (found.status, found.reason.unwrap_or_default())
}

/// Waits until the rollout is reported complete, looking at the pods at every step.
async fn rolled_out(cluster: &TestCluster, image: &str, look: impl Fn(&[Pod])) -> Deployment {
    cluster
        .eventually("the rollout is complete", || async {
            let pods: Vec<Pod> = cluster.all().await;
            look(&pods);
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let (status, replicas) =
                (web.status.clone().unwrap_or_default(), web.spec.as_ref().unwrap().replicas);
            let counts = [status.updated_replicas, status.replicas, status.available_replicas];
            let complete = status.observed_generation == web.metadata.generation
                && counts.iter().all(|count| count.or(Some(0)) == replicas);
            let settled = complete
                && Some(i32::try_from(pods.len()).unwrap()) == replicas
                && pods.iter().all(|pod| image_of(pod) == image);
            if settled { Ok(web) } else { Err((status, pods.len())) }
        })
        .await
}

async fn sets(cluster: &TestCluster) -> Vec<ReplicaSet> {
    let mut sets: Vec<ReplicaSet> = cluster.all().await;
    sets.sort_by_key(|set| set.annotations().get(REVISION).and_then(|revision| revision.parse::<i64>().ok()));
    sets
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

async fn messages(cluster: &TestCluster, reason: &str) -> Vec<String> {
    let events: Vec<Event> = cluster.all().await;
    let told = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    told.filter_map(|event| event.message).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_keeps_its_bounds_and_can_be_undone() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a", "b"]).await;
    let rolling = json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}});
    cluster.create::<Deployment>(web(5, "web:1", rolling)).await;
    let first = rolled_out(&cluster, "web:1", |_| {}).await;
    assert_eq!(first.annotations()[REVISION], "1");
    let status = first.status.unwrap();
    assert_eq!(condition(&status, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));

    cluster.change::<Deployment>("web", image("web:2")).await;
    let bounds = |pods: &[Pod]| {
        let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        assert!(alive <= 6, "{alive} pods with a surge of one");
        assert!(ready >= 4, "{ready} ready pods with one unavailable");
    };
    let second = rolled_out(&cluster, "web:2", bounds).await;
    assert_eq!(second.annotations()[REVISION], "2");
    let after = sets(&cluster).await;
    assert_eq!(after.iter().map(size).collect::<Vec<_>>(), [0, 5]);

    // Undo is the old template again: the old set is used again and becomes revision 3.
    cluster.change::<Deployment>("web", image("web:1")).await;
    let third = rolled_out(&cluster, "web:1", bounds).await;
    assert_eq!(third.annotations()[REVISION], "3");
    let undone = sets(&cluster).await;
    assert_eq!(undone.len(), 2);
    assert_eq!(undone[1].name_any(), after[0].name_any());
    assert_eq!(undone[1].annotations()["deployment.kubernetes.io/revision-history"], "1");

    let name = after[0].name_any();
    let told = messages(&cluster, "ScalingReplicaSet").await;
    assert!(told.contains(&format!("Scaled up replica set {name} from 0 to 5")), "{told:?}");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn scaling_and_pausing() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    cluster.create::<Deployment>(web(2, "web:1", json!({}))).await;
    rolled_out(&cluster, "web:1", |_| {}).await;
    cluster.change::<Deployment>("web", json!({"spec": {"paused": true}})).await;
    cluster.change::<Deployment>("web", image("web:2")).await;
    cluster.change::<Deployment>("web", json!({"spec": {"replicas": 4}})).await;
    let paused = rolled_out_paused(&cluster, 4).await;
    assert_eq!(condition(&paused, "Progressing"), ("Unknown".into(), "DeploymentPaused".into()));
    assert!(cluster.all::<Pod>().await.iter().all(|pod| image_of(pod) == "web:1"));
    cluster.change::<Deployment>("web", json!({"spec": {"paused": false}})).await;
    rolled_out(&cluster, "web:2", |_| {}).await;
    cluster.change::<Deployment>("web", json!({"spec": {"replicas": 0}})).await;
    rolled_out(&cluster, "web:2", |_| {}).await;
    cluster.stop().await;
}

async fn rolled_out_paused(cluster: &TestCluster, replicas: i32) -> DeploymentStatus {
    cluster
        .eventually("the paused Deployment is scaled", || async {
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let status = web.status.unwrap_or_default();
            let scaled = status.observed_generation == web.metadata.generation
                && status.available_replicas == Some(replicas);
            if scaled { Ok(status) } else { Err(status) }
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn recreate_never_runs_both() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    cluster.create::<Deployment>(web(3, "web:1", json!({"strategy": {"type": "Recreate"}}))).await;
    rolled_out(&cluster, "web:1", |_| {}).await;
    cluster.change::<Deployment>("web", image("web:2")).await;
    let never_both = |pods: &[Pod]| {
        let images: BTreeSet<&str> = pods.iter().map(image_of).collect();
        assert!(images.len() <= 1, "{images:?}");
    };
    rolled_out(&cluster, "web:2", never_both).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_without_progress_is_reported() {
    let (cluster, _nodes) = TestCluster::with_nodes(&[]).await;
    let start = cluster.clock.now();
    cluster.create::<Deployment>(web(1, "web:1", json!({"progressDeadlineSeconds": 300}))).await;
    let late = cluster
        .eventually("the deadline is exceeded", || async {
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let progressing = condition(&web.status.unwrap_or_default(), "Progressing");
            if progressing.1 == "ProgressDeadlineExceeded" {
                Ok(cluster.clock.now())
            } else {
                Err(progressing)
            }
        })
        .await;
    let after = late.duration_since(start).as_secs();
    assert!((300..320).contains(&after), "reported after {after} s");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_adopted_and_released_by_their_labels() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    let pod = json!({
        "metadata": {"name": "stray", "labels": {"app": "set"}},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]},
    });
    cluster.create::<Pod>(pod.clone()).await;
    cluster
        .create::<ReplicaSet>(json!({
            "metadata": {"name": "set"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "set"}},
                "template": {"metadata": {"labels": {"app": "set"}}, "spec": pod["spec"]},
            },
        }))
        .await;
    let owned = |expected: usize| {
        let cluster = &cluster;
        cluster.eventually("the set has its pods", move || async move {
            let pods: Vec<Pod> = cluster.all().await;
            let owned =
                pods.iter().filter(|pod| pod.owner_references().iter().any(|owner| owner.name == "set"));
            let owned: Vec<String> = owned.map(ResourceExt::name_any).collect();
            if owned.len() == 2 && pods.len() == expected { Ok(owned) } else { Err(pods) }
        })
    };
    assert!(owned(2).await.contains(&"stray".to_owned()));
    cluster.change::<Pod>("stray", json!({"metadata": {"labels": {"app": "free"}}})).await;
    assert!(!owned(3).await.contains(&"stray".to_owned()));
    assert!(cluster.api::<Pod>().get("stray").await.unwrap().owner_references().is_empty());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_create_pods_is_told_and_overcome() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    let mut broken = web(2, "web:1", json!({}));
    broken["spec"]["template"]["spec"]["serviceAccountName"] = json!("robot");
    cluster.create::<Deployment>(broken).await;
    let told = cluster
        .eventually("the Deployment tells of the failure", || async {
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let status = web.status.unwrap_or_default();
            let failure = condition(&status, "ReplicaFailure");
            if failure == ("True".into(), "FailedCreate".into()) { Ok(status) } else { Err(status) }
        })
        .await;
    let conditions = told.conditions.unwrap_or_default();
    let failure = conditions.iter().find(|condition| condition.type_ == "ReplicaFailure").unwrap();
    assert!(failure.message.as_deref().unwrap_or_default().contains("robot"), "{failure:?}");
    cluster.create::<ServiceAccount>(json!({"metadata": {"name": "robot"}})).await;
    let done = rolled_out(&cluster, "web:1", |_| {}).await;
    assert_eq!(condition(&done.status.unwrap(), "ReplicaFailure"), Default::default());
    let events = messages(&cluster, "FailedCreate").await;
    assert!(events.iter().any(|message| message.starts_with("Error creating: ")), "{events:?}");
    cluster.stop().await;
}

/// The name that the template's hash gives is taken by a set of another owner.
#[tokio::test(start_paused = true)]
async fn a_taken_name_gives_another_hash() {
    let (cluster, _nodes) = TestCluster::with_nodes(&["a"]).await;
    cluster.create::<Deployment>(web(1, "web:1", json!({}))).await;
    rolled_out(&cluster, "web:1", |_| {}).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    cluster.api::<Deployment>().delete("web", &orphan).await.unwrap();
    let left = cluster
        .eventually("the Deployment is gone", || async {
            let gone = cluster.api::<Deployment>().get_opt("web").await.unwrap().is_none();
            let left = sets(&cluster).await.remove(0);
            if gone && left.owner_references().is_empty() { Ok(left) } else { Err(left) }
        })
        .await;
    // Without the label it is nobody's to adopt, but it keeps its name.
    cluster.change::<ReplicaSet>(&left.name_any(), json!({"metadata": {"labels": {"app": "other"}}})).await;
    cluster.create::<Deployment>(web(1, "web:1", json!({}))).await;
    cluster
        .eventually("there is a second set", || async {
            let web = cluster.api::<Deployment>().get("web").await.unwrap();
            let status = web.status.unwrap_or_default();
            let sets = sets(&cluster).await;
            let owned: Vec<_> = sets.iter().filter(|set| !set.owner_references().is_empty()).collect();
            let other = owned.len() == 1 && owned[0].name_any() != left.name_any();
            if other && status.collision_count == Some(1) && status.available_replicas == Some(1) {
                Ok(())
            } else {
                Err((status, sets.len()))
            }
        })
        .await;
    cluster.stop().await;
}
