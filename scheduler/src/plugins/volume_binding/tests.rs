//! VolumeBinding by tables: upstream's documented cases of filter, reserve and what is written before the bind.

use super::*;
use crate::framework::{ForPod, Settled, Target};
use crate::plugins::fixtures::{ask_in, cluster_of, node, pod};
use component::informers::Key;
use serde_json::{Value, json};
use std::sync::Arc;

const NOT_USABLE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NONE_SUITS: &str = "node(s) didn't find available persistent volumes to bind";
const TOO_LITTLE: &str = "node(s) did not have enough free storage";

fn merged(mut object: Value, more: Value) -> Value {
    json_merge(&mut object, more);
    object
}

fn json_merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                json_merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A claim of 1Gi that waits for its first consumer.
fn claim(name: &str, more: Value) -> Value {
    let claim = json!({
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": {"storageClassName": "wait", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    merged(claim, more)
}

fn bound_claim(name: &str, volume: &str) -> Value {
    let bound = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim(
        name,
        json!({"metadata": {"annotations": bound}, "spec": {"volumeName": volume}, "status": {"phase": "Bound"}}),
    )
}

/// A free volume of 1Gi on one node, or on all.
fn volume(name: &str, on: Option<&str>, more: Value) -> Value {
    let mut volume = json!({
        "kind": "PersistentVolume", "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"storageClassName": "wait", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
        "status": {"phase": "Available"},
    });
    if let Some(host) = on {
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]}]}});
    }
    merged(volume, more)
}

fn class(name: &str, mode: &str, more: Value) -> Value {
    let class = json!({"kind": "StorageClass", "metadata": {"name": name}, "provisioner": "csi.example.com", "volumeBindingMode": mode});
    merged(class, more)
}

fn by_hand() -> Value {
    class("wait", "WaitForFirstConsumer", json!({"provisioner": "kubernetes.io/no-provisioner"}))
}

fn made() -> Value {
    class("wait", "WaitForFirstConsumer", json!({}))
}

fn mounting(claims: &[&str]) -> Arc<PodInfo> {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    pod("p", json!({"volumes": volumes}))
}

fn host(name: &str) -> NodeInfo {
    node(name, json!({"metadata": {"labels": {"host": name, "zone": format!("zone-{name}")}}}))
}

/// What is said about node `a` of a cluster of `a` and `b`.
fn ask(pod: &PodInfo, objects: &[Value]) -> Verdict {
    let cluster = cluster_of([host("a"), host("b")], objects);
    ask_in(&VolumeBinding::default(), pod, &cluster.nodes()[0], &cluster)
}

fn never(why: &str) -> Verdict {
    Verdict::Never(why.to_owned().into())
}

