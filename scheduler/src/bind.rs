//! Carries decisions out: bindings, evictions, conditions and nominations, as requests to the API server.
//!
//! Binds and evictions go first, and many at a time; a condition waits for its turn, only the latest of a pod counts,
//! and at most one patch a pod is under way. So ten thousand pods that cannot be placed never hold up one that can.
//! Each bind answers with [`Event::Bound`]. Upstream: the binding cycle and `backend/api_dispatcher`.

use crate::extender::Extenders;
use crate::framework::{Target, Write};
use crate::groups::PodGroup;
use crate::metrics::{Call, Point, WriteMetrics};
use crate::pod::{NodeName, PodInfo, Uid};
use crate::prepare;
use crate::requests;
use crate::state::{Effect, Event};
use component::clock::Clock;
use component::events::Recorder;
use component::informers::Key;
use component::tasks::Tasks;
use jiff::Timestamp;
use kube::Client;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// Binds and evictions under way at a time; at this many no further pod is decided.
pub const BINDS_LIMIT: usize = 128;
/// Status patches under way at a time.
pub const PATCHES_LIMIT: usize = 16;

/// Sends what [`crate::state::State`] decided. Owned by the scheduler's task, like the state.
pub struct Writer {
    client: Client,
    /// By scheduler name, under which the events are reported.
    recorders: BTreeMap<String, Recorder>,
    extenders: Extenders,
    clock: Clock,
    tasks: Tasks,
    answers: UnboundedSender<Answer>,
    metrics: WriteMetrics,
    /// Victims that are still to go, by the pod they go for.
    evictions: FxHashMap<Uid, Evictions>,
    /// Binds and evictions that wait for their turn.
    urgent: VecDeque<Urgent>,
    urgent_under_way: usize,
    /// The latest status patch of each pod or group that waits for its turn, and the order of the turns.
    patches: FxHashMap<Uid, Patch>,
    turns: VecDeque<Uid>,
    /// Pods and groups with a status patch under way.
    patching: FxHashSet<Uid>,
}

#[derive(Debug)]
enum Urgent {
    Prepare { pod: Arc<PodInfo>, writes: Vec<Write> },
    TakeBack { pod: Arc<PodInfo>, writes: Vec<Write> },
    Bind { pod: Arc<PodInfo>, node: NodeName, body: Value },
    Evict { victim: Arc<PodInfo>, preemptor: Arc<PodInfo>, node: NodeName },
}

/// The victims of one pod.
#[derive(Debug)]
struct Evictions {
    left: usize,
    since: Instant,
    failed: bool,
}

#[derive(Debug)]
struct Patch {
    of: Patched,
    body: Value,
}

/// Whose status is patched.
#[derive(Debug)]
enum Patched {
    Pod(Arc<PodInfo>),
    Group(Arc<PodGroup>),
}

/// A request has ended.
#[derive(Debug)]
pub struct Answer(Ended);

#[derive(Debug)]
enum Ended {
    Urgent(Option<Event>),
    Evicted { preemptor: Uid, event: Option<Event> },
    Asked(Event),
    Patch(Uid),
}

impl Writer {
    /// A writer, and where its answers come out: to be given to [`Self::settle`].
    pub fn new(
        client: Client,
        scheduler_names: impl Iterator<Item = String>,
        extenders: Extenders,
        metrics: WriteMetrics,
        clock: Clock,
        tasks: Tasks,
    ) -> (Self, UnboundedReceiver<Answer>) {
        let (answers, receiver) = unbounded_channel();
        let recorder = |name: &String| Recorder::new(client.clone(), name, clock.clone(), &tasks);
        let recorders = scheduler_names.map(|name| (name.clone(), recorder(&name))).collect();
        let writer = Self {
            client,
            recorders,
            extenders,
            clock,
            tasks,
            answers,
            metrics,
            evictions: FxHashMap::default(),
            urgent: VecDeque::new(),
            urgent_under_way: 0,
            patches: FxHashMap::default(),
            turns: VecDeque::new(),
            patching: FxHashSet::default(),
        };
        (writer, receiver)
    }

    /// True when so much is under way that deciding more would only build up a backlog.
    pub fn is_full(&self) -> bool {
        self.urgent_under_way >= BINDS_LIMIT
    }

