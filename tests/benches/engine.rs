//! The scheduler's engine alone: how fast it decides, beside the plain path over the plugins that it has to agree with.
//!
//! No API server, no queue, no writes: a cluster in the cache, and one pod after the other decided and assumed. The
//! plain path decides the same pods after the engine, as many as fit into a moment.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use component::random::Random;
use harness::bench::{Report, say, usage};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use objects::labels::Selector;
use objects::views::{Node, Pod};
use scheduler::cache::{Cache, Owner};
use scheduler::cycle::{self, Placement};
use scheduler::engine::Engine;
use scheduler::failure::Failure;
use scheduler::framework::{Profile, Profiles};
use scheduler::plugins;
use scheduler::pod::PodInfo;
use scheduler::preempt::{Afresh, Attempt, Room};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Sizes of the cluster.
const NODES: [usize; 3] = [500, 5_000, 15_000];
/// Pods decided by the engine in a row.
const PODS: usize = 20_000;
/// Zones the nodes are in.
const ZONES: usize = 10;
/// How long the plain path may take in a row.
const PLAIN_TIME: Duration = Duration::from_millis(700);
/// What is aimed at with 5,000 nodes, in decisions a second.
const AIM: &str = "50,000/s";

/// One kind of work.
struct Row {
    name: &'static str,
    /// The pod with this number.
    pod: fn(usize) -> Value,
    /// Pods that are on each node before.
    before: fn(usize) -> Vec<Value>,
    /// A node takes only one of the pods.
    one_a_node: bool,
    preempts: bool,
}

const ROWS: &[Row] = &[
    Row { name: "basic", pod: basic, before: none, one_a_node: false, preempts: false },
    Row { name: "many deployments", pod: deployments, before: none, one_a_node: false, preempts: false },
    Row { name: "requests of their own", pod: unlike, before: none, one_a_node: false, preempts: false },
    Row { name: "many deployments, spread", pod: owned, before: none, one_a_node: false, preempts: false },
    Row { name: "spread, required", pod: spread, before: none, one_a_node: false, preempts: false },
    Row { name: "spread, preferred", pod: rather_spread, before: none, one_a_node: false, preempts: false },
    Row { name: "spread, default", pod: served, before: none, one_a_node: false, preempts: false },
    Row { name: "affinity", pod: affinity, before: none, one_a_node: false, preempts: false },
    Row { name: "anti-affinity", pod: anti_affinity, before: none, one_a_node: true, preempts: false },
    Row {
        name: "preferred (anti-)affinity",
        pod: preferred,
        before: none,
        one_a_node: false,
        preempts: false,
    },
    Row { name: "unschedulable", pod: unschedulable, before: none, one_a_node: false, preempts: false },
    Row { name: "preemption", pod: important, before: low, one_a_node: true, preempts: true },
];

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut report = Report::new("engine");
    for row in ROWS.iter().filter(|row| only.as_ref().is_none_or(|only| row.name.contains(&**only))) {
        for nodes in NODES {
            measure(&mut report, row, nodes);
        }
    }
    report.finish();
}

fn measure(report: &mut Report, row: &Row, nodes: usize) {
    let pods = if row.one_a_node { PODS.min(nodes * 9 / 10) } else { PODS };
    let pods: Vec<Arc<PodInfo>> = (0..pods).map(|at| info((row.pod)(at), &format!("pod-{at}"))).collect();
    let mut bench = Bench::new(row, nodes);
    bench.engine.follow(bench.cache.snapshot_mut());
    let before = usage(std::process::id()).memory;
    let fast = bench.run(row, &pods, Duration::MAX, true);
    let memory = usage(std::process::id()).memory - before;
    let mut bench = Bench::new(row, nodes);
    let slow = bench.run(row, &pods, PLAIN_TIME, false);
    let name = |what: &str| format!("{}, {nodes} nodes, {what}", row.name);
    let note = format!("{} pods, {} placed; the plain path: {}", fast.pods, fast.placed, slow.pods);
    let aim = if nodes == 5_000 { AIM } else { "" };
    report.add(&name("decisions"), fast.rate(), "/s", aim, &note);
    report.add(&name("p50"), fast.quantile(0.5), "us", "", "");
    report.add(&name("p99"), fast.quantile(0.99), "us", "", "");
    report.add(&name("plain path"), slow.rate(), "/s", "", "the definition, asked of every node");
    report.add(&name("memory"), memory, "MB", "", "growth of the process while the engine decided");
    say(&format!("{}: {:.0}/s, plain {:.0}/s", name("engine"), fast.rate(), slow.rate()));
}

