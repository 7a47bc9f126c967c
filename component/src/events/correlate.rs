//! Which events are sent, and as what: a new one, or a higher count of an old one.
//!
//! Promise: client-go's `EventCorrelator` with its defaults. One object gets at most a burst of 25 events and then
//! one in five minutes; more than ten like events in ten minutes become one; an equal event is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Record, Type};

/// Events that are remembered. At twice as many the older half is forgotten at once, so that forgetting costs little.
const MEMORY: usize = 4096;

/// Events in a row about one object, and the time after which one more is allowed.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(300);

/// Events with different messages that become one, and the time in which they count.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Drop,
    Create { message: String },
    Repeat { name: String, count: i32, message: String },
}

/// What the events of a sender were.
pub(super) struct Correlator {
    /// Tokens left a object, and when they were counted.
    rates: BTreeMap<Object, (f64, Instant)>,
    /// The different messages of like events, and when the first came.
    groups: BTreeMap<Group, Similar>,
    sent: BTreeMap<(Group, String), Sent>,
    sequence: u64,
}

type Object = [String; 4];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    object: Object,
    kind: Type,
    reason: String,
    action: Option<&'static str>,
}

struct Similar {
    messages: Vec<String>,
    since: Instant,
}

struct Sent {
    name: String,
    count: i32,
    /// For forgetting the oldest.
    used: u64,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self { rates: BTreeMap::new(), groups: BTreeMap::new(), sent: BTreeMap::new(), sequence: 0 }
    }

    /// What to do with a record. What was done must be told by [`sent`](Self::sent).
    pub(super) fn next(&mut self, record: &Record) -> Step {
        let now = Instant::now();
        let group = Group::of(record);
        if !self.allow(group.object.clone(), now) {
            return Step::Drop;
        }
        let message = self.message(&group, record, now);
        let key = (group, self.combined_key(record, &message));
        match self.sent.get(&key) {
            Some(sent) => Step::Repeat { name: sent.name.clone(), count: sent.count + 1, message },
            None => Step::Create { message },
        }
    }

    /// Notes that a record was sent under this name.
    pub(super) fn sent(&mut self, record: &Record, name: String) {
        let group = Group::of(record);
        let message = match self.groups.get(&group) {
            Some(similar) if similar.messages.len() > SIMILAR => COMBINED.to_owned(),
            _ => record.message.clone(),
        };
        self.sequence += 1;
        let used = self.sequence;
        let sent = self.sent.entry((group, message)).or_insert(Sent { name: String::new(), count: 0, used });
        (sent.name, sent.count, sent.used) = (name, sent.count + 1, used);
        forget_older(&mut self.sent, |sent| sent.used);
    }

    /// Takes a token of the object's bucket.
    fn allow(&mut self, object: Object, now: Instant) -> bool {
        let full = f64::from(BURST);
        let (tokens, counted) = self.rates.entry(object).or_insert((full, now));
        let refilled = now.duration_since(*counted).as_secs_f64() / REFILL.as_secs_f64();
        (*tokens, *counted) = ((*tokens + refilled).min(full), now);
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        forget_older(&mut self.rates, |(_, counted)| *counted);
        allowed
    }

    /// The message to send: the record's own, or the combined one of many like events.
    fn message(&mut self, group: &Group, record: &Record, now: Instant) -> String {
        let fresh = || Similar { messages: Vec::new(), since: now };
        let similar = self.groups.entry(group.clone()).or_insert_with(fresh);
        if now.duration_since(similar.since) > SIMILAR_WITHIN {
            *similar = fresh();
        }
        if similar.messages.len() <= SIMILAR && !similar.messages.contains(&record.message) {
            similar.messages.push(record.message.clone());
        }
        let combined = similar.messages.len() > SIMILAR;
        forget_older(&mut self.groups, |similar| similar.since);
        if combined { format!("{COMBINED}{}", record.message) } else { record.message.clone() }
    }

    /// Combined events count as equal whatever their message.
    fn combined_key(&self, record: &Record, message: &str) -> String {
        if message == record.message { record.message.clone() } else { COMBINED.to_owned() }
    }
}

