//! A runtime without processes: containers are Running some time after they were started.
//!
//! Promise: the same answers as a real runtime gives for the same calls, from a few hundred bytes a pod. Pod
//! addresses come from the node's pod CIDR and are unique on the node. A pod may say how long its containers run
//! (annotation `steersman.io/simulated-run-seconds`) and how they end (`steersman.io/simulated-exit-code`);
//! without it they run until they are stopped. What needs a process (exec, attach, port-forward) is refused.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use component::clock::Clock;
use component::tasks::Tasks;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    Container, ContainerConfig, ContainerDetail, ContainerStats, Hint, Image, ImageUser, Listing, Login,
    Output, PodRef, Reply, RunState, Runtime, RuntimeError, RuntimeVersion, Sandbox, SandboxConfig,
    TerminationMessage,
};
use crate::containers::labels;
use crate::serve::session::{Session, StreamError};

/// Pod annotation: seconds after which every container ends by itself.
pub(crate) const RUN_SECONDS: &str = "steersman.io/simulated-run-seconds";

/// Pod annotation: exit code of containers that end by themselves.
pub(crate) const EXIT_CODE: &str = "steersman.io/simulated-exit-code";

const NO_PROCESS: &str = "this node is simulated: there is no process behind the container";

/// The containers of one simulated node.
#[derive(Debug)]
pub(crate) struct Simulated {
    start_latency: Duration,
    clock: Clock,
    tasks: Tasks,
    state: Mutex<State>,
    ids: AtomicU64,
    hints: mpsc::UnboundedSender<Hint>,
    hint_queue: Mutex<Option<mpsc::UnboundedReceiver<Hint>>>,
}

#[derive(Debug)]
struct State {
    /// First address and number of addresses that pods may have.
    range: (u32, u32),
    taken: HashSet<u32>,
    next_address: u32,
    /// By pod uid, then attempt.
    pods: BTreeMap<String, Vec<SimulatedSandbox>>,
}

/// How long a container runs, and its exit code then.
type End = (Duration, i32);

#[derive(Debug)]
struct SimulatedSandbox {
    id: Box<str>,
    pod: PodRef,
    attempt: u32,
    ready: bool,
    created: Timestamp,
    address: Option<u32>,
    /// How long containers run and how they end then.
    ends: Option<End>,
    containers: Vec<SimulatedContainer>,
}

#[derive(Debug)]
struct SimulatedContainer {
    id: Box<str>,
    name: Box<str>,
    image: Box<str>,
    created: Timestamp,
    started: Option<Timestamp>,
    finished: Option<(Timestamp, i32)>,
    spec_hash: u64,
    restart_count: i32,
}

impl Simulated {
    /// `index` tells simulated nodes of one process apart: until the cluster assigns a pod CIDR, node 3 uses
    /// `10.128.3.0/24`.
    pub(crate) fn new(index: u32, start_latency: Duration, clock: Clock, tasks: Tasks) -> Self {
        let (hints, hint_queue) = mpsc::unbounded_channel();
        let first = u32::from(Ipv4Addr::new(10, 128, 0, 0)) + index * 256;
        Self {
            start_latency,
            clock,
            tasks,
            state: Mutex::new(State {
                range: (first, 256),
                taken: HashSet::new(),
                next_address: 2,
                pods: BTreeMap::new(),
            }),
            ids: AtomicU64::new(u64::from(index) << 40),
            hints,
            hint_queue: Mutex::new(Some(hint_queue)),
        }
    }