struct Bench {
    profiles: Profiles,
    cache: Cache,
    engine: Engine,
    random: Random,
}

struct Measured {
    pods: usize,
    placed: usize,
    took: Duration,
    /// Nanoseconds.
    each: Histogram<u64>,
}

impl Bench {
    fn new(row: &Row, nodes: usize) -> Self {
        let profiles = Profiles::new(vec![Profile::new("default-scheduler", plugins::defaults())]);
        let engine = Engine::new(&profiles);
        let mut cache = Cache::default();
        for at in 0..nodes {
            let name = format!("node-{at}");
            cache.upsert_node(Arc::new(node(&name, at)));
            for (number, pod) in (row.before)(at).into_iter().enumerate() {
                cache.upsert_pod(info(pod, &format!("{name}-{number}")), name.as_str().into());
            }
        }
        let selector = Selector::from_set(&[("app".to_owned(), "served".to_owned())].into());
        cache.snapshot_mut().selectors_mut().set_service("default", "served", Some(selector));
        for app in (0..PODS / 10).map(|app| format!("app-{app}")) {
            let selector = Selector::from_set(&[("app".to_owned(), app.clone())].into());
            let owner = Owner { kind: "ReplicaSet", namespace: "default".to_owned(), name: app };
            cache.snapshot_mut().selectors_mut().set_owner(owner, Some(selector));
        }
        Self { profiles, cache, engine, random: Random::from_seed(1) }
    }

    fn run(&mut self, row: &Row, pods: &[Arc<PodInfo>], limit: Duration, by_engine: bool) -> Measured {
        let mut measured = Measured {
            pods: 0,
            placed: 0,
            took: Duration::ZERO,
            each: Histogram::new(3).expect("three digits"),
        };
        let start = Instant::now();
        for pod in pods {
            let began = Instant::now();
            let mut decision = self.decide(pod, by_engine);
            if row.preempts
                && let Err(failure) = &decision
            {
                decision = self.make_room(pod, failure, by_engine).map_or(decision, Ok);
            }
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            measured.each.record(nanos.max(1)).expect("the histogram grows");
            measured.pods += 1;
            if let Ok(placement) = decision {
                measured.placed += 1;
                self.cache.assume(pod.clone(), placement.node);
            }
            measured.took = start.elapsed();
            if measured.took > limit {
                break;
            }
        }
        measured
    }

    fn decide(&mut self, pod: &Arc<PodInfo>, by_engine: bool) -> Result<Placement, Failure> {
        let profile = self.profiles.iter().next().expect("one profile");
        if by_engine {
            self.engine.follow(self.cache.snapshot_mut());
            let known = self.engine.decide(pod, profile, self.cache.snapshot(), &self.random);
            return known.expect("the engine decides all of these");
        }
        cycle::place(pod, profile, self.cache.snapshot(), &self.random)
    }

    /// Finds room, and puts the pod in the place of its victims at once.
    fn make_room(&mut self, pod: &Arc<PodInfo>, failure: &Failure, by_engine: bool) -> Option<Placement> {
        let profile = self.profiles.iter().next()?;
        let attempt = Attempt {
            pod,
            profile,
            cluster: self.cache.snapshot(),
            failure,
            budgets: &[],
            now: Timestamp::UNIX_EPOCH,
        };
        let preempt = profile.preempts().next()?;
        let room = if by_engine {
            preempt.make_room(&attempt, &RefCell::new(&mut self.engine))
        } else {
            preempt.make_room(&attempt, &Afresh)
        };
        let Room::Made { node, victims } = room else { return None };
        for victim in victims {
            self.cache.remove_pod(&victim.uid);
        }
        Some(Placement { node, feasible: 1 })
    }
}

