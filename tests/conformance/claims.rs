//! What pods claim, over the real API server: volumes that wait for their first consumer, and devices.
//!
//! The volume controller and the provisioner are stood in for; the controller of ResourceClaims is the real one.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::scheduling::Scene;

/// Longer than a refused pod is set back.
const A_WHILE: Duration = Duration::from_secs(30);
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: &str = "disk.example.com";

pub(crate) async fn cluster_wide<K>(scene: &Scene, object: Value) -> K
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let api = Api::<K>::all(scene.cluster.client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

async fn class(scene: &Scene, provisioner: &str) {
    let class = json!({"metadata": {"name": "late"}, "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster_wide::<StorageClass>(scene, class).await;
}

async fn claim(scene: &Scene, name: &str) {
    scene
        .cluster
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": {
            "storageClassName": "late", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
}

async fn mounting(scene: &Scene, name: &str, claim: &str) {
    let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
    scene.pod(name, "100m", json!({"volumes": [volume]})).await;
}

/// A volume of a node.
fn disk(name: &str, node: &str) -> Value {
    let on = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": format!("/disks/{name}")},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on]}]}}}})
}

/// Does what the volume controller does: says of volumes that they are available, and completes bindings that were
/// begun on the volume's side. Makes volumes for claims that have a node, where that is wanted.
async fn stand_in(client: Client, provisions: bool) {
    let volumes = Api::<PersistentVolume>::all(client.clone());
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(client);
    let (params, merge) = (PatchParams::default(), |patch: Value| Patch::Merge(patch));
    loop {
        for claim in claims.list(&ListParams::default()).await.unwrap() {
            let (name, spec) = (claim.metadata.name.unwrap(), claim.spec.unwrap());
            let node = claim.metadata.annotations.unwrap_or_default().remove(SELECTED_NODE);
            if let Some(node) = node.filter(|_| provisions && spec.volume_name.is_none()) {
                let mut made = disk(&format!("made-for-{name}"), &node);
                made["spec"]["claimRef"] = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1",
                    "namespace": "default", "name": name, "uid": claim.metadata.uid});
                // It may be there already.
                let _ = volumes.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await;
            }
        }
        for volume in volumes.list(&ListParams::default()).await.unwrap() {
            let (name, phase) =
                (volume.metadata.name.unwrap(), volume.status.and_then(|status| status.phase));
            let of = volume.spec.and_then(|spec| spec.claim_ref).and_then(|claim| claim.name);
            let wanted = if of.is_some() { "Bound" } else { "Available" };
            if let Some(claim) = &of {
                let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                    "spec": {"volumeName": name}});
                claims.patch(claim, &params, &merge(bound)).await.unwrap();
                let status = json!({"status": {"phase": "Bound"}});
                claims.patch_status(claim, &params, &merge(status)).await.unwrap();
            }
            if phase.as_deref() != Some(wanted) {
                let status = json!({"status": {"phase": wanted}});
                volumes.patch_status(&name, &params, &merge(status)).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn volumes_are_looked_after(scene: &Scene, provisions: bool) {
    let client = scene.cluster.client.clone();
    scene.cluster.tasks.spawn_until_stopped("volumes", stand_in(client, provisions));
}

async fn volume_of(scene: &Scene, claim: &str) -> Option<String> {
    scene.cluster.api::<PersistentVolumeClaim>().get(claim).await.unwrap().spec.unwrap().volume_name
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_a_volume_of_the_node_that_its_pod_fits() {
    let scene = Scene::new().await;
    class(&scene, "kubernetes.io/no-provisioner").await;
    for (node, taken) in [("n1", "2"), ("n2", "1"), ("n3", "1")] {
        scene.node(node, json!({"kubernetes.io/hostname": node}), json!({})).await;
        let here = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
        scene.pod(&format!("fills-{node}"), taken, here).await;
        scene.bound(&format!("fills-{node}")).await;
    }
    claim(&scene, "data").await;
    mounting(&scene, "a", "data").await;
    let (_, message) = scene.refused("a").await;
    assert!(message.contains("node(s) didn't find available persistent volumes to bind"), "{message}");

    // n1 has a disk and no room, n2 has both, n3 has room and no disk.
    volumes_are_looked_after(&scene, false);
    for node in ["n1", "n2"] {
        cluster_wide::<PersistentVolume>(&scene, disk(&format!("disk-{node}"), node)).await;
    }
    assert_eq!(scene.bound("a").await, "n2");
    assert_eq!(volume_of(&scene, "data").await.as_deref(), Some("disk-n2"));
    let volumes = Api::<PersistentVolume>::all(scene.cluster.client.clone());
    let spec = volumes.get("disk-n2").await.unwrap().spec.unwrap();
    assert_eq!(spec.claim_ref.unwrap().name.as_deref(), Some("data"));
    assert!(volumes.get("disk-n1").await.unwrap().spec.unwrap().claim_ref.is_none());

    // A second pod of the claim goes where the disk is, and a second claim finds no other.
    mounting(&scene, "b", "data").await;
    assert_eq!(scene.bound("b").await, "n2");
    claim(&scene, "more").await;
    mounting(&scene, "c", "more").await;
    scene.refused("c").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(volume_of(&scene, "more").await, None);
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_made_for_the_node_that_was_chosen() {
    let scene = Scene::new().await;
    class(&scene, PROVISIONER).await;
    let named = |name: &str| json!({"kubernetes.io/hostname": name});
    scene.node("full", named("full"), json!({"unschedulable": true})).await;
    scene.node("free", named("free"), json!({})).await;
    claim(&scene, "data").await;
    mounting(&scene, "a", "data").await;
    let claims = scene.cluster.api::<PersistentVolumeClaim>();
    let selected = scene
        .cluster
        .eventually("the claim has a node", async || {
            let mut notes = claims.get("data").await.unwrap().metadata.annotations.unwrap_or_default();
            notes.remove(SELECTED_NODE).ok_or(notes)
        })
        .await;
    assert_eq!(selected, "free");
    tokio::time::sleep(A_WHILE).await;
    let pod = scene.pods().get("a").await.unwrap();
    assert_eq!(pod.spec.unwrap().node_name, None, "it waits for its volume");
    volumes_are_looked_after(&scene, true);
    assert_eq!(scene.bound("a").await, "free");
    assert_eq!(volume_of(&scene, "data").await.as_deref(), Some("made-for-data"));
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_zone_of_old_is_read_by_the_driver_of_the_node() {
    let scene = Scene::new().await;
    let moved = json!({"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/gce-pd"});
    for (node, zone) in [("n1", "a"), ("n2", "b"), ("n3", "c")] {
        scene.node(node, json!({"topology.gke.io/zone": zone}), json!({})).await;
        let driver = json!({"name": "pd.csi.storage.gke.io", "nodeID": node, "topologyKeys": ["topology.gke.io/zone"]});
        let csi_node =
            json!({"metadata": {"name": node, "annotations": moved}, "spec": {"drivers": [driver]}});
        cluster_wide::<CSINode>(&scene, csi_node).await;
    }
    class(&scene, "kubernetes.io/gce-pd").await;
    volumes_are_looked_after(&scene, false);
    for (name, zone, node) in [("one", "b", "n2"), ("two", "c", "n3"), ("three", "b", "n2")] {
        let mut disk = disk(name, "n1");
        disk["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
        let spec = disk["spec"].as_object_mut().unwrap();
        spec.retain(|field, _| field != "hostPath" && field != "nodeAffinity");
        spec.insert("gcePersistentDisk".to_owned(), json!({"pdName": name}));
        let of = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default", "name": name});
        spec.insert("claimRef".to_owned(), of);
        cluster_wide::<PersistentVolume>(&scene, disk).await;
        claim(&scene, name).await;
        mounting(&scene, name, name).await;
        assert_eq!(scene.bound(name).await, node, "{name}");
    }
    scene.cluster.stop().await;
}

/// A scene with the controller of ResourceClaims, a class, and two devices of `n1` and one of `n2`.
pub(crate) async fn with_devices() -> Scene {
    let scene = Scene::new().await;
    let (client, clock) = (scene.cluster.client.clone(), scene.cluster.clock.clone());
    let tasks = scene.cluster.tasks.child();
    let own = tasks.clone();
    tasks.spawn("controllers", async move {
        let names = vec!["resourceclaim-controller".to_owned()];
        let config = controllers::Config { controllers: names, ..controllers::Config::default() };
        controllers::run(config, client, clock, own).await.unwrap();
    });
    let selector = json!({"cel": {"expression": "device.driver == 'gpu.example.com'"}});
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [selector]}});
    cluster_wide::<DeviceClass>(&scene, class).await;
    for (node, devices) in [("n1", vec!["d0", "d1"]), ("n2", vec!["d0"])] {
        scene.node(node, json!({}), json!({})).await;
        let devices: Vec<Value> = devices.into_iter().map(|name| json!({"name": name})).collect();
        let slice = json!({"metadata": {"name": node}, "spec": {"driver": "gpu.example.com", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": devices}});
        cluster_wide::<ResourceSlice>(&scene, slice).await;
    }
    scene
}

fn devices(count: i64) -> Value {
    json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": count}}]}})
}

pub(crate) async fn end(scene: &Scene, pod: &str) {
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    scene.pods().patch_status(pod, &PatchParams::default(), &ended).await.unwrap();
}

/// The devices of a claim, and who may use it.
async fn state(scene: &Scene, claim: &str) -> (Vec<String>, Vec<String>) {
    let status = scene.cluster.api::<ResourceClaim>().get(claim).await.unwrap().status.unwrap_or_default();
    let results = status.allocation.and_then(|allocation| allocation.devices?.results).unwrap_or_default();
    let devices = results.iter().map(|result| format!("{}/{}", result.pool, result.device)).collect();
    (devices, status.reserved_for.unwrap_or_default().into_iter().map(|consumer| consumer.name).collect())
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_allocated_reserved_and_given_back() {
    let scene = with_devices().await;
    let claims = scene.cluster.api::<ResourceClaim>();
    scene.cluster.create::<ResourceClaim>(json!({"metadata": {"name": "two"}, "spec": devices(2)})).await;
    let using = |claim: &str| json!({"resourceClaims": [{"name": "c", "resourceClaimName": claim}]});
    scene.pod("a", "100m", using("two")).await;
    assert_eq!(scene.bound("a").await, "n1", "only there are two devices");
    let all = |devices: &[&str], pods: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        (owned(devices), owned(pods))
    };
    assert_eq!(state(&scene, "two").await, all(&["n1/d0", "n1/d1"], &["a"]));
    let finalizers = claims.get("two").await.unwrap().metadata.finalizers.unwrap();
    assert_eq!(finalizers, ["resource.kubernetes.io/delete-protection"]);

    // Another pod may share the claim; another claim of two devices finds none.
    scene.pod("b", "100m", using("two")).await;
    assert_eq!(scene.bound("b").await, "n1");
    assert_eq!(state(&scene, "two").await, all(&["n1/d0", "n1/d1"], &["a", "b"]));
    scene.cluster.create::<ResourceClaim>(json!({"metadata": {"name": "later"}, "spec": devices(2)})).await;
    scene.pod("c", "100m", using("later")).await;
    let (_, message) = scene.refused("c").await;
    assert!(message.starts_with("0/2 nodes are available: 2 cannot allocate all claims."), "{message}");

    // The devices are free only when the last of its pods has ended.
    end(&scene, "a").await;
    scene
        .cluster
        .eventually("the claim is kept for b alone", async || {
            let (_, pods) = state(&scene, "two").await;
            if pods == ["b"] { Ok(()) } else { Err(pods) }
        })
        .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(state(&scene, "later").await, all(&[], &[]));
    end(&scene, "b").await;
    assert_eq!(scene.bound("c").await, "n1");
    assert_eq!(state(&scene, "two").await, all(&[], &[]));
    assert_eq!(claims.get("two").await.unwrap().metadata.finalizers, None);
    assert_eq!(state(&scene, "later").await, all(&["n1/d0", "n1/d1"], &["c"]));

    // A claim that is deleted stays until its pod has ended.
    claims.delete("later", &DeleteParams::default()).await.unwrap();
    assert!(claims.get("later").await.unwrap().metadata.deletion_timestamp.is_some());
    scene.pods().delete("c", &DeleteParams::default().grace_period(0)).await.unwrap();
    scene
        .cluster
        .eventually("the claim goes", async || match claims.get_opt("later").await.unwrap() {
            None => Ok(()),
            Some(claim) => Err(claim),
        })
        .await;
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_pod_of_a_template_gets_a_claim_of_its_own() {
    let scene = with_devices().await;
    let of_template =
        |name: &str| json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": name}]});
    // The template comes later than the first pod, which is not tried, and so not refused, before its claim is there.
    scene.pod("a", "100m", of_template("one")).await;
    tokio::time::sleep(A_WHILE).await;
    let conditions = scene.pods().get("a").await.unwrap().status.unwrap().conditions;
    let tried = conditions.iter().flatten().any(|known| known.type_ == "PodScheduled");
    assert!(!tried, "{conditions:?}");
    let template = json!({"metadata": {"name": "one"},
        "spec": {"metadata": {"labels": {"made": "yes"}}, "spec": devices(1)}});
    scene.cluster.create::<ResourceClaimTemplate>(template).await;
    for name in ["b", "c", "d"] {
        scene.pod(name, "100m", of_template("one")).await;
    }
    let mut nodes = Vec::new();
    let claim_of = async |pod: &str| -> Option<String> {
        let pod: Pod = scene.pods().get(pod).await.unwrap();
        pod.status.unwrap().resource_claim_statuses.unwrap_or_default().first()?.resource_claim_name.clone()
    };
    let (bound, waiting) = scene
        .cluster
        .eventually("three of four pods have a device", async || {
            let pods: Vec<Pod> = scene.cluster.all().await;
            let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
            let (bound, waiting): (Vec<_>, Vec<_>) =
                pods.iter().partition(|pod| pod.spec.as_ref().unwrap().node_name.is_some());
            let names = |pods: Vec<&Pod>| pods.into_iter().map(name).collect::<Vec<_>>();
            let found = (names(bound), names(waiting));
            if found.0.len() == 3 { Ok(found) } else { Err(found) }
        })
        .await;
    for pod in &bound {
        let name = claim_of(pod).await.expect("its name is in the status");
        assert!(name.starts_with(&format!("{pod}-gpu-")), "{name}");
        let claim = scene.cluster.api::<ResourceClaim>().get(&name).await.unwrap();
        assert_eq!(claim.metadata.labels.unwrap()["made"], "yes");
        assert_eq!(claim.metadata.owner_references.unwrap()[0].name, *pod);
        let (devices, pods) = state(&scene, &name).await;
        assert_eq!((devices.len(), pods), (1, vec![pod.clone()]));
        nodes.push(devices[0].clone());
    }
    nodes.sort();
    assert_eq!(nodes, ["n1/d0", "n1/d1", "n2/d0"], "each has another device");

    // One ends: its claim goes, and the one that waits gets the device.
    let ended = &bound[0];
    let claim = claim_of(ended).await.unwrap();
    end(&scene, ended).await;
    scene.bound(&waiting[0]).await;
    scene
        .cluster
        .eventually("the claim of the pod that ended goes", async || {
            match scene.cluster.api::<ResourceClaim>().get_opt(&claim).await.unwrap() {
                None => Ok(()),
                Some(claim) => Err(claim),
            }
        })
        .await;
    scene.cluster.stop().await;
}
