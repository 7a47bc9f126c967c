//! Bodies in: JSON and YAML to values that have the shape of their kind.

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::Value;

use super::definition::Definition;
use super::read::{Findings, Seed, Shape};
use super::syntax;

/// A value that was read, and what a strict reader holds against it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// `unknown field "spec.foo"` and `duplicate field "data.a"`, in the order of the document. What they speak of
    /// is not in the value; a duplicate's last value is.
    pub problems: Vec<String>,
}

/// Why a body could not be read; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not YAML. Go's text: `invalid character '}' looking for beginning of value`.
    #[error("{0}")]
    Syntax(String),

    /// Well formed, but not of the kind: `json: cannot unmarshal string into Go struct field ...`.
    #[error("{0}")]
    Mismatch(String),
}

/// Reads JSON. With a definition the value is checked and normalised on the way, without one it is kept as it is.
pub fn json(body: &[u8], definition: Option<&Definition>) -> Result<Decoded, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = read(&mut deserializer, definition);
    match read {
        Ok(decoded) => match deserializer.end() {
            Ok(()) => decoded,
            Err(_) => Err(DecodeError::Syntax(syntax::fault(body))),
        },
        // The error of a value counts only if the rest is well formed: upstream looks at the syntax first.
        Err(Some(mismatch)) if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Err(mismatch),
        Err(_) => Err(DecodeError::Syntax(syntax::fault(body))),
    }
}

/// Reads YAML (and so JSON) the way [`json`] reads JSON.
pub fn yaml(body: &[u8], definition: Option<&Definition>) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|_| {
        DecodeError::Syntax("error converting YAML to JSON: yaml: invalid leading UTF-8 octet".into())
    })?;
    // Read twice: the YAML reader cannot say whether it failed by its syntax or by the walk.
    serde_yaml_ng::from_str::<IgnoredAny>(text)
        .map_err(|error| DecodeError::Syntax(format!("error converting YAML to JSON: yaml: {error}")))?;
    match read(serde_yaml_ng::Deserializer::from_str(text), definition) {
        Ok(decoded) => decoded,
        Err(Some(mismatch)) => Err(mismatch),
        Err(None) => {
            Err(DecodeError::Syntax("error converting YAML to JSON: yaml: unsupported value".into()))
        }
    }
}

/// Checks and normalises a value in memory, such as a patched object. On error the value is gone.
pub fn check(definition: &Definition, value: &mut Value) -> Result<Vec<String>, DecodeError> {
    match read(value.take(), Some(definition)) {
        Ok(decoded) => {
            let Decoded { value: read, problems } = decoded?;
            *value = read;
            Ok(problems)
        }
        Err(Some(mismatch)) => Err(mismatch),
        Err(None) => Err(DecodeError::Mismatch("json: unsupported value".into())),
    }
}

