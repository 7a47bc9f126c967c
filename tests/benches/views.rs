//! What a pod costs a process that holds it: decoded as the full type, and as the slim view that controllers and
//! scheduler hold.

use component::informers::Object;
use harness::bench::{Report, usage};
use k8s_openapi::api::core::v1 as full;
use objects::views;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Pods held at once.
const PODS: usize = 2000;

fn main() {
    let mut report = Report::new("views");
    let pod = pod().to_string();
    report.add("the pod's JSON", pod.len() as f64 / 1000.0, "kB", "", "two containers, two field managers");
    // The slim ones first: they must not live on memory that the large ones gave back.
    measure::<views::Pod>(&mut report, "view", &pod);
    measure::<full::Pod>(&mut report, "full type", &pod);
    report.finish();
}

fn measure<K: Object>(report: &mut Report, name: &str, json: &str) {
    let decode = || {
        let mut pod: K = serde_json::from_str(json).expect("the pod is well formed");
        pod.meta_mut().managed_fields = None;
        Box::new(pod)
    };
    drop(decode());
    let before = usage(std::process::id()).memory;
    let start = Instant::now();
    let held: Vec<Box<K>> = (0..PODS).map(|_| decode()).collect();
    let took = start.elapsed().as_secs_f64() / PODS as f64;
    let grown = usage(std::process::id()).memory - before;
    let note = "without managedFields once decoded, as an informer holds it";
    report.add(&format!("{name}: decode"), took * 1e6, "us", "", note);
    report.add(&format!("{name}: memory"), grown * 1e3 / PODS as f64, "kB", "", note);
    drop(held);
}

/// A pod as a Deployment makes it and a node reports it.
fn pod() -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "imagePullPolicy": "IfNotPresent",
            "env": [
                {"name": "A", "value": "one"}, {"name": "B", "value": "two"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
            ],
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10,
                "failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5,
                "failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/config", "readOnly": true},
                {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
            ],
        })
    };
    let status = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "ready": true, "started": true,
            "imageID": "registry.example.com/team@sha256:5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f",
            "containerID": "containerd://9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a",
            "restartCount": 0, "lastState": {}, "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}},
        })
    };
    let condition = |name: &str| json!({"type": name, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:05Z"});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let conditions = conditions.map(condition);
    let of_container = json!({".": {}, "f:name": {}, "f:image": {}, "f:env": {".": {}, "k:{\"name\":\"A\"}": {
        ".": {}, "f:name": {}, "f:value": {}}}, "f:livenessProbe": {".": {}, "f:httpGet": {".": {}, "f:path": {},
        "f:port": {}, "f:scheme": {}}}, "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}, "f:memory": {}}}});
    let of_status = json!({"k:{\"type\":\"Ready\"}": {".": {}, "f:type": {}, "f:status": {},
        "f:lastProbeTime": {}, "f:lastTransitionTime": {}}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-6d4cf56db6-x7k2p", "generateName": "web-6d4cf56db6-", "namespace": "default",
            "uid": "0f0f0f0f-1111-4222-8333-444444444444", "resourceVersion": "123456",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "pod-template-hash": "6d4cf56db6"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6",
                "uid": "1f1f1f1f-1111-4222-8333-444444444444", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [
                {"manager": "controllers", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": {
                        "k:{\"name\":\"web\"}": of_container, "k:{\"name\":\"sidecar\"}": of_container}}}},
                {"manager": "node-agent", "operation": "Update", "apiVersion": "v1", "subresource": "status",
                    "time": "2026-01-01T00:00:05Z", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:status": {"f:conditions": of_status, "f:phase": {}, "f:podIP": {}}}},
            ],
        },
        "spec": {
            "nodeName": "node-1", "schedulerName": "default-scheduler", "restartPolicy": "Always", "priority": 0,
            "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
            "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "containers": [container("web"), container("sidecar")],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": "web", "defaultMode": 420}},
                {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}},
            ],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}], "hostIP": "192.168.0.1",
            "hostIPs": [{"ip": "192.168.0.1"}], "qosClass": "Burstable", "startTime": "2026-01-01T00:00:01Z",
            "conditions": conditions,
            "containerStatuses": [status("web"), status("sidecar")],
        },
    })
}
