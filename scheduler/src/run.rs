//! The scheduler in its surroundings: informers and answers go in as events, effects come out as requests.
//!
//! One task owns the state and the writer; nothing else touches either. Only the leader decides; the others keep
//! their informers warm, so that a handover costs no more than the lease.

use crate::bind::Writer;
use crate::config::{Config, File};
use crate::decisions::Desk;
use crate::extender::{self, Extenders};
use crate::metrics::Metrics;
use crate::state::State;
use crate::watch::{Feed, Happened, Sources};
use component::client::limited;
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::random::Random;
use component::tasks::Tasks;
use jiff::Timestamp;
use kube::Client;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

/// Pods decided before the loop looks at what happened meanwhile.
const DECISIONS_A_ROUND: usize = 32;

/// What a scheduler stands on.
#[derive(Clone)]
pub struct Surroundings {
    /// Sends its writes.
    pub client: Client,
    /// Holds its lease: no queue of other requests may delay that.
    pub elector: Client,
    /// Shows it pods, nodes and budgets.
    pub informers: Informers,
    /// Its time.
    pub clock: Clock,
    /// Decides between equally good nodes.
    pub random: Random,
    /// What it counts.
    pub metrics: Metrics,
    /// Where others ask what it knows.
    pub desk: Desk,
    /// Where that is shown.
    pub registry: Registry,
    /// HTTP services that have a say.
    pub extenders: Extenders,
}

impl Surroundings {
    /// With randomness of its own, and metrics that nobody reads.
    pub fn new(client: Client, informers: Informers, clock: Clock) -> Self {
        Self::measured(client, informers, clock, Registry::new())
    }

    /// With randomness of its own, and its metrics in the registry of the process.
    pub fn measured(client: Client, informers: Informers, clock: Clock, registry: Registry) -> Self {
        let metrics = Metrics::new(&registry);
        let elector = client.clone();
        let random = Random::from_entropy();
        let (desk, extenders) = Default::default();
        Self { client, elector, informers, clock, random, metrics, desk, registry, extenders }
    }

    /// The same with what a configuration says of others: its extenders, and its limit of requests.
    ///
    /// # Errors
    ///
    /// When an extender's address or certificate cannot be used.
    pub async fn configured(mut self, file: &File) -> Result<Self, extender::Error> {
        self.extenders = Extenders::connect(&file.extenders, &self.client, &self.informers).await?;
        if let Some((qps, burst)) = file.request_limit() {
            self.client = limited(self.client, qps, burst);
        }
        Ok(self)
    }
}

/// Why the scheduler ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process may lead now. The process should end, so that nothing it still thinks is acted on.
    #[error("lost the leader lease")]
    LostLease,
}

/// Schedules until the tasks are told to stop.
///
/// # Errors
///
/// When leadership is lost.
pub async fn run(config: Config, client: Client, clock: Clock, tasks: Tasks) -> Result<(), Error> {
    let informers = Informers::new(client.clone(), tasks.child(), clock.clone());
    let mut surroundings = Surroundings::new(client, informers, clock);
    if let Some(seed) = config.seed {
        surroundings.random = Random::from_seed(seed);
    }
    run_in(config, surroundings, tasks).await
}

/// [`run`] with informers, randomness and metrics that are shared with others.
///
/// # Errors
///
/// When leadership is lost.
pub async fn run_in(config: Config, surroundings: Surroundings, tasks: Tasks) -> Result<(), Error> {
    let sources = Sources::start(&surroundings.informers);
    let mut stopping = pin!(tasks.stopping());
    tokio::select! {
        () = &mut stopping => return Ok(()),
        () = async { tokio::join!(sources.synced(), surroundings.extenders.synced()); } => {}
    }
    let Some(leader) = config.leader.clone() else {
        decide(&config, &surroundings, &sources, &tasks).await;
        return Ok(());
    };
    let lease = leader.name.clone();
    let leadership =
        component::leader::elect(surroundings.elector.clone(), leader, surroundings.clock.clone(), &tasks);
    leadership.measure(&surroundings.registry, &lease);
    tokio::select! {
        () = &mut stopping => return Ok(()),
        () = leadership.acquired() => {}
    }
    tokio::select! {
        () = decide(&config, &surroundings, &sources, &tasks) => {
            leadership.release().await;
            Ok(())
        }
        () = leadership.lost() => Err(Error::LostLease),
    }
}

/// The loop: take in all that happened, decide a few pods, hand out what has to be written; sleep when there is
/// nothing to do.
async fn decide(config: &Config, surroundings: &Surroundings, sources: &Sources, tasks: &Tasks) {
    let Surroundings { client, clock, random, metrics, desk, extenders, .. } = surroundings;
    let mut questions = desk.sit().await;
    let state = State::new(Arc::new(config.profiles()), config.backoff, random.clone(), metrics.clone());
    let mut state = state.with_extenders(config.interests.clone());
    let names = config.scheduler_names().map(str::to_owned);
    let writes = metrics.writes.clone();
    let (mut writer, answers) =
        Writer::new(client.clone(), names, extenders.clone(), writes, clock.clone(), tasks.clone());
    let mut feed = Feed::new(sources, answers);
    let mut stopping = pin!(tasks.stopping());
    loop {
        while let Some(happened) = feed.try_next() {
            happened.apply(&mut state, &mut writer, clock.now());
        }
        while let Ok(asked) = questions.try_recv() {
            state.answer(asked);
        }
        state.tick(clock.now());
        for _ in 0..DECISIONS_A_ROUND {
            if writer.is_full() || !state.schedule_one(clock.now()) {
                break;
            }
            hand_out(&mut state, &mut writer);
        }
        hand_out(&mut state, &mut writer);
        state.publish_metrics();
        writer.publish_metrics();
        if state.is_ready() && !writer.is_full() && !tasks.is_stopping() {
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            biased;
            () = &mut stopping => return,
            happened = feed.next() => happened.apply(&mut state, &mut writer, clock.now()),
            Some(asked) = questions.recv() => state.answer(asked),
            () = until(clock, state.next_due()) => {}
        }
    }
}

fn hand_out(state: &mut State, writer: &mut Writer) {
    for effect in state.take_effects() {
        writer.carry_out(effect);
    }
}

async fn until(clock: &Clock, due: Option<Timestamp>) {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Happened {
    fn apply(self, state: &mut State, writer: &mut Writer, now: Timestamp) {
        let event = match self {
            Self::Event(event) => Some(event),
            Self::Answer(answer) => writer.settle(answer),
        };
        if let Some(event) = event {
            state.apply(event, now);
            hand_out(state, writer);
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("informers", &self.informers).finish_non_exhaustive()
    }
}
