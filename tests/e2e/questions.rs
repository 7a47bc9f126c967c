//! `explain` and `simulate` as commands: what cannot be answered is told in one sentence with exit code 1, wrong usage
//! with 2. No cluster is needed for that.

use std::path::Path;
use std::process::{Command, Output};

use harness::process::binary;

/// Exit code and standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("KUBECONFIG").env("HOME", "/nonexistent");
    let Output { status, stderr, stdout } = command.output().expect("steersman starts");
    assert!(status.success() || stdout.is_empty(), "nothing is printed beside an error");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn what_is_wrong_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nstatus: {allocatable: {cpu: 2, memory: 1Gi, pods: 9}}\n";
    let (cluster, empty) = (file("cluster", node), file("empty", ""));
    let (broken, foreign) = (file("broken", "kind: [\n"), file("foreign", "hello: world\n"));
    let shape = file("shape", "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nspec: {taints: 3}\n");
    let pods = file("pods", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n");
    let closed = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
        contexts: [{name: c, context: {cluster: c, user: c}}]\nusers: [{name: c, user: {}}]\ncurrent-context: c\n";
    let closed = file("closed", closed);
    let config = file(
        "config",
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
        profiles: [{plugins: {score: {enabled: [{name: NoSuchPlugin}]}}}]\n",
    );
    for (arguments, want) in [
        (vec!["explain", "pod/a", "--kubeconfig", "/nonexistent/k"], "cannot read kubeconfig /nonexistent/k"),
        (vec!["explain", "pod/a"], "no kubeconfig: give --kubeconfig"),
        (
            vec!["explain", "pod/a", "--kubeconfig", &closed],
            "cannot read the pod: cannot reach the API server",
        ),
        (vec!["explain", "node/a", "--kubeconfig", &closed], "\"node/a\" is not a pod: write pod/NAME"),
        (vec!["simulate", "--kubeconfig", &closed], "cannot read the cluster: cannot reach the API server"),
        (vec!["simulate", "-f", "/nonexistent/dump"], "cannot read /nonexistent/dump"),
        (vec!["simulate", "-f", &empty], "empty has no objects in it"),
        (vec!["simulate", "-f", &broken], "broken is neither JSON nor YAML"),
        (vec!["simulate", "-f", &foreign], "document 1 of "),
        (vec!["simulate", "-f", &shape], "Node a is not valid: "),
        (vec!["simulate", "-f", &pods], "pods has no nodes in it"),
        (vec!["simulate", "-f", &cluster, "--drain", "b"], "there is no node b: check --drain"),
        (vec!["simulate", "-f", &cluster, "--apply", &broken], "broken is neither JSON nor YAML"),
        (vec!["simulate", "-f", &cluster, "--config", &config], "NoSuchPlugin"),
    ] {
        let (code, said) = run(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
        assert!(said.contains(want) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    assert_eq!(run(&["simulate", "-f", &cluster, "--apply", &pods]), (Some(0), String::new()));
    assert!(Path::new(&cluster).exists());
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [
        vec!["explain"],
        vec!["explain", "pod/a", "-o", "yaml"],
        vec!["simulate", "--count", "0", "--add-like", "a"],
        vec!["simulate", "--add", "b"],
        vec!["simulate", "--count", "3"],
        vec!["simulate", "-f", "x", "--kubeconfig", "y"],
        vec!["simulate", "--no-such-flag"],
    ] {
        assert_eq!(run(&arguments).0, Some(2), "{arguments:?}");
    }
}
