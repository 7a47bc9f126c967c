//! A pod whose extended resources a class stands for, on its way to the bind and back.

use super::*;

fn asking(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}}]}})
}

fn with_one_device() -> Driven {
    let mut driven = Driven::new();
    driven.node("n", "8");
    driven.object(json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}));
    driven.object(
        json!({"kind": "ResourceSlice", "metadata": {"name": "n"}, "spec": {"driver": "gpu", "nodeName": "n",
        "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}]}}),
    );
    driven
}

#[test]
fn a_pod_that_is_not_bound_gives_its_devices_back() {
    let mut driven = with_one_device();
    driven.pod_from(asking("a"));
    driven.run(|_| Err(WriteError::Api { code: 500, message: "no".to_owned() }));
    let log = std::mem::take(&mut driven.log);
    let way = [
        "a makes a claim",
        "a writes ResourceClaim/",
        "a is told of it",
        "a -> n failed",
        "a's claim is taken back",
    ];
    assert!(log.len() >= way.len(), "{log:?}");
    for (said, want) in log.iter().zip(way) {
        assert!(said.starts_with(want), "{want}: {log:?}");
    }
    assert!(
        !driven.objects.keys().any(|name| name.starts_with("ResourceClaim/")),
        "{:?}",
        driven.objects.keys()
    );

    // Another pod gets the device, and the first one waits for it.
    driven.pod_from(asking("b"));
    let log = driven.all_well();
    assert!(log.iter().any(|said| said == "b -> n"), "{log:?}");
    driven.wait(20);
    let log = driven.all_well();
    assert!(log.iter().any(|said| said.contains("1 cannot allocate all claims")), "{log:?}");
    let claim = driven.objects.keys().find(|name| name.starts_with("ResourceClaim/b-")).unwrap().clone();
    driven.delete("b");
    driven.gone(&claim);
    driven.wait(20);
    let log = driven.all_well();
    assert!(log.iter().any(|said| said == "a -> n"), "{log:?}");
}
