//! Beside other schedulers: whose room is whose, and what happens to a bind that came too late.

use super::*;

#[test]
fn room_that_another_scheduler_promised_is_left_to_its_pod() {
    let mut driven = Driven::new();
    driven.node("n", "1");
    let theirs = |node: Value, nominated: Value| {
        json!({
            "metadata": {"name": "theirs", "namespace": "default", "uid": "theirs"},
            "spec": {"schedulerName": "other", "priority": 9, "nodeName": node,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"nominatedNodeName": nominated},
        })
    };
    driven.show(theirs(Value::Null, json!("n")));
    driven.pod("ours", 0, "1");
    let log = driven.all_well();
    assert!(log[0].starts_with("ours: 0/1 nodes are available: 1 Insufficient cpu."), "{log:?}");
    // It was promised the room and does not come.
    driven.show(theirs(Value::Null, Value::Null));
    assert_eq!(driven.all_well(), ["ours -> n"]);

    driven.delete("ours");
    driven.show(theirs(Value::Null, json!("n")));
    driven.show(theirs(json!("n"), Value::Null));
    driven.pod("ours", 0, "1");
    assert!(driven.all_well()[0].starts_with("ours: 0/1"));
    assert_eq!(driven.state.cache.snapshot().nominated(&"n".into()).len(), 0);
}

#[test]
fn a_bind_that_another_scheduler_overtook_is_undone_and_evicts_nobody() {
    let mut driven = Driven::new();
    driven.node("n", "2");
    driven.pod("low", 0, "1");
    assert_eq!(driven.all_well(), ["low -> n"]);
    driven.pod("p", 9, "1");
    // Refused with a conflict before the watch shows why.
    driven.run(|_| {
        Err(WriteError::Api { code: 409, message: "pod p is already assigned to node \"m\"".into() })
    });
    assert_eq!(driven.log[0], "p -> n failed");
    assert!(!driven.log.iter().any(|line| line.contains(" goes for ")), "{:?}", driven.log);
    assert_eq!(
        driven.state.cache.snapshot().node(&"n".into()).unwrap().pods.len(),
        1,
        "its room is free again"
    );
    driven.log.clear();
    // The watch catches up: it is on a node that we do not know.
    let mut object = driven.pods["p"].clone();
    object["spec"]["nodeName"] = json!("m");
    driven.show(object);
    driven.wait(60);
    assert!(driven.all_well().is_empty(), "not tried again");
    assert_eq!(driven.state.counts(), Counts::default());
}