#[test]
fn before_any_node() {
    let immediate = class("now", "Immediate", json!({}));
    let unbound = claim("c", json!({"spec": {"storageClassName": "now"}}));
    let waits = "pod has unbound immediate PersistentVolumeClaims";
    let own = json!({"metadata": {"name": "p-data", "ownerReferences":
        [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]}});
    let ephemeral =
        pod("p", json!({"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}));
    for (name, pod, objects, want) in [
        ("no claims", mounting(&[]), vec![], Verdict::Fits),
        ("unknown claim", mounting(&["c"]), vec![], never("persistentvolumeclaim \"c\" not found")),
        ("to be bound at once", mounting(&["c"]), vec![immediate.clone(), unbound.clone()], never(waits)),
        (
            "no class",
            mounting(&["c"]),
            vec![claim("c", json!({"spec": {"storageClassName": ""}}))],
            never(waits),
        ),
        ("unknown class", mounting(&["c"]), vec![claim("c", json!({}))], never(waits)),
        (
            "names its volume, but is not bound yet",
            mounting(&["c"]),
            vec![by_hand(), claim("c", json!({"spec": {"volumeName": "v"}})), volume("v", None, json!({}))],
            never(waits),
        ),
        (
            "one bound, one to be bound at once",
            mounting(&["b", "c"]),
            vec![immediate, unbound, bound_claim("b", "v"), volume("v", None, json!({}))],
            never(waits),
        ),
        (
            "going",
            mounting(&["c"]),
            vec![by_hand(), claim("c", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))],
            never("persistentvolumeclaim \"c\" is being deleted"),
        ),
        (
            "its volume was lost",
            mounting(&["c"]),
            vec![claim("c", json!({"spec": {"volumeName": "v"}, "status": {"phase": "Lost"}}))],
            never("persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\""),
        ),
        (
            "ephemeral, not made yet",
            ephemeral.clone(),
            vec![],
            never("waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-data\""),
        ),
        (
            "ephemeral, of another pod",
            ephemeral.clone(),
            vec![made(), claim("p-data", json!({}))],
            never("PVC default/p-data was not created for pod default/p (pod is not owner)"),
        ),
        ("ephemeral, its own", ephemeral, vec![made(), claim("p-data", own)], Verdict::Fits),
    ] {
        assert_eq!(ask(&pod, &objects), want, "{name}");
    }
}

#[test]
fn bound_claims() {
    for (name, objects, want) in [
        ("usable everywhere", vec![volume("v", None, json!({}))], Verdict::Fits),
        ("usable here", vec![volume("v", Some("a"), json!({}))], Verdict::Fits),
        ("usable elsewhere", vec![volume("v", Some("b"), json!({}))], never(NOT_USABLE)),
        ("gone", vec![], never("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")),
    ] {
        let objects = [objects, vec![bound_claim("c", "v")]].concat();
        assert_eq!(ask(&mounting(&["c"]), &objects), want, "{name}");
    }
    // A zone of old, on a node whose driver has taken the plugin's place.
    let disk = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z"}}, "spec": {"gcePersistentDisk": {"pdName": "d"}}});
    let moved = json!({"kind": "CSINode", "metadata": {"name": "a", "annotations":
        {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/gce-pd"}}});
    let old = || vec![bound_claim("c", "v"), volume("v", None, disk.clone())];
    assert_eq!(ask(&mounting(&["c"]), &old()), Verdict::Fits, "the plugin does not look");
    let with_driver = [old(), vec![moved]].concat();
    assert_eq!(ask(&mounting(&["c"]), &with_driver), never(NOT_USABLE), "the driver's label is missing");
    let both = [by_hand(), bound_claim("c", "v"), volume("v", Some("b"), json!({})), claim("d", json!({}))];
    let reasons: Vec<crate::framework::Reason> = vec![NOT_USABLE.into(), NONE_SUITS.into()];
    assert_eq!(ask(&mounting(&["c", "d"]), &both), Verdict::Never(reasons.into()), "both reasons are told");
}

#[test]
fn free_volumes_for_claims_that_wait() {
    let plain = || claim("c", json!({}));
    let labelled = json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}});
    let kept = |uid: &str| json!({"spec": {"claimRef": {"namespace": "default", "name": "c", "uid": uid}}});
    let other = json!({"spec": {"claimRef": {"namespace": "default", "name": "other", "uid": "x"}}});
    for (name, claim, volume, fits) in [
        ("one that suits", plain(), volume("v", Some("a"), json!({})), true),
        ("on another node", plain(), volume("v", Some("b"), json!({})), false),
        ("larger", plain(), volume("v", None, json!({"spec": {"capacity": {"storage": "5Gi"}}})), true),
        ("too small", plain(), volume("v", None, json!({"spec": {"capacity": {"storage": "1Mi"}}})), false),
        ("of another class", plain(), volume("v", None, json!({"spec": {"storageClassName": "x"}})), false),
        ("not free", plain(), volume("v", None, json!({"status": {"phase": "Released"}})), false),
        (
            "going",
            plain(),
            volume("v", None, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
            false,
        ),
        ("of another mode", plain(), volume("v", None, json!({"spec": {"volumeMode": "Block"}})), false),
        (
            "without the access mode",
            plain(),
            volume("v", None, json!({"spec": {"accessModes": ["ReadOnlyMany"]}})),
            false,
        ),
        (
            "with other attributes",
            plain(),
            volume("v", None, json!({"spec": {"volumeAttributesClassName": "x"}})),
            false,
        ),
        ("kept for another", plain(), volume("v", None, other), false),
        ("kept for it by name", plain(), volume("v", None, kept("")), true),
        ("kept for it by UID", plain(), volume("v", None, kept("c")), true),
        ("kept for one of its name that is gone", plain(), volume("v", None, kept("old")), false),
        ("kept for it on another node", plain(), volume("v", Some("b"), kept("c")), false),
        (
            "selected by labels",
            merged(plain(), labelled.clone()),
            volume("v", None, json!({"metadata": {"labels": {"disk": "ssd"}}})),
            true,
        ),
        (
            "not selected",
            merged(plain(), labelled),
            volume("v", None, json!({"metadata": {"labels": {"disk": "hdd"}}})),
            false,
        ),
        (
            "given to another node before",
            merged(
                plain(),
                json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "b"}}}),
            ),
            volume("v", None, json!({})),
            false,
        ),
    ] {
        let want = if fits { Verdict::Fits } else { never(NONE_SUITS) };
        assert_eq!(ask(&mounting(&["c"]), &[by_hand(), claim, volume]), want, "{name}");
    }
    let two = |second: Option<&str>| {
        [
            by_hand(),
            claim("c", json!({})),
            claim("d", json!({})),
            volume("v", Some("a"), json!({})),
            volume("w", second, json!({})),
        ]
    };
    assert_eq!(ask(&mounting(&["c", "d"]), &two(Some("a"))), Verdict::Fits, "a volume each");
    assert_eq!(ask(&mounting(&["c", "d"]), &two(Some("b"))), never(NONE_SUITS), "one volume for two claims");
}

