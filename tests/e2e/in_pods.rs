//! Parts of the control plane as pods: cluster DNS and a second scheduler run from the chart's own templates, in the image
//! that `make image` builds, with no more rights than the chart gives them.
//!
//! The cluster is a machine of its own, a network namespace, as `steersman up` has its own DNS switched off here.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::chart::Chart;
use harness::eventually::eventually;
use harness::kubectl::Kubectl;
use harness::process::{Process, binary};
use serde_json::{Value, json};

use crate::cluster::{IMAGE, import};
use crate::two_machines::{ip, remove};

const PORT: u16 = 6443;
const SPACE: &str = "kube-system";
const RELEASE: &str = "parts";
/// What the chart asks for when nobody sets an image.
const PROGRAM: &str = "localhost/steersman:0.1.0";

#[test]
fn dns_and_a_second_scheduler_run_as_deployments() {
    let machine = Machine::start();
    let kubectl = &machine.kubectl();
    let chart = chart();
    apply(kubectl, &chart);
    kubectl.run(&["rollout", "status", "deployment/parts-dns", "-n", SPACE, "--timeout=60s"]);
    kubectl.run(&["rollout", "status", "deployment/parts-scheduler", "-n", SPACE, "--timeout=60s"]);
    rights_are_the_charts(kubectl);

    let serve =
        "mkdir /tmp/www; echo hello from web > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    create(kubectl, &pod("web", "steersman", serve));
    create(kubectl, &pod("asker", "default-scheduler", "sleep 3600"));
    create(
        kubectl,
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}}),
    );
    kubectl.run(&["wait", "--for=condition=Ready", "pod/web", "pod/asker", "--timeout=60s"]);
    assert_eq!(scheduled_by(kubectl, "web"), "steersman");
    assert_eq!(scheduled_by(kubectl, "asker"), "default-scheduler");
    names_are_answered(kubectl);

    // The leader dies without a word; the other copy takes over when the lease has run out.
    let leader = leader(kubectl).expect("a leader");
    kubectl.run(&["delete", "pod", &leader, "-n", SPACE, "--force", "--grace-period=0"]);
    create(kubectl, &pod("later", "steersman", "sleep 3600"));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/later", "--timeout=60s"]);
    assert_eq!(scheduled_by(kubectl, "later"), "steersman");
    assert_ne!(self::leader(kubectl).expect("a leader"), leader);

    // An upgrade rolls through, and names go on being answered.
    apply(kubectl, &chart.set("dns.extraArgs", vec!["--ttl=30"]));
    kubectl.run(&["rollout", "status", "deployment/parts-dns", "-n", SPACE, "--timeout=60s"]);
    let arguments =
        kubectl.path(&["deployment", "parts-dns", "-n", SPACE], "{.spec.template.spec.containers[0].args}");
    assert!(arguments.contains("--ttl=30"), "{arguments}");
    names_are_answered(kubectl);

    kubectl.run(&["delete", "pod", "web", "asker", "later", "--timeout=60s"]);
    kubectl.run_with(&["delete", "--timeout=60s", "-f", "-"], &list(&self::chart()));
    eventually("nothing of it is left", || {
        match kubectl.run(&["get", "pods,deployments,services,serviceaccounts", "-n", SPACE, "-o", "name"]) {
            left if left == "serviceaccount/default\n" => Ok(()),
            left => Err(left),
        }
    });
}

/// The release: two copies of each, and a lease that soon runs out.
fn chart() -> Chart {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/steersman");
    let lease = ["lease-duration=4s", "renew-deadline=3s", "retry-period=1s"];
    let lease = lease.map(|flag| format!("--leader-elect-{flag}")).to_vec();
    Chart::read(&folder, RELEASE, SPACE)
        .set("dns.enabled", true)
        .set("scheduler.replicas", 2)
        .set("scheduler.extraArgs", lease)
}

fn list(chart: &Chart) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": chart.objects()}).to_string()
}

fn apply(kubectl: &Kubectl, chart: &Chart) {
    kubectl.run_with(&["apply", "-f", "-"], &list(chart));
}

fn create(kubectl: &Kubectl, object: &Value) {
    eventually("the object is created", || kubectl.try_run_with(&["create", "-f", "-"], &object.to_string()));
}

fn pod(name: &str, scheduler: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "schedulerName": scheduler, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script]}],
        },
    })
}

