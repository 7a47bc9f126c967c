//! Deployments end in containers: create, apply, scale, roll out, undo, delete.

use harness::eventually::eventually;
use harness::kubectl::Kubectl;

use crate::cluster::{self, IMAGE};

fn deployment(name: &str, replicas: u32, version: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        args: ["-c", "mkdir /www; echo {version} > /www/index.html; exec httpd -f -p 8080 -h /www"]
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"#
    )
}

#[test]
fn a_deployment_ends_with_running_containers_and_its_deletion_removes_them() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("workloads");
    let applied = kubectl.run_with(&["apply", "-n", "workloads", "-f", "-"], &deployment("web", 2, "one"));
    assert_eq!(applied, "deployment.apps/web created\n");
    let rolled = kubectl.run(&["rollout", "status", "deployment/web", "-n", "workloads", "--timeout=60s"]);
    assert!(rolled.contains(r#"deployment "web" successfully rolled out"#), "{rolled}");
    assert_eq!(serves(&kubectl), "one\n");

    let again = kubectl.run_with(&["apply", "-n", "workloads", "-f", "-"], &deployment("web", 2, "one"));
    assert_eq!(again, "deployment.apps/web unchanged\n");

    let second = kubectl.run_with(&["apply", "-n", "workloads", "-f", "-"], &deployment("web", 2, "two"));
    assert_eq!(second, "deployment.apps/web configured\n");
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "workloads", "--timeout=60s"]);
    assert_eq!(serves(&kubectl), "two\n");
    let history = kubectl.run(&["rollout", "history", "deployment/web", "-n", "workloads"]);
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");

    let undone = kubectl.run(&["rollout", "undo", "deployment/web", "-n", "workloads"]);
    assert_eq!(undone, "deployment.apps/web rolled back\n");
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "workloads", "--timeout=60s"]);
    assert_eq!(serves(&kubectl), "one\n");

    assert_eq!(
        kubectl.run(&["scale", "deployment/web", "--replicas=4", "-n", "workloads"]),
        "deployment.apps/web scaled\n"
    );
    eventually("four ready", || ready(&kubectl, "4"));
    kubectl.run(&["scale", "deployment/web", "--replicas=1", "-n", "workloads"]);
    eventually("one left", || ready(&kubectl, "1"));

    kubectl.run(&["delete", "deployment/web", "-n", "workloads"]);
    eventually("no pod left", || match kubectl.run(&["get", "pods", "-n", "workloads", "-o", "name"]) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    // A pod that is gone runs no more; what is left of it is removed after that.
    let containers = containers_of("workloads");
    let tasks = ctr(&["tasks", "list"]);
    let running = tasks.lines().filter(|task| task.contains("RUNNING"));
    let of_it = |task: &&str| containers.lines().any(|id| task.starts_with(id));
    assert_eq!(running.filter(of_it).collect::<Vec<_>>(), [""; 0], "of {containers}");
    eventually("no container left", || match containers_of("workloads") {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

#[test]
fn create_and_expose_make_a_service_with_endpoints() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("creation");
    let created = kubectl.run(&[
        "create",
        "deployment",
        "hello",
        "--image",
        IMAGE,
        "--replicas=2",
        "-n",
        "creation",
        "--",
        "sleep",
        "3600",
    ]);
    assert_eq!(created, "deployment.apps/hello created\n");
    kubectl.run(&["rollout", "status", "deployment/hello", "-n", "creation", "--timeout=60s"]);
    kubectl.run(&["expose", "deployment/hello", "--port=80", "--target-port=8080", "-n", "creation"]);
    let addresses = eventually("two endpoints", || {
        let slices = &["endpointslices", "-n", "creation", "-l", "kubernetes.io/service-name=hello"];
        let addresses = kubectl.path(slices, "{.items[*].endpoints[*].addresses[0]}");
        if addresses.split_whitespace().count() == 2 { Ok(addresses) } else { Err(addresses) }
    });
    let pods = kubectl.path(&["pods", "-n", "creation", "-l", "app=hello"], "{.items[*].status.podIP}");
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(sorted(&addresses), sorted(&pods));
    kubectl.run(&["delete", "namespace", "creation", "--timeout=60s"]);
    assert!(
        kubectl.try_run(&["get", "namespace", "creation"]).is_err_and(|error| error.contains("NotFound"))
    );
}

fn serves(kubectl: &Kubectl) -> String {
    eventually("the page", || {
        kubectl.try_run(&[
            "exec",
            "-n",
            "workloads",
            "deployment/web",
            "--",
            "wget",
            "-q",
            "-O",
            "-",
            "http://127.0.0.1:8080/",
        ])
    })
}

fn ready(kubectl: &Kubectl, wanted: &str) -> Result<(), String> {
    let seen = kubectl.path(&["deployment/web", "-n", "workloads"], "{.status.readyReplicas}");
    if seen == wanted { Ok(()) } else { Err(seen) }
}

/// Names of containers that containerd still holds for a namespace, running or not.
fn containers_of(namespace: &str) -> String {
    ctr(&["containers", "list", "-q", &format!("labels.\"io.kubernetes.pod.namespace\"=={namespace}")])
}

fn ctr(args: &[&str]) -> String {
    let socket = cluster::data_dir().join("containerd/containerd.sock");
    let said = std::process::Command::new("ctr")
        .args(["--namespace", "k8s.io", "--address"])
        .arg(socket)
        .args(args)
        .output()
        .expect("ctr comes with containerd");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}
