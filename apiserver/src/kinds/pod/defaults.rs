//! Defaults of a pod and of a pod template.
//!
//! Promise: what upstream fills in is filled in, once: a second pass changes nothing. Defaults that the
//! schema states (protocol `TCP` ...) are not repeated here.
//! Source: kubernetes `pkg/apis/core/v1/defaults.go`.

use serde_json::{Value, json};

use crate::kinds::read::{Read, default, default_text, items_mut};

/// `rw-r--r--`
const FILE_MODE: i64 = 0o644;
/// The life of a projected service account token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Defaults of a pod, beyond those it shares with templates.
pub(in crate::kinds) fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        *spec = json!({});
    }
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            requests_from_limits(container);
        }
    }
    default(spec, "enableServiceLinks", true);
    if spec.flag("hostNetwork") {
        host_ports(spec);
    }
    pod_spec(spec);
}

/// Defaults of a pod template, as workloads carry it.
pub(in crate::kinds) fn template(template: &mut Value) {
    if template.is_object() {
        pod_spec(&mut template["spec"]);
    }
}

fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        *spec = json!({});
    }
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    service_account(spec);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        items_mut(spec, list).for_each(container);
    }
    items_mut(spec, "volumes").for_each(volume);
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
fn service_account(spec: &mut Value) {
    let name = match (spec.text("serviceAccountName"), spec.text("serviceAccount")) {
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    if !name.is_empty() {
        spec["serviceAccount"] = name.clone().into();
        spec["serviceAccountName"] = name.into();
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container.text("image"));
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            probe(&mut container[name]);
        }
    }
    for name in ["postStart", "preStop"] {
        if container["lifecycle"].has(name) {
            http_get(&mut container["lifecycle"][name]);
        }
    }
    for variable in items_mut(container, "env") {
        if variable["valueFrom"].has("fieldRef") {
            default_text(&mut variable["valueFrom"]["fieldRef"], "apiVersion", "v1");
        }
    }
}

/// An image without tag or with `latest` may change any time.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        None | Some((_, "latest" | "")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.int(field).unwrap_or_default() == 0 {
            probe[field] = value.into();
        }
    }
    http_get(probe);
    if probe.has("grpc") {
        default(&mut probe["grpc"], "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if handler.has("httpGet") {
        default_text(&mut handler["httpGet"], "path", "/");
        default_text(&mut handler["httpGet"], "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_some_and(|map| map.iter().any(|(key, v)| key != "name" && !v.is_null()));
    if !has_source && volume.is_object() {
        volume["emptyDir"] = json!({});
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume.has(kind) {
            default(&mut volume[kind], "defaultMode", FILE_MODE);
        }
    }
    if volume.has("hostPath") {
        default(&mut volume["hostPath"], "type", "");
    }
    if volume.has("downwardAPI") {
        downward_items(&mut volume["downwardAPI"]);
    }
    if volume.has("projected") {
        for source in items_mut(&mut volume["projected"], "sources") {
            if source.has("serviceAccountToken") {
                default(&mut source["serviceAccountToken"], "expirationSeconds", TOKEN_SECONDS);
            }
            if source.has("downwardAPI") {
                downward_items(&mut source["downwardAPI"]);
            }
        }
    }
    if volume["ephemeral"].has("volumeClaimTemplate") {
        default_text(&mut volume["ephemeral"]["volumeClaimTemplate"]["spec"], "volumeMode", "Filesystem");
    }
    if volume.has("image") {
        let policy = pull_policy(volume["image"].text("reference"));
        default_text(&mut volume["image"], "pullPolicy", policy);
    }
}

fn downward_items(source: &mut Value) {
    for item in items_mut(source, "items") {
        if item.has("fieldRef") {
            default_text(&mut item["fieldRef"], "apiVersion", "v1");
        }
    }
}

/// Who limits a resource but does not request it requests its limit.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"].get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let requests = &mut container["resources"]["requests"];
    if !requests.is_object() {
        *requests = json!({});
    }
    for (resource, limit) in limits {
        default(requests, &resource, limit);
    }
}

/// On the host's network the port of a container is the port of the host.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            for port in items_mut(container, "ports") {
                if port.int("hostPort").unwrap_or_default() == 0 {
                    port["hostPort"] = port["containerPort"].clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_by_how_fixed_they_are() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("x@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_second_pass_changes_nothing() {
        let mut object = json!({"spec": {"hostNetwork": true, "serviceAccount": "s",
            "containers": [{"name": "c", "image": "a", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "x"}},
                {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}});
        pod(&mut object);
        let once = object.clone();
        pod(&mut object);
        assert_eq!(object, once);
        let spec = &once["spec"];
        assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(spec["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(spec["containers"][0]["livenessProbe"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(spec["serviceAccountName"], "s");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(
            spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
            3600
        );
    }

    #[test]
    fn templates_are_not_pods_yet() {
        let mut object = json!({"spec": {"containers": [{"name": "c", "image": "a",
            "resources": {"limits": {"cpu": "1"}}}]}});
        template(&mut object);
        assert!(object["spec"].get("enableServiceLinks").is_none());
        assert!(object["spec"]["containers"][0]["resources"].get("requests").is_none());
    }
}