fn rights_are_the_charts(kubectl: &Kubectl) {
    for (account, question, want) in [
        ("parts-scheduler", vec!["create", "pods", "--subresource=binding"], "yes"),
        ("parts-scheduler", vec!["update", "leases.coordination.k8s.io/steersman"], "yes"),
        ("parts-scheduler", vec!["update", "leases.coordination.k8s.io/kube-controller-manager"], "no"),
        ("parts-scheduler", vec!["delete", "pods", "--subresource=status"], "no"),
        ("parts-dns", vec!["watch", "endpointslices.discovery.k8s.io"], "yes"),
        ("parts-dns", vec!["get", "secrets"], "no"),
    ] {
        let user = format!("--as=system:serviceaccount:{SPACE}:{account}");
        let said = kubectl.try_run(&[&["auth", "can-i", "-n", SPACE, &user], question.as_slice()].concat());
        let said = said.unwrap_or_else(|error| error);
        assert!(said.lines().any(|line| line == want), "{account} {question:?}: {said}");
    }
}

/// The scheduler that says it placed the pod.
fn scheduled_by(kubectl: &Kubectl, pod: &str) -> String {
    let field = format!("involvedObject.name={pod},reason=Scheduled");
    eventually("the event of the binding", || {
        match kubectl.path(&["events", "--field-selector", &field], "{.items[*].reportingComponent}") {
            none if none.is_empty() => Err("no event yet"),
            who => Ok(who),
        }
    })
}

fn leader(kubectl: &Kubectl) -> Option<String> {
    let holder = kubectl.path(&["lease", "steersman", "-n", SPACE], "{.spec.holderIdentity}");
    holder.split_once('_').map(|(pod, _)| pod.to_owned())
}

/// By the Service's name, from another pod, over the cluster address that pods are told.
fn names_are_answered(kubectl: &Kubectl) {
    let ask = |command: &[&str]| kubectl.try_run(&[&["exec", "asker", "--"], command].concat());
    for name in ["web", "web.default.svc.cluster.local"] {
        let url = format!("http://{name}:8080/");
        let page =
            eventually("the page comes by name", || ask(&["timeout", "5", "wget", "-q", "-O", "-", &url]));
        assert_eq!(page, "hello from web\n", "{name}");
    }
    let absent = ask(&["nslookup", "-type=a", "absent.default.svc.cluster.local"]);
    assert!(absent.is_err_and(|error| error.contains("NXDOMAIN") && error.contains("10.96.0.10")));
}

/// A machine in a network namespace; all of it goes when it is dropped.
struct Machine {
    namespace: String,
    folder: PathBuf,
    running: Option<Process>,
}

impl Machine {
    fn start() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the node agent needs root: run this test with sudo");
        let id = std::process::id();
        let mut machine = Self {
            namespace: format!("st{id}-pods"),
            folder: PathBuf::from(format!("/var/tmp/steersman-pods-{id}")),
            running: None,
        };
        let inside = ["-n", machine.namespace.as_str()];
        ip(&["netns", "add", &machine.namespace]);
        ip(&[inside.as_slice(), &["link", "set", "lo", "up"]].concat());
        // What it is called does not matter, but that the machine has an address beside loopback's.
        ip(&[inside.as_slice(), &["link", "add", "eth0", "type", "bridge"]].concat());
        ip(&[inside.as_slice(), &["addr", "add", "198.51.100.21/24", "dev", "eth0"]].concat());
        ip(&[inside.as_slice(), &["link", "set", "eth0", "up"]].concat());
        ip(&[inside.as_slice(), &["route", "add", "default", "via", "198.51.100.1"]].concat());
        let arguments = ["up", "--disable-dns"];
        machine.running = Some(Process::start_within(&machine.namespace, &arguments, &machine.folder, PORT));
        machine.load_images();
        machine
    }

    fn load_images(&self) {
        let (busybox, program) = (self.folder.join("busybox.tar"), self.folder.join("program.tar"));
        harness::image::busybox(&busybox, &[IMAGE]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/image.sh");
        let made = Command::new(script).arg(binary()).arg(PROGRAM).arg(&program).output().expect("a script");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        [busybox, program].iter().for_each(|archive| {
            import(archive, &self.folder);
            std::fs::remove_file(archive).expect("the archive goes");
        });
    }

    fn kubectl(&self) -> Kubectl {
        let running = self.running.as_ref().expect("it runs");
        Kubectl::new(&running.kubeconfig()).within(&self.namespace)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.running.iter_mut().for_each(Process::stop);
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
        remove(&self.folder);
    }
}
