//! DynamicResources by tables: which claims fit where, what is taken, and what is written.

use super::*;
use crate::plugins::fixtures::{ask_in, cluster_of, node, pod_from, scores_in};
use serde_json::{Value, json};

pub(super) const V1: &str = "resource.k8s.io/v1";

pub(super) fn class(name: &str, selector: &str) -> Value {
    json!({"apiVersion": V1, "kind": "DeviceClass", "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": selector}}]}})
}

/// Devices of a node: (name, model, NUMA node).
pub(super) fn slice(node: &str, devices: &[(&str, &str, i64)]) -> Value {
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

pub(super) fn allocated(node: &str, device: &str, consumers: &[&str]) -> Value {
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

pub(super) fn never(why: &str) -> Verdict {
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
    ask_in(&DynamicResources::default(), pod, &cluster.nodes()[0], &cluster)
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
    DynamicResources::default().take(&pod, &on, &mut cluster).unwrap();
    let writes = DynamicResources::default().writes(&pod, &on, &cluster, jiff::Timestamp::UNIX_EPOCH);
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
    assert_eq!(status["allocation"]["allocationTimestamp"], json!("1970-01-01T00:00:00Z"));
    assert_eq!(status["reservedFor"], json!([{"resource": "pods", "name": "p", "uid": "p"}]));
    let fields = &status["allocation"]["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!(*fields, json!({"key": "metadata.name", "operator": "In", "values": ["a"]}));

    let other = claiming(&["other"]);
    let fits = |cluster: &Snapshot| {
        ask_in(&DynamicResources::default(), &other, &cluster.nodes()[0], cluster).fits()
    };
    assert!(!fits(&cluster), "taken at once");
    let mut with_finalizer = claim("c", exactly(json!({})), json!({}));
    with_finalizer["metadata"]["resourceVersion"] = json!("2");
    with_finalizer["metadata"]["finalizers"] = writes[0].patch["metadata"]["finalizers"].clone();
    cluster.see(&Related::DeviceClaim(Arc::new(serde_json::from_value(with_finalizer).unwrap())));
    assert!(!fits(&cluster), "the first of two writes is seen before the second");
    DynamicResources::default().give_back(&pod, &on, &mut cluster);
    assert!(fits(&cluster), "and free again");
}

/// Two halves of a card, and the card as a whole; `card` is what the counters hold.
fn partitions(node: &str, card: &str) -> Vec<Value> {
    let part = |name: &str, memory: &str| {
        json!({"name": name, "consumesCounters": [
        {"counterSet": "card", "counters": {"memory": {"value": memory}}}]})
    };
    let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 2});
    let slice = |name: &str| {
        json!({"apiVersion": V1, "kind": "ResourceSlice",
        "metadata": {"name": format!("{node}-{name}")},
        "spec": {"driver": "gpu.example.com", "nodeName": node, "pool": pool}})
    };
    let (mut shared, mut devices) = (slice("counters"), slice("devices"));
    shared["spec"]["sharedCounters"] = json!([{"name": "card", "counters": {"memory": {"value": card}}}]);
    devices["spec"]["devices"] =
        json!([part("whole", "40Gi"), part("half-0", "20Gi"), part("half-1", "20Gi")]);
    vec![shared, devices]
}

#[test]
fn devices_that_share_counters() {
    let none = || never("cannot allocate all claims");
    let held = |device: &str| claim("x", json!({}), allocated("a", device, &["q"]));
    for (name, card, count, others, want) in [
        ("the whole card", "40Gi", 1, vec![], Verdict::Fits),
        ("both halves, after the whole was tried", "40Gi", 2, vec![], Verdict::Fits),
        ("all three", "40Gi", 3, vec![], none()),
        ("the other half", "40Gi", 1, vec![held("half-0")], Verdict::Fits),
        ("two more, beside a half", "40Gi", 2, vec![held("half-0")], none()),
        ("nothing is left beside the whole", "40Gi", 1, vec![held("whole")], none()),
        ("a card that is smaller than its parts say", "30Gi", 2, vec![], none()),
        ("one half of it", "30Gi", 1, vec![], Verdict::Fits),
    ] {
        let mut objects = vec![class("gpu", "device.driver == 'gpu.example.com'")];
        objects.extend(partitions("a", card));
        objects.push(claim("c", exactly(json!({"count": count})), json!({})));
        objects.extend(others);
        let cluster = cluster_of([node("a", json!({}))], &objects);
        let pod = claiming(&["c"]);
        assert_eq!(ask_in(&DynamicResources::default(), &pod, &cluster.nodes()[0], &cluster), want, "{name}");
    }
}

/// A card of 10Gi that is given out in pieces of 2Gi, and drawn on by nobody else.
fn card(node: &str) -> Value {
    let policy = json!({"default": "2Gi", "validRange": {"min": "2Gi", "step": "2Gi"}});
    let mut card = slice(node, &[("card", "a100", 0)]);
    card["spec"]["devices"][0]["allowMultipleAllocations"] = json!(true);
    card["spec"]["devices"][0]["capacity"] = json!({"memory": {"value": "10Gi", "requestPolicy": policy}});
    card
}

#[test]
fn devices_that_are_given_out_several_times() {
    let none = || never("cannot allocate all claims");
    let asks = |amount: &str| json!({"capacity": {"requests": {"memory": amount}}});
    let held = |amount: &str| {
        let mut held = allocated("a", "card", &["q"]);
        let result = &mut held["allocation"]["devices"]["results"][0];
        result["shareID"] = json!("s");
        result["consumedCapacity"] = json!({"memory": amount});
        claim("x", json!({}), held)
    };
    let whole = claim("x", json!({}), allocated("a", "card", &["q"]));
    let apart = |mut devices: Value, other: &str| {
        let mut second = devices["requests"][0].clone();
        second["name"] = json!("s");
        second["exactly"]["capacity"]["requests"]["memory"] = json!(other);
        devices["requests"].as_array_mut().unwrap().push(second);
        devices
    };
    for (name, devices, others, want) in [
        ("a piece", exactly(asks("2Gi")), vec![], Verdict::Fits),
        ("all of it", exactly(asks("10Gi")), vec![], Verdict::Fits),
        ("too much", exactly(asks("11Gi")), vec![], none()),
        ("what is left", exactly(asks("4Gi")), vec![held("6Gi")], Verdict::Fits),
        ("less than a piece, which is left", exactly(asks("1Gi")), vec![held("8Gi")], Verdict::Fits),
        ("more than is left", exactly(asks("3Gi")), vec![held("8Gi")], none()),
        ("the default is left", exactly(json!({})), vec![held("8Gi")], Verdict::Fits),
        ("the default is not left", exactly(json!({})), vec![held("9Gi")], none()),
        ("somebody has it all for himself", exactly(asks("2Gi")), vec![whole], none()),
        (
            "a capacity that it does not have",
            exactly(json!({"capacity": {"requests": {"cores": "1"}}})),
            vec![],
            none(),
        ),
        ("two requests of one claim", apart(exactly(asks("4Gi")), "6Gi"), vec![], Verdict::Fits),
        ("two that are too much together", apart(exactly(asks("5Gi")), "6Gi"), vec![], none()),
        ("twice the same for one request", exactly(json!({"count": 2})), vec![], none()),
        (
            "all, where enough is left",
            exactly(json!({"allocationMode": "All"})),
            vec![held("4Gi")],
            Verdict::Fits,
        ),
        (
            "all, where too little is left",
            exactly(json!({"allocationMode": "All"})),
            vec![held("9Gi")],
            none(),
        ),
    ] {
        let objects = [
            vec![class("gpu", "device.allowMultipleAllocations"), card("a"), claim("c", devices, json!({}))],
            others,
        ]
        .concat();
        let cluster = cluster_of([node("a", json!({}))], &objects);
        let pod = claiming(&["c"]);
        assert_eq!(ask_in(&DynamicResources::default(), &pod, &cluster.nodes()[0], &cluster), want, "{name}");
    }
}

#[test]
fn a_share_is_told_and_counted_at_once() {
    let asks = || exactly(json!({"capacity": {"requests": {"memory": "5Gi"}}}));
    let objects = [
        class("gpu", "device.driver == 'gpu.example.com'"),
        card("a"),
        claim("c", asks(), json!({})),
        claim("d", asks(), json!({})),
    ];
    let mut cluster = cluster_of([node("a", json!({}))], &objects);
    let (plugin, pod, on) = (DynamicResources::default(), claiming(&["c"]), NodeName::from("a"));
    plugin.take(&pod, &on, &mut cluster).unwrap();
    let writes = plugin.writes(&pod, &on, &cluster, jiff::Timestamp::UNIX_EPOCH);
    let result = writes[1].patch["status"]["allocation"]["devices"]["results"][0].clone();
    assert_eq!(result["consumedCapacity"], json!({"memory": "6Gi"}), "in whole pieces");
    assert_eq!(result["shareID"].as_str().unwrap().len(), 36);
    let other = claiming(&["d"]);
    let fits = |cluster: &Snapshot| ask_in(&plugin, &other, &cluster.nodes()[0], cluster).fits();
    assert!(!fits(&cluster), "4Gi are left");
    plugin.give_back(&pod, &on, &mut cluster);
    assert!(fits(&cluster));
}

#[test]
fn an_earlier_alternative_is_preferred() {
    let alternative = |name: &str, wanted: &str, count: i64| {
        let mut alternative = json!({"name": name, "deviceClassName": "gpu", "count": count});
        alternative["selectors"] = model(wanted)["selectors"].clone();
        alternative
    };
    let request = |name: &str| {
        json!({"name": name, "firstAvailable": [
        alternative("best", "h100", 1), alternative("good", "a100", 1)]})
    };
    let objects = [
        class("gpu", "device.driver == 'gpu.example.com'"),
        slice("a", &[("d0", "a100", 0), ("d1", "a100", 0)]),
        slice("b", &[("d0", "h100", 0), ("d1", "a100", 0)]),
        claim("one", json!({"requests": [request("r")]}), json!({})),
        claim("two", json!({"requests": [request("r"), request("s")]}), json!({})),
        claim("plain", exactly(json!({})), json!({})),
    ];
    let cluster = cluster_of([node("a", json!({})), node("b", json!({}))], &objects);
    let plugin = DynamicResources::default();
    for (name, want) in [("one", [7 * 100 / 8, 100]), ("two", [14 * 100 / 15, 100]), ("plain", [0, 0])] {
        assert_eq!(scores_in(&plugin, &claiming(&[name]), &cluster), want, "{name}");
    }
}

#[test]
fn a_pod_waits_for_what_its_devices_name() {
    let mut slice = slice("a", &[("d0", "a100", 0)]);
    slice["spec"]["devices"][0]["bindingConditions"] = json!(["Attached"]);
    slice["spec"]["devices"][0]["bindingFailureConditions"] = json!(["Broken"]);
    let objects = [
        class("gpu", "device.driver == 'gpu.example.com'"),
        slice,
        claim("c", exactly(json!({})), json!({})),
    ];
    let mut cluster = cluster_of([node("a", json!({}))], &objects);
    let (plugin, pod, on) = (DynamicResources::default(), claiming(&["c"]), NodeName::from("a"));
    plugin.take(&pod, &on, &mut cluster).unwrap();
    let status =
        plugin.writes(&pod, &on, &cluster, jiff::Timestamp::UNIX_EPOCH).pop().unwrap().patch["status"]
            .clone();
    assert_eq!(status["allocation"]["devices"]["results"][0]["bindingConditions"], json!(["Attached"]));
    let key = Key::new("default", "c");
    assert_eq!(plugin.settled(&pod, &on, &cluster), Settled::NotYet);
    assert_eq!(plugin.waits_for(&pod, &cluster), std::slice::from_ref(&key));

    let said = |kind: &str| {
        let mut written = claim("c", exactly(json!({})), status.clone());
        written["metadata"]["resourceVersion"] = json!("2");
        written["status"]["devices"] = json!([{"driver": "gpu.example.com", "pool": "a", "device": "d0",
            "conditions": [{"type": kind, "status": "True", "reason": "R", "message": "as told",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]);
        Arc::new(serde_json::from_value::<ResourceClaim>(written).unwrap())
    };
    let mut ready = cluster.clone();
    ready.wrote(Related::DeviceClaim(said("Attached")));
    assert_eq!(plugin.settled(&pod, &on, &ready), Settled::Yes);
    assert!(plugin.waits_for(&pod, &ready).is_empty());
    cluster.wrote(Related::DeviceClaim(said("Broken")));
    let why = "claim c binding failed: reason=R, message=\"as told\"";
    assert_eq!(plugin.settled(&pod, &on, &cluster), Settled::Never(why.to_owned()));

    // Given up, it is not tied to the device: it is taken back before anything else is given.
    plugin.give_back(&pod, &on, &mut cluster);
    plugin.take(&pod, &on, &mut cluster).unwrap();
    let writes = plugin.writes(&pod, &on, &cluster, jiff::Timestamp::UNIX_EPOCH);
    let devices = &writes.last().unwrap().patch["status"]["allocation"]["devices"]["results"];
    assert_eq!(devices[0]["device"], "d0");
}

/// A scheduler that is started finds a claim of its pod whose devices are still prepared.
#[test]
fn a_wait_for_devices_is_taken_up_again() {
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let conditions = ["Attached"];
    let given = json!({"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "d0",
        "bindingConditions": conditions, "bindingFailureConditions": ["Broken"]});
    let on_b = json!({"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["b"]}]}]});
    let status = json!({
        "allocation": {"devices": {"results": [given]}, "nodeSelector": on_b,
            "allocationTimestamp": "2026-01-01T00:00:00Z"},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "p"}],
    });
    let mut waiting = claim("c", exactly(json!({})), status);
    waiting["metadata"]["finalizers"] = json!(["resource.kubernetes.io/delete-protection"]);
    let mut broken = waiting.clone();
    broken["status"]["devices"] = json!([{"driver": "gpu.example.com", "pool": "b", "device": "d0",
        "conditions": [{"type": "Broken", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]);
    let (plugin, pod) = (DynamicResources::default(), claiming(&["c"]));
    for (name, claim, now, kept) in [
        ("its time runs", &waiting, "2026-01-01T00:09:59Z", true),
        ("its time is over", &waiting, "2026-01-01T00:10:00Z", false),
        ("a device is broken", &broken, "2026-01-01T00:01:00Z", false),
    ] {
        let objects = [
            class("gpu", "device.driver == 'gpu.example.com'"),
            slice("a", &[("d0", "a100", 0)]),
            slice("b", &[("d0", "a100", 0)]),
            claim.clone(),
        ];
        let mut cluster = cluster_of([node("a", json!({})), node("b", json!({}))], &objects);
        cluster.begin(time(now));
        let elsewhere = ask_in(&plugin, &pod, cluster.node(&"a".into()).unwrap(), &cluster);
        assert_eq!(elsewhere.fits(), !kept, "{name}: {elsewhere:?}");
        let on = NodeName::from("b");
        plugin.take(&pod, &on, &mut cluster).unwrap();
        let writes = plugin.writes(&pod, &on, &cluster, time(now));
        assert_eq!(writes.is_empty(), kept, "{name}: {writes:?}");
        if kept {
            assert_eq!(plugin.settled(&pod, &on, &cluster), Settled::NotYet, "{name}");
            assert_eq!(plugin.deadline(&pod, &cluster, time(now)), time("2026-01-01T00:10:00Z"), "{name}");
        }
    }
}

#[test]
fn a_pod_is_held_back_until_its_claims_are_there() {
    let there = claim("c", exactly(json!({})), json!({}));
    let mut going = there.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plain = pod_from(json!({"metadata": {"name": "p"}, "spec": {}}));
    for (name, pod, objects, want) in [
        ("no claim", plain, vec![], Verdict::Fits),
        ("there", claiming(&["c"]), vec![there.clone()], Verdict::Fits),
        ("not there", claiming(&["c"]), vec![], never("resourceclaim \"c\" not found")),
        ("one of two", claiming(&["c", "d"]), vec![there], never("resourceclaim \"d\" not found")),
        ("going", claiming(&["c"]), vec![going], never("resourceclaim \"c\" is being deleted")),
    ] {
        let cluster = cluster_of([node("a", json!({}))], &objects);
        assert_eq!(DynamicResources::default().admit_among(&pod, &cluster), want, "{name}");
    }
}
