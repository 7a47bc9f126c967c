//! DynamicResources by tables: which claims fit where, what is taken, and what is written.

use super::*;
use crate::plugins::fixtures::{ask_in, cluster_of, node, pod_from};
use serde_json::{Value, json};

const V1: &str = "resource.k8s.io/v1";

fn class(name: &str, selector: &str) -> Value {
    json!({"apiVersion": V1, "kind": "DeviceClass", "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": selector}}]}})
}

/// Devices of a node: (name, model, NUMA node).
fn slice(node: &str, devices: &[(&str, &str, i64)]) -> Value {
    let devices: Vec<Value> = devices
        .iter()
        .map(|(name, model, numa)| json!({"name": name, "attributes": {"model": {"string": model}, "numa": {"int": numa}}}))
        .collect();
    json!({"apiVersion": V1, "kind": "ResourceSlice", "metadata": {"name": format!("{node}-gpu")}, "spec": {
        "driver": "gpu.example.com", "nodeName": node, "devices": devices,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}}})
}

fn claim(name: &str, devices: Value, status: Value) -> Value {
    json!({"apiVersion": V1, "kind": "ResourceClaim", "status": status, "spec": {"devices": devices},
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}})
}

fn exactly(more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    exactly.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"requests": [{"name": "r", "exactly": exactly}]})
}

fn model(model: &str) -> Value {
    json!({"selectors": [{"cel": {"expression": format!("device.attributes['gpu.example.com'].model == '{model}'")}}]})
}