impl Measured {
    fn rate(&self) -> f64 {
        self.pods as f64 / self.took.as_secs_f64()
    }

    /// Microseconds.
    fn quantile(&self, part: f64) -> f64 {
        self.each.value_at_quantile(part) as f64 / 1000.0
    }
}

fn node(name: &str, at: usize) -> Node {
    let labels =
        json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{}", at % ZONES)});
    let allocatable = json!({"cpu": "8", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"});
    let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
    serde_json::from_value(node).expect("a node")
}

fn info(mut object: Value, name: &str) -> Arc<PodInfo> {
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(name);
    object["metadata"]["namespace"] = json!("default");
    let pod: Pod = serde_json::from_value(object).expect("a pod");
    Arc::new(PodInfo::new(Arc::new(pod)))
}

fn pod(cpu: &str, labels: Value, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": cpu, "memory": "200Mi"}}}]});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({"metadata": {"labels": labels}, "spec": spec})
}

fn none(_: usize) -> Vec<Value> {
    Vec::new()
}

fn basic(_: usize) -> Value {
    pod("10m", json!({"app": "basic"}), json!({}))
}

/// Ten pods of each, with labels and a priority of their own; requests of 40 sizes.
fn deployments(at: usize) -> Value {
    pod(
        &format!("{}m", 1 + at / 10 % 40),
        json!({"app": format!("app-{}", at / 10)}),
        json!({"priority": at / 10}),
    )
}

/// Ten pods of each, which request what none before them did.
fn unlike(at: usize) -> Value {
    let mut pod = deployments(at);
    pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!(format!("{}Mi", 200 + at / 400));
    pod
}

/// Ten pods of each, with an owner, so that they are spread by default.
fn owned(at: usize) -> Value {
    let mut pod = deployments(at);
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{}", at / 10),
        "uid": "u", "controller": true});
    pod["metadata"]["ownerReferences"] = json!([owner]);
    pod
}

fn constraint(when: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"color": "blue"}}}]})
}

fn spread(_: usize) -> Value {
    pod("10m", json!({"color": "blue"}), constraint("DoNotSchedule"))
}

fn rather_spread(_: usize) -> Value {
    pod("10m", json!({"color": "blue"}), constraint("ScheduleAnyway"))
}

/// Spread over zones and hosts by default, as the pods of a Service are.
fn served(_: usize) -> Value {
    pod("10m", json!({"app": "served"}), json!({}))
}

fn term(key: &str, color: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"color": color}}})
}

fn affinity(_: usize) -> Value {
    let required = json!([term("topology.kubernetes.io/zone", "blue")]);
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    pod("1m", json!({"color": "blue"}), json!({"affinity": affinity}))
}

fn anti_affinity(_: usize) -> Value {
    let required = json!([term("kubernetes.io/hostname", "green")]);
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    pod("10m", json!({"color": "green"}), json!({"affinity": affinity}))
}

fn preferred(at: usize) -> Value {
    let wish = json!([{"weight": 1, "podAffinityTerm": term("kubernetes.io/hostname", "red")}]);
    let kind = if at.is_multiple_of(2) { "podAffinity" } else { "podAntiAffinity" };
    let affinity = json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": wish}});
    pod("10m", json!({"color": "red"}), json!({"affinity": affinity}))
}

fn unschedulable(at: usize) -> Value {
    // Every second one fits, as in upstream's test.
    pod(if at.is_multiple_of(2) { "9" } else { "10m" }, json!({"app": "big"}), json!({}))
}

/// Four pods that fill a node.
fn low(_: usize) -> Vec<Value> {
    (0..4).map(|_| pod("2", json!({"app": "low"}), json!({}))).collect()
}

fn important(_: usize) -> Value {
    pod("3", json!({"app": "high"}), json!({"priority": 10}))
}
