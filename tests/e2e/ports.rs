//! Ports of the node that lead to a pod (`hostPort`), which the CNI plug-in portmap gives.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harness::eventually::eventually;
use harness::process::free_port;
use serde_json::json;

use crate::cluster::{self, IMAGE};

/// Longer than a reply on one machine takes, and short enough to be sent again.
const PATIENCE: Duration = Duration::from_millis(500);

fn page(at: SocketAddr) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(told)?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(told)?;
    if page.ends_with("hello from a host port\n") { Ok(page) } else { Err(page) }
}

#[test]
fn ports_of_the_node_lead_to_their_pod_while_it_lives() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("ports");
    let (everywhere, local) = (free_port(), free_port());
    let script = "mkdir /tmp/www; echo hello from a host port > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script], "ports": [
                {"containerPort": 8080, "hostPort": everywhere},
                {"containerPort": 8080, "hostPort": local, "hostIP": "127.0.0.1", "name": "local"},
            ]}],
        },
    });
    kubectl.run_with(&["create", "-n", "ports", "-f", "-"], &pod.to_string());
    kubectl.run(&["wait", "--for=condition=Ready", "pod/web", "-n", "ports", "--timeout=60s"]);
    let node = kubectl.path(&["pod", "web", "-n", "ports"], "{.status.hostIP}");
    let at = |port: u16| -> SocketAddr { format!("{node}:{port}").parse().expect("the node's address") };

    eventually("the node's address leads to the pod", || page(at(everywhere)));
    eventually("loopback leads to the pod", || page(([127, 0, 0, 1], everywhere).into()));
    eventually("a port of loopback leads to the pod", || page(([127, 0, 0, 1], local).into()));
    assert!(page(at(local)).is_err(), "a port of loopback is no port of the node");

    kubectl.run(&["delete", "pod", "web", "-n", "ports", "--timeout=60s"]);
    eventually("the port is closed", || match TcpStream::connect_timeout(&at(everywhere), PATIENCE) {
        Ok(_) => Err("still open"),
        Err(_) => Ok(()),
    });
    kubectl.run(&["delete", "namespace", "ports", "--wait=false"]);
}
