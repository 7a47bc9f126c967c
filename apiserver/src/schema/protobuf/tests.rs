//! Messages written by hand against the published numbers, and round trips of every type.

use serde_json::json;

use super::*;

fn definition(group: &str, version: &str, kind: &str) -> &'static Definition {
    Registry::builtin().for_kind(group, version, kind).unwrap()
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut body = Writer::starting_with(MAGIC);
    let type_meta = written(|w| {
        w.text(1, api_version);
        w.text(2, kind);
    });
    body.bytes(1, &type_meta);
    body.bytes(2, raw);
    body.finish()
}

#[test]
fn a_message_written_by_hand_is_read() {
    let metadata = written(|w| {
        w.text(1, "web");
        w.text(3, "default");
        // creationTimestamp
        w.bytes(8, &written(|w| w.int(1, 1_700_000_000)));
        // labels
        w.bytes(
            11,
            &written(|w| {
                w.text(1, "app");
                w.text(2, "x");
            }),
        );
    });
    let port = written(|w| {
        w.int(3, 80);
        w.text(4, "TCP");
    });
    let resources = written(|w| {
        w.bytes(
            1,
            &written(|w| {
                w.text(1, "cpu");
                w.bytes(2, &written(|w| w.text(1, "100m")));
            }),
        );
    });
    let container = written(|w| {
        w.text(1, "c");
        w.text(2, "image");
        w.text(3, "sleep");
        w.text(3, "1");
        w.bytes(6, &port);
        w.bytes(8, &resources);
        w.int(16, 0);
        // a field from the future
        w.text(999, "later");
    });
    let volume = written(|w| {
        w.text(1, "v");
        // the embedded VolumeSource holds emptyDir as field 2
        w.bytes(2, &written(|w| w.bytes(2, &[])));
    });
    let spec = written(|w| {
        w.bytes(1, &volume);
        w.bytes(2, &container);
        w.int(4, 0);
        w.int(11, 0);
        w.int(37, 0);
    });
    let body = enveloped(
        "v1",
        "Pod",
        &written(|w| {
            w.bytes(1, &metadata);
            w.bytes(2, &spec);
        }),
    );
    assert_eq!(
        decode(&body).unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "x"},
                "creationTimestamp": "2023-11-14T22:13:20Z"},
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "image", "command": ["sleep", "1"],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "100m"}}}],
                "terminationGracePeriodSeconds": 0,
                "hostUsers": false
            },
            "status": {}
        })
    );
}

#[test]
fn what_is_written_is_read_back() {
    for (group, version, object) in [
        (
            "",
            "v1",
            json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"a": "AAEC"}}),
        ),
        (
            "",
            "v1",
            json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}, {"port": 81, "protocol": "TCP", "targetPort": -1}]},
            "status": {"loadBalancer": {}}}),
        ),
        (
            "",
            "v1",
            json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "eventTime": "2026-11-21T10:00:00.123456Z",
            "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
            "reportingComponent": "", "reportingInstance": ""}),
        ),
        (
            "apps",
            "v1",
            json!({"kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": "r"},
            "data": {"spec": {"n": [1, null, "x"]}}, "revision": 3}),
        ),
        (
            "authentication.k8s.io",
            "v1",
            json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": {"token": "t"}, "status": {"authenticated": true, "user": {"username": "u", "extra": {"k": ["a", "b"]}}}}),
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"name": "c"},
            "spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "cs", "kind": "C"}, "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                    "b": {"type": "object", "additionalProperties": false},
                    "c": {"type": "object", "additionalProperties": {"type": "number", "maximum": 1.5}}}}}}]},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}}),
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            json!({"kind": "ValidatingAdmissionPolicy", "apiVersion": "admissionregistration.k8s.io/v1",
            "metadata": {"name": "p"}, "status": {},
            "spec": {"matchConstraints": {"resourceRules": [{"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["*"], "scope": "*"}]}}}),
        ),
    ] {
        let kind = object["kind"].as_str().unwrap();
        let body = encode(definition(group, version, kind), &object);
        assert_eq!(decode(&body).unwrap(), object, "{kind}");
    }
}

#[test]
fn damaged_bodies_are_refused() {
    let pod = enveloped("v1", "Pod", &[]);
    assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
    assert_eq!(decode(&pod[..pod.len() - 1]), Err(WireError::Short.into()));
    let unknown = enveloped("v1", "Nothing", &[]);
    assert!(matches!(decode(&unknown), Err(ProtobufError::UnknownKind { .. })));
    // metadata as a number, a tag without number, an endless varint
    for (raw, error) in [
        (&[0x08, 0x01][..], WireError::Mismatch),
        (&[0x00, 0x01], WireError::Tag),
        (&[0x0f], WireError::WireType(7)),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Overflow),
        (&[0x0a, 0x05, 0x01], WireError::Short),
    ] {
        assert_eq!(decode(&enveloped("v1", "Pod", raw)), Err(error.into()), "{raw:?}");
    }
}

#[test]
fn nesting_has_a_limit() {
    // JSONSchemaProps.not is field 28.
    let mut schema = Vec::new();
    for _ in 0..200 {
        schema = written(|w| w.bytes(28, &schema));
    }
    let definition = Registry::builtin()
        .definition("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    assert_eq!(decode_as(definition.unwrap(), &schema), Err(WireError::Depth.into()));
}

#[test]
fn no_damage_to_a_body_brings_the_reader_down() {
    let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}});
    let whole = encode(definition("", "v1", "Service"), &object);
    // The last four bytes are the two empty texts of the envelope.
    for at in MAGIC.len()..whole.len() - 4 {
        if let Ok(read) = decode(&whole[..at]) {
            assert!(read != object, "cut at {at}");
        }
        for byte in [0x00, 0x01, 0x07, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            if let Ok(read) = decode(&damaged) {
                assert!(read.is_object());
            }
        }
    }
}
