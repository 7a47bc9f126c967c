//! Two machines, each a network namespace with a containerd of its own, are one cluster: pods and Services of one are
//! reached from the other by address, node port and name.
//!
//! ```text
//!   outside  198.51.100.1    the switch; the machines' gateway, and a client that is no node
//!   one      198.51.100.11   steersman up
//!   two      198.51.100.12   steersman up --nodes-only, joined to `one`
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::eventually::eventually;
use harness::kubectl::Kubectl;
use harness::process::{Process, within};
use serde_json::json;

use crate::cluster::{IMAGE, import};

const PORT: u16 = 6443;
const NODE_PORT: u16 = 30080;
const MACHINES: [(&str, &str); 2] = [("one", "198.51.100.11"), ("two", "198.51.100.12")];
/// Questions to a Service of two pods, until both have answered.
const TRIES: usize = 60;

/// Tells who answers and whom it sees.
const SERVE: &str = "mkdir -p /tmp/www/cgi-bin; \
    printf '#!/bin/sh\\necho; echo $HOSTNAME sees $REMOTE_ADDR\\n' > /tmp/www/cgi-bin/who; \
    chmod +x /tmp/www/cgi-bin/who; exec httpd -f -p 8080 -h /tmp/www";

#[test]
fn pods_and_services_of_one_machine_are_reached_from_the_other() {
    let machines = Machines::start();
    let kubectl = machines.kubectl();
    for (name, _) in MACHINES {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web", "on": name}},
            "spec": {
                "terminationGracePeriodSeconds": 1, "nodeSelector": {"kubernetes.io/hostname": name},
                "containers": [{"name": "main", "image": IMAGE, "args": ["-c", SERVE]}],
            },
        });
        create(&kubectl, pod);
        create(&kubectl, service(&format!("on-{name}"), json!({"selector": {"on": name}})));
    }
    let ports = json!([{"port": 8080, "nodePort": NODE_PORT}]);
    create(
        &kubectl,
        service("both", json!({"type": "NodePort", "selector": {"app": "web"}, "ports": ports})),
    );
    kubectl.run(&["wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s"]);
    let nodes = kubectl.path(&["pods"], "{.items[*].spec.nodeName}");
    assert_eq!(nodes, "one two");
    for (pod, _) in MACHINES {
        // Services are programmed on both, so that pods ask the Service's address.
        let file = kubectl.run(&["exec", pod, "--", "cat", "/etc/resolv.conf"]);
        assert!(file.contains("nameserver 10.96.0.10\n"), "{file}");
    }

    for (asker, _) in MACHINES {
        for (server, _) in MACHINES {
            // The pod itself, which sees the other's own address, as Kubernetes wants it between pods.
            let address = kubectl.path(&["pod", server], "{.status.podIP}");
            let asks = kubectl.path(&["pod", asker], "{.status.podIP}");
            let seen = eventually("a pod of the other machine", || from_pod(&kubectl, asker, &address));
            assert_eq!(seen, format!("{server} sees [::ffff:{asks}]"), "{asker} asks pod {server}");
            // Its Service, by address and by every name.
            let cluster_ip = kubectl.path(&["service", &format!("on-{server}")], "{.spec.clusterIP}");
            let names = ["", ".default", ".default.svc.cluster.local"];
            let names = names.map(|end| format!("on-{server}{end}"));
            for host in [cluster_ip].into_iter().chain(names) {
                let answer = eventually("its Service", || from_pod(&kubectl, asker, &host));
                assert!(answer.starts_with(&format!("{server} sees ")), "{asker} asks {host}: {answer}");
            }
        }
    }
    let cluster_ip = kubectl.path(&["service", "both"], "{.spec.clusterIP}");
    for (asker, _) in MACHINES {
        both_answer(&format!("pod {asker} asks both"), || from_pod(&kubectl, asker, "both"));
        both_answer(&format!("node {asker} asks {cluster_ip}"), || {
            machines.from(asker, &format!("{cluster_ip}:8080"))
        });
        for (node, address) in MACHINES {
            let at = format!("{address}:{NODE_PORT}");
            both_answer(&format!("pod {asker} asks the node port of {node}"), || exec(&kubectl, asker, &at));
            both_answer(&format!("the node port of {node} is asked from outside"), || {
                machines.from("outside", &at)
            });
        }
    }
    // Their volumes are mounts, which would keep the folder.
    kubectl.run(&["delete", "pod", "one", "two", "--timeout=60s"]);
    machines.stop();
}

/// Asks until each of the two pods has answered.
fn both_answer(what: &str, ask: impl Fn() -> Result<String, String>) {
    let (mut names, mut last) = (BTreeSet::new(), String::new());
    for _ in 0..TRIES {
        let answer = eventually(what, &ask);
        names.extend(answer.split(' ').next().map(str::to_owned));
        last = answer;
        if names.len() == MACHINES.len() {
            return;
        }
    }
    panic!("{what}: only {names:?} answered, last {last}");
}

fn from_pod(kubectl: &Kubectl, pod: &str, host: &str) -> Result<String, String> {
    exec(kubectl, pod, &format!("{host}:8080"))
}

