//! ServiceAccount: every pod runs as an account of its namespace, which must exist, and gets its token mounted.
//!
//! Source: kubernetes `plugin/pkg/admission/serviceaccount`.

use serde_json::{Value, json};

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::{Read, items_mut};
use crate::object;
use crate::status::ApiResult;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const SUFFIX: usize = 5;
/// Slightly more than an hour, in seconds: clients can tell these tokens from those asked for by hand.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    if !attributes.is("", "pods") || attributes.verb != Verb::Create {
        return Ok(());
    }
    // What a kubelet runs by itself it only shows here; it has no account.
    if pod["metadata"]["annotations"].has(MIRROR_ANNOTATION) {
        return if pod["spec"].text("serviceAccountName").is_empty() {
            Ok(())
        } else {
            Err(attributes.forbid(pod, "a mirror pod may not reference service accounts"))
        };
    }
    if pod["spec"].text("serviceAccountName").is_empty() {
        pod["spec"]["serviceAccountName"] = "default".into();
    }
    let name = pod["spec"].text("serviceAccountName").to_owned();
    pod["spec"]["serviceAccount"] = name.clone().into();
    let namespace = object::namespace(pod);
    let Some(account) = attributes.get("core", "serviceaccounts", namespace, &name) else {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(attributes.forbid(pod, &why));
    };
    if wants_token(pod, &account) {
        mount_token(pod, &attributes.server.random.suffix(SUFFIX));
    }
    if pod["spec"].list("imagePullSecrets").is_empty() && !account.list("imagePullSecrets").is_empty() {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

/// The pod decides, then the account; otherwise yes.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let says = |value: &Value| value.get("automountServiceAccountToken").and_then(Value::as_bool);
    says(&pod["spec"]).or_else(|| says(account)).unwrap_or(true)
}

/// Mounts the token into every container that has nothing of its own in that place.
fn mount_token(pod: &mut Value, suffix: &str) {
    let spec = &mut pod["spec"];
    let there = spec.list("volumes").iter().map(|volume| volume.text("name"));
    let there = there.filter(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned).next();
    let is_new = there.is_none();
    let volume = there.unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            if container.list("volumeMounts").iter().any(|mount| mount.text("mountPath") == MOUNT_PATH) {
                continue;
            }
            push(
                container,
                "volumeMounts",
                json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}),
            );
            used = true;
        }
    }
    if used && is_new {
        push(spec, "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    })
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once() {
        let own = json!([{"name": "own", "mountPath": MOUNT_PATH}]);
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": own}]}});
        mount_token(&mut pod, "abcde");
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], own);
        assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1));
        let once = pod.clone();
        mount_token(&mut pod, "fghij");
        assert_eq!(pod, once);
    }

    #[test]
    fn pods_outvote_their_account() {
        let no = json!({"automountServiceAccountToken": false});
        assert!(wants_token(&json!({"spec": {}}), &json!({})));
        assert!(!wants_token(&json!({"spec": {}}), &no));
        assert!(wants_token(&json!({"spec": {"automountServiceAccountToken": true}}), &no));
    }
}
