//! PodTopologySpread by tables: upstream's documented cases, dry runs, and what wakes a waiting pod.

use super::*;
use crate::framework::{ForPod, Verdict};
use crate::plugins::fixtures::{ask_in, cluster, node_with, pod_from, scores_in};
use serde_json::{Value, json};
use std::sync::Arc;

const REFUSED: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

fn labelled(name: &str, labels: Value) -> Arc<PodInfo> {
    pod_from(json!({"metadata": {"name": name, "labels": labels}}))
}

/// A node in a zone (none for "") with `pods` pods labelled `app=web`.
fn node(name: &str, zone: &str, pods: usize) -> NodeInfo {
    let mut labels = json!({"kubernetes.io/hostname": name});
    if !zone.is_empty() {
        labels["zone"] = json!(zone);
    }
    let mut node = node_with(name, json!({"metadata": {"labels": labels}}), []);
    for pod in 0..pods {
        node.add_pod(labelled(&format!("{name}-{pod}"), json!({"app": "web"})));
    }
    node
}

fn constraint(key: &str, max_skew: i32, need: &str) -> Value {
    json!({
        "topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": need,
        "labelSelector": {"matchLabels": {"app": "web"}},
    })
}

fn spread(constraints: Value) -> Arc<PodInfo> {
    pod_from(json!({
        "metadata": {"name": "p", "labels": {"app": "web", "version": "2"}},
        "spec": {"topologySpreadConstraints": constraints},
    }))
}

fn verdicts<const N: usize>(pod: &PodInfo, nodes: [NodeInfo; N]) -> Vec<&'static str> {
    let cluster = cluster(nodes);
    let verdict = |node: &Arc<NodeInfo>| match ask_in(&PodTopologySpread::default(), pod, node, &cluster) {
        Verdict::Fits => "fits",
        Verdict::Later(why) if why == REFUSED.into() => "skewed",
        Verdict::Never(why) if why == NO_LABEL.into() => "no label",
        other => panic!("{other:?}"),
    };
    cluster.nodes().iter().map(verdict).collect()
}

#[test]
fn required_constraints() {
    let zone = |skew| constraint("zone", skew, "DoNotSchedule");
    let host = |skew| constraint("kubernetes.io/hostname", skew, "DoNotSchedule");
    let with = |mut constraint: Value, more: Value| {
        constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        constraint
    };
    // zone a: 2 + 1 pods, zone b: 0 + 1.
    let four = || [node("a1", "a", 2), node("a2", "a", 1), node("b1", "b", 0), node("b2", "b", 1)];
    for (name, constraints, want) in [
        ("zones, skew 1", json!([zone(1)]), ["skewed", "skewed", "fits", "fits"]),
        ("zones, skew 3", json!([zone(3)]), ["fits", "fits", "fits", "fits"]),
        ("hosts, skew 1", json!([host(1)]), ["skewed", "skewed", "fits", "skewed"]),
        ("both", json!([zone(1), host(2)]), ["skewed", "skewed", "fits", "fits"]),
        ("unknown key", json!([constraint("rack", 1, "DoNotSchedule")]), ["no label"; 4]),
        ("a wish refuses nothing", json!([constraint("zone", 1, "ScheduleAnyway")]), ["fits"; 4]),
        (
            "too few domains count as one that is empty",
            json!([with(zone(1), json!({"minDomains": 3}))]),
            ["skewed", "skewed", "skewed", "skewed"],
        ),
        (
            "the pod does not match its own selector",
            json!([with(zone(2), json!({"labelSelector": {"matchLabels": {"app": "web", "version": "1"}}}))]),
            ["fits"; 4],
        ),
        (
            "only pods of the same version count",
            json!([with(zone(1), json!({"matchLabelKeys": ["version"]}))]),
            ["fits"; 4],
        ),
        (
            "an empty selector counts nobody",
            json!([with(zone(1), json!({"labelSelector": {}}))]),
            ["fits"; 4],
        ),
    ] {
        assert_eq!(verdicts(&spread(constraints), four()), want, "{name}");
    }
}

