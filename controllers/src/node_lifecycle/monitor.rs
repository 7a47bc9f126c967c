//! One pass over all nodes: who went silent, who gets the NoExecute taint now, and who loses it.
//!
//! Keeps what was last seen of each node and the zones' budgets. No input or output of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::health::{Health, Signs};
use super::taints::no_execute_key;
use super::zones::{Counts, Limits, Rates, State, state};

/// A node as the caches show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) name: String,
    /// Region and zone.
    pub(super) zone: String,
    /// Status of the Ready condition; none before the agent's first report.
    pub(super) ready: Option<String>,
    pub(super) signs: Signs,
    pub(super) created: Option<Timestamp>,
    /// The NoExecute taint of ours that it carries.
    pub(super) tainted: Option<String>,
}

/// What a pass asks for, by node name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// Silent for too long, and their conditions do not say so yet.
    pub(super) silent: BTreeSet<String>,
    /// To carry exactly this NoExecute taint of ours.
    pub(super) taint: BTreeMap<String, Option<&'static str>>,
    /// Nodes never seen before.
    pub(super) new: Vec<String>,
    /// Nodes seen before that are no more.
    pub(super) gone: Vec<String>,
}

/// Periods and rates of a monitor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited {
    pub(super) period: Duration,
    pub(super) grace: Duration,
    pub(super) startup_grace: Duration,
    pub(super) rates: Rates,
}

/// The memory between passes.
#[derive(Debug)]
pub(super) struct Monitor {
    limited: Limited,
    nodes: BTreeMap<String, Health>,
    budgets: Limits,
    /// Every zone was silent in the last pass.
    cut_off: bool,
}

impl Monitor {
    pub(super) fn new(limited: Limited) -> Self {
        Self { limited, nodes: BTreeMap::new(), budgets: Limits::new(limited.period), cut_off: false }
    }

    /// A sign of life that the caches had not shown, seen by a live look.
    pub(super) fn confirm(&mut self, node: &str, signs: Signs, now: Timestamp) {
        if let Some(health) = self.nodes.get_mut(node) {
            health.observe(signs, now);
        }
    }

    /// Whether the node has been silent for longer than it may.
    pub(super) fn is_silent(&self, node: &Seen, now: Timestamp) -> bool {
        let grace = if node.ready.is_some() { self.limited.grace } else { self.limited.startup_grace };
        self.nodes.get(&node.name).is_some_and(|health| health.silent(grace, now))
    }

    pub(super) fn pass(&mut self, nodes: &[Seen], now: Timestamp) -> Pass {
        let mut pass = Pass::default();
        self.look(nodes, &mut pass, now);
        let readiness = |node: &Seen| match &node.ready {
            _ if self.is_silent(node, now) => "Unknown".to_owned(),
            Some(ready) => ready.clone(),
            None => "Unknown".to_owned(),
        };
        let readiness: BTreeMap<&str, String> =
            nodes.iter().map(|node| (node.name.as_str(), readiness(node))).collect();
        let mut zones: BTreeMap<&str, (Counts, Vec<&Seen>)> = BTreeMap::new();
        for node in nodes {
            let (counts, members) = zones.entry(node.zone.as_str()).or_default();
            match readiness[node.name.as_str()].as_str() {
                "True" => counts.ready += 1,
                _ => counts.not_ready += 1,
            }
            members.push(node);
        }
        let states: BTreeMap<&str, State> =
            zones.iter().map(|(zone, (counts, _))| (*zone, state(*counts, &self.limited.rates))).collect();
        let cut_off = !states.is_empty() && states.values().all(|state| *state == State::Full);
        if cut_off {
            // We cannot tell their silence from ours: nobody is given up, and who was is taken back.
            let tainted = nodes.iter().filter(|node| node.tainted.is_some());
            pass.taint.extend(tainted.map(|node| (node.name.clone(), None)));
        } else if self.cut_off {
            // Back in touch: everybody gets a whole grace period.
            self.nodes.values_mut().for_each(|health| health.seen = now);
            pass.silent.clear();
        } else {
            for (zone, (counts, members)) in zones {
                self.taint_zone(zone, states[zone], counts, &members, &readiness, &mut pass, now);
            }
        }
        self.cut_off = cut_off;
        pass
    }

    /// Takes in what every node shows.
    fn look(&mut self, nodes: &[Seen], pass: &mut Pass, now: Timestamp) {
        for node in nodes {
            match self.nodes.get_mut(&node.name) {
                Some(health) => health.observe(node.signs, now),
                None => {
                    self.nodes.insert(node.name.clone(), Health::first(node.signs, node.created, now));
                    pass.new.push(node.name.clone());
                }
            }
            if self.is_silent(node, now) && node.ready.as_deref() != Some("Unknown") {
                pass.silent.insert(node.name.clone());
            }
        }
        let present: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let gone: Vec<String> =
            self.nodes.keys().filter(|name| !present.contains(name.as_str())).cloned().collect();
        gone.iter().for_each(|name| _ = self.nodes.remove(name));
        pass.gone = gone;
    }

