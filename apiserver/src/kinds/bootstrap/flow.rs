//! The default flow schemas and priority levels: who shares which part of the server.
//!
//! Source: apiserver `pkg/apis/flowcontrol/bootstrap`.

use serde_json::{Value, json};

/// Queues, hand size and queue length limit.
type Queuing = (i64, i64, i64);

/// Shares, percent lendable, and queuing of the limited levels.
const LEVELS: [(&str, i64, i64, Option<Queuing>); 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

const EVERYBODY: [&str; 2] = ["group:system:unauthenticated", "group:system:authenticated"];

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    by: Option<&'static str>,
    subjects: &'static [&'static str],
    requests: Requests,
}

enum Requests {
    Everything,
    Probes,
    Leases,
    Nodes,
}

const SCHEMAS: [Schema; 11] = {
    use Requests::*;
    const fn schema(
        name: &'static str,
        level: &'static str,
        precedence: i64,
        by: Option<&'static str>,
        subjects: &'static [&'static str],
        requests: Requests,
    ) -> Schema {
        Schema { name, level, precedence, by, subjects, requests }
    }
    const USER: Option<&str> = Some("ByUser");
    const NAMESPACE: Option<&str> = Some("ByNamespace");
    const MANAGER: &str = "user:system:kube-controller-manager";
    const SCHEDULER: &str = "user:system:kube-scheduler";
    const SYSTEM: &str = "account:kube-system";
    [
        schema("exempt", "exempt", 1, None, &["group:system:masters"], Everything),
        schema("probes", "exempt", 2, None, &EVERYBODY, Probes),
        schema("system-leader-election", "leader-election", 100, USER, &[MANAGER, SCHEDULER, SYSTEM], Leases),
        schema("system-node-high", "node-high", 400, USER, &["group:system:nodes"], Nodes),
        schema("system-nodes", "system", 500, USER, &["group:system:nodes"], Everything),
        schema("kube-controller-manager", "workload-high", 800, NAMESPACE, &[MANAGER], Everything),
        schema("kube-scheduler", "workload-high", 800, NAMESPACE, &[SCHEDULER], Everything),
        schema("kube-system-service-accounts", "workload-high", 900, NAMESPACE, &[SYSTEM], Everything),
        schema("service-accounts", "workload-low", 9000, USER, &["group:system:serviceaccounts"], Everything),
        schema("global-default", "global-default", 9900, USER, &EVERYBODY, Everything),
        schema("catch-all", "catch-all", 10000, USER, &EVERYBODY, Everything),
    ]
};

pub(super) fn objects(now: &str) -> Vec<Value> {
    let mut objects = vec![level(
        "exempt",
        json!({
            "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
        }),
    )];
    objects.extend(LEVELS.iter().map(|(name, shares, lendable, queuing)| {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
            }),
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        level(name, json!({"type": "Limited", "limited": limited}))
    }));
    objects.extend(SCHEMAS.iter().map(|schema| flow_schema(schema, now)));
    objects
}

fn level(name: &str, spec: Value) -> Value {
    named("PriorityLevelConfiguration", name, spec, json!({}))
}

fn flow_schema(schema: &Schema, now: &str) -> Value {
    let mut rule = match schema.requests {
        Requests::Everything => json!({
            "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
            "resourceRules": [{
                "apiGroups": ["*"], "clusterScope": true, "namespaces": ["*"], "resources": ["*"], "verbs": ["*"],
            }],
        }),
        Requests::Probes => json!({
            "nonResourceRules": [{"nonResourceURLs": ["/healthz", "/readyz", "/livez"], "verbs": ["get"]}],
        }),
        Requests::Leases => json!({"resourceRules": [{
            "apiGroups": ["coordination.k8s.io"], "namespaces": ["*"], "resources": ["leases"],
            "verbs": ["get", "create", "update"],
        }]}),
        Requests::Nodes => json!({"resourceRules": [
            {"apiGroups": [""], "clusterScope": true, "namespaces": ["*"], "resources": ["nodes", "nodes/status"],
                "verbs": ["*"]},
            {"apiGroups": ["coordination.k8s.io"], "namespaces": ["*"], "resources": ["leases"], "verbs": ["*"]},
        ]}),
    };
    rule["subjects"] = schema.subjects.iter().map(|text| subject(text)).collect();
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": schema.level},
        "matchingPrecedence": schema.precedence,
        "rules": [rule],
    });
    if let Some(by) = schema.by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named \"{}\" and it exists",
        schema.level
    );
    let status = json!({"conditions": [{
        "type": "Dangling", "status": "False", "reason": "Found", "message": message, "lastTransitionTime": now,
    }]});
    named("FlowSchema", schema.name, spec, status)
}

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("user", name)) => json!({"kind": "User", "user": {"name": name}}),
        Some(("account", namespace)) => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": "*"}})
        }
        _ => json!({"kind": "Group", "group": {"name": text.trim_start_matches("group:")}}),
    }
}

fn named(kind: &str, name: &str, spec: Value, status: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {
            "name": name, "generation": 1, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"},
        },
        "spec": spec,
        "status": status,
    })
}
