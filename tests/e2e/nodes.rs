//! Nodes under maintenance: cordon, drain, uncordon.

use harness::eventually::eventually;

use crate::cluster::{self, IMAGE};

#[test]
fn drain_empties_the_node_and_uncordon_fills_it_again() {
    let _alone = cluster::alone();
    let (kubectl, _) = cluster::namespace("maintenance");
    kubectl.run(&[
        "create",
        "deployment",
        "web",
        "--image",
        IMAGE,
        "-n",
        "maintenance",
        "--",
        "sleep",
        "3600",
    ]);
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "maintenance", "--timeout=60s"]);
    let node = kubectl.path(&["nodes"], "{.items[0].metadata.name}");

    assert_eq!(kubectl.run(&["cordon", &node]), format!("node/{node} cordoned\n"));
    assert!(kubectl.run(&["get", "nodes"]).contains("Ready,SchedulingDisabled"));
    let drained = kubectl.run(&["drain", &node, "--ignore-daemonsets", "--force", "--timeout=90s"]);
    assert!(drained.contains(&format!("node/{node} drained")), "{drained}");
    let pending = eventually("the new pod waits and says why", || {
        let pending = kubectl.path(
            &["pods", "-n", "maintenance"],
            r#"{.items[*].status.conditions[?(@.type=="PodScheduled")].message}"#,
        );
        if pending.contains("0/1 nodes are available") { Ok(pending) } else { Err(pending) }
    });
    assert!(pending.contains("1 node(s) were unschedulable"), "{pending}");

    assert_eq!(kubectl.run(&["uncordon", &node]), format!("node/{node} uncordoned\n"));
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "maintenance", "--timeout=60s"]);
    kubectl.run(&["delete", "namespace", "maintenance", "--timeout=60s"]);
}
