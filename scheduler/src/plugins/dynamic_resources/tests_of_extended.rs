//! Extended resources that a DeviceClass stands for, by tables: where they are had, what is made, written and taken back.

use super::tests::{V1, class, never, slice};
use super::*;
use crate::plugins::fixtures::{ask_in, cluster_of, node, pod_from};
use jiff::Timestamp;
use serde_json::{Value, json};

fn gpus() -> Value {
    let mut class = class("gpu", "device.driver == 'gpu.example.com'");
    class["spec"]["extendedResourceName"] = json!("example.com/gpu");
    class
}

fn asking(resources: Value) -> Arc<PodInfo> {
    let container = json!({"name": "main", "resources": {"requests": resources}});
    pod_from(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}}))
}

/// What an earlier try for the pod has left behind, with a device of node `a`.
fn left_behind(device: &str) -> Value {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true});
    let finalizers = ["resource.kubernetes.io/delete-protection"];
    json!({"apiVersion": V1, "kind": "ResourceClaim", "spec": {"devices": {"requests": []}},
        "status": super::tests::allocated("a", device, &["p"]),
        "metadata": {"name": "p-extended-resources-old", "namespace": "default", "uid": "u", "resourceVersion": "7",
            "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
            "ownerReferences": [owner], "finalizers": finalizers}})
}

#[test]
fn where_extended_resources_are_had() {
    let held = |device: &str, by: &str| {
        json!({"apiVersion": V1, "kind": "ResourceClaim", "spec": {}, "status": super::tests::allocated("a", device, &[by]),
            "metadata": {"name": by, "namespace": "default", "uid": by, "resourceVersion": "1"}})
    };
    let gpu = |count: &str| asking(json!({"cpu": "1", "example.com/gpu": count}));
    let none = || never("cannot allocate all claims");
    let devices = || slice("a", &[("d0", "a100", 0), ("d1", "h100", 1)]);
    for (name, pod, own, objects, want) in [
        ("devices of the class", gpu("2"), json!({}), vec![gpus(), devices()], Verdict::Fits),
        ("too few of them", gpu("3"), json!({}), vec![gpus(), devices()], none()),
        ("one is taken", gpu("2"), json!({}), vec![gpus(), devices(), held("d0", "q")], none()),
        (
            "an earlier try has one",
            gpu("2"),
            json!({}),
            vec![gpus(), devices(), left_behind("d0")],
            Verdict::Fits,
        ),
        (
            "the node has its own",
            gpu("3"),
            json!({"example.com/gpu": "8"}),
            vec![gpus(), devices()],
            Verdict::Fits,
        ),
        ("no class stands for it", gpu("3"), json!({}), vec![class("gpu", "true"), devices()], Verdict::Fits),
        (
            "by the name of the class",
            asking(json!({"deviceclass.resource.kubernetes.io/gpu": "2"})),
            json!({}),
            vec![class("gpu", "true"), devices()],
            Verdict::Fits,
        ),
        (
            "too many by the name of the class",
            asking(json!({"deviceclass.resource.kubernetes.io/gpu": "3"})),
            json!({}),
            vec![class("gpu", "true"), devices()],
            none(),
        ),
        (
            "beside another that nobody has",
            asking(json!({"example.com/gpu": "1", "example.com/nic": "1"})),
            json!({}),
            vec![gpus(), devices()],
            never("cannot fit resource"),
        ),
        (
            "beside another that the node has",
            asking(json!({"example.com/gpu": "1", "example.com/nic": "1"})),
            json!({"example.com/nic": "1"}),
            vec![gpus(), devices()],
            Verdict::Fits,
        ),
    ] {
        let cluster =
            cluster_of([node("a", json!({"status": {"allocatable": own}})), node("b", json!({}))], &objects);
        assert_eq!(ask_in(&DynamicResources::default(), &pod, &cluster.nodes()[0], &cluster), want, "{name}");
    }
}

