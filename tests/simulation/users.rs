//! What users do: create, scale, change and delete Deployments, cordon nodes and kill pods, as a seed says.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::cluster::TestCluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::rules;

/// Names that Deployments can have: few, so that the same name comes and goes.
const NAMES: [&str; 4] = ["ada", "bob", "cyd", "dan"];
const MOST_REPLICAS: i32 = 6;
/// Longest pause between two acts.
const LONGEST_PAUSE_SECONDS: u64 = 25;
const NAMESPACE: &str = "default";

/// What a Deployment should be.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    replicas: i32,
    version: u32,
}

/// The users of one run and what they want in the end.
#[derive(Debug)]
pub(crate) struct Users {
    dice: StdRng,
    wishes: BTreeMap<&'static str, Wish>,
    version: u32,
}

impl Users {
    pub(crate) fn from_seed(seed: u64) -> Self {
        // Another stream than the faults', from the same seed.
        Self { dice: StdRng::seed_from_u64(seed ^ 0x75_73_65_72), wishes: BTreeMap::new(), version: 0 }
    }

    /// Acts for `time`, then leaves all nodes usable.
    pub(crate) async fn trouble(&mut self, cluster: &TestCluster, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.act(&cluster.client).await;
            tokio::time::sleep(Duration::from_secs(self.dice.random_range(0..LONGEST_PAUSE_SECONDS))).await;
        }
        for node in
            Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await.expect("nodes")
        {
            cordon(&cluster.client, &node.name_any(), false).await;
        }
    }

    async fn act(&mut self, client: &Client) {
        let name = NAMES[self.dice.random_range(0..NAMES.len())];
        match self.dice.random_range(0..10) {
            0..=3 => self.change(client, name).await,
            4 => self.delete(client, name).await,
            5 | 6 => self.kill_a_pod(client).await,
            7 => self.cordon_a_node(client, true).await,
            _ => self.cordon_a_node(client, false).await,
        }
    }

    /// Creates the Deployment, or gives it another size and every other time another template.
    async fn change(&mut self, client: &Client, name: &'static str) {
        self.version += u32::from(self.dice.random_bool(0.5));
        let wish = Wish { replicas: self.dice.random_range(0..=MOST_REPLICAS), version: self.version };
        let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
        let manifest = deployment(name, &wish);
        if self.wishes.contains_key(name) {
            let patch = json!({"spec": manifest["spec"]});
            deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
        } else {
            let object = serde_json::from_value(manifest).expect("a Deployment");
            match deployments.create(&PostParams::default(), &object).await {
                Ok(_) => {}
                // Deleted a moment ago and still there in the foreground: not this time.
                Err(kube::Error::Api(status)) if status.code == 409 => return,
                Err(error) => panic!("create {name}: {error}"),
            }
        }
        self.wishes.insert(name, wish);
    }

    async fn delete(&mut self, client: &Client, name: &'static str) {
        if self.wishes.remove(name).is_some() {
            let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
            let how = if self.dice.random_bool(0.5) {
                DeleteParams::background()
            } else {
                DeleteParams::foreground()
            };
            deployments.delete(name, &how).await.expect("deleted");
        }
    }

    async fn kill_a_pod(&mut self, client: &Client) {
        let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        let all = pods.list(&ListParams::default()).await.expect("pods").items;
        if all.is_empty() {
            return;
        }
        let name = all[self.dice.random_range(0..all.len())].name_any();
        match pods.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            outcome => _ = outcome.expect("deleted"),
        }
    }

    async fn cordon_a_node(&mut self, client: &Client, cordoned: bool) {
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.expect("nodes").items;
        let name = nodes[self.dice.random_range(0..nodes.len())].name_any();
        cordon(client, &name, cordoned).await;
    }

    /// Whether the cluster is what was asked for and holds nothing else; the error says what is not.
    pub(crate) async fn wishes_are_met(&self, cluster: &TestCluster) -> Result<(), String> {
        let pods = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE);
        let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let sets = Api::<ReplicaSet>::namespaced(cluster.client.clone(), NAMESPACE);
        let sets = sets.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        for (name, wish) in &self.wishes {
            let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), NAMESPACE);
            let deployment = deployments.get(name).await.map_err(|error| error.to_string())?;
            let ready =
                deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
            let mine = pods.iter().filter(|pod| runs(pod, name, wish)).count();
            if ready != wish.replicas || mine != usize::try_from(wish.replicas).expect("not negative") {
                return Err(format!("{name}: wanted {wish:?}, ready {ready}, pods {mine} of {}", pods.len()));
            }
        }
        let wanted: i32 = self.wishes.values().map(|wish| wish.replicas).sum();
        if pods.len() != usize::try_from(wanted).expect("not negative") {
            let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
            return Err(format!("{} pods, wanted {wanted}: {names:?}", pods.len()));
        }
        let owner = |set: &ReplicaSet| set.labels().get("app").cloned().unwrap_or_default();
        match sets.iter().find(|set| !self.wishes.contains_key(owner(set).as_str())) {
            Some(set) => Err(format!("replica set {} outlived its deployment", set.name_any())),
            None => Ok(()),
        }
    }
}

fn runs(pod: &Pod, name: &str, wish: &Wish) -> bool {
    let label = |key| pod.labels().get(key).map(String::as_str);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    label("app") == Some(name)
        && label("version") == Some(&format!("v{}", wish.version))
        && phase == Some("Running")
}

async fn cordon(client: &Client, node: &str, cordoned: bool) {
    let patch =
        Patch::Merge(json!({"spec": {"unschedulable": if cordoned { json!(true) } else { json!(null) }}}));
    Api::<Node>::all(client.clone()).patch(node, &PatchParams::default(), &patch).await.expect("cordoned");
}

fn deployment(name: &str, wish: &Wish) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": wish.replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "version": format!("v{}", wish.version)}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "main", "image": "localhost/simulated",
                        "resources": {"requests": {"cpu": format!("{}m", rules::REQUEST_MILLI_CPU), "memory": "64Mi"}},
                    }],
                },
            },
        },
    })
}
