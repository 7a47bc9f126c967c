//! What `kubectl get pods` shows: readiness, one word of status, restarts, where it runs.
//!
//! Promise: the status is upstream's `printPod`: the first thing that keeps the pod from running, such as
//! `Init:0/2` or `CrashLoopBackOff`, else its phase.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::columns::{self, Column};
use crate::kinds::read::Read;

const SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const STATUS: &str = "io.k8s.api.core.v1.PodStatus";

pub(super) fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        Column::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        Column::text("Status", "The aggregate status of the containers in this pod."),
        Column::text(
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        columns::age(),
        Column::text("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.").wide(),
        Column::field("Node", SPEC, "nodeName").wide(),
        Column::field("Nominated Node", STATUS, "nominatedNodeName").wide(),
        Column::field("Readiness Gates", SPEC, "readinessGates").wide(),
    ]
}

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match (summary.restarts, summary.last_restart) {
        (restarts, "") => restarts.to_string(),
        (0, _) => "0".to_owned(),
        (restarts, time) => format!("{restarts} ({} ago)", columns::since(time, now)),
    };
    vec![
        pod["metadata"]["name"].clone(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        columns::age_of(pod, now),
        columns::or_none(ip(pod)),
        columns::or_none(pod["spec"].text("nodeName")),
        columns::or_none(pod["status"].text("nominatedNodeName")),
        readiness_gates(pod).into(),
    ]
}

/// The first of the pod's addresses, or empty.
pub(super) fn ip(pod: &Value) -> &str {
    pod["status"].list("podIPs").first().map_or_else(|| pod["status"].text("podIP"), |one| one.text("ip"))
}