#[test]
fn volumes_that_can_be_made() {
    let topology = |zone: &str| json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": [zone]}]}]});
    let driver = json!({"kind": "CSIDriver", "metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": true}});
    let left = |class: &str, host: &str, amount: &str, most: Value| {
        json!({
            "kind": "CSIStorageCapacity", "metadata": {"name": format!("{class}-{host}"), "namespace": "kube-system"},
            "storageClassName": class, "nodeTopology": {"matchLabels": {"host": host}}, "capacity": amount, "maximumVolumeSize": most,
        })
    };
    let class = |more: Value| class("wait", "WaitForFirstConsumer", more);
    for (name, objects, want) in [
        ("anywhere", vec![class(json!({}))], Verdict::Fits),
        ("here", vec![class(topology("zone-a"))], Verdict::Fits),
        ("only elsewhere", vec![class(topology("zone-b"))], never(NONE_SUITS)),
        ("nobody makes them", vec![by_hand()], never(NONE_SUITS)),
        (
            "a driver that says how much is left, but has not",
            vec![class(json!({})), driver.clone()],
            never(TOO_LITTLE),
        ),
        (
            "enough is left",
            vec![class(json!({})), driver.clone(), left("wait", "a", "1Gi", Value::Null)],
            Verdict::Fits,
        ),
        (
            "too little is left",
            vec![class(json!({})), driver.clone(), left("wait", "a", "1Mi", Value::Null)],
            never(TOO_LITTLE),
        ),
        (
            "enough, but not in one piece",
            vec![class(json!({})), driver.clone(), left("wait", "a", "9Gi", json!("1Mi"))],
            never(TOO_LITTLE),
        ),
        (
            "enough is left elsewhere",
            vec![class(json!({})), driver.clone(), left("wait", "b", "1Gi", Value::Null)],
            never(TOO_LITTLE),
        ),
        (
            "enough of another class",
            vec![class(json!({})), driver, left("x", "a", "1Gi", Value::Null)],
            never(TOO_LITTLE),
        ),
        (
            "made for this node already",
            vec![
                class(json!({})),
                claim("c", json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "a"}}})),
            ],
            Verdict::Fits,
        ),
    ] {
        let objects = [vec![claim("c", json!({}))], objects].concat();
        assert_eq!(ask(&mounting(&["c"]), &objects), want, "{name}");
    }
}

