//! InterPodAffinity by tables: upstream's documented cases, dry runs, and what wakes a waiting pod.

use super::*;
use crate::cache::NodeInfo;
use crate::framework::{ForPod, Verdict};
use crate::plugins::fixtures::{ask_in, cluster, node_with, pod_from, scores_in};
use serde_json::{Value, json};
use std::sync::Arc;

const FAR: &str = "node(s) didn't match pod affinity rules";
const NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const UNWELCOME: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn pod(name: &str, app: &str, affinity: Value) -> Arc<PodInfo> {
    pod_from(json!({"metadata": {"name": name, "labels": {"app": app}}, "spec": {"affinity": affinity}}))
}

fn plain(name: &str, app: &str) -> Arc<PodInfo> {
    pod(name, app, json!({}))
}

fn required(kind: &str, terms: &[Value]) -> Value {
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn preferred(kind: &str, weight: i32, term: &Value) -> Value {
    json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]}})
}

#[test]
fn keys_of_own_labels_narrow_a_term() {
    let keyed = |keys: Value| {
        let mut term = term("web", "zone");
        term.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        term
    };
    let of = |name: &str, revision: &str, affinity: Value| {
        let labels = json!({"app": "web", "revision": revision});
        pod_from(json!({"metadata": {"name": name, "labels": labels}, "spec": {"affinity": affinity}}))
    };
    let cluster =
        cluster([node("a", "a", &[of("old", "1", json!({}))]), node("b", "b", &[of("new", "2", json!({}))])]);
    for (name, kind, keys, want) in [
        ("near any revision", "podAffinity", json!({}), [true, true]),
        ("near the same revision", "podAffinity", json!({"matchLabelKeys": ["revision"]}), [false, true]),
        ("near another revision", "podAffinity", json!({"mismatchLabelKeys": ["revision"]}), [true, false]),
        (
            "away from the same revision",
            "podAntiAffinity",
            json!({"matchLabelKeys": ["revision"]}),
            [true, false],
        ),
        (
            "a label that the pod does not have",
            "podAffinity",
            json!({"matchLabelKeys": ["none"]}),
            [true, true],
        ),
    ] {
        let incoming = of("p", "2", required(kind, &[keyed(keys)]));
        let fits = |at: usize| {
            ask_in(&InterPodAffinity::default(), &incoming, &cluster.nodes()[at], &cluster).fits()
        };
        assert_eq!([fits(0), fits(1)], want, "{name}");
    }
}

fn node(name: &str, zone: &str, pods: &[Arc<PodInfo>]) -> NodeInfo {
    let mut labels = json!({"host": name});
    if !zone.is_empty() {
        labels["zone"] = json!(zone);
    }
    let mut node = node_with(name, json!({"metadata": {"labels": labels}}), []);
    pods.iter().for_each(|pod| node.add_pod(pod.clone()));
    node
}

fn verdicts<const N: usize>(pod: &PodInfo, nodes: [NodeInfo; N]) -> Vec<&'static str> {
    let mut cluster = cluster(nodes);
    cluster.set_namespace("other", Some([("team".to_owned(), "a".to_owned())].into()));
    let verdict = |node: &Arc<NodeInfo>| match ask_in(&InterPodAffinity::default(), pod, node, &cluster) {
        Verdict::Fits => "fits",
        Verdict::Never(why) if why == FAR.into() => "far",
        Verdict::Later(why) if why == NEAR.into() => "near",
        Verdict::Later(why) if why == UNWELCOME.into() => "unwelcome",
        other => panic!("{other:?}"),
    };
    cluster.nodes().iter().map(verdict).collect()
}

#[test]
fn required_terms() {
    let four = || {
        let db = plain("db", "db");
        let shy = pod("shy", "shy", required("podAntiAffinity", &[term("web", "zone")]));
        [node("a1", "a", &[db]), node("a2", "a", &[]), node("b", "b", &[shy]), node("none", "", &[])]
    };
    let other = |terms: Value| {
        let mut term = term("db", "zone");
        term.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        required("podAffinity", &[term])
    };
    for (name, app, affinity, want) in [
        ("nothing asked, nobody minds", "x", json!({}), ["fits", "fits", "fits", "fits"]),
        ("somebody minds", "web", json!({}), ["fits", "fits", "unwelcome", "fits"]),
        (
            "near db by zone",
            "x",
            required("podAffinity", &[term("db", "zone")]),
            ["fits", "fits", "far", "far"],
        ),
        (
            "near db by host",
            "x",
            required("podAffinity", &[term("db", "host")]),
            ["fits", "far", "far", "far"],
        ),
        (
            "away from db by zone",
            "x",
            required("podAntiAffinity", &[term("db", "zone")]),
            ["near", "near", "fits", "fits"],
        ),
        (
            "away from db by host",
            "x",
            required("podAntiAffinity", &[term("db", "host")]),
            ["near", "fits", "fits", "fits"],
        ),
        (
            "all terms must hold of the same pod",
            "x",
            required("podAffinity", &[term("db", "zone"), term("shy", "zone")]),
            ["far", "far", "far", "far"],
        ),
        (
            "the first of its group",
            "g",
            required("podAffinity", &[term("g", "zone")]),
            ["fits", "fits", "fits", "far"],
        ),
        (
            "nobody like that",
            "x",
            required("podAffinity", &[term("g", "zone")]),
            ["far", "far", "far", "far"],
        ),
        (
            "other namespace by name",
            "x",
            other(json!({"namespaces": ["other"]})),
            ["far", "far", "far", "far"],
        ),
        ("every namespace", "x", other(json!({"namespaceSelector": {}})), ["fits", "fits", "far", "far"]),
    ] {
        assert_eq!(verdicts(&pod("p", app, affinity), four()), want, "{name}");
    }
}