fn allocated(node: &str, device: &str, consumers: &[&str]) -> Value {
    let consumers: Vec<Value> =
        consumers.iter().map(|name| json!({"resource": "pods", "name": name, "uid": name})).collect();
    json!({"reservedFor": consumers, "allocation": {
        "devices": {"results": [{"request": "r", "driver": "gpu.example.com", "pool": node, "device": device}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
}

fn claiming(claims: &[&str]) -> Arc<PodInfo> {
    let claims: Vec<Value> =
        claims.iter().map(|name| json!({"name": name, "resourceClaimName": name})).collect();
    pod_from(json!({"metadata": {"name": "p"}, "spec": {"resourceClaims": claims}}))
}

fn never(why: &str) -> Verdict {
    Verdict::Never(why.to_owned().into())
}

/// Nodes `a` with two devices and `b` with none.
fn ask(pod: &PodInfo, objects: &[Value]) -> Verdict {
    let all = [
        vec![
            class("gpu", "device.driver == 'gpu.example.com'"),
            slice("a", &[("d0", "a100", 0), ("d1", "h100", 1)]),
        ],
        objects.to_vec(),
    ]
    .concat();
    let cluster = cluster_of([node("a", json!({})), node("b", json!({}))], &all);
    ask_in(&DynamicResources, pod, &cluster.nodes()[0], &cluster)
}

#[test]
fn claims_that_are_not_there() {
    let made = |status: Value| {
        pod_from(json!({"metadata": {"name": "p"}, "status": status,
            "spec": {"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]}}))
    };
    let statuses = |name: Value| json!({"resourceClaimStatuses": [{"name": "c", "resourceClaimName": name}]});
    let plain = claim("p-c", exactly(json!({})), json!({}));
    let mut own = plain.clone();
    own["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    for (name, pod, objects, want) in [
        ("no claims", claiming(&[]), vec![], Verdict::Fits),
        ("unknown", claiming(&["c"]), vec![], never("resourceclaim \"c\" not found")),
        ("not made yet", made(json!({})), vec![], never("pod default/p: ResourceClaim not created yet")),
        (
            "made for another pod",
            made(statuses(json!("p-c"))),
            vec![plain],
            never("ResourceClaim default/p-c was not created for pod default/p (pod is not owner)"),
        ),
        ("made for it", made(statuses(json!("p-c"))), vec![own], Verdict::Fits),
        ("not needed", made(statuses(Value::Null)), vec![], Verdict::Fits),
        (
            "unknown class",
            claiming(&["c"]),
            vec![claim(
                "c",
                json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "nic"}}]}),
                json!({}),
            )],
            never("request r: device class nic does not exist"),
        ),
    ] {
        assert_eq!(ask(&pod, &objects), want, "{name}");
    }
}

#[test]
fn devices_of_a_node() {
    let none = || never("cannot allocate all claims");
    let constraint = |kind: &str| json!({"constraints": [{kind: "gpu.example.com/numa"}]});
    let with = |mut devices: Value, more: Value| {
        devices.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        devices
    };
    let alternatives = json!({"requests": [{"name": "r", "firstAvailable": [
        {"name": "many", "deviceClassName": "gpu", "count": 3}, {"name": "few", "deviceClassName": "gpu", "count": 2}]}]});
    for (name, devices, others, want) in [
        ("one", exactly(json!({})), vec![], Verdict::Fits),
        ("two", exactly(json!({"count": 2})), vec![], Verdict::Fits),
        ("three of two", exactly(json!({"count": 3})), vec![], none()),
        ("all", exactly(json!({"allocationMode": "All"})), vec![], Verdict::Fits),
        ("a model that is there", exactly(model("h100")), vec![], Verdict::Fits),
        ("a model that is not there", exactly(model("b200")), vec![], none()),
        (
            "one is taken, one is left",
            exactly(json!({})),
            vec![claim("x", json!({}), allocated("a", "d0", &["q"]))],
            Verdict::Fits,
        ),
        (
            "the model is taken",
            exactly(model("a100")),
            vec![claim("x", json!({}), allocated("a", "d0", &["q"]))],
            none(),
        ),
        (
            "all, but one is taken",
            exactly(json!({"allocationMode": "All"})),
            vec![claim("x", json!({}), allocated("a", "d0", &["q"]))],
            none(),
        ),
        ("the second alternative", alternatives, vec![], Verdict::Fits),
        (
            "two of the same NUMA node",
            with(exactly(json!({"count": 2})), constraint("matchAttribute")),
            vec![],
            none(),
        ),
        (
            "two of different NUMA nodes",
            with(exactly(json!({"count": 2})), constraint("distinctAttribute")),
            vec![],
            Verdict::Fits,
        ),
        (
            "a taken device, for administration",
            exactly(json!({"count": 2, "adminAccess": true})),
            vec![claim("x", json!({}), allocated("a", "d0", &["q"]))],
            Verdict::Fits,
        ),
    ] {
        let objects = [vec![claim("c", devices, json!({}))], others].concat();
        assert_eq!(ask(&claiming(&["c"]), &objects), want, "{name}");
    }
    let both = [claim("c", exactly(model("a100")), json!({})), claim("d", exactly(json!({})), json!({}))];
    assert_eq!(
        ask(&claiming(&["d", "c"]), &both),
        Verdict::Fits,
        "the search goes back: d must not take the only a100"
    );
}

#[test]
fn claims_that_are_allocated() {
    for (name, status, want) in [
        ("here", allocated("a", "d0", &["q"]), Verdict::Fits),
        (
            "elsewhere, used by others",
            allocated("b", "d0", &["q"]),
            never("resourceclaim not available on the node"),
        ),
        ("elsewhere, but only for this pod", allocated("b", "d0", &["p"]), Verdict::Fits),
        ("elsewhere, for nobody", allocated("b", "d0", &[]), Verdict::Fits),
    ] {
        assert_eq!(ask(&claiming(&["c"]), &[claim("c", exactly(json!({})), status)]), want, "{name}");
    }
}

#[test]
fn devices_are_taken_written_and_given_back() {
    let objects = [
        class("gpu", "device.driver == 'gpu.example.com'"),
        slice("a", &[("d0", "a100", 0)]),
        claim("c", exactly(json!({})), json!({})),
        claim("other", exactly(json!({})), json!({})),
    ];
    let mut cluster = cluster_of([node("a", json!({}))], &objects);
    let (pod, on) = (claiming(&["c"]), NodeName::from("a"));
    DynamicResources.take(&pod, &on, &mut cluster).unwrap();
    let writes = DynamicResources.writes(&pod, &on, &cluster);
    assert_eq!(writes.len(), 2);
    assert_eq!(
        writes[0].patch["metadata"]["finalizers"],
        json!(["resource.kubernetes.io/delete-protection"])
    );
    let status = &writes[1].patch["status"];
    assert_eq!(
        status["allocation"]["devices"]["results"],
        json!([{"request": "r", "driver": "gpu.example.com", "pool": "a", "device": "d0"}])
    );
    assert_eq!(status["reservedFor"], json!([{"resource": "pods", "name": "p", "uid": "p"}]));
    let fields = &status["allocation"]["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!(*fields, json!({"key": "metadata.name", "operator": "In", "values": ["a"]}));

    let other = claiming(&["other"]);
    let fits = |cluster: &Snapshot| ask_in(&DynamicResources, &other, &cluster.nodes()[0], cluster).fits();
    assert!(!fits(&cluster), "taken at once");
    DynamicResources.give_back(&pod, &on, &mut cluster);
    assert!(fits(&cluster), "and free again");
}