struct Summary<'a> {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    /// The latest restart as a time, or empty.
    last_restart: &'a str,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let sidecars = spec.list("initContainers").iter().filter(|one| restarts_always(one)).count();
        let total = spec.list("containers").len() + sidecars;
        let mut summary = Self { ready: 0, total, reason: phase(status), restarts: 0, last_restart: "" };
        let (blocked, of_sidecars) = summary.init_containers(pod);
        if !blocked || is_true(status, "Initialized") {
            (summary.restarts, summary.last_restart) = of_sidecars;
            summary.containers(status);
        }
        if pod["metadata"].has("deletionTimestamp") {
            let phase = status.text("phase");
            if status.text("reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if phase != "Failed" && phase != "Succeeded" {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Walks the init containers up to the first that has not done its work. Says whether there is one,
    /// and the restarts of those that run beside the containers.
    fn init_containers(&mut self, pod: &'a Value) -> (bool, (i64, &'a str)) {
        let specs = pod["spec"].list("initContainers");
        let mut of_sidecars = (0, "");
        for (index, container) in pod["status"].list("initContainerStatuses").iter().enumerate() {
            self.count_restarts(container);
            let sidecar = specs.iter().any(|one| one["name"] == container["name"] && restarts_always(one));
            if sidecar {
                of_sidecars.0 += container.int("restartCount").unwrap_or_default();
                of_sidecars.1 = later(of_sidecars.1, finished(container));
            }
            let (ended, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
            let reason = if ended.is_object() && ended.int("exitCode").unwrap_or_default() == 0 {
                continue;
            } else if sidecar && container.flag("started") {
                self.ready += usize::from(container.flag("ready"));
                continue;
            } else if ended.is_object() {
                end(ended)
            } else if !matches!(waiting.text("reason"), "" | "PodInitializing") {
                waiting.text("reason").to_owned()
            } else {
                format!("{index}/{}", specs.len())
            };
            self.reason = format!("Init:{reason}");
            return (true, of_sidecars);
        }
        (false, of_sidecars)
    }

    fn containers(&mut self, status: &'a Value) {
        let mut running = false;
        for container in status.list("containerStatuses").iter().rev() {
            self.count_restarts(container);
            let state = &container["state"];
            if !state["waiting"].text("reason").is_empty() {
                self.reason = state["waiting"].text("reason").to_owned();
            } else if state["terminated"].is_object() {
                self.reason = end(&state["terminated"]);
            } else if container.flag("ready") && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        // One container that still runs outweighs those that completed.
        if self.reason == "Completed" && running {
            self.reason = if is_true(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count_restarts(&mut self, container: &'a Value) {
        self.restarts += container.int("restartCount").unwrap_or_default();
        self.last_restart = later(self.last_restart, finished(container));
    }
}

fn phase(status: &Value) -> String {
    let gated = |one: &Value| one.text("type") == "PodScheduled" && one.text("reason") == "SchedulingGated";
    if status.list("conditions").iter().any(gated) {
        return "SchedulingGated".to_owned();
    }
    match status.text("reason") {
        "" => status.text("phase").to_owned(),
        reason => reason.to_owned(),
    }
}

/// How a container ended: its reason, else its signal, else its exit code.
fn end(terminated: &Value) -> String {
    match (terminated.text("reason"), terminated.int("signal").unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn finished(container: &Value) -> &str {
    container["lastState"]["terminated"].text("finishedAt")
}

/// RFC 3339 times in UTC compare as text.
fn later<'a>(a: &'a str, b: &'a str) -> &'a str {
    a.max(b)
}

fn restarts_always(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn is_true(status: &Value, condition: &str) -> bool {
    let conditions = status.list("conditions");
    conditions.iter().any(|one| one.text("type") == condition && one.text("status") == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod["spec"].list("readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(&pod["status"], gate.text("conditionType"))).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// (ready, status, restarts) of a pod with these statuses.
    fn shown(mut pod: Value) -> (String, String, String) {
        pod["metadata"]["name"] = "p".into();
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let cells = cells(&pod, now);
        let text = |index: usize| cells[index].as_str().unwrap().to_owned();
        (text(1), text(2), text(3))
    }

    fn want(ready: &str, status: &str, restarts: &str) -> (String, String, String) {
        (ready.to_owned(), status.to_owned(), restarts.to_owned())
    }

    #[test]
    fn a_pod_shows_what_keeps_it_from_running() {
        let two_inits =
            json!({"containers": [{"name": "c"}], "initContainers": [{"name": "a"}, {"name": "b"}]});
        let table = [
            (
                json!({"spec": {"containers": [{}]}, "status": {"phase": "Pending"}}),
                want("0/1", "Pending", "0"),
            ),
            (
                json!({"spec": two_inits, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]}}),
                want("0/1", "Init:0/2", "0"),
            ),
            (
                json!({"spec": two_inits, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "b", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}}),
                want("0/1", "Init:ExitCode:3", "2"),
            ),
            (
                json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running", "containerStatuses": [
                    {"ready": true, "state": {"running": {}}},
                    {"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                     "lastState": {"terminated": {"finishedAt": "2026-01-01T00:09:00Z"}}}]}}),
                want("1/2", "CrashLoopBackOff", "4 (60s ago)"),
            ),
            (
                json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed"}}}, {"ready": true, "state": {"running": {}}}]}}),
                want("1/2", "Running", "0"),
            ),
            (
                json!({"spec": {"containers": [{}]}, "status": {"phase": "Succeeded", "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed"}}}]}}),
                want("0/1", "Completed", "0"),
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:09:00Z"}, "spec": {"containers": [{}]},
                    "status": {"phase": "Running", "containerStatuses": [{"ready": true, "state": {"running": {}}}]}}),
                want("1/1", "Terminating", "0"),
            ),
            (
                json!({"spec": {"containers": [{}]}, "status": {"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}),
                want("0/1", "SchedulingGated", "0"),
            ),
            (
                json!({"spec": {"containers": [{}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
                    "status": {"phase": "Running", "initContainerStatuses": [
                        {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
                    "containerStatuses": [{"ready": true, "state": {"running": {}}}]}}),
                want("2/2", "Running", "1"),
            ),
            (
                json!({"spec": {"containers": [{}]}, "status": {"phase": "Failed", "reason": "Evicted"}}),
                want("0/1", "Evicted", "0"),
            ),
        ];
        for (pod, want) in table {
            assert_eq!(shown(pod.clone()), want, "{pod}");
        }
    }
}