    /// Starts an effect, or puts it in line.
    pub fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { pod, writes } => self.urgent.push_back(Urgent::Prepare { pod, writes }),
            Effect::TakeBack { pod, writes } => self.urgent.push_back(Urgent::TakeBack { pod, writes }),
            Effect::Bind { pod, node, body } => {
                // What was to be said about its failure is no longer true.
                self.patches.remove(&pod.uid);
                self.urgent.push_back(Urgent::Bind { pod, node, body });
            }
            Effect::Extend { pod, nodes } => self.ask(async move |extenders| Event::Advised {
                advice: extenders.ask(&pod, nodes).await,
                pod: pod.uid.clone(),
            }),
            Effect::ChooseVictims { pod, offers } => self.ask(async move |extenders| Event::VictimsChosen {
                offers: extenders.choose_victims(&pod, offers).await,
                pod: pod.uid.clone(),
            }),
            Effect::Evict { victim, preemptor, node } => {
                let new = || Evictions { left: 0, since: Instant::now(), failed: false };
                self.evictions.entry(preemptor.uid.clone()).or_insert_with(new).left += 1;
                self.urgent.push_back(Urgent::Evict { victim, preemptor, node });
            }
            Effect::Unplaced { pod, reason, message, nomination } => {
                self.record(&pod, |recorder| requests::record_failure(recorder, &pod, &message));
                if let Some(body) = requests::unplaced(&pod, reason, &message, &nomination, self.clock.now())
                {
                    self.patch(pod.uid.clone(), Patched::Pod(pod), body);
                }
            }
            Effect::Unnominate { pod } => {
                let body = requests::unnominate(&pod);
                self.patch(pod.uid.clone(), Patched::Pod(pod), body);
            }
            Effect::Waits { pod, reason, message } => {
                self.record(&pod, |recorder| requests::record_waiting(recorder, &pod, reason, message));
            }
            Effect::GroupScheduled { group, scheduled } => {
                let uid = Uid::from(group.metadata.uid.as_deref().unwrap_or_default());
                let body = requests::group_scheduled(&group, scheduled, self.clock.now());
                self.patch(uid, Patched::Group(group), body);
            }
            Effect::Placed { pod, node } => {
                tracing::info!(namespace = pod.namespace(), name = pod.name(), %node, "bound");
                self.record(&pod, |recorder| requests::record_placed(recorder, &pod, &node));
            }
        }
        self.start();
    }

    /// Takes an answer in; the event in it is for the state.
    pub fn settle(&mut self, answer: Answer) -> Option<Event> {
        let event = match answer.0 {
            Ended::Urgent(event) => {
                self.urgent_under_way -= 1;
                event
            }
            Ended::Evicted { preemptor, event } => {
                self.urgent_under_way -= 1;
                self.evicted(preemptor, event.is_none());
                event
            }
            Ended::Asked(event) => Some(event),
            Ended::Patch(uid) => {
                self.patching.remove(&uid);
                if self.patches.contains_key(&uid) {
                    self.turns.push_back(uid);
                }
                None
            }
        };
        self.start();
        event
    }

    /// One victim less, or one that could not be evicted.
    fn evicted(&mut self, preemptor: Uid, succeeded: bool) {
        let Entry::Occupied(mut entry) = self.evictions.entry(preemptor) else { return };
        let evictions = entry.get_mut();
        (evictions.left, evictions.failed) = (evictions.left - 1, evictions.failed || !succeeded);
        if evictions.left == 0 {
            let Evictions { since, failed, .. } = entry.remove();
            self.metrics.evicted(!failed, since.elapsed());
        }
    }

    /// Brings the gauges of requests up to date.
    pub fn publish_metrics(&self) {
        let waiting = [(Call::Binding, self.urgent.len()), (Call::StatusPatch, self.turns.len())];
        self.metrics.under_way(self.urgent_under_way, waiting);
    }

    /// Asks beside all limits: the state asks about one pod at a time, and an extender may be slow.
    fn ask<F>(&self, question: impl FnOnce(Extenders) -> F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let (answer, answers) = (question(self.extenders.clone()), self.answers.clone());
        self.tasks.spawn("extenders", async move {
            let _ = answers.send(Answer(Ended::Asked(answer.await)));
        });
    }

    fn patch(&mut self, uid: Uid, of: Patched, body: Value) {
        let waits = self.patches.insert(uid.clone(), Patch { of, body }).is_some();
        if !waits && !self.patching.contains(&uid) {
            self.turns.push_back(uid);
        }
    }

    fn record(&self, pod: &PodInfo, record: impl FnOnce(&Recorder)) {
        if let Some(recorder) = self.recorders.get(pod.scheduler_name()) {
            record(recorder);
        }
    }

    fn start(&mut self) {
        while self.urgent_under_way < BINDS_LIMIT {
            let Some(urgent) = self.urgent.pop_front() else { break };
            self.urgent_under_way += 1;
            let (client, answers) = (self.client.clone(), self.answers.clone());
            let extenders = self.extenders.clone();
            let (recorder, now) = (self.recorder_of(&urgent), self.clock.now());
            let metrics = self.metrics.clone();
            self.tasks.spawn("write", async move {
                let preemptor = urgent.preemptor();
                let event = urgent.send(&client, &extenders, &metrics, recorder.as_ref(), now).await;
                let ended = match preemptor {
                    Some(preemptor) => Ended::Evicted { preemptor, event },
                    None => Ended::Urgent(event),
                };
                // Nobody listens only when the scheduler has stopped.
                let _ = answers.send(Answer(ended));
            });
        }
        while self.patching.len() < PATCHES_LIMIT {
            let Some(uid) = self.turns.pop_front() else { break };
            let Some(patch) = self.patches.remove(&uid) else { continue };
            self.patching.insert(uid.clone());
            let (client, answers) = (self.client.clone(), self.answers.clone());
            let metrics = self.metrics.clone();
            self.tasks.spawn("write", async move {
                patch.send(&client, &metrics).await;
                let _ = answers.send(Answer(Ended::Patch(uid)));
            });
        }
    }

    fn recorder_of(&self, urgent: &Urgent) -> Option<Recorder> {
        let pod = match urgent {
            Urgent::Prepare { pod, .. } | Urgent::TakeBack { pod, .. } | Urgent::Bind { pod, .. } => pod,
            Urgent::Evict { preemptor, .. } => preemptor,
        };
        self.recorders.get(pod.scheduler_name()).cloned()
    }
}