#[test]
fn a_claim_is_made_written_and_taken_back() {
    let objects = [gpus(), slice("a", &[("d0", "a100", 0), ("d1", "h100", 1)])];
    let mut cluster = cluster_of([node("a", json!({}))], &objects);
    let (plugin, on) = (DynamicResources::default(), NodeName::from("a"));
    let pod = asking(json!({"cpu": "1", "example.com/gpu": "2"}));
    plugin.take(&pod, &on, &mut cluster).unwrap();

    let mut other = (**pod.view()).clone();
    (other.metadata.name, other.metadata.uid) = (Some("q".to_owned()), Some("q".to_owned()));
    let other = PodInfo::new(Arc::new(other));
    let fits = |cluster: &Snapshot| ask_in(&plugin, &other, &cluster.nodes()[0], cluster).fits();
    assert!(!fits(&cluster), "the devices are taken before anything is written");

    let writes = plugin.writes(&pod, &on, &cluster, Timestamp::UNIX_EPOCH);
    let [made, status, of_pod] = writes.as_slice() else { panic!("{writes:?}") };
    let Target::NewDeviceClaim(key) = &made.target else { panic!("{made:?}") };
    assert!(key.name.starts_with("p-extended-resources-") && key.name.len() == 26, "{key:?}");
    assert_eq!(
        made.patch["metadata"]["annotations"],
        json!({"resource.kubernetes.io/extended-resource-claim": "true"})
    );
    assert_eq!(made.patch["metadata"]["ownerReferences"][0]["uid"], "p");
    assert_eq!(made.patch["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    let request = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2});
    assert_eq!(
        made.patch["spec"]["devices"]["requests"],
        json!([{"name": "container-0-request-1", "exactly": request}])
    );
    assert_eq!(status.target, Target::DeviceClaimStatus(key.clone()));
    let results = &status.patch["status"]["allocation"]["devices"]["results"];
    assert_eq!(results.as_array().unwrap().len(), 2);
    assert_eq!(results[0]["request"], "container-0-request-1");
    assert_eq!(status.patch["status"]["reservedFor"][0]["name"], "p");
    assert_eq!(of_pod.target, Target::PodStatus(Key::new("default", "p")));
    let mapping = json!({"containerName": "main", "requestName": "container-0-request-1", "resourceName": "example.com/gpu"});
    assert_eq!(
        of_pod.patch["status"]["extendedResourceClaimStatus"],
        json!({"resourceClaimName": key.name, "requestMappings": [mapping]})
    );

    // Written, but not shown yet, and then not bound: the claim goes, and the next try makes another.
    let mut written = made.patch.clone();
    written["status"] = status.patch["status"].clone();
    written["metadata"]["resourceVersion"] = json!("5");
    let written: ResourceClaim = serde_json::from_value(written).unwrap();
    cluster.wrote(Related::DeviceClaim(Arc::new(written.clone())));
    assert!(!fits(&cluster), "what was made is not forgotten while the watch lags behind");
    let back = plugin.takes_back(&pod, &cluster);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].target, Target::OldDeviceClaim(key.clone()));
    assert_eq!(back[0].patch["metadata"]["finalizers"], json!([]));
    plugin.give_back(&pod, &on, &mut cluster);
    assert!(!fits(&cluster), "it is still there");
    plugin.take(&pod, &on, &mut cluster).unwrap();
    let again = plugin.writes(&pod, &on, &cluster, Timestamp::UNIX_EPOCH);
    let targets: Vec<&Target> = again.iter().map(|write| &write.target).collect();
    assert_eq!(*targets[0], Target::OldDeviceClaim(key.clone()));
    assert!(matches!(targets[1], Target::NewDeviceClaim(other) if other != key), "{targets:?}");

    plugin.give_back(&pod, &on, &mut cluster);
    let gone = Related::DeviceClaim(Arc::new(written));
    cluster.see(&gone);
    cluster.gone(&gone);
    assert!(fits(&cluster));
    assert!(plugin.takes_back(&pod, &cluster).is_empty());
}
