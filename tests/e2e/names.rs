//! Pods find Services by name.

use harness::eventually::eventually;
use harness::kubectl::Kubectl;
use serde_json::json;

use crate::cluster::{self, IMAGE};

fn exec(kubectl: &Kubectl, namespace: &str, command: &[&str]) -> Result<String, String> {
    kubectl.try_run(&[&["exec", "asker", "-n", namespace, "--"], command].concat())
}

fn apply(kubectl: &Kubectl, namespace: &str, object: serde_json::Value) {
    kubectl.run_with(&["apply", "-n", namespace, "-f", "-"], &object.to_string());
}

fn pod(name: &str, script: &str, spec: serde_json::Value) -> serde_json::Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script]}],
        },
    });
    for (field, value) in spec.as_object().expect("fields of the spec") {
        pod["spec"][field] = value.clone();
    }
    pod
}

#[test]
fn a_pod_reaches_a_service_by_name() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("names");
    let serve =
        "mkdir /tmp/www; echo hello from web > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    apply(&kubectl, "names", pod("web", serve, json!({})));
    apply(&kubectl, "names", pod("asker", "sleep 3600", json!({})));
    let service = |name: &str, spec: serde_json::Value| {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        apply(&kubectl, "names", object);
    };
    let port = json!([{"name": "http", "port": 8080}]);
    service("direct", json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": port}));
    service("balanced", json!({"selector": {"app": "web"}, "ports": port}));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/web", "pod/asker", "-n", "names", "--timeout=60s"]);

    for name in ["direct", "direct.names", "direct.names.svc", "direct.names.svc.cluster.local"] {
        let page = eventually("the page comes by name", || {
            exec(&kubectl, "names", &["wget", "-q", "-O", "-", &format!("http://{name}:8080/")])
        });
        assert_eq!(page, "hello from web\n", "{name}");
    }

    let address = kubectl.path(&["service", "balanced", "-n", "names"], "{.spec.clusterIP}");
    // busybox asks for the name below every search domain, shows what it finds and calls the others a failure.
    for name in ["balanced", "balanced.names.svc.cluster.local"] {
        let answer = eventually("the name is known", || {
            let shown = exec(&kubectl, "names", &["nslookup", "-type=a", name]).unwrap_or_else(|error| error);
            if shown.contains(&format!("Address: {address}")) { Ok(shown) } else { Err(shown) }
        });
        assert!(answer.contains("balanced.names.svc.cluster.local"), "{answer}");
    }
    let reverse = exec(&kubectl, "names", &["nslookup", &address]).expect("the address is known");
    assert!(reverse.contains("balanced.names.svc.cluster.local"), "{reverse}");
    let absent = exec(&kubectl, "names", &["nslookup", "-type=a", "absent.names.svc.cluster.local"]);
    assert!(absent.is_err_and(|error| error.contains("NXDOMAIN")), "a name that does not exist");

    let dns = kubectl
        .path(&["service", "kube-dns", "-n", "kube-system"], "{.spec.clusterIP} {.metadata.labels.k8s-app}");
    assert_eq!(dns, "10.96.0.10 kube-dns");
    kubectl.run(&["delete", "namespace", "names", "--wait=false"]);
}

#[test]
fn resolv_conf_follows_the_pods_policy() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("policies");
    apply(&kubectl, "policies", pod("asker", "sleep 3600", json!({})));
    let own = json!({"dnsPolicy": "None", "dnsConfig": {
        "nameservers": ["192.0.2.1", "192.0.2.2"], "searches": ["example.com"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }});
    apply(&kubectl, "policies", pod("own", "cat /etc/resolv.conf", own));
    let crowded = json!({"dnsConfig": {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}});
    apply(&kubectl, "policies", pod("crowded", "cat /etc/resolv.conf", crowded));
    apply(&kubectl, "policies", pod("node", "cat /etc/resolv.conf", json!({"dnsPolicy": "Default"})));

    let file = eventually("the pod runs", || exec(&kubectl, "policies", &["cat", "/etc/resolv.conf"]));
    assert!(file.contains("search policies.svc.cluster.local svc.cluster.local cluster.local"), "{file}");
    assert!(file.contains("options ndots:5"), "{file}");

    let log = |pod: &str| {
        eventually("the pod has shown its file", || match kubectl.try_run(&["logs", pod, "-n", "policies"]) {
            Ok(text) if text.contains("nameserver") => Ok(text),
            other => Err(other),
        })
    };
    let file = log("own");
    let lines: Vec<&str> = file.lines().collect();
    let wanted =
        ["search example.com", "nameserver 192.0.2.1", "nameserver 192.0.2.2", "options ndots:2 edns0"];
    assert!(wanted.iter().all(|line| lines.contains(line)), "{file}");
    let file = log("crowded");
    assert!(file.matches("nameserver").count() == 3 && !file.contains("192.0.2.3"), "{file}");
    let told = eventually("the omission is told", || {
        let events =
            kubectl.run(&["get", "events", "-n", "policies", "--field-selector", "reason=DNSConfigForming"]);
        if events.contains("Nameserver limits were exceeded") { Ok(events) } else { Err(events) }
    });
    assert!(told.contains("pod/crowded"), "{told}");
    assert!(!log("node").contains("svc.cluster.local"));
    kubectl.run(&["delete", "namespace", "policies", "--wait=false"]);
}