impl Patch {
    async fn send(self, client: &Client, metrics: &WriteMetrics) {
        let start = Instant::now();
        let outcome = match &self.of {
            Patched::Pod(pod) => {
                let outcome = requests::patch_status(client, pod, &self.body).await;
                metrics.called(Call::StatusPatch, outcome.is_ok(), start.elapsed());
                outcome
            }
            Patched::Group(group) => requests::patch_group_status(client, group, &self.body).await,
        };
        if let Err(error) = outcome {
            tracing::debug!(of = self.of.name(), %error, "status not patched");
        }
    }
}

impl Patched {
    fn name(&self) -> String {
        match self {
            Self::Pod(pod) => pod.to_string(),
            Self::Group(group) => {
                let Key { namespace, name } = group.key();
                format!("{namespace}/{name}")
            }
        }
    }
}

impl Urgent {
    /// The pod for which it evicts another.
    fn preemptor(&self) -> Option<Uid> {
        match self {
            Self::Prepare { .. } | Self::TakeBack { .. } | Self::Bind { .. } => None,
            Self::Evict { preemptor, .. } => Some(preemptor.uid.clone()),
        }
    }

    async fn send(
        self,
        client: &Client,
        extenders: &Extenders,
        metrics: &WriteMetrics,
        recorder: Option<&Recorder>,
        now: Timestamp,
    ) -> Option<Event> {
        let start = Instant::now();
        match self {
            Self::Prepare { pod, writes } => {
                let made = writes.iter().find_map(|write| match &write.target {
                    Target::NewDeviceClaim(key) => Some(key.clone()),
                    _ => None,
                });
                let (wrote, outcome) = prepare::send(client, writes).await;
                // Nothing was made if something failed before.
                if let Some(key) = made {
                    metrics.claim_made(wrote.iter().any(|object| object.claim().as_ref() == Some(&key)));
                }
                metrics.point(Point::PreBind, pod.scheduler_name(), outcome.is_ok(), start.elapsed());
                Some(Event::Prepared { pod, wrote, outcome })
            }
            Self::TakeBack { pod, writes } => {
                if let Err(error) = prepare::take_back(client, writes).await {
                    tracing::warn!(%pod, %error, "what was written for a pod was not taken back");
                }
                None
            }
            Self::Bind { pod, node, body } => {
                let outcome = match extenders.bind(&pod, &node).await {
                    Some(outcome) => outcome,
                    None => {
                        let outcome = requests::bind(client, &pod, &node, &body).await;
                        metrics.called(Call::Binding, outcome.is_ok(), start.elapsed());
                        outcome
                    }
                };
                metrics.point(Point::Bind, pod.scheduler_name(), outcome.is_ok(), start.elapsed());
                Some(Event::Bound { pod, node, outcome })
            }
            Self::Evict { victim, preemptor, node } => {
                if let Err(error) = requests::evict(client, &victim, &preemptor, now).await {
                    tracing::warn!(%victim, %error, "eviction failed");
                    return Some(Event::NotEvicted { preemptor });
                }
                if let Some(recorder) = recorder {
                    requests::record_preempted(recorder, &victim, &preemptor, &node);
                }
                None
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("under_way", &self.urgent_under_way)
            .field("patching", &self.patching.len())
            .finish_non_exhaustive()
    }
}