/// `Err` if the deserializer stopped: with the reason if the walk stopped it.
fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    definition: Option<&Definition>,
) -> Result<Result<Decoded, DecodeError>, Option<DecodeError>> {
    let mut findings = Findings::default();
    let shape = definition.map_or(Shape::Any, Shape::Root);
    let read = Seed { findings: &mut findings, shape, go: None }.deserialize(deserializer);
    match read {
        Ok(value) => Ok(match findings.type_error {
            None => Ok(Decoded { value, problems: findings.problems }),
            Some(error) => Err(DecodeError::Mismatch(error)),
        }),
        Err(_) => Err(findings.fatal.map(DecodeError::Mismatch)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Registry;
    use super::*;

    fn definition(kind: &str) -> &'static Definition {
        Registry::builtin().for_kind("", "v1", kind).unwrap()
    }

    fn problems(kind: &str, body: &str) -> Vec<String> {
        json_of(kind, body).unwrap().problems
    }

    fn json_of(kind: &str, body: &str) -> Result<Decoded, DecodeError> {
        super::json(body.as_bytes(), Some(definition(kind)))
    }

    fn error(kind: &str, body: &str) -> String {
        json_of(kind, body).unwrap_err().to_string()
    }

    #[test]
    fn strict_problems_come_in_the_order_of_the_document() {
        let body = r#"{"metadata":{"name":"d","name":"e","z":{"a":[1]}},"bogus":1,"data":{"a":"1","a":"2"}}"#;
        let decoded = json_of("ConfigMap", body).unwrap();
        assert_eq!(
            decoded.problems,
            [
                "duplicate field \"metadata.name\"",
                "unknown field \"metadata.z\"",
                "unknown field \"bogus\"",
                "duplicate field \"data.a\""
            ]
        );
        assert_eq!(decoded.value, json!({"metadata": {"name": "e"}, "data": {"a": "2"}}));
        let body = r#"{"spec":{"containers":[{"name":"a"},{"nmae":"b"}]}}"#;
        assert_eq!(problems("Pod", body), ["unknown field \"spec.containers[1].nmae\""]);
    }

    #[test]
    fn wrong_types_are_told_as_go_tells_them() {
        for (kind, body, text) in [
            (
                "Pod",
                r#"{"spec":{"containers":"x"}}"#,
                "string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "Pod",
                r#"{"spec":{"containers":[{"image":5}]}}"#,
                "number into Go struct field Container.spec.containers.image of type string",
            ),
            (
                "Pod",
                r#"{"spec":{"priority":1.5}}"#,
                "number 1.5 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                "Pod",
                r#"{"spec":{"priority":99999999999}}"#,
                "number 99999999999 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                "Pod",
                r#"{"spec":{"hostPID":"yes"}}"#,
                "string into Go struct field PodSpec.spec.hostPID of type bool",
            ),
            (
                "Pod",
                r#"{"metadata":{"labels":{"a":1}}}"#,
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "Pod",
                r#"{"metadata":{"creationTimestamp":5}}"#,
                "number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (
                "Service",
                r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
                "bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
            ),
            (
                "Pod",
                r#"{"spec":{"restartPolicy":5}}"#,
                "number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                "PersistentVolumeClaim",
                r#"{"spec":{"accessModes":[true]}}"#,
                "bool into Go struct field PersistentVolumeClaimSpec.spec.accessModes of type v1.PersistentVolumeAccessMode",
            ),
            ("ConfigMap", r#"[]"#, "array into Go value of type v1.ConfigMap"),
        ] {
            assert_eq!(error(kind, body), format!("json: cannot unmarshal {text}"), "{body}");
        }
        let quantity = r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"abc"}}}]}}"#;
        assert!(error("Pod", quantity).starts_with("quantities must match the regular expression '"));
        assert_eq!(error("Secret", r#"{"data":{"a":"%%"}}"#), "illegal base64 data at input byte 0");
    }

    #[test]
    fn syntax_comes_before_the_meaning() {
        assert_eq!(error("Pod", r#"{"spec":{"containers":"x"}"#), "unexpected end of JSON input");
        let late = r#"{"spec":{"overhead":{"cpu":"abc"}},}"#;
        assert_eq!(error("Pod", late), "invalid character '}' looking for beginning of object key string");
    }

    #[test]
    fn values_take_the_form_upstream_answers_with() {
        let body = r#"{
            "metadata": {"labels": {}, "annotations": null, "creationTimestamp": "2026-11-21T12:00:00.5+02:00"},
            "spec": {"hostNetwork": false, "hostUsers": false, "nodeName": "", "priority": 0, "volumes": [],
                "containers": [{"resources": {"limits": {"cpu": "1000m", "memory": 1024}}}]}}"#;
        assert_eq!(
            json_of("Pod", body).unwrap().value,
            json!({
                "metadata": {"creationTimestamp": "2026-11-21T10:00:00Z"},
                "spec": {"hostUsers": false, "priority": 0, "containers": [
                    {"name": "", "resources": {"limits": {"cpu": "1", "memory": "1024"}}}]},
                "status": {}
            })
        );
        let role = Registry::builtin().for_kind("rbac.authorization.k8s.io", "v1", "Role").unwrap();
        assert_eq!(super::json(b"{}", Some(role)).unwrap().value, json!({"metadata": {}, "rules": null}));
    }

    #[test]
    fn stated_defaults_come_with_the_read() {
        let body = r#"{"spec":{"ports":[{"port":1},{"port":2,"protocol":"UDP"}]}}"#;
        let service = json_of("Service", body).unwrap().value;
        assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP");
        assert_eq!(service["spec"]["ports"][1]["protocol"], "UDP");
    }

    #[test]
    fn without_a_definition_everything_is_kept() {
        let body = r#"{"kind":"Thing","spec":{"nul":null,"empty":[],"n":1.5}}"#;
        let decoded = super::json(body.as_bytes(), None).unwrap();
        assert_eq!(decoded.value, serde_json::from_str::<Value>(body).unwrap());
        assert_eq!(super::json(b"{\"a\":1,\"a\":2}", None).unwrap().problems, ["duplicate field \"a\""]);
    }

    #[test]
    fn yaml_is_read_like_json() {
        let text = "kind: ConfigMap\nmetadata:\n  name: a\nbogus: 1\ndata:\n  1: one\n";
        let decoded = yaml(text.as_bytes(), Some(definition("ConfigMap"))).unwrap();
        assert_eq!(
            decoded.value,
            json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"1": "one"}})
        );
        assert_eq!(decoded.problems, ["unknown field \"bogus\""]);
        let bad = yaml(b"a: [", Some(definition("ConfigMap"))).unwrap_err();
        assert!(bad.to_string().starts_with("error converting YAML to JSON: yaml: "), "{bad}");
        let wrong = yaml(b"data: 5", Some(definition("ConfigMap"))).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string"
        );
    }

    #[test]
    fn a_value_in_memory_is_checked_the_same_way() {
        let mut value = json!({"data": {"a": "b"}, "bogus": {}, "immutable": null});
        assert_eq!(check(definition("ConfigMap"), &mut value).unwrap(), ["unknown field \"bogus\""]);
        assert_eq!(value, json!({"metadata": {}, "data": {"a": "b"}}));
    }
}