    /// Exchanges and removes taints at once; new ones are rationed.
    #[expect(clippy::too_many_arguments, reason = "one zone's part of a pass, split off to be readable")]
    fn taint_zone(
        &mut self,
        zone: &str,
        state: State,
        counts: Counts,
        members: &[&Seen],
        readiness: &BTreeMap<&str, String>,
        pass: &mut Pass,
        now: Timestamp,
    ) {
        let key = |node: &Seen| no_execute_key(&readiness[node.name.as_str()]);
        let mut fresh = Vec::new();
        for node in members {
            match (node.tainted.as_deref(), key(node)) {
                (Some(has), wanted) if Some(has) != wanted => {
                    _ = pass.taint.insert(node.name.clone(), wanted)
                }
                (None, Some(_)) if node.ready.is_some() => fresh.push(*node),
                _ => {}
            }
        }
        let total = counts.ready + counts.not_ready;
        let granted = self.budgets.take(zone, state, total, fresh.len(), &self.limited.rates, now);
        pass.taint.extend(fresh.into_iter().take(granted).map(|node| (node.name.clone(), key(node))));
    }
}

#[cfg(test)]
mod tests {
    use super::super::taints::{NOT_READY, UNREACHABLE};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn monitor() -> Monitor {
        Monitor::new(Limited {
            period: Duration::from_secs(5),
            grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
            rates: Rates::default(),
        })
    }

    /// A ready node that last renewed its lease at `renewed`.
    fn node(name: &str, zone: &str, renewed: i64) -> Seen {
        Seen {
            name: name.into(),
            zone: zone.into(),
            ready: Some("True".into()),
            signs: Signs { heartbeat: Some(at(0)), renewed: Some(at(renewed)) },
            created: Some(at(0)),
            tainted: None,
        }
    }

    fn taints(pass: &Pass) -> Vec<(&str, Option<&str>)> {
        pass.taint.iter().map(|(name, key)| (name.as_str(), *key)).collect()
    }

    #[test]
    fn a_silent_node_is_given_up_and_taken_back() {
        let mut monitor = monitor();
        assert_eq!(monitor.pass(&[node("a", "z", 0), node("b", "z", 0)], at(0)).new, ["a", "b"]);
        let still = monitor.pass(&[node("a", "z", 0), node("b", "z", 50)], at(50));
        assert!(still.silent.is_empty() && still.taint.is_empty());
        let lost = monitor.pass(&[node("a", "z", 0), node("b", "z", 55)], at(55));
        assert_eq!(lost.silent, ["a".to_owned()].into());
        assert_eq!(taints(&lost), [("a", Some(UNREACHABLE))]);
        let mut a =
            Seen { ready: Some("Unknown".into()), tainted: Some(UNREACHABLE.into()), ..node("a", "z", 0) };
        assert_eq!(monitor.pass(&[a.clone(), node("b", "z", 60)], at(60)), Pass::default());
        // Its agent is back and says so.
        a.ready = Some("False".into());
        a.signs.heartbeat = Some(at(65));
        assert_eq!(taints(&monitor.pass(&[a.clone(), node("b", "z", 65)], at(65))), [("a", Some(NOT_READY))]);
        a.ready = Some("True".into());
        assert_eq!(taints(&monitor.pass(&[a, node("b", "z", 65)], at(70))), [("a", None)]);
        assert_eq!(monitor.pass(&[node("b", "z", 70)], at(75)).gone, ["a"]);
    }

    #[test]
    fn many_silent_nodes_are_given_up_one_by_one() {
        let mut monitor = monitor();
        let mut nodes: Vec<Seen> = (0..10).map(|number| node(&number.to_string(), "z", 0)).collect();
        monitor.pass(&nodes, at(0));
        let mut given_up = Vec::new();
        for second in (55..100).step_by(5) {
            nodes.iter_mut().skip(4).for_each(|node| node.signs.renewed = Some(at(second)));
            let pass = monitor.pass(&nodes, at(second));
            for name in pass.taint.into_keys() {
                let node = nodes.iter_mut().find(|node| node.name == name).unwrap();
                node.tainted = Some(UNREACHABLE.into());
                given_up.push((second, name));
            }
        }
        let expected = [(55, "0"), (65, "1"), (75, "2"), (85, "3")];
        assert_eq!(given_up, expected.map(|(second, name)| (second, name.to_owned())));
    }

    #[test]
    fn when_all_are_silent_nobody_is_given_up() {
        let mut monitor = monitor();
        let mut nodes = [node("a", "y", 0), node("b", "z", 0)];
        monitor.pass(&nodes, at(0));
        nodes[0].tainted = Some(UNREACHABLE.into());
        let cut_off = monitor.pass(&nodes, at(60));
        assert_eq!(taints(&cut_off), [("a", None)]);
        // One comes back: the other is given time, not given up at once.
        nodes[0].tainted = None;
        nodes[1].signs.renewed = Some(at(65));
        assert_eq!(monitor.pass(&nodes, at(65)).taint, BTreeMap::new());
        nodes[1].signs.renewed = Some(at(110));
        assert_eq!(taints(&monitor.pass(&nodes, at(120))), [("a", Some(UNREACHABLE))]);
    }

    #[test]
    fn a_node_that_never_reported_is_not_tainted() {
        let mut monitor = monitor();
        let never = Seen { ready: None, signs: Signs::default(), ..node("a", "z", 0) };
        let pass = monitor.pass(&[never, node("b", "z", 100)], at(100));
        assert_eq!(pass.silent, ["a".to_owned()].into());
        assert!(pass.taint.is_empty());
    }
}
