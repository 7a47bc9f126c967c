//! From a question to its reply: the cluster's names at once, others from the cache or from upstream.
//!
//! Promise: what can be answered without waiting is answered without a task. An ExternalName is followed to its
//! addresses. With autopath a pod's whole search list is walked here, so that `ndots:5` costs its resolver one
//! question and not five: the name that was found comes as a CNAME of the asked one, as CoreDNS's autopath gives it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout_at};

use super::cache::Response;
use super::index::Index;
use super::lookup::{Answer, lookup, soa};
use super::metrics::{Metrics, Source};
use super::upstream::{AskError, Upstream, question};
use super::wire;
use super::zone::Zone;

/// Aliases that are followed inside the cluster; more of them go in a circle.
const ALIASES: usize = 8;

/// How long a search may ask upstream: less than the 5 s after which resolvers ask again.
const SEARCH_PATIENCE: Duration = Duration::from_secs(3);

/// Answers questions. Shared by all listeners.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) zone: Zone,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) upstream: Upstream,
    /// The search domains that pods have after the cluster's own; `None` without autopath.
    pub(super) searches: Option<Vec<Name>>,
    pub(super) metrics: Arc<Metrics>,
}

/// How far a question is.
#[derive(Debug)]
pub(super) enum Step {
    /// Answered.
    Done(Message, Source),
    /// Upstream has to be asked.
    Ask(Box<Pending>),
}

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    request: Message,
    /// What is known so far.
    pub(super) reply: Message,
    /// The names to try, the asked one first; after an alias, its target alone.
    names: Vec<Name>,
    /// Which of them is next.
    at: usize,
    /// Aliases followed.
    aliases: usize,
}

impl Server {
    /// Answers as far as that takes no waiting.
    pub(super) fn begin(&self, request: Message, client: IpAddr) -> Step {
        let reply = wire::reply_to(&request);
        let asked = &request.queries[0];
        let names = self.path(asked.name(), asked.query_type(), client);
        let names = names.unwrap_or_else(|| vec![asked.name().clone()]);
        self.advance(Pending { request, reply, names, at: 0, aliases: 0 })
    }

    /// Asks upstream for what is missing.
    pub(super) async fn finish(&self, mut pending: Pending) -> (Message, Source) {
        let deadline = Instant::now() + SEARCH_PATIENCE;
        loop {
            let question = question(&pending.request, pending.name(), pending.kind());
            let asking = self.upstream.ask(&question);
            let asked = match pending.names.len() {
                1 => asking.await,
                _ => timeout_at(deadline, asking)
                    .await
                    .unwrap_or_else(|late| Err(AskError::Silent(late.into()))),
            };
            let next = match asked {
                Ok(response) => self.take(pending, response),
                // Of a search the asked name does not exist, whatever upstream would say of the later ones.
                Err(error) if pending.names.len() > 1 => {
                    tracing::debug!(%error, name = %question.name, "a search cannot be completed");
                    self.denied(pending, true)
                }
                Err(error) => {
                    tracing::debug!(%error, name = %question.name, "a name cannot be asked for upstream");
                    pending.reply.metadata.response_code = match error {
                        AskError::Nobody | AskError::TooMany => ResponseCode::Refused,
                        AskError::Silent(_) => ResponseCode::ServFail,
                    };
                    Step::Done(pending.reply, Source::Forward)
                }
            };
            match next {
                Step::Done(reply, source) => return (reply, source),
                Step::Ask(next) => pending = *next,
            }
        }
    }