#[test]
fn who_and_where_counts() {
    let zone = json!([constraint("zone", 1, "DoNotSchedule")]);
    // A terminating pod and one of another namespace in zone b do not make it fuller.
    let mut b = node("b", "b", 1);
    b.add_pod(pod_from(json!({"metadata":
        {"name": "leaving", "labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    b.add_pod(pod_from(
        json!({"metadata": {"name": "other", "namespace": "other", "labels": {"app": "web"}}}),
    ));
    assert_eq!(verdicts(&spread(zone.clone()), [node("a", "a", 1), b]), ["fits", "fits"]);

    // Zone b is empty, but a node without the label is in no zone.
    let nodes = [node("a", "a", 1), node("b", "b", 1), node("none", "", 0)];
    assert_eq!(verdicts(&spread(zone.clone()), nodes), ["fits", "fits", "no label"]);

    // Zone b is out of reach by node affinity: by default it does not count as the emptiest.
    let mut selective = json!({
        "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"topologySpreadConstraints": zone, "nodeSelector": {"zone": "a"}},
    });
    let nodes = || [node("a", "a", 1), node("b", "b", 0)];
    assert_eq!(verdicts(&pod_from(selective.clone()), nodes())[0], "fits");
    selective["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    assert_eq!(verdicts(&pod_from(selective), nodes())[0], "skewed");

    // Zone b is tainted: it counts unless the policy says to honour taints.
    let tainted = || {
        let mut b = node("b", "b", 0).node.as_ref().clone();
        b.spec.taints = vec![k8s_openapi::api::core::v1::Taint {
            key: "k".into(),
            effect: "NoSchedule".into(),
            ..Default::default()
        }];
        [node("a", "a", 1), NodeInfo::new(Arc::new(b))]
    };
    let mut zone = zone.clone();
    assert_eq!(verdicts(&spread(zone.clone()), tainted())[0], "skewed");
    zone[0]["nodeTaintsPolicy"] = json!("Honor");
    assert_eq!(verdicts(&spread(zone), tainted())[0], "fits");
}

#[test]
fn dry_runs_count_who_comes_and_goes() {
    let pod = spread(json!([constraint("zone", 1, "DoNotSchedule")]));
    let cluster = cluster([node("a", "a", 2), node("b", "b", 1)]);
    let plugin = PodTopologySpread::default();
    let ForPod::Check { check, .. } = Filter::for_pod(&plugin, &pod, &cluster) else { panic!() };
    let a = cluster.node(&"a".into()).unwrap().clone();
    assert!(!check.check(&a).fits());
    let mut fork = check.fork().unwrap();
    let leaving = labelled("x", json!({"app": "web"}));
    fork.pod_removed(&leaving, &a);
    assert!(fork.check(&a).fits());
    fork.pod_added(&leaving, &a);
    fork.pod_removed(&labelled("y", json!({"app": "db"})), &a);
    assert!(!fork.check(&a).fits());
    assert!(!check.check(&a).fits(), "the original is untouched");
}

#[test]
fn preferred_constraints() {
    let zone = constraint("zone", 1, "ScheduleAnyway");
    let host = constraint("kubernetes.io/hostname", 1, "ScheduleAnyway");
    for (name, constraints, nodes, want) in [
        // Hosts with 0, 1, 2 pods: raw 0, ln 5, 2 ln 5 rounded to 0, 2, 3.
        (
            "hosts",
            json!([host]),
            vec![node("a", "", 0), node("b", "", 1), node("c", "", 2)],
            vec![100, 33, 0],
        ),
        // Zone a has 3 pods, b has 1: raw 3 ln 4 = 4, 1 ln 4 = 1; 100 * (4 + 1 - s) / 4.
        (
            "zones",
            json!([zone]),
            vec![node("a1", "a", 3), node("a2", "a", 0), node("b", "b", 1)],
            vec![25, 25, 100],
        ),
        ("nothing there yet", json!([zone]), vec![node("a", "a", 0), node("b", "b", 0)], vec![100, 100]),
        (
            "a node without the label is worth nothing",
            json!([zone]),
            vec![node("a", "a", 1), node("n", "", 0)],
            vec![100, 0],
        ),
        // Zones: a 2, b 1; hosts 2, 0, 1. Raw: 2 ln 4 + 2 ln 5 = 6, 2 ln 4 = 3, ln 4 + ln 5 = 3.
        (
            "both",
            json!([zone, host]),
            vec![node("a1", "a", 2), node("a2", "a", 0), node("b1", "b", 1)],
            vec![50, 100, 100],
        ),
    ] {
        let nodes: [NodeInfo; 3] = match <[NodeInfo; 3]>::try_from(nodes) {
            Ok(three) => three,
            Err(two) => {
                let two: [NodeInfo; 2] = two.try_into().unwrap();
                assert_eq!(
                    scores_in(&PodTopologySpread::default(), &spread(constraints), &cluster(two)),
                    want,
                    "{name}"
                );
                continue;
            }
        };
        assert_eq!(
            scores_in(&PodTopologySpread::default(), &spread(constraints), &cluster(nodes)),
            want,
            "{name}"
        );
    }
}

#[test]
fn a_service_spreads_its_pods_by_default() {
    let mut cluster = cluster([node("a", "", 2), node("b", "", 0), node("c", "", 1)]);
    let pod = labelled("p", json!({"app": "web"}));
    assert_eq!(scores_in(&PodTopologySpread::default(), &pod, &cluster), [0, 0, 0], "no service, no opinion");
    let selector = objects::labels::Selector::from_set(&[("app".to_owned(), "web".to_owned())].into());
    cluster.selectors_mut().set_service("default", "web", Some(selector));
    // 2 ln 5 + 2 = 5, 0 + 2 = 2, ln 5 + 2 = 4; nodes without a zone still count.
    assert_eq!(scores_in(&PodTopologySpread::default(), &pod, &cluster), [40, 100, 60]);
}

#[test]
fn what_helps() {
    let pod = spread(json!([constraint("zone", 1, "DoNotSchedule")]));
    let helps =
        |subject: Subject<'_>, kind| PodTopologySpread::default().helps(&pod, &Change::new(kind, subject));
    assert!(helps(Subject::Pod(&labelled("x", json!({"app": "web"}))), Wakeup::PodAssigned));
    assert!(!helps(Subject::Pod(&labelled("x", json!({"app": "db"}))), Wakeup::PodRemoved));
    let (zoned, plain) = (node("n", "a", 0), node("n", "", 0));
    assert!(helps(Subject::Node { now: &zoned, before: None }, Wakeup::NodeAdded));
    assert!(!helps(Subject::Node { now: &plain, before: None }, Wakeup::NodeAdded));
    assert!(helps(Subject::Node { now: &plain, before: Some(&zoned.node) }, Wakeup::NodeLabels));
}
