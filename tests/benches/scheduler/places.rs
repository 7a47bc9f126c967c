//! Whether the measured pods are where they may be: a fast answer that is wrong is no answer.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::cluster::Client;
use crate::drive::MEASURED;
use crate::objects::NAMED_NODE;
use crate::rows::{Row, Rule};

/// CPUs of a node in thousandths, and pods it takes.
const NODE_CPU: u64 = 4000;
const NODE_PODS: usize = 110;
/// Objects a page.
const PAGE: usize = 5000;

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMeta,
    #[serde(borrow)]
    items: Vec<Object<'a>>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Meta<'a> {
    name: &'a str,
    #[serde(default)]
    namespace: &'a str,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "nodeName")]
    node: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    resources: Resources,
}

#[derive(Default, Deserialize)]
struct Resources {
    #[serde(default)]
    requests: BTreeMap<String, String>,
}

/// The zone of each node.
type Zones = BTreeMap<String, String>;

#[derive(Default)]
struct Places {
    /// By node: CPU and pods in all.
    used: BTreeMap<String, (u64, usize)>,
    /// Nodes of the measured pods, one a pod.
    measured: Vec<String>,
}

/// Fails when a place breaks the rule of the row, or a node is overfull.
pub(crate) async fn check(client: &mut Client, row: &Row) -> Result<()> {
    let mut zones = Zones::new();
    read(client, "/api/v1/nodes", |node| {
        let zone = node.metadata.labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default();
        zones.insert(node.metadata.name.to_owned(), zone);
    })
    .await?;
    let mut places = Places::default();
    read(client, "/api/v1/pods", |pod| places.add(pod)).await?;
    places.have_room(&zones)?;
    places.follow(row.rule, &zones)
}

async fn read(client: &mut Client, path: &str, mut each: impl FnMut(&Object<'_>)) -> Result<()> {
    let mut next = String::new();
    loop {
        let bytes = client.get(&format!("{path}?limit={PAGE}&continue={next}")).await?;
        let list: List<'_> = serde_json::from_slice(&bytes)?;
        list.items.iter().for_each(&mut each);
        if list.metadata.next.is_empty() {
            return Ok(());
        }
        next = list.metadata.next;
    }
}

impl Places {
    fn add(&mut self, pod: &Object<'_>) {
        if pod.spec.node.is_empty() {
            return;
        }
        let requests = pod.spec.containers.iter().filter_map(|one| one.resources.requests.get("cpu"));
        let used = self.used.entry(pod.spec.node.clone()).or_default();
        used.0 += requests.map(|cpu| thousandths(cpu)).sum::<u64>();
        used.1 += 1;
        if pod.metadata.namespace == MEASURED {
            self.measured.push(pod.spec.node.clone());
        }
    }

    fn have_room(&self, zones: &Zones) -> Result<()> {
        for (node, (cpu, pods)) in &self.used {
            ensure!(zones.contains_key(node), "a pod is on {node}, which is not there");
            ensure!(*cpu <= NODE_CPU, "{node} is overfull: {cpu}m of {NODE_CPU}m");
            ensure!(*pods <= NODE_PODS || node == NAMED_NODE, "{node} is overfull: {pods} pods");
        }
        Ok(())
    }

    fn follow(&self, rule: Rule, zones: &Zones) -> Result<()> {
        let mut in_zone: BTreeMap<&str, usize> = zones.values().map(|zone| (zone.as_str(), 0)).collect();
        for node in &self.measured {
            *in_zone.entry(&zones[node]).or_default() += 1;
        }
        let nodes: BTreeSet<&String> = self.measured.iter().collect();
        let counts = || in_zone.values().copied();
        match rule {
            Rule::Room => {}
            Rule::Skew(most) => {
                let skew = counts().max().unwrap_or(0) - counts().min().unwrap_or(0);
                ensure!(skew <= most, "zones differ by {skew} pods: {in_zone:?}");
            }
            Rule::Apart => {
                ensure!(
                    nodes.len() == self.measured.len(),
                    "{} nodes hold {} pods",
                    nodes.len(),
                    self.measured.len()
                );
            }
            Rule::Together => ensure!(counts().filter(|count| *count > 0).count() <= 1, "zones: {in_zone:?}"),
            Rule::Named => ensure!(nodes.iter().all(|node| *node == NAMED_NODE), "pods are on other nodes"),
        }
        Ok(())
    }
}

/// `100m` or `3`.
fn thousandths(cpu: &str) -> u64 {
    match cpu.strip_suffix('m') {
        Some(number) => number.parse().unwrap_or(0),
        None => cpu.parse::<u64>().unwrap_or(0) * 1000,
    }
}