#[test]
fn namespaces_are_chosen_by_their_labels() {
    let db = pod_from(json!({"metadata": {"name": "db", "namespace": "other", "labels": {"app": "db"}}}));
    let nodes = || [node("a", "a", std::slice::from_ref(&db)), node("b", "b", &[])];
    for (team, want) in [("a", ["fits", "far"]), ("b", ["far", "far"])] {
        let mut term = term("db", "zone");
        term["namespaceSelector"] = json!({"matchLabels": {"team": team}});
        assert_eq!(verdicts(&pod("p", "x", required("podAffinity", &[term])), nodes()), want, "{team}");
    }
}

#[test]
fn dry_runs_count_who_comes_and_goes() {
    let db = plain("db", "db");
    let pod = pod("p", "x", required("podAntiAffinity", &[term("db", "zone")]));
    let cluster = cluster([node("a", "a", std::slice::from_ref(&db))]);
    let plugin = InterPodAffinity::default();
    let ForPod::Check { check, .. } = Filter::for_pod(&plugin, &pod, &cluster) else { panic!() };
    let a = &cluster.nodes()[0];
    let mut fork = check.fork().unwrap();
    fork.pod_removed(&db, a);
    assert!(fork.check(a).fits());
    fork.pod_added(&db, a);
    assert!(!fork.check(a).fits());
}

#[test]
fn preferred_terms() {
    let db = || plain("db", "db");
    for (name, pod, nodes, want) in [
        (
            "near",
            pod("p", "x", preferred("podAffinity", 5, &term("db", "zone"))),
            [node("a", "a", &[db()]), node("b", "b", &[]), node("a2", "a", &[])],
            [100, 0, 100],
        ),
        (
            "away",
            pod("p", "x", preferred("podAntiAffinity", 5, &term("db", "zone"))),
            [node("a", "a", &[db()]), node("b", "b", &[]), node("a2", "a", &[])],
            [0, 100, 0],
        ),
        (
            "each pod counts",
            pod("p", "x", preferred("podAffinity", 1, &term("db", "host"))),
            [
                node("a", "", &[db(), plain("e", "db"), plain("f", "db")]),
                node("b", "", &[plain("g", "db")]),
                node("c", "", &[]),
            ],
            [100, 33, 0],
        ),
        (
            "they wish it near",
            plain("p", "web"),
            [
                node("a", "", &[pod("fan", "x", preferred("podAffinity", 8, &term("web", "host")))]),
                node("b", "", &[pod("foe", "x", preferred("podAntiAffinity", 2, &term("web", "host")))]),
                node("c", "", &[]),
            ],
            [100, 0, 20],
        ),
        (
            "they need it near",
            plain("p", "web"),
            [
                node("a", "", &[pod("fan", "x", required("podAffinity", &[term("web", "host")]))]),
                node("b", "", &[]),
                node("c", "", &[]),
            ],
            [100, 0, 0],
        ),
        (
            "nobody cares",
            plain("p", "web"),
            [node("a", "", &[db()]), node("b", "", &[]), node("c", "", &[])],
            [0, 0, 0],
        ),
    ] {
        assert_eq!(scores_in(&InterPodAffinity::default(), &pod, &cluster(nodes)), want, "{name}");
    }
    let indifferent = InterPodAffinity { required_weight: 0, ignore_preferred_of_others: true };
    let fan = pod("fan", "x", preferred("podAffinity", 8, &term("web", "host")));
    assert_eq!(
        scores_in(&indifferent, &plain("p", "web"), &cluster([node("a", "", &[fan]), node("b", "", &[])])),
        [0, 0]
    );
}

#[test]
fn what_helps() {
    let helps = |pod: &PodInfo, subject: Subject<'_>, kind| {
        InterPodAffinity::default().helps(pod, &Change::new(kind, subject))
    };
    let near = pod("p", "x", required("podAffinity", &[term("db", "zone")]));
    let away = pod("p", "web", required("podAntiAffinity", &[term("db", "zone")]));
    let shy = pod("shy", "shy", required("podAntiAffinity", &[term("web", "zone")]));
    let (db, other) = (plain("db", "db"), plain("o", "other"));
    assert!(helps(&near, Subject::Pod(&db), Wakeup::PodAssigned));
    assert!(!helps(&near, Subject::Pod(&other), Wakeup::PodAssigned));
    assert!(!helps(&away, Subject::Pod(&db), Wakeup::PodAssigned));
    assert!(helps(&away, Subject::Pod(&db), Wakeup::PodRemoved));
    assert!(helps(&away, Subject::Pod(&shy), Wakeup::PodRemoved));
    assert!(!helps(&away, Subject::Pod(&other), Wakeup::PodRemoved));
    assert!(helps(&near, Subject::Node { now: &node("n", "a", &[]), before: None }, Wakeup::NodeAdded));
    assert!(!helps(&near, Subject::Node { now: &node("n", "", &[]), before: None }, Wakeup::NodeAdded));
}