fn exec(kubectl: &Kubectl, pod: &str, at: &str) -> Result<String, String> {
    let url = format!("http://{at}/cgi-bin/who");
    // busybox's own limit of time is broken.
    let page = kubectl.try_run(&["exec", pod, "--", "timeout", "3", "wget", "-q", "-O", "-", &url])?;
    Ok(page.trim().to_owned())
}

fn create(kubectl: &Kubectl, object: serde_json::Value) {
    let create = ["create", "--validate=false", "-f", "-"];
    eventually("the object is created", || kubectl.try_run_with(&create, &object.to_string()));
}

fn service(name: &str, spec: serde_json::Value) -> serde_json::Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 8080}]}});
    for (field, value) in spec.as_object().expect("fields of the spec") {
        service["spec"][field] = value.clone();
    }
    service
}

/// The two machines and their switch; all of it goes when it is dropped.
struct Machines {
    prefix: String,
    folder: PathBuf,
    /// Stopped in this order: the machine that joined goes first.
    running: Vec<Process>,
}

impl Machines {
    fn start() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the node agent needs root: run this test with sudo");
        let prefix = format!("st{}", std::process::id());
        let folder = PathBuf::from(format!("/var/tmp/steersman-two-{}", std::process::id()));
        let mut machines = Self { prefix, folder, running: Vec::new() };
        machines.plug();
        let first = machines.folder.join("one");
        let process =
            Process::start_within(&machines.namespace("one"), &["up", "--node-name", "one"], &first, PORT);
        let kubeconfig = std::fs::read_to_string(process.kubeconfig()).expect("a kubeconfig");
        machines.running.push(process);
        let (second, joining) = (machines.folder.join("two"), machines.folder.join("joining.kubeconfig"));
        std::fs::write(&joining, kubeconfig.replace("127.0.0.1", MACHINES[0].1)).expect("a file");
        let joining = joining.to_str().expect("UTF-8");
        let arguments = ["up", "--node-name", "two", "--nodes-only", "--kubeconfig", joining];
        let process = Process::start_within(&machines.namespace("two"), &arguments, &second, PORT);
        machines.running.insert(0, process);
        let archive = machines.folder.join("busybox.tar");
        harness::image::busybox(&archive, &[IMAGE]);
        [first, second].iter().for_each(|data_dir| import(&archive, data_dir));
        machines
    }

    /// Namespaces, and wires to a switch in the one outside.
    fn plug(&self) {
        let outside = self.namespace("outside");
        ip(&["netns", "add", &outside]);
        ip(&["-n", &outside, "link", "set", "lo", "up"]);
        ip(&["-n", &outside, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &outside, "addr", "add", "198.51.100.1/24", "dev", "switch"]);
        ip(&["-n", &outside, "link", "set", "switch", "up"]);
        for (name, address) in MACHINES {
            let machine = self.namespace(name);
            ip(&["netns", "add", &machine]);
            ip(&["-n", &machine, "link", "set", "lo", "up"]);
            let wire = ["-n", &outside, "link", "add", name, "type", "veth", "peer", "name", "eth0"];
            ip(&[wire.as_slice(), &["netns", &machine]].concat());
            ip(&["-n", &outside, "link", "set", name, "master", "switch", "up"]);
            ip(&["-n", &machine, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
            ip(&["-n", &machine, "link", "set", "eth0", "up"]);
            ip(&["-n", &machine, "route", "add", "default", "via", "198.51.100.1"]);
        }
    }

    fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    fn kubectl(&self) -> Kubectl {
        let first = self.running.last().expect("the first machine runs");
        Kubectl::new(&first.kubeconfig()).within(&self.namespace("one"))
    }

    /// A question from a machine itself, or from outside.
    fn from(&self, place: &str, at: &str) -> Result<String, String> {
        let url = format!("http://{at}/cgi-bin/who");
        let asked = within(&self.namespace(place), "timeout")
            .args(["3", "busybox", "wget", "-q", "-O", "-", &url])
            .output()
            .expect("busybox-static is installed");
        if asked.status.success() {
            return Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned());
        }
        Err(String::from_utf8_lossy(&asked.stderr).into_owned())
    }

    /// Everything goes, and leaves nothing on the machines.
    fn stop(mut self) {
        self.running.iter_mut().for_each(Process::stop);
        for (name, _) in MACHINES {
            let namespace = self.namespace(name);
            let links = output(&["-n", &namespace, "-brief", "link"]);
            assert!(!links.contains("steer"), "the pods' bridge stays: {links}");
            let routes = output(&["-n", &namespace, "route", "show", "table", "all", "proto", "84"]);
            assert_eq!(routes, "", "routes to the other's pods stay");
            let rules = within(&namespace, "nft").args(["list", "tables"]).output().expect("nft");
            let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
            assert!(!rules.contains("steersman"), "rules stay: {rules}");
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.running.iter_mut().for_each(Process::stop);
        for place in MACHINES.map(|(name, _)| name).into_iter().chain(["outside"]) {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(place)]).status();
        }
        remove(&self.folder);
    }
}

/// What a panicking test leaves is told of, not hidden behind a second panic.
pub(crate) fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} stays: {error}", folder.display());
    }
}

pub(crate) fn ip(arguments: &[&str]) {
    output(arguments);
}

fn output(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
