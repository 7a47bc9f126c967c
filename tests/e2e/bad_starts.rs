//! Starts that cannot work: each says what to check, exits with 1 and leaves what was there alone.

use std::net::TcpListener;
use std::process::{Command, Output};

use harness::process::{command, free_port};

fn fails(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("steersman starts");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let said = fails(command(&["up", "--simulated-nodes", "1"], folder.path(), port));
    assert!(said.contains(&port.to_string()) && said.contains("in use"), "{said}");
}

#[test]
fn a_machine_without_containerd_is_told_the_package() {
    let folder = tempfile::tempdir().expect("folder");
    let mut command = command(&["up"], folder.path(), free_port());
    command.env("PATH", "/nonexistent");
    let said = fails(command);
    assert!(said.contains("containerd") && said.contains("apt-get install"), "{said}");
}

#[test]
fn a_runtime_endpoint_that_nobody_serves_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let endpoint = "unix:///nonexistent/containerd.sock";
    let arguments = ["up", "--container-runtime-endpoint", endpoint];
    let said = fails(command(&arguments, folder.path(), free_port()));
    assert!(said.contains("/nonexistent/containerd.sock"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let below = file.path().join("data");
    let said = fails(command(&["up", "--simulated-nodes", "1"], &below, free_port()));
    assert!(said.contains(below.to_str().expect("UTF-8")), "{said}");
}

#[test]
fn a_dns_address_that_pods_cannot_reach_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    for listen in ["127.0.0.1:5353", "0.0.0.0:53"] {
        let arguments = ["up", "--simulated-nodes", "1", "--dns-listen", listen];
        let said = fails(command(&arguments, &data, free_port()));
        assert!(said.contains(listen) && said.contains("neither loopback"), "{said}");
        assert!(!data.exists(), "something was started");
    }
}

#[test]
fn unknown_flags_are_usage_errors() {
    let folder = tempfile::tempdir().expect("folder");
    let output = command(&["up", "--no-such-flag"], folder.path(), free_port()).output().expect("starts");
    assert_eq!(output.status.code(), Some(2));
}
