//! Network policies between real pods: deny all, then allow some.

use harness::eventually::eventually;
use harness::kubectl::Kubectl;
use serde_json::{Value, json};

use crate::cluster::{self, IMAGE};

const NAMESPACE: &str = "walls";

fn apply(kubectl: &Kubectl, object: &Value) {
    kubectl.run_with(&["apply", "-n", NAMESPACE, "-f", "-"], &object.to_string());
}

/// Serves its name on port 8080; the kubelet asks whether it does.
fn pod(name: &str, role: &str) -> Value {
    let script =
        format!("mkdir /tmp/www; echo {name} > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"role": role}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2}}]}})
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// What a pod reads of another place, within two seconds.
fn ask(kubectl: &Kubectl, from: &str, to: &str) -> Result<String, String> {
    let url = format!("http://{to}:8080/");
    kubectl.try_run(&["exec", from, "-n", NAMESPACE, "--", "timeout", "2", "wget", "-q", "-O", "-", &url])
}

fn reaches(kubectl: &Kubectl, from: &str, to: &str) {
    eventually("an allowed connection", || ask(kubectl, from, to));
}

fn is_kept_out(kubectl: &Kubectl, from: &str, to: &str) {
    eventually("a denied connection", || ask(kubectl, from, to).map_or(Ok(()), Err));
}

#[test]
fn policies_deny_and_allow_between_pods() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace(NAMESPACE);
    for (name, role) in [("web", "web"), ("friend", "friend"), ("stranger", "stranger")] {
        apply(&kubectl, &pod(name, role));
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"role": "web"}, "ports": [{"port": 8080}]}});
    apply(&kubectl, &service);
    let ready = [
        "wait",
        "--for=condition=Ready",
        "pod/web",
        "pod/friend",
        "pod/stranger",
        "-n",
        NAMESPACE,
        "--timeout=60s",
    ];
    kubectl.run(&ready);
    let address = |pod: &str| kubectl.path(&["pod", pod, "-n", NAMESPACE], "{.status.podIP}");
    let (web, stranger) = (address("web"), address("stranger"));
    for (from, to) in [("friend", web.as_str()), ("stranger", &web), ("web", &stranger), ("friend", "web")] {
        reaches(&kubectl, from, to);
    }

    apply(&kubectl, &policy("deny-all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})));
    for (from, to) in [("friend", web.as_str()), ("stranger", &web), ("web", &stranger), ("friend", "web")] {
        is_kept_out(&kubectl, from, to);
    }

    let role = |role: &str| json!({"podSelector": {"matchLabels": {"role": role}}});
    let selector = |of: &str| role(of)["podSelector"].clone();
    apply(
        &kubectl,
        &policy(
            "web",
            &json!({"podSelector": selector("web"),
        "ingress": [{"from": [role("friend")], "ports": [{"port": "http"}]}]}),
        ),
    );
    apply(
        &kubectl,
        &policy(
            "friend",
            &json!({"podSelector": selector("friend"), "policyTypes": ["Egress"],
        "egress": [{"to": [role("web")], "ports": [{"port": 8080}]}]}),
        ),
    );
    reaches(&kubectl, "friend", &web);
    // By the Service's name: the node answers who asks for it, and the policy is about the pod behind.
    reaches(&kubectl, "friend", "web");
    is_kept_out(&kubectl, "stranger", &web);
    is_kept_out(&kubectl, "friend", &stranger);
    is_kept_out(&kubectl, "web", &stranger);

    // A pod that comes later is isolated before its first instruction.
    let script = format!("timeout 2 wget -q -O - http://{web}:8080/ && echo open || echo shut");
    let late = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "labels": {"role": "late"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script]}]}});
    apply(&kubectl, &policy("open-web", &json!({"podSelector": selector("web"), "ingress": [{}]})));
    apply(&kubectl, &late);
    let said =
        eventually("the late pod has tried", || match kubectl.try_run(&["logs", "late", "-n", NAMESPACE]) {
            Ok(text) if text.contains("shut") || text.contains("open") => Ok(text),
            other => Err(other),
        });
    // The shell may tell besides that the time of wget was up.
    assert!(said.contains("shut") && !said.contains("open"), "the late pod: {said}");

    // Probes come from the node, which policies do not keep out.
    kubectl.run(&ready);
    kubectl.run(&["delete", "networkpolicies", "--all", "-n", NAMESPACE]);
    reaches(&kubectl, "stranger", &web);
    kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}
