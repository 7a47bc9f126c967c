//! A report out of what the scheduler knows: its records as they are, and everything else computed from its cluster.

use super::relax;
use super::report::{
    By, Decision, Explanation, FilterCount, Happening, Outcome, Outlook, PluginScore, Ranked, Ranking, Room,
    Source, Standing,
};
use super::{amounts, node, scores};
use crate::cache::Snapshot;
use crate::cycle::{Checks, fitting};
use crate::decisions::{self, Look, Moved};
use crate::failure::{Count, Failure};
use crate::framework::{Profile, Verdict};
use crate::metrics::Watch;
use crate::pod::{NodeName, PodInfo};
use crate::preempt::{self, Afresh, Attempt, Budget};
use crate::queue;
use jiff::Timestamp;
use std::sync::Arc;

/// Nodes in the table of scores.
const TOP_NODES: usize = 5;

/// What everything about one pod is computed from.
#[derive(Debug)]
pub struct Case<'a> {
    /// The pod, as if it had no node.
    pub pod: &'a Arc<PodInfo>,
    /// The plugins that decide for it.
    pub profile: &'a Profile,
    /// The cluster without the pod.
    pub cluster: &'a Snapshot,
    /// The disruption budgets.
    pub budgets: &'a [Budget],
    /// The time.
    pub now: Timestamp,
}

/// Tells everything about the pod of a look. `None` when the look has no pod, or no profile is for it.
pub fn explain(look: &Look, wanted: Option<&str>, by: By, now: Timestamp) -> Option<Explanation> {
    let pod = look.pod.as_ref()?;
    let profile = look.profiles.of(pod)?;
    let on = on_node(&look.cluster, pod);
    let unbound = pod.node().map(|_| without_node(pod));
    let pod = unbound.as_ref().unwrap_or(pod);
    let apart = on.as_ref().map(|node| look.cluster.without_pod(node, &pod.uid));
    let cluster = apart.as_ref().unwrap_or(&look.cluster);
    let case = Case { pod, profile, cluster, budgets: &look.budgets, now };
    let ended = pod.view().status.phase.clone().filter(|_| PodInfo::has_ended(pod.view()));
    let standing = match (&on, &look.standing, ended) {
        (_, _, Some(phase)) => Standing::Ended { phase },
        (Some(node), ..) => Standing::Bound { node: node.to_string() },
        (None, Some(standing), _) if by == By::Scheduler => waiting(standing, cluster, pod),
        (None, ..) => Standing::Pending,
    };
    let waits = !matches!(standing, Standing::Bound { .. } | Standing::Ended { .. });
    Some(Explanation {
        pod: pod.to_string(),
        scheduler_name: pod.scheduler_name().to_owned(),
        requests: requests(pod),
        source: Source { by, at: now, note: None },
        decision: look.decisions.iter().rev().find(|decision| is_decision(decision)).map(decision),
        history: if by == By::Scheduler { history(look) } else { Vec::new() },
        outlook: outlook(&case, wanted.or(on.as_deref())),
        node: wanted.map(|name| node::answer(&case, name, on.as_deref() == Some(name))),
        fixes: if waits { relax::fixes(&case) } else { Vec::new() },
        standing,
    })
}

