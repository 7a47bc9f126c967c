//! Asks other name servers: the upstream ones, and those of stub domains.
//!
//! Promise: each question goes out from a port of its own with a number nobody can guess, and only a reply to that very
//! question counts (RFC 5452). A server that is silent or fails is passed over for the next, and the one that answered
//! last is asked first. A cut reply is asked for again over TCP. At most `CONCURRENT` questions are under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use component::random::Random;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::cache::{Cache, Limits, Question, Response};
use super::metrics::Metrics;
use super::wire;

/// Questions under way at a time (CoreDNS's `max_concurrent` in kubeadm's configuration).
const CONCURRENT: usize = 1000;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a question is sent, over all servers.
const ATTEMPTS: usize = 3;

/// Replies to one question that are looked at: the others are somebody's guesses.
const REPLIES: usize = 16;

/// Bytes of a UDP reply at most.
const REPLY_BYTES: usize = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no upstream server is configured")]
    Nobody,
    #[error("more than {CONCURRENT} questions are under way")]
    TooMany,
    #[error("no server answers")]
    Silent(#[source] std::io::Error),
}

/// The servers that are asked.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The longest domain first; the last stands for everything.
    routes: Vec<(Name, Servers)>,
    cache: Mutex<Cache>,
    under_way: Semaphore,
    random: Random,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Servers {
    addresses: Vec<SocketAddr>,
    /// The one that answered last.
    preferred: AtomicUsize,
}

impl Upstream {
    /// `stubs` are domains with servers of their own; all other names go to `servers`.
    pub(super) fn new(
        servers: Vec<SocketAddr>,
        stubs: Vec<(Name, Vec<SocketAddr>)>,
        limits: Limits,
        random: Random,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut routes: Vec<(Name, Servers)> = stubs
            .into_iter()
            .chain([(Name::root(), servers)])
            .map(|(domain, addresses)| {
                let mut domain = domain.to_lowercase();
                domain.set_fqdn(true);
                (domain, Servers { addresses, preferred: AtomicUsize::new(0) })
            })
            .collect();
        routes.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.iter().len()));
        let cache = Mutex::new(Cache::new(limits));
        Self { routes, cache, under_way: Semaphore::new(CONCURRENT), random, metrics }
    }

    /// What is kept for a question.
    pub(super) fn cached(&self, question: &Question) -> Option<Response> {
        let found = self.cache.lock().get(question, Instant::now());
        self.metrics.cached(found.as_ref().map(|(_, denial)| *denial));
        found.map(|(response, _)| response)
    }

    /// Asks, and keeps the answer.
    pub(super) async fn ask(&self, question: &Question) -> Result<Response, AskError> {
        let Ok(_slot) = self.under_way.try_acquire() else {
            self.metrics.too_many();
            return Err(AskError::TooMany);
        };
        let response = self.ask_in_turn(question).await?;
        let mut cache = self.cache.lock();
        cache.put(question.clone(), response.clone(), Instant::now());
        self.metrics.cache_sizes(cache.sizes());
        drop(cache);
        Ok(response)
    }

    async fn ask_in_turn(&self, question: &Question) -> Result<Response, AskError> {
        let route = self.routes.iter().find(|(domain, _)| domain.zone_of(&question.name));
        let servers = route.map(|(_, servers)| servers).filter(|servers| !servers.addresses.is_empty());
        let servers = servers.ok_or(AskError::Nobody)?;
        let first = servers.preferred.load(Ordering::Relaxed);
        let mut last = Err(AskError::Nobody);
        for attempt in first..first + ATTEMPTS.max(servers.addresses.len()) {
            let at = attempt % servers.addresses.len();
            let (server, start) = (servers.addresses[at], Instant::now());
            match self.exchange(question, server).await {
                Ok(reply) => {
                    self.metrics.exchanged(server, reply.metadata.response_code, start.elapsed());
                    let failed = reply.metadata.response_code == ResponseCode::ServFail;
                    last = Ok(response(reply));
                    if !failed {
                        servers.preferred.store(at, Ordering::Relaxed);
                        return last;
                    }
                }
                Err(error) => {
                    tracing::debug!(%server, %error, "an upstream name server does not answer");
                    if last.is_err() {
                        last = Err(AskError::Silent(error));
                    }
                }
            }
        }
        last
    }

    async fn exchange(&self, question: &Question, server: SocketAddr) -> std::io::Result<Message> {
        let request = self.request(question);
        let bytes = request.to_vec().map_err(std::io::Error::other)?;
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let reply = timeout(PATIENCE, over_udp(server, &request, &bytes)).await.map_err(|_| late())??;
        if !reply.metadata.truncation {
            return Ok(reply);
        }
        timeout(PATIENCE, over_tcp(server, &request, &bytes)).await.map_err(|_| late())?
    }

    fn request(&self, question: &Question) -> Message {
        let id = u16::try_from(self.random.below(1 << 16)).unwrap_or_default();
        let mut request = Message::new(id, MessageType::Query, OpCode::Query);
        request.metadata.recursion_desired = true;
        request.metadata.checking_disabled = question.unchecked;
        request.add_query(Query::query(question.name.clone(), question.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(wire::UDP_BYTES).set_dnssec_ok(question.dnssec);
        request.set_edns(edns);
        request
    }
}

async fn over_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; REPLY_BYTES];
    for _ in 0..REPLIES {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = Message::from_vec(&buffer[..length]).ok().filter(|reply| answers(reply, request))
        {
            return Ok(reply);
        }
    }
    Err(std::io::Error::other("only replies to other questions came"))
}

async fn over_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_vec(&buffer).ok().filter(|reply| answers(reply, request));
    reply.ok_or_else(|| std::io::Error::other("a reply to another question came"))
}

fn answers(reply: &Message, request: &Message) -> bool {
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == request.metadata.id
        && reply.queries == request.queries
}

fn response(reply: Message) -> Response {
    Response {
        code: reply.metadata.response_code,
        authentic: reply.metadata.authentic_data,
        answers: reply.answers,
        authorities: reply.authorities,
        additionals: reply.additionals,
    }
}

/// The question to upstream that a request asks about a name.
pub(super) fn question(request: &Message, name: &Name, kind: RecordType) -> Question {
    let dnssec = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    Question { name: name.to_lowercase(), kind, dnssec, unchecked: request.metadata.checking_disabled }
}

#[cfg(test)]
impl Upstream {
    /// Puts into the cache what upstream would say.
    pub(super) fn keep(&self, question: Question, response: Response, now: Instant) {
        self.cache.lock().put(question, response, now);
    }
}