    fn new_id(&self) -> Box<str> {
        format!("{:064x}", self.ids.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Ends a container by itself after its time, and tells.
    fn schedule_end(&self, uid: String, after: Duration) {
        let hints = self.hints.clone();
        self.tasks.spawn_until_stopped("simulated-container", async move {
            tokio::time::sleep(after).await;
            // Nobody listens during shutdown.
            let _ = hints.send(Hint::Pod(uid));
        });
    }
}

impl State {
    fn sandbox(&mut self, id: &str) -> Result<&mut SimulatedSandbox, RuntimeError> {
        let all = self.pods.values_mut().flatten();
        all.into_iter()
            .find(|sandbox| &*sandbox.id == id)
            .ok_or_else(|| RuntimeError::NotFound(id.to_owned()))
    }

    fn container(
        &mut self,
        id: &str,
    ) -> Result<(&mut SimulatedContainer, &PodRef, Option<End>), RuntimeError> {
        for sandbox in self.pods.values_mut().flatten() {
            if let Some(container) = sandbox.containers.iter_mut().find(|container| &*container.id == id) {
                return Ok((container, &sandbox.pod, sandbox.ends));
            }
        }
        Err(RuntimeError::NotFound(id.to_owned()))
    }

    fn take_address(&mut self) -> Result<u32, RuntimeError> {
        let (first, count) = self.range;
        // The network's own address, the gateway and the broadcast address are not for pods.
        for _ in 0..count {
            let offset = self.next_address;
            self.next_address = if offset + 2 >= count { 2 } else { offset + 1 };
            if self.taken.insert(first + offset) {
                return Ok(first + offset);
            }
        }
        Err(RuntimeError::Refused("no free address in the pod CIDR".to_owned()))
    }
}

impl SimulatedContainer {
    /// When and how it ended, by now.
    fn end(&self, ends: Option<End>, now: Timestamp) -> Option<(Timestamp, i32)> {
        let by_itself = || {
            let (after, code) = ends?;
            let end = self.started? + jiff::SignedDuration::try_from(after).ok()?;
            (end <= now).then_some((end, code))
        };
        self.finished.or_else(by_itself)
    }
}

impl Runtime for Simulated {
    fn version(&self) -> Reply<'_, RuntimeVersion> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ready(Ok(RuntimeVersion { name: "simulated".to_owned(), version }))
    }

    fn problems(&self) -> Reply<'_, Vec<String>> {
        ready(Ok(Vec::new()))
    }

    fn set_pod_cidr<'a>(&'a self, cidr: &'a str) -> Reply<'a, ()> {
        let range = cidr.split_once('/').and_then(|(address, bits)| {
            let bits: u32 = bits.parse().ok()?;
            let address: Ipv4Addr = address.parse().ok()?;
            (8..=29).contains(&bits).then(|| (u32::from(address), 1 << (32 - bits)))
        });
        let Some(range) = range else {
            return ready(Err(RuntimeError::Refused(format!("cannot simulate addresses of {cidr}"))));
        };
        self.state.lock().range = range;
        ready(Ok(()))
    }

    fn is_real(&self) -> bool {
        false
    }

    fn list<'a>(&'a self, uid: Option<&'a str>) -> Reply<'a, Listing> {
        let now = self.clock.now();
        let state = self.state.lock();
        let mut listing = Listing::default();
        let mut add = |sandboxes: &Vec<SimulatedSandbox>| {
            for sandbox in sandboxes {
                listing.sandboxes.push(Sandbox {
                    id: sandbox.id.to_string(),
                    pod: sandbox.pod.clone(),
                    attempt: sandbox.attempt,
                    ready: sandbox.ready,
                    created: sandbox.created,
                });
                listing.containers.extend(sandbox.containers.iter().map(|container| Container {
                    id: container.id.to_string(),
                    sandbox: sandbox.id.to_string(),
                    pod_uid: sandbox.pod.uid.clone(),
                    name: container.name.to_string(),
                    state: match (container.started, container.end(sandbox.ends, now)) {
                        (_, Some(_)) => RunState::Exited,
                        (Some(_), None) => RunState::Running,
                        (None, None) => RunState::Created,
                    },
                    created: container.created,
                    spec_hash: container.spec_hash,
                    restart_count: container.restart_count,
                    termination_message: TerminationMessage::default(),
                }));
            }
        };
        match uid {
            Some(uid) => state.pods.get(uid).map_or((), add),
            None => state.pods.values().for_each(&mut add),
        }
        listing.sandboxes.reverse();
        listing.containers.reverse();
        ready(Ok(listing))
    }