#[test]
fn the_smallest_volume_is_taken_and_kept() {
    let objects = [
        by_hand(),
        claim("c", json!({})),
        volume("large", None, json!({"spec": {"capacity": {"storage": "9Gi"}}})),
        volume("small", None, json!({"spec": {"capacity": {"storage": "2Gi"}}})),
    ];
    let mut cluster = cluster_of([host("a")], &objects);
    let (plugin, pod, node) = (VolumeBinding::default(), mounting(&["c"]), "a".into());
    plugin.take(&pod, &node, &mut cluster).unwrap();
    let writes = plugin.writes(&pod, &node, &cluster, jiff::Timestamp::UNIX_EPOCH);
    let [write] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!(write.target, Target::Volume("small".into()));
    assert_eq!(
        write.patch,
        json!({
            "metadata": {"resourceVersion": "1", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default",
                "name": "c", "uid": "c", "resourceVersion": "1"}},
        })
    );
    // The next pod does not get it.
    cluster.see(&Related::from_json(claim("d", json!({}))).unwrap().unwrap());
    let other = pod_mounting("q", "d");
    plugin.take(&other, &node, &mut cluster).unwrap();
    assert_eq!(
        plugin.writes(&other, &node, &cluster, jiff::Timestamp::UNIX_EPOCH)[0].target,
        Target::Volume("large".into())
    );
    let third = pod_mounting("r", "e");
    cluster.see(&Related::from_json(claim("e", json!({}))).unwrap().unwrap());
    assert_eq!(ask_in(&plugin, &third, &cluster.nodes()[0], &cluster), never(NONE_SUITS));
    // What is given back is free again.
    plugin.give_back(&pod, &node, &mut cluster);
    assert_eq!(ask_in(&plugin, &third, &cluster.nodes()[0], &cluster), Verdict::Fits);
    assert!(plugin.writes(&pod, &node, &cluster, jiff::Timestamp::UNIX_EPOCH).is_empty());
}

fn pod_mounting(name: &str, claim: &str) -> Arc<PodInfo> {
    pod(name, json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}))
}

#[test]
fn a_volume_is_made_for_the_node() {
    let mut cluster = cluster_of([host("a")], &[made(), claim("c", json!({}))]);
    let (plugin, pod, node) = (VolumeBinding::default(), mounting(&["c"]), "a".into());
    plugin.take(&pod, &node, &mut cluster).unwrap();
    let writes = plugin.writes(&pod, &node, &cluster, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].target, Target::Claim(Key::new("default", "c")));
    let selected = json!({"volume.kubernetes.io/selected-node": "a"});
    assert_eq!(writes[0].patch, json!({"metadata": {"resourceVersion": "1", "annotations": selected}}));
    assert_eq!(plugin.waits_for(&pod, &cluster), [Key::new("default", "c")]);

    let see =
        |cluster: &mut Snapshot, object: Value| cluster.see(&Related::from_json(object).unwrap().unwrap());
    let at = |version: &str, more: Value| {
        claim("c", merged(json!({"metadata": {"resourceVersion": version, "annotations": selected}}), more))
    };
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}});
    assert_eq!(plugin.settled(&pod, &node, &cluster), Settled::NotYet, "the watch has not shown our write");
    see(&mut cluster, at("2", json!({})));
    assert_eq!(plugin.settled(&pod, &node, &cluster), Settled::NotYet, "no volume yet");
    see(&mut cluster, at("3", json!({"spec": {"volumeName": "v"}})));
    assert_eq!(plugin.settled(&pod, &node, &cluster), Settled::NotYet, "the volume is not known yet");
    see(&mut cluster, at("4", bound.clone()));
    see(&mut cluster, volume("v", Some("b"), json!({})));
    assert!(matches!(plugin.settled(&pod, &node, &cluster), Settled::Never(_)), "made elsewhere");
    see(&mut cluster, volume("v", Some("a"), json!({"metadata": {"resourceVersion": "2"}})));
    assert_eq!(plugin.settled(&pod, &node, &cluster), Settled::Yes);

    see(&mut cluster, claim("c", json!({"metadata": {"resourceVersion": "5"}})));
    let why = "binding volumes: selectedNode annotation reset for PVC \"c\"";
    assert_eq!(
        plugin.settled(&pod, &node, &cluster),
        Settled::Never(why.into()),
        "the provisioner could not"
    );
}

#[test]
fn what_helps() {
    let pod = mounting(&["c"]);
    let helps = |object: Value, kind| {
        let object = Related::from_json(object).unwrap().unwrap();
        VolumeBinding::default().helps(&pod, &Change::new(kind, Subject::Related(&object)))
    };
    assert!(helps(claim("c", json!({})), Wakeup::ClaimUpdated));
    assert!(!helps(claim("d", json!({})), Wakeup::ClaimUpdated));
    assert!(helps(volume("v", None, json!({})), Wakeup::VolumeAdded));
    assert!(matches!(
        VolumeBinding::default().for_pod(&mounting(&[]), &Snapshot::default()),
        ForPod::Nothing
    ));
}