const COMBINED: &str = "(combined from similar events): ";

impl Group {
    pub(super) fn of(record: &Record) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let of = &record.regarding;
        Self {
            object: [text(&of.kind), text(&of.namespace), text(&of.name), text(&of.uid)],
            kind: record.kind,
            reason: record.reason.clone(),
            action: record.action,
        }
    }
}

/// Keeps the younger half of a memory that is full; of those of one age as many as there is room for.
fn forget_older<K: Ord, V, A: Ord + Copy>(memory: &mut BTreeMap<K, V>, age: impl Fn(&V) -> A) {
    if memory.len() < 2 * MEMORY {
        return;
    }
    let mut ages: Vec<A> = memory.values().map(&age).collect();
    let oldest_kept = *ages.select_nth_unstable(MEMORY).1;
    let mut room = MEMORY - memory.values().filter(|value| age(value) > oldest_kept).count();
    memory.retain(|_, value| {
        let same = age(value) == oldest_kept && room > 0;
        room -= usize::from(same);
        same || age(value) > oldest_kept
    });
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn record(object: &str, reason: &str, message: &str) -> Record {
        let regarding = ObjectReference { name: Some(object.to_owned()), ..ObjectReference::default() };
        Record {
            regarding,
            related: None,
            kind: Type::Normal,
            reason: reason.to_owned(),
            message: message.to_owned(),
            action: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn step(correlator: &mut Correlator, record: &Record) -> Step {
        let step = correlator.next(record);
        match &step {
            Step::Drop => {}
            Step::Create { .. } => correlator.sent(record, "e1".to_owned()),
            Step::Repeat { name, .. } => correlator.sent(record, name.clone()),
        }
        step
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_are_counted() {
        let mut correlator = Correlator::new();
        let pulled = record("web", "Pulled", "image pulled");
        assert_eq!(step(&mut correlator, &pulled), Step::Create { message: "image pulled".to_owned() });
        for count in 2..4 {
            let repeat = Step::Repeat { name: "e1".to_owned(), count, message: "image pulled".to_owned() };
            assert_eq!(step(&mut correlator, &pulled), repeat);
        }
        assert!(matches!(
            step(&mut correlator, &record("db", "Pulled", "image pulled")),
            Step::Create { .. }
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_cannot_flood() {
        let mut correlator = Correlator::new();
        let event = record("web", "Failed", "again");
        let sent = (0..100).filter(|_| step(&mut correlator, &event) != Step::Drop).count();
        assert_eq!(sent, 25);
        tokio::time::advance(REFILL).await;
        assert_ne!(step(&mut correlator, &event), Step::Drop);
        assert_eq!(step(&mut correlator, &event), Step::Drop);
    }

    #[test]
    fn the_younger_half_is_kept() {
        let mut memory: BTreeMap<usize, usize> = (0..2 * MEMORY).map(|key| (key, key / 3)).collect();
        forget_older(&mut memory, |age| *age);
        assert_eq!(memory.len(), MEMORY);
        assert!(memory.contains_key(&(2 * MEMORY - 1)) && !memory.contains_key(&(MEMORY - 3)));
        let mut same: BTreeMap<usize, u8> = (0..2 * MEMORY).map(|key| (key, 0)).collect();
        forget_older(&mut same, |age| *age);
        assert_eq!(same.len(), MEMORY);
    }

    #[tokio::test(start_paused = true)]
    async fn many_like_events_become_one() {
        let mut correlator = Correlator::new();
        let steps: Vec<Step> = (0..13)
            .map(|at| step(&mut correlator, &record("web", "Failed", &format!("error {at}"))))
            .collect();
        assert!(steps[..10].iter().all(|step| matches!(step, Step::Create { .. })));
        let combined = |at| format!("(combined from similar events): error {at}");
        assert_eq!(steps[10], Step::Create { message: combined(10) });
        assert_eq!(steps[11], Step::Repeat { name: "e1".to_owned(), count: 2, message: combined(11) });
        assert_eq!(steps[12], Step::Repeat { name: "e1".to_owned(), count: 3, message: combined(12) });
    }
}