    /// Goes on from the next name.
    fn advance(&self, mut pending: Pending) -> Step {
        loop {
            let kind = pending.kind();
            let answer = lookup(&self.index.read(), &self.zone, pending.name(), kind);
            match answer {
                Answer::NoName if pending.at + 1 < pending.names.len() => pending.at += 1,
                Answer::NoName | Answer::NoData => return self.denied(pending, answer == Answer::NoName),
                Answer::NotSynced => {
                    pending.reply.metadata.response_code = ResponseCode::ServFail;
                    return Step::Done(pending.reply, Source::Kubernetes);
                }
                Answer::Records { answers, additionals } => {
                    self.completed(&mut pending);
                    pending.reply.metadata.authoritative = true;
                    pending.reply.answers.extend(answers);
                    pending.reply.additionals = additionals;
                    return Step::Done(pending.reply, Source::Kubernetes);
                }
                Answer::Alias(record, target) => {
                    self.completed(&mut pending);
                    pending.reply.metadata.authoritative = true;
                    pending.reply.answers.push(*record);
                    pending.aliases += 1;
                    if kind == RecordType::CNAME {
                        return Step::Done(pending.reply, Source::Kubernetes);
                    }
                    if pending.aliases > ALIASES {
                        pending.reply.metadata.response_code = ResponseCode::ServFail;
                        return Step::Done(pending.reply, Source::Kubernetes);
                    }
                    (pending.names, pending.at) = (vec![target], 0);
                }
                Answer::Elsewhere => {
                    let question = question(&pending.request, pending.name(), kind);
                    return match self.upstream.cached(&question) {
                        Some(response) => self.take(pending, response),
                        None => Step::Ask(Box::new(pending)),
                    };
                }
            }
        }
    }

    /// Takes what upstream says of the current name.
    fn take(&self, mut pending: Pending, response: Response) -> Step {
        let searching = pending.names.len() > 1;
        if searching && response.code == ResponseCode::NXDomain {
            if pending.at + 1 < pending.names.len() {
                pending.at += 1;
                return self.advance(pending);
            }
            return self.denied(pending, true);
        }
        if !response.answers.is_empty() {
            self.completed(&mut pending);
        }
        let owner = pending.name().clone();
        let reply = &mut pending.reply;
        reply.metadata.response_code = response.code;
        reply.metadata.authentic_data = response.authentic && reply.answers.is_empty();
        reply.answers.extend(response.answers.into_iter().map(|mut record| {
            // Upstream was asked in lower case; the asker gets back what it wrote.
            if record.name == owner {
                record.name = owner.clone();
            }
            record
        }));
        reply.authorities = response.authorities;
        reply.additionals = response.additionals;
        Step::Done(pending.reply, Source::Forward)
    }

    /// There is no such name, or nothing of that type under it.
    fn denied(&self, mut pending: Pending, no_name: bool) -> Step {
        pending.reply.metadata.authoritative = true;
        if no_name {
            pending.reply.metadata.response_code = ResponseCode::NXDomain;
        }
        pending.reply.authorities.push(soa(&self.index.read(), &self.zone));
        Step::Done(pending.reply, Source::Kubernetes)
    }

    /// Says under which name the answer was found, if it is not the asked one.
    fn completed(&self, pending: &mut Pending) {
        if pending.at == 0 {
            return;
        }
        self.metrics.completed();
        let (asked, found) = (pending.request.queries[0].name().clone(), pending.name().clone());
        let alias = RData::CNAME(CNAME(found));
        pending.reply.answers.push(Record::from_rdata(asked, self.zone.ttl, alias));
    }

    /// The names that a pod's resolver would ask for after this one, this one first; `None` if it is not the first of
    /// a search.
    fn path(&self, name: &Name, kind: RecordType, client: IpAddr) -> Option<Vec<Name>> {
        let searches = self.searches.as_ref()?;
        if !matches!(kind, RecordType::A | RecordType::AAAA) {
            return None;
        }
        let first = {
            let index = self.index.read();
            self.zone.below(&[index.pod_namespace(client)?.as_bytes(), b"svc"])?
        };
        let before = name.iter().len().checked_sub(first.iter().len()).filter(|labels| *labels > 0)?;
        if !first.zone_of(name) {
            return None;
        }
        let base = || name.iter().take(before);
        let own = [self.zone.below(&[b"svc"])?, self.zone.name.clone()];
        let root = Name::root();
        let others = own.iter().chain(searches).chain([&root]);
        let joined = others.filter_map(|domain| Name::from_labels(base().chain(domain.iter())).ok());
        Some([name.clone()].into_iter().chain(joined).collect())
    }
}

impl Pending {
    fn name(&self) -> &Name {
        &self.names[self.at]
    }

    fn kind(&self) -> RecordType {
        self.request.queries[0].query_type()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
