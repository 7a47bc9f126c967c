//! Answers from upstream, kept while their records allow.
//!
//! Promise: bounded, answers and denials apart, so that a flood of names that do not exist drives no answer out; the
//! oldest goes first. What is given out has the time it was kept taken off its TTLs (RFC 1035), a denial is kept as
//! long as its SOA record says and not at all without one (RFC 2308). Time is passed in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Limits of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Answers and, apart from them, denials.
    pub entries: usize,
    /// Longest time an answer is kept.
    pub answer: Duration,
    /// Longest time a denial is kept.
    pub denial: Duration,
}

impl Default for Limits {
    /// CoreDNS's: 9984 entries, an hour, half an hour.
    fn default() -> Self {
        Self { entries: 9984, answer: Duration::from_secs(3600), denial: Duration::from_secs(1800) }
    }
}

/// How long a failure of the upstream is kept (RFC 2308 7: at most 5 minutes; CoreDNS: 5 s).
const FAILURE: Duration = Duration::from_secs(5);

/// A question to upstream. The name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: RecordType,
    /// The asker wants DNSSEC records.
    pub(super) dnssec: bool,
    /// The asker checks signatures itself.
    pub(super) unchecked: bool,
}

/// What upstream answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) code: ResponseCode,
    pub(super) authentic: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Cache {
    limits: Limits,
    answers: Shelf,
    denials: Shelf,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: FxHashMap<Arc<Question>, Entry>,
    /// By age. Entries that were replaced are here twice; `number` tells which is meant.
    order: VecDeque<(Arc<Question>, u64)>,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    response: Response,
    kept: Instant,
    until: Instant,
    number: u64,
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, answers: Shelf::default(), denials: Shelf::default() }
    }

    /// What is kept for a question, with what is left of its TTLs, and whether it is a denial.
    pub(super) fn get(&mut self, question: &Question, now: Instant) -> Option<(Response, bool)> {
        let found = self.answers.get(question, now).map(|response| (response, false));
        found.or_else(|| self.denials.get(question, now).map(|response| (response, true)))
    }

    /// Keeps an answer, if it may be kept.
    pub(super) fn put(&mut self, question: Question, response: Response, now: Instant) {
        let Some((life, denial)) = lifetime(&response) else { return };
        let (shelf, other, longest) = if denial {
            (&mut self.denials, &mut self.answers, self.limits.denial)
        } else {
            (&mut self.answers, &mut self.denials, self.limits.answer)
        };
        other.entries.remove(&question);
        let until = now + life.min(longest);
        if until > now && self.limits.entries > 0 {
            shelf.put(question, response, (now, until), self.limits.entries);
        }
    }

    /// How many answers and denials are kept.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.answers.entries.len(), self.denials.entries.len())
    }
}

impl Shelf {
    fn get(&mut self, question: &Question, now: Instant) -> Option<Response> {
        let entry = self.entries.get(question)?;
        if entry.until <= now {
            self.entries.remove(question);
            return None;
        }
        let age = u32::try_from((now - entry.kept).as_secs()).unwrap_or(u32::MAX);
        let mut response = entry.response.clone();
        let all = [&mut response.answers, &mut response.authorities, &mut response.additionals];
        for record in all.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(response)
    }

    fn put(&mut self, question: Question, response: Response, times: (Instant, Instant), most: usize) {
        self.number += 1;
        let (question, number) = (Arc::new(question), self.number);
        let entry = Entry { response, kept: times.0, until: times.1, number };
        self.entries.insert(Arc::clone(&question), entry);
        self.order.push_back((question, number));
        while self.entries.len() > most || self.order.len() > 2 * most {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// How long a response may be kept, and whether it is a denial; `None` if not at all.
fn lifetime(response: &Response) -> Option<(Duration, bool)> {
    let seconds = |ttl: u32| Duration::from_secs(u64::from(ttl));
    match response.code {
        ResponseCode::ServFail => Some((FAILURE, true)),
        ResponseCode::NoError if !response.answers.is_empty() => {
            let shortest = response.answers.iter().map(|record| record.ttl).min()?;
            Some((seconds(shortest), false))
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let limit = |record: &Record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            };
            Some((seconds(response.authorities.iter().find_map(limit)?), true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn question(name: &str) -> Question {
        let name = Name::from_ascii(name).unwrap();
        Question { name, kind: RecordType::A, dnssec: false, unchecked: false }
    }

    fn response(code: ResponseCode) -> Response {
        let none = Vec::new;
        Response { code, authentic: false, answers: none(), authorities: none(), additionals: none() }
    }

    fn answer(ttl: u32) -> Response {
        let record = Record::from_rdata(Name::from_ascii("a.").unwrap(), ttl, RData::A(A::new(1, 2, 3, 4)));
        Response { answers: vec![record], ..response(ResponseCode::NoError) }
    }

    fn denial(ttl: u32, minimum: u32) -> Response {
        let name = Name::from_ascii("a.").unwrap();
        let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, minimum);
        let authorities = vec![Record::from_rdata(name, ttl, RData::SOA(soa))];
        Response { authorities, ..response(ResponseCode::NXDomain) }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_age_and_end() {
        let mut cache = Cache::new(Limits::default());
        let start = Instant::now();
        cache.put(question("a."), answer(30), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(cache.get(&question("a."), at(10)).unwrap().0.answers[0].ttl, 20);
        assert_eq!(cache.get(&Question { dnssec: true, ..question("a.") }, at(10)), None);
        assert_eq!(cache.get(&question("a."), at(30)), None);
        assert_eq!(cache.sizes(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_lives_as_long_as_its_soa_says() {
        let mut cache = Cache::new(Limits::default());
        let start = Instant::now();
        let kept_for = |cache: &mut Cache, response: Response| {
            cache.put(question("a."), response, start);
            let lives =
                |seconds: &u64| cache.get(&question("a."), start + Duration::from_secs(*seconds)).is_some();
            (0..4000).take_while(lives).last()
        };
        assert_eq!(kept_for(&mut cache, denial(60, 20)), Some(19));
        let mut cache = Cache::new(Limits::default());
        assert_eq!(kept_for(&mut cache, response(ResponseCode::NXDomain)), None, "no SOA");
        assert_eq!(kept_for(&mut cache, response(ResponseCode::Refused)), None);
        assert_eq!(kept_for(&mut cache, answer(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_denials_drives_no_answer_out() {
        let mut cache = Cache::new(Limits { entries: 10, ..Limits::default() });
        let now = Instant::now();
        cache.put(question("kept."), answer(30), now);
        for number in 0..1000 {
            cache.put(question(&format!("x{number}.")), denial(60, 60), now);
        }
        assert_eq!(cache.sizes(), (1, 10));
        assert!(cache.get(&question("kept."), now).is_some() && cache.get(&question("x999."), now).is_some());
        for _ in 0..1000 {
            cache.put(question("kept."), answer(30), now);
        }
        assert!(cache.answers.order.len() <= 20, "what was replaced is forgotten");
    }
}
