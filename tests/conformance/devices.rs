//! Devices over the real API server, beyond one device a claim: shares of a device (KEP-5075), extended resources that
//! a class stands for (KEP-5004), and devices that are prepared before the bind (KEP-5007).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use kube::api::{Patch, PatchParams};
use scheduler::Config;
use serde_json::{Value, json};

use crate::claims::{cluster_wide, end, with_devices};
use crate::scheduling::Scene;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_device_is_given_out_until_its_capacity_is_used_up() {
    let scene = with_devices().await;
    let slice = json!({"metadata": {"name": "card"}, "spec": {"driver": "card.example.com", "nodeName": "n2",
        "pool": {"name": "card", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "card", "allowMultipleAllocations": true, "capacity": {"memory": {
            "value": "10Gi", "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}}}}]}});
    cluster_wide::<ResourceSlice>(&scene, slice).await;
    let selector = json!({"cel": {"expression": "device.driver == 'card.example.com'"}});
    let class = json!({"metadata": {"name": "card"}, "spec": {"selectors": [selector]}});
    cluster_wide::<DeviceClass>(&scene, class).await;
    let exactly = json!({"deviceClassName": "card", "capacity": {"requests": {"memory": "3500Mi"}}});
    let spec = json!({"devices": {"requests": [{"name": "r", "exactly": exactly}]}});
    let template = json!({"metadata": {"name": "share"}, "spec": {"spec": spec}});
    scene.cluster.create::<ResourceClaimTemplate>(template).await;
    let share = json!({"resourceClaims": [{"name": "card", "resourceClaimTemplateName": "share"}]});
    for pod in ["a", "b"] {
        scene.pod(pod, "100m", share.clone()).await;
        assert_eq!(scene.bound(pod).await, "n2");
    }
    scene.pod("c", "100m", share).await;
    let (_, message) = scene.refused("c").await;
    assert!(message.starts_with("0/2 nodes are available: 2 cannot allocate all claims."), "{message}");

    let claims: Vec<ResourceClaim> = scene.cluster.all().await;
    let allocations: Vec<_> = claims.into_iter().filter_map(|claim| claim.status?.allocation).collect();
    assert_eq!(allocations.len(), 2);
    let mut names = BTreeMap::new();
    for allocation in &allocations {
        assert!(allocation.allocation_timestamp.is_some());
        let result = &allocation.devices.as_ref().unwrap().results.as_ref().unwrap()[0];
        assert_eq!(result.consumed_capacity.as_ref().unwrap()["memory"].0, "4Gi");
        names.insert(result.share_id.clone().unwrap(), result.device.clone());
    }
    assert_eq!(names.len(), 2, "each share has its own name: {names:?}");

    end(&scene, "a").await;
    assert_eq!(scene.bound("c").await, "n2");
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_extended_resource_is_had_from_the_devices_of_a_class() {
    let scene = with_devices().await;
    let asking = |name: &str, count: &str| {
        let container = json!({"name": "c", "image": "i", "resources": {
            "requests": {"cpu": "100m", "example.com/gpu": count}, "limits": {"example.com/gpu": count}}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    scene.cluster.create::<Pod>(asking("a", "2")).await;
    let (_, message) = scene.refused("a").await;
    assert!(message.starts_with("0/2 nodes are available: 2 Insufficient example.com/gpu."), "{message}");

    // The class says that it stands for the resource: the pod that waits is tried again at once.
    let classes = kube::Api::<DeviceClass>::all(scene.cluster.client.clone());
    let stands = Patch::Merge(json!({"spec": {"extendedResourceName": "example.com/gpu"}}));
    classes.patch("gpu", &PatchParams::default(), &stands).await.unwrap();
    assert_eq!(scene.bound("a").await, "n1", "only there are two devices");
    let status = scene.pods().get("a").await.unwrap().status.unwrap();
    let told = status.extended_resource_claim_status.expect("the claim is told");
    let [mapping] = told.request_mappings.as_slice() else { panic!("{told:?}") };
    assert_eq!((&*mapping.container_name, &*mapping.resource_name), ("c", "example.com/gpu"));
    let claim = scene.cluster.api::<ResourceClaim>().get(&told.resource_claim_name).await.unwrap();
    assert!(told.resource_claim_name.starts_with("a-extended-resources-"), "{told:?}");
    let notes = claim.metadata.annotations.unwrap();
    assert_eq!(notes["resource.kubernetes.io/extended-resource-claim"], "true");
    assert_eq!(claim.metadata.owner_references.unwrap()[0].name, "a");
    let status = claim.status.unwrap();
    assert_eq!(status.reserved_for.unwrap()[0].name, "a");
    let allocation = status.allocation.unwrap();
    assert!(allocation.allocation_timestamp.is_some());
    let results = allocation.devices.unwrap().results.unwrap();
    let given: Vec<_> = results.iter().map(|result| (&*result.pool, &*result.device)).collect();
    assert_eq!(given, [("n1", "d0"), ("n1", "d1")]);
    assert!(results.iter().all(|result| result.request == mapping.request_name));

    // One device is left, on the other node; and none for a third pod until the first has ended.
    scene.cluster.create::<Pod>(asking("b", "1")).await;
    assert_eq!(scene.bound("b").await, "n2");
    scene.cluster.create::<Pod>(asking("c", "2")).await;
    let (_, message) = scene.refused("c").await;
    assert!(message.starts_with("0/2 nodes are available: 2 cannot allocate all claims."), "{message}");
    end(&scene, "a").await;
    assert_eq!(scene.bound("c").await, "n1");
    scene
        .cluster
        .eventually("the claim of the pod that ended goes", async || {
            match scene.cluster.api::<ResourceClaim>().get_opt(&told.resource_claim_name).await.unwrap() {
                None => Ok(()),
                Some(claim) => Err(claim),
            }
        })
        .await;
    scene.cluster.stop().await;
}

/// Two nodes with devices that are attached before a pod is bound.
async fn with_attached_devices() -> Scene {
    let scene = Scene::without_scheduler().await;
    let class = json!({"metadata": {"name": "disk"},
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'disk.example.com'"}}]}});
    cluster_wide::<DeviceClass>(&scene, class).await;
    for node in ["n1", "n2"] {
        scene.node(node, json!({}), json!({})).await;
        let device = |name: &str| {
            json!({"name": name, "bindsToNode": true, "bindingConditions": ["Attached"],
            "bindingFailureConditions": ["Broken"]})
        };
        let slice = json!({"metadata": {"name": node}, "spec": {"driver": "disk.example.com", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": [device("d0"), device("d1")]}});
        cluster_wide::<ResourceSlice>(&scene, slice).await;
    }
    scene
}

/// What the claim was given; once it is, and is another than `before`.
async fn given(scene: &Scene, claim: &str, before: Option<&Value>) -> Value {
    let claims = scene.cluster.api::<ResourceClaim>();
    scene
        .cluster
        .eventually(&format!("claim {claim} is allocated"), async || {
            let status = claims.get(claim).await.unwrap().status;
            let allocation = status.as_ref().and_then(|status| status.allocation.as_ref());
            allocation.map(|given| json!(given)).filter(|given| Some(given) != before).ok_or(status)
        })
        .await
}

/// The driver says something of the device that a claim was given.
async fn say(scene: &Scene, claim: &str, given: &Value, condition: &str) {
    let result = &given["devices"]["results"][0];
    let said = json!({"status": {"devices": [{
        "driver": result["driver"], "pool": result["pool"], "device": result["device"],
        "conditions": [{"type": condition, "status": "True", "reason": "Driver", "message": "as told",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}});
    let claims = scene.cluster.api::<ResourceClaim>();
    claims.patch_status(claim, &PatchParams::default(), &Patch::Merge(said)).await.unwrap();
}

fn seeded(seed: u64) -> Config {
    Config { seed: Some(seed), ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_scheduler_waits_on_for_devices_that_are_prepared() {
    let scene = with_attached_devices().await;
    let request = json!({"name": "r", "exactly": {"deviceClassName": "disk"}});
    for name in ["ready", "late", "broken"] {
        let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        scene.cluster.create::<ResourceClaim>(claim).await;
        let using = json!({"resourceClaims": [{"name": "c", "resourceClaimName": name}]});
        scene.pod(name, "100m", using).await;
    }
    let first = scene.scheduler(seeded(1));
    let mut before = BTreeMap::new();
    for name in ["ready", "late", "broken"] {
        before.insert(name, given(&scene, name, None).await);
    }
    let told = scene.told("ready", "BindingConditionsPending").await;
    let node = before["ready"]["devices"]["results"][0]["pool"].as_str().unwrap();
    assert_eq!(told.message, Some(format!("waiting for binding conditions for device on node {node}")));
    tokio::time::sleep(2 * MINUTE).await;
    assert!(first.stop().await.is_empty());

    // Each keeps what it was given, and nobody is bound before the driver is done.
    scene.scheduler(seeded(2));
    tokio::time::sleep(MINUTE).await;
    let unbound = async |name: &str| {
        scene.pods().get(name).await.unwrap().spec.is_some_and(|spec| spec.node_name.is_none())
    };
    for (name, given) in &before {
        assert_eq!(self::given(&scene, name, None).await, *given, "{name}");
        assert!(unbound(name).await, "{name}");
    }
    say(&scene, "ready", &before["ready"], "Attached").await;
    assert_eq!(scene.bound("ready").await, node);

    // One that breaks gets another try at once, and the claim whose time is over ten minutes after it was given.
    say(&scene, "broken", &before["broken"], "Broken").await;
    let (_, message) = scene.refused("broken").await;
    let why = "claim broken binding failed: reason=Driver, message=\"as told\"";
    assert_eq!(message, format!("running PreBind plugin \"DynamicResources\": {why}"));
    let again = given(&scene, "broken", Some(&before["broken"])).await;
    say(&scene, "broken", &again, "Attached").await;
    scene.bound("broken").await;
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(given(&scene, "late", None).await, before["late"], "nine minutes after it was given");
    tokio::time::sleep(2 * MINUTE).await;
    let (_, message) = scene.refused("late").await;
    assert_eq!(message, "running PreBind plugin \"DynamicResources\": device binding timeout");
    let again = given(&scene, "late", Some(&before["late"])).await;
    say(&scene, "late", &again, "Attached").await;
    scene.bound("late").await;
    scene.cluster.stop().await;
}
