//! What a user looks at and edits: get, describe, explain, watch, label, annotate, patch, events.

use std::io::{BufRead as _, BufReader};

use harness::eventually::eventually;

use crate::cluster::{self, IMAGE};

fn manifest(name: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "image": IMAGE, "args": ["-c", "sleep 3600"], "env": [{"name": "GREETING", "value": "hi"}]},
        ]},
    })
    .to_string()
}

#[test]
fn get_prints_upstreams_columns() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("columns");
    kubectl.run_with(&["apply", "-n", "columns", "-f", "-"], &manifest("one"));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/one", "-n", "columns", "--timeout=60s"]);
    let nodes = kubectl.run(&["get", "nodes", "-o", "wide"]);
    let columns =
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME";
    assert_eq!(words(nodes.lines().next().unwrap_or_default()), columns, "{nodes}");
    assert!(nodes.contains(" Ready ") && nodes.contains("containerd://"), "{nodes}");
    let pods = kubectl.run(&["get", "pods", "-A", "-o", "wide"]);
    let columns = "NAMESPACE NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    assert_eq!(words(pods.lines().next().unwrap_or_default()), columns, "{pods}");
    let row = pods.lines().find(|line| line.starts_with("columns ")).expect("the pod's row");
    assert!(words(row).starts_with("columns one 1/1 Running 0 "), "{row}");
}

#[test]
fn describe_and_events_tell_the_pods_story() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("story");
    kubectl.run_with(&["apply", "-n", "story", "-f", "-"], &manifest("hero"));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/hero", "-n", "story", "--timeout=60s"]);
    let told = eventually("the events", || {
        let told = kubectl.run(&["describe", "pod", "hero", "-n", "story"]);
        let reasons = ["Scheduled", "Pulled", "Created", "Started"];
        if reasons.iter().all(|reason| told.contains(reason)) { Ok(told) } else { Err(told) }
    });
    assert!(told.contains("Successfully assigned story/hero to"), "{told}");
    assert!(told.contains("GREETING:  hi") && told.contains("State:          Running"), "{told}");
    let node = kubectl.run(&["describe", "node"]);
    assert!(
        node.contains("hero") && node.contains("Allocatable:") && node.contains("KubeletReady"),
        "{node}"
    );
}

#[test]
fn explain_describes_fields() {
    let _shared = cluster::share();
    let kubectl = cluster::kubectl();
    let explained = kubectl.run(&["explain", "deployment.spec.strategy.rollingUpdate"]);
    assert!(explained.contains("maxSurge") && explained.contains("GROUP:      apps"), "{explained}");
    assert!(kubectl.run(&["explain", "pods.spec.containers.ports"]).contains("containerPort"));
}

#[test]
fn watch_shows_changes_as_they_come() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("watching");
    let mut watch =
        kubectl.start(&["get", "pods", "-w", "-n", "watching", "--output-watch-events", "--no-headers"]);
    let mut lines = BufReader::new(watch.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    kubectl.run_with(&["apply", "-n", "watching", "-f", "-"], &manifest("seen"));
    assert!(lines.any(|line| line.starts_with("MODIFIED") && line.contains("Running")));
    kubectl.run(&["delete", "pod", "seen", "-n", "watching", "--wait=false"]);
    assert!(lines.any(|line| line.starts_with("DELETED") && line.contains("seen")));
}

#[test]
fn labels_annotations_and_patches_change_objects() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("edits");
    kubectl.run_with(&["apply", "-n", "edits", "-f", "-"], &manifest("one"));
    kubectl.run(&["label", "pod", "one", "tier=front", "-n", "edits"]);
    assert_eq!(kubectl.run(&["get", "pods", "-l", "tier=front", "-n", "edits", "-o", "name"]), "pod/one\n");
    let refused = kubectl.try_run(&["label", "pod", "one", "tier=back", "-n", "edits"]);
    assert!(refused.is_err_and(|error| error.contains("--overwrite")));
    kubectl.run(&["annotate", "pod", "one", "note=hello", "-n", "edits"]);
    for (kind, patch) in [
        ("strategic", r#"{"metadata":{"labels":{"by":"strategic"}}}"#),
        ("merge", r#"{"metadata":{"labels":{"by":"merge"}}}"#),
        ("json", r#"[{"op":"replace","path":"/metadata/labels/by","value":"json"}]"#),
    ] {
        kubectl.run(&["patch", "pod", "one", "--type", kind, "-p", patch, "-n", "edits"]);
        assert_eq!(kubectl.path(&["pod/one", "-n", "edits"], "{.metadata.labels.by}"), kind);
    }
    // `kubectl edit` with an editor that changes one word: what a person does.
    let mut edit = kubectl.command(&["edit", "pod", "one", "-n", "edits"]);
    let edited = edit.env("KUBE_EDITOR", "sed -i s/hello/goodbye/").output().expect("kubectl starts");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert_eq!(kubectl.path(&["pod/one", "-n", "edits"], "{.metadata.annotations.note}"), "goodbye");
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
