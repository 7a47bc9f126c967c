//! ConfigMap and Secret: keys, sizes, immutability, and what each type of Secret must hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::V1;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::metadata;
use crate::kinds::names;
use crate::kinds::read::{Read, default_text};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

/// Most bytes of all values together.
const MAX_BYTES: usize = 1024 * 1024;
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const SECRET: &str = "io.k8s.api.core.v1.Secret";

pub(super) fn config_maps() -> Row {
    let columns = vec![columns::name(), Column::field("Data", CONFIG_MAP, "data"), columns::age()];
    Row::namespaced(V1, "ConfigMap", "configmaps")
        .short(&["cm"])
        .strategy(Rules { validate: check_config_map, validate_update: stay_immutable, ..Rules::PLAIN })
        .columns(columns, |object, now| {
            let keys = size(&object["data"]) + size(&object["binaryData"]);
            vec![object["metadata"]["name"].clone(), keys.into(), columns::age_of(object, now)]
        })
}

pub(super) fn secrets() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Type", SECRET, "type"),
        Column::field("Data", SECRET, "data"),
        columns::age(),
    ];
    Row::namespaced(V1, "Secret", "secrets")
        .fields([SelectableField::at("type")])
        .strategy(Rules {
            defaults: secret_defaults,
            validate: check_secret,
            validate_update: |new, old, errors| {
                metadata::immutable(Path::root("type"), &new["type"], &old["type"], errors);
                stay_immutable(new, old, errors);
            },
            warnings: tls_warnings,
            ..Rules::PLAIN
        })
        .columns(columns, |object, now| {
            vec![
                object["metadata"]["name"].clone(),
                object["type"].clone(),
                size(&object["data"]).into(),
                columns::age_of(object, now),
            ]
        })
}

/// `stringData` is only for writing: it ends in `data`.
fn secret_defaults(secret: &mut Value) {
    default_text(secret, "type", "Opaque");
    let Some(strings) = secret.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    for (key, value) in strings.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        secret["data"][key] = STANDARD.encode(text).into();
    }
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn check_config_map(object: &Value, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in object.entries("data") {
        let at = Path::root("data");
        checks::complain(at.key(key), key, names::config_key(key), errors);
        if object["binaryData"].has(key) {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(at.key(key), key.as_str(), why));
        }
        bytes += value.as_str().map_or(0, str::len);
    }
    for (key, value) in object.entries("binaryData") {
        let at = Path::root("binaryData");
        checks::complain(at.key(key), key, names::config_key(key), errors);
        bytes += decoded_len(value);
    }
    if bytes > MAX_BYTES {
        errors.push(FieldError::too_long(Path::root(""), MAX_BYTES));
    }
}

fn check_secret(secret: &Value, errors: &mut FieldErrors) {
    let at = Path::root("data");
    for (key, _) in secret.entries("data") {
        checks::complain(at.key(key), key, names::config_key(key), errors);
    }
    if secret.entries("data").map(|(_, value)| decoded_len(value)).sum::<usize>() > MAX_BYTES {
        errors.push(FieldError::too_long(at, MAX_BYTES));
    }
    let data = &secret["data"];
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| data.get(key).is_none()) {
            errors.push(FieldError::required(at.key(key), ""));
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if secret["metadata"]["annotations"].text(ACCOUNT).is_empty() {
                let at = Path::root("metadata");
                errors.push(FieldError::required(at.child("annotations").key(ACCOUNT), ""));
            }
        }
        "kubernetes.io/dockercfg" => docker(secret, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => docker(secret, ".dockerconfigjson", errors),
        // Either may be left out, not both.
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => {
            errors.push(FieldError::required(at.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn docker(secret: &Value, key: &str, errors: &mut FieldErrors) {
    let at = Path::root("data");
    let Some(text) = secret["data"].get(key).and_then(Value::as_str) else {
        errors.push(FieldError::required(at.key(key), ""));
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let why = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(_) => "json: cannot unmarshal value into Go value of type map[string]interface {}".to_owned(),
        Err(_) if bytes.is_empty() => "unexpected end of JSON input".to_owned(),
        Err(error) => error.to_string(),
    };
    errors.push(FieldError::invalid(at.key(key), "<secret contents redacted>", why));
}

/// Once immutable, always immutable.
fn stay_immutable(new: &Value, old: &Value, errors: &mut FieldErrors) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        errors.push(FieldError::forbidden(Path::root("immutable"), WHY));
    }
    for field in ["data", "binaryData"] {
        if new.get(field) != old.get(field) {
            errors.push(FieldError::forbidden(Path::root(field), WHY));
        }
    }
}

/// What a TLS server would say to these files.
fn tls_warnings(secret: &Value) -> Vec<String> {
    if secret.text("type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let holds_pem = |key: &str| {
        let bytes = STANDARD.decode(secret["data"].text(key)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
    };
    for (key, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
        if !holds_pem(key) {
            return vec![format!("tls: failed to find any PEM data in {what} input")];
        }
    }
    Vec::new()
}

/// The bytes that a base64 text stands for.
fn decoded_len(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(check: impl Fn(&mut FieldErrors)) -> Vec<String> {
        let mut errors = FieldErrors::new();
        check(&mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn types_of_secrets_need_their_keys() {
        let secret = |kind: &str, data: Value| json!({"type": kind, "data": data, "metadata": {}});
        let check = |secret: Value| texts(|errors| check_secret(&secret, errors));
        assert_eq!(
            check(secret("kubernetes.io/tls", json!({}))),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
        );
        assert_eq!(check(secret("kubernetes.io/basic-auth", json!({"x": "eQ=="}))).len(), 2);
        assert!(check(secret("kubernetes.io/basic-auth", json!({"username": ""}))).is_empty());
        assert!(
            check(secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="}))).is_empty()
        );
        assert_eq!(
            check(secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "eA=="}))).len(),
            1
        );
    }

    #[test]
    fn immutable_means_immutable() {
        let old = json!({"immutable": true, "data": {"a": "b"}});
        let new = json!({"data": {"a": "c"}});
        assert_eq!(
            texts(|errors| stay_immutable(&new, &old, errors)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
    }
}
