//! A whole cluster inside a test: the real API server, controllers, scheduler and simulated nodes in one process,
//! without port, root or sleep. Under a paused runtime an hour of its life takes milliseconds.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use apiserver::authn::User;
use apiserver::{Apiserver, AsUser, Config};
use component::client::from_service;
use component::clock::Clock;
use component::tasks::Tasks;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::faults::Faults;
use crate::nodes::TestNode;

/// Virtual time that a condition may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Virtual pause between two looks, at first and after the condition has been waited for a while.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// Virtual time after which looks become rarer.
const A_WHILE: Duration = Duration::from_secs(20);
/// Seed of every cluster, so that a test does the same thing each time.
const SEED: u64 = 7;

/// A running cluster. `stop` ends its tasks.
#[derive(Clone)]
pub struct TestCluster {
    pub apiserver: Apiserver,
    pub clock: Clock,
    pub tasks: Tasks,
    /// The cluster's administrator.
    pub client: Client,
}

impl TestCluster {
    /// The API server alone, in memory.
    pub async fn apiserver() -> Self {
        let (clock, tasks) = (Clock::start(), Tasks::new());
        let config = Config { seed: Some(SEED), ..Config::default() };
        let apiserver = Apiserver::open(config, clock.clone(), &tasks).await.expect("opens in memory");
        let client = from_service(apiserver.as_user(User::system_masters("admin")));
        Self { apiserver, clock, tasks, client }
    }

    /// The whole cluster: API server, controllers, scheduler, and nodes of these names.
    pub async fn with_nodes(names: &[&str]) -> (Self, Vec<TestNode>) {
        Self::with_nodes_behind(names, &Faults::none()).await
    }

    /// `with_nodes`, with a bad network between the API server and the controllers and scheduler.
    pub async fn with_nodes_behind(names: &[&str], faults: &Faults) -> (Self, Vec<TestNode>) {
        let cluster = Self::apiserver().await;
        cluster.run("system:kube-controller-manager", faults, |client, clock, tasks| async move {
            let config =
                controllers::Config { root_ca: Some("test CA".into()), ..controllers::Config::default() };
            controllers::run(config, client, clock, tasks).await.expect("controllers run");
        });
        cluster.run("system:kube-scheduler", faults, |client, clock, tasks| async move {
            let config = scheduler::Config { seed: Some(SEED), ..scheduler::Config::default() };
            scheduler::run(config, client, clock, tasks).await.expect("the scheduler runs");
        });
        let mut nodes = Vec::new();
        for (number, name) in (1..).zip(names) {
            nodes.push(TestNode::start(&cluster.client, &cluster.clock, &cluster.tasks, name, number).await);
        }
        (cluster, nodes)
    }

    fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        identity: &'static str,
        faults: &Faults,
        work: impl FnOnce(Client, Clock, Tasks) -> F,
    ) {
        let service = self.apiserver.as_user(User::new(identity, ["system:authenticated"]));
        let client = from_service(faults.around(service));
        self.tasks.spawn(identity, work(client, self.clock.clone(), self.tasks.clone()));
    }

    /// The objects of a kind in namespace `default`.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates an object, given in JSON, in namespace `default`.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).expect("an object of that kind");
        self.api().create(&PostParams::default(), &object).await.expect("the object is created")
    }

    /// Changes an object in namespace `default` by a merge patch.
    pub async fn change<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let patched = self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the object is changed")
    }

    /// All objects of a kind in namespace `default`.
    pub async fn all<K>(&self) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api().list(&ListParams::default()).await.expect("a list").items
    }

    /// The server as seen by the administrator: for requests that no typed client would send.
    pub fn service(&self) -> AsUser {
        self.apiserver.as_user(User::system_masters("admin"))
    }

    /// Waits, in virtual time, until `look` returns `Ok`; panics with what it said last.
    pub async fn eventually<T, E, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, E>>,
        E: Debug,
    {
        let start = tokio::time::Instant::now();
        loop {
            match look().await {
                Ok(seen) => return seen,
                Err(last) if start.elapsed() > PATIENCE => {
                    panic!("{what}: not within {PATIENCE:?}; last: {last:?}")
                }
                Err(_) => tokio::time::sleep(PAUSES[usize::from(start.elapsed() > A_WHILE)]).await,
            }
        }
    }

    /// Ends all tasks and waits for them.
    pub async fn stop(self) {
        let late = self.tasks.stop().await;
        assert!(late.is_empty(), "tasks that did not end: {late:?}");
    }
}

impl Debug for TestCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCluster").field("apiserver", &self.apiserver).finish_non_exhaustive()
    }
}