/// What would be decided now.
pub fn outlook(case: &Case<'_>, wanted: Option<&str>) -> Outlook {
    let Case { pod, profile, cluster, .. } = *case;
    let gate = profile.gate(pod, Watch::OFF).or_else(|| profile.gate_among(pod, cluster, Watch::OFF));
    let gate = gate.map(|(_, verdict)| joined(&verdict));
    let found = Checks::prepare(pod, profile, cluster).and_then(|checks| {
        let feasible = fitting(pod, &checks, cluster)?;
        Ok(scores::rank_these(pod, profile, cluster, &feasible, usize::MAX))
    });
    let (failure, ranking) = match found {
        Ok(ranking) => (None, ranking),
        Err(_) if cluster.is_empty() => (Some(Failure::no_nodes()), scores::Ranking::default()),
        Err(failure) => (Some(failure), scores::Ranking::default()),
    };
    let room = failure.as_ref().filter(|failure| !failure.is_empty_cluster()).and_then(|failure| {
        let attempt = Attempt { pod, profile, cluster, failure, budgets: case.budgets, now: case.now };
        Some(profile.preempts().next()?.make_room(&attempt, &Afresh))
    });
    let message = failure.as_ref().map(|failure| {
        let mut failure = failure.clone();
        failure.room = preempt::told(room.as_ref(), profile, pod);
        failure.to_string()
    });
    Outlook {
        nodes: cluster.len(),
        gate,
        filters: failure.as_ref().map(|failure| counts(&failure.counts())).unwrap_or_default(),
        message,
        ranking: told(&ranking, wanted),
        room: room.as_ref().and_then(preempt::Room::made).map(|(node, victims)| Room {
            node: node.to_string(),
            victims: victims.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// What the pod asks for.
pub(crate) fn requests(pod: &PodInfo) -> Vec<super::report::Amount> {
    let named = amounts::named(&pod.requests);
    named.iter().map(|resource| amounts::amount(resource, resource.of(&pod.requests))).collect()
}

/// A recorded decision.
pub(crate) fn decision(decision: &decisions::Decision) -> Decision {
    let outcome = match &decision.outcome {
        decisions::Outcome::Placed { node, feasible, ranking } => Outcome::Placed {
            node: node.to_string(),
            feasible: *feasible,
            ranking: ranking.as_ref().map(|ranking| told(ranking, None)),
        },
        decisions::Outcome::Refused { nodes, counts: given, text, room } => Outcome::Refused {
            nodes: *nodes,
            filters: counts(given),
            message: text.to_string(),
            room: room.as_ref().map(|room| Room {
                node: room.0.to_string(),
                victims: room.1.iter().map(ToString::to_string).collect(),
            }),
        },
        decisions::Outcome::NotBound { error } => Outcome::NotBound { error: error.to_string() },
    };
    let decisions::Decision { pod, at, attempt, ready_since, .. } = decision;
    Decision { pod: pod.to_string(), at: *at, attempt: *attempt, ready_since: *ready_since, outcome }
}

/// The reasons of a verdict as one text.
pub(crate) fn joined(verdict: &Verdict) -> String {
    verdict.reasons().join(", ")
}

fn is_decision(decision: &decisions::Decision) -> bool {
    !matches!(decision.outcome, decisions::Outcome::NotBound { .. })
}

fn on_node(cluster: &Snapshot, pod: &PodInfo) -> Option<NodeName> {
    // By assumption, or as the pod itself says.
    let assumed = cluster.nodes().iter().find(|node| node.pods.iter().any(|other| other.uid == pod.uid));
    assumed.map(|node| node.name.clone()).or_else(|| pod.node())
}

/// The pod as it was before it got a node: else only that node would do.
fn without_node(pod: &PodInfo) -> Arc<PodInfo> {
    let mut view = objects::views::Pod::clone(pod.view());
    view.spec.node_name = None;
    Arc::new(PodInfo::new(Arc::new(view)))
}

fn waiting(standing: &queue::Standing, cluster: &Snapshot, pod: &PodInfo) -> Standing {
    let owned = |texts: &[&'static str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Standing::Waiting {
        queue: standing.queue.to_owned(),
        next_try: standing.next_try,
        waits_for: owned(&standing.waits_for),
        rejectors: owned(&standing.rejectors),
        attempts: standing.attempts,
        ready_since: standing.ready_since,
        last_attempt: standing.last_attempt,
        nominated_node: cluster.promised_to(&pod.uid).map(ToString::to_string),
    }
}

fn told(ranking: &scores::Ranking, wanted: Option<&str>) -> Ranking {
    let mut ranking = ranking.clone();
    ranking.keep(TOP_NODES, wanted.unwrap_or_default());
    let nodes = ranking.nodes.iter().map(|ranked| Ranked {
        node: ranked.node.to_string(),
        total: ranked.total,
        scores: (ranking.plugins.iter().zip(&ranked.points))
            .map(|((plugin, weight), (raw, normalised))| PluginScore {
                plugin: (*plugin).to_owned(),
                weight: *weight,
                raw: *raw,
                normalised: *normalised,
                weighted: normalised * weight,
            })
            .collect(),
    });
    Ranking { feasible: ranking.feasible, tied: ranking.tied, nodes: nodes.collect() }
}

fn counts(counts: &[Count]) -> Vec<FilterCount> {
    let told = |count: &Count| FilterCount {
        plugin: count.plugin.to_owned(),
        reason: count.reason.to_string(),
        nodes: count.nodes,
    };
    counts.iter().map(told).collect()
}

/// Decisions and moves in one line of time.
fn history(look: &Look) -> Vec<Happening> {
    let mut history: Vec<(Timestamp, u8, String)> = Vec::new();
    let ready = look.decisions.first().and_then(|decision| decision.ready_since);
    let ready = ready.or_else(|| look.standing.as_ref()?.ready_since);
    history.extend(ready.map(|at| (at, 0, "could be tried: active".to_owned())));
    history.extend(look.moves.iter().map(|moved| (moved.at, 2, move_text(moved))));
    history.extend(look.decisions.iter().map(|decision| (decision.at, 1, decision_text(decision))));
    history.sort_by_key(|(at, order, _)| (*at, *order));
    history.into_iter().map(|(at, _, what)| Happening { at, what }).collect()
}

fn move_text(moved: &Moved) -> String {
    let Moved { queue, event, until, by, .. } = moved;
    let by = by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default();
    let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    format!("{event}{by}: {queue}{until}")
}

fn decision_text(decision: &decisions::Decision) -> String {
    let attempt = decision.attempt;
    match &decision.outcome {
        decisions::Outcome::Placed { node, feasible, .. } => {
            format!("attempt {attempt}: placed on {node}, out of {feasible} that fitted")
        }
        decisions::Outcome::Refused { text, room: None, .. } => {
            // What came of preemption stands with the decision itself.
            let first = text.split_once(" preemption:").map_or(&**text, |(first, _)| first);
            format!("attempt {attempt}: refused: {first}")
        }
        decisions::Outcome::Refused { room: Some(room), .. } => {
            format!(
                "attempt {attempt}: refused; room is made on {} by evicting {}",
                room.0,
                room.1.join(", ")
            )
        }
        decisions::Outcome::NotBound { error } => format!("binding failed: {error}"),
    }
}
