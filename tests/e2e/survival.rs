//! The cluster survives `kill -9` and a clean stop: objects, containers and their processes.

use harness::eventually::eventually;
use harness::kubectl::Kubectl;

use crate::cluster::{self, IMAGE};

#[test]
fn containers_live_through_kill_and_everything_is_found_again() {
    let _alone = cluster::alone();
    let (kubectl, _) = cluster::namespace("survival");
    kubectl.run(&[
        "create",
        "deployment",
        "web",
        "--image",
        IMAGE,
        "--replicas=2",
        "-n",
        "survival",
        "--",
        "sleep",
        "3600",
    ]);
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "survival", "--timeout=60s"]);
    let before = containers(&kubectl);

    cluster::kill_and_restart();
    assert_eq!(containers(&kubectl), before, "the same containers, no restart");
    works(&kubectl);

    cluster::stop_and_restart();
    works(&kubectl);
    kubectl.run(&["delete", "namespace", "survival", "--timeout=60s"]);
}

/// Running containers take orders and the deployment controller still works.
fn works(kubectl: &Kubectl) {
    kubectl.run(&["rollout", "restart", "deployment/web", "-n", "survival"]);
    kubectl.run(&["rollout", "status", "deployment/web", "-n", "survival", "--timeout=60s"]);
    let echoed = eventually("exec works", || {
        kubectl.try_run(&["exec", "deployment/web", "-n", "survival", "--", "echo", "alive"])
    });
    assert_eq!(echoed, "alive\n");
}

fn containers(kubectl: &Kubectl) -> String {
    let ids = "{range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} \
               {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    kubectl.path(&["pods", "-n", "survival"], ids)
}