    fn hints(&self) -> BoxStream<'_, Hint> {
        match self.hint_queue.lock().take() {
            Some(queue) => tokio_stream::wrappers::UnboundedReceiverStream::new(queue).boxed(),
            None => futures::stream::pending().boxed(),
        }
    }

    fn hints_are_complete(&self) -> BoxFuture<'_, bool> {
        std::future::ready(true).boxed()
    }

    fn run_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Reply<'a, String> {
        let id = self.new_id();
        let mut state = self.state.lock();
        let address = if config.namespaces.host_network { Ok(None) } else { state.take_address().map(Some) };
        let address = match address {
            Ok(address) => address,
            Err(error) => return ready(Err(error)),
        };
        let number = |name: &str| config.annotations.get(name).and_then(|text| text.parse::<u32>().ok());
        let ends = number(RUN_SECONDS)
            .map(|seconds| (Duration::from_secs(seconds.into()), number(EXIT_CODE).unwrap_or(0) as i32));
        let sandbox = SimulatedSandbox {
            id: id.clone(),
            pod: config.pod.clone(),
            attempt: config.attempt,
            ready: true,
            created: self.clock.now(),
            address,
            ends,
            containers: Vec::new(),
        };
        state.pods.entry(config.pod.uid.clone()).or_default().push(sandbox);
        ready(Ok(id.into()))
    }

    fn sandbox_addresses<'a>(&'a self, id: &'a str) -> Reply<'a, Vec<IpAddr>> {
        let mut state = self.state.lock();
        let address = state.sandbox(id).map(|sandbox| sandbox.address);
        ready(address.map(|address| address.map(|bits| IpAddr::V4(bits.into())).into_iter().collect()))
    }

    fn stop_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let mut freed = None;
        if let Ok(sandbox) = state.sandbox(id) {
            sandbox.ready = false;
            freed = sandbox.address.take();
            for container in &mut sandbox.containers {
                container.finished = container.end(sandbox.ends, now).or(Some((now, 137)));
            }
        }
        if let Some(address) = freed {
            state.taken.remove(&address);
        }
        ready(Ok(()))
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        let mut state = self.state.lock();
        let uid = state.sandbox(id).map(|sandbox| sandbox.pod.uid.clone());
        if let Ok(uid) = uid
            && let Some(sandboxes) = state.pods.get_mut(&uid)
        {
            sandboxes.retain(|sandbox| &*sandbox.id != id);
            if sandboxes.is_empty() {
                state.pods.remove(&uid);
            }
        }
        ready(Ok(()))
    }

    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
        _: &'a SandboxConfig,
    ) -> Reply<'a, String> {
        let id = self.new_id();
        let annotation = |name: &str| config.annotations.get(name).map(String::as_str).unwrap_or_default();
        let container = SimulatedContainer {
            id: id.clone(),
            name: config.name.as_str().into(),
            image: config.image.as_str().into(),
            created: self.clock.now(),
            started: None,
            finished: None,
            spec_hash: u64::from_str_radix(annotation(labels::CONTAINER_HASH), 16).unwrap_or(0),
            restart_count: annotation(labels::RESTART_COUNT).parse().unwrap_or(0),
        };
        let mut state = self.state.lock();
        let added = state.sandbox(sandbox).map(|sandbox| sandbox.containers.push(container));
        ready(added.map(|()| id.into()))
    }

    fn start_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        async move {
            tokio::time::sleep(self.start_latency).await;
            let now = self.clock.now();
            let (uid, ends) = {
                let mut state = self.state.lock();
                let (container, pod, ends) = state.container(id)?;
                container.started = Some(now);
                (pod.uid.clone(), ends)
            };
            if let Some((after, _)) = ends {
                self.schedule_end(uid, after);
            }
            Ok(())
        }
        .boxed()
    }

    fn stop_container<'a>(&'a self, id: &'a str, _: Duration) -> Reply<'a, ()> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Ok((container, _, ends)) = state.container(id) {
            container.finished = container.end(ends, now).or(Some((now, 0)));
        }
        ready(Ok(()))
    }

    fn remove_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        for sandbox in self.state.lock().pods.values_mut().flatten() {
            sandbox.containers.retain(|container| &*container.id != id);
        }
        ready(Ok(()))
    }

    fn container_detail<'a>(&'a self, id: &'a str) -> Reply<'a, ContainerDetail> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let detail = state.container(id).map(|(container, _, ends)| {
            let end = container.end(ends, now);
            ContainerDetail {
                started: container.started,
                finished: end.map(|(at, _)| at),
                exit_code: end.map_or(0, |(_, code)| code),
                reason: match end {
                    None => String::new(),
                    Some((_, 0)) => "Completed".to_owned(),
                    Some(_) => "Error".to_owned(),
                },
                message: String::new(),
                image: container.image.to_string(),
                image_id: format!("simulated://{}", container.image),
                log_path: String::new(),
            }
        });
        ready(detail)
    }

    fn exec_sync<'a>(&'a self, _: &'a str, _: &'a [String], _: Duration) -> Reply<'a, Output> {
        // Hooks and probes of simulated containers succeed.
        ready(Ok(Output::default()))
    }

    fn exec<'a>(&'a self, _: &'a str, _: &'a [String], _: Session) -> BoxFuture<'a, Result<(), StreamError>> {
        std::future::ready(Err(StreamError::Failed(NO_PROCESS.to_owned()))).boxed()
    }

    fn attach<'a>(&'a self, _: &'a str, _: Session) -> BoxFuture<'a, Result<(), StreamError>> {
        std::future::ready(Err(StreamError::Failed(NO_PROCESS.to_owned()))).boxed()
    }

    fn network_namespace<'a>(&'a self, _: &'a str) -> Reply<'a, Option<PathBuf>> {
        ready(Err(RuntimeError::Refused(NO_PROCESS.to_owned())))
    }

    fn image<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Image>> {
        // Every image is there.
        let image =
            Image { id: name.to_owned(), names: vec![name.to_owned()], bytes: 0, user: ImageUser::Unset };
        ready(Ok(Some(image)))
    }

    fn images(&self) -> Reply<'_, Vec<Image>> {
        ready(Ok(Vec::new()))
    }

    fn pull<'a>(&'a self, name: &'a str, _: Option<&'a Login>) -> Reply<'a, String> {
        ready(Ok(name.to_owned()))
    }

    fn stats(&self) -> Reply<'_, Vec<ContainerStats>> {
        ready(Ok(Vec::new()))
    }

    fn image_filesystem(&self) -> Reply<'_, (u64, u64)> {
        ready(Ok((0, 0)))
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, RuntimeError>) -> Reply<'a, T> {
    std::future::ready(result).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> Simulated {
        Simulated::new(1, Duration::from_secs(2), Clock::start(), Tasks::new())
    }

    fn sandbox_config(uid: &str) -> SandboxConfig {
        let pod = PodRef { namespace: "default".into(), name: uid.into(), uid: uid.into() };
        SandboxConfig { pod, ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn containers_run_after_the_latency_and_end_when_asked_to() {
        let runtime = runtime();
        let mut config = sandbox_config("a");
        config.annotations.insert(RUN_SECONDS.into(), "5".into());
        config.annotations.insert(EXIT_CODE.into(), "3".into());
        let sandbox = runtime.run_sandbox(&config).await.unwrap();
        let container = ContainerConfig { name: "c".into(), ..Default::default() };
        let id = runtime.create_container(&sandbox, &container, &config).await.unwrap();
        let start = tokio::time::Instant::now();
        runtime.start_container(&id).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(runtime.list(Some("a")).await.unwrap().containers[0].state, RunState::Running);
        assert_eq!(runtime.hints().next().await, Some(Hint::Pod("a".into())));
        assert_eq!(runtime.list(None).await.unwrap().containers[0].state, RunState::Exited);
        assert_eq!(runtime.container_detail(&id).await.unwrap().exit_code, 3);
    }

    #[tokio::test]
    async fn addresses_are_unique_and_come_back() {
        let runtime = runtime();
        runtime.set_pod_cidr("10.1.2.0/29").await.unwrap();
        let mut seen = HashSet::new();
        let mut ids = vec![];
        for uid in ["a", "b", "c", "d", "e"] {
            let id = runtime.run_sandbox(&sandbox_config(uid)).await.unwrap();
            assert!(seen.insert(runtime.sandbox_addresses(&id).await.unwrap()[0]));
            ids.push(id);
        }
        assert!(runtime.run_sandbox(&sandbox_config("f")).await.is_err());
        runtime.stop_sandbox(&ids[0]).await.unwrap();
        runtime.remove_sandbox(&ids[0]).await.unwrap();
        assert!(runtime.run_sandbox(&sandbox_config("f")).await.is_ok());
    }
}
