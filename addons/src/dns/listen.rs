//! The sockets: questions come in over UDP and TCP, replies go out.
//!
//! Promise: several UDP sockets an address share the load by SO_REUSEPORT, each with a task that answers at once what
//! it can. An address need not exist yet (IP_FREEBIND): the bridge of pods appears with the first pod. Connections
//! and questions under way are bounded; a reply that the socket cannot take is dropped, as UDP allows.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use component::tasks::Tasks;
use hickory_proto::op::{Message, ResponseCode};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::metrics::{Protocol, Source};
use super::server::{Server, Step};
use super::wire::{self, Received};

/// Bytes of a question over UDP; longer ones are no questions.
const DATAGRAM: usize = 4096;

/// Datagrams that are answered before other tasks get their turn.
const BATCH: usize = 64;

/// Bytes that the kernel keeps of questions not read yet; it may allow fewer.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Questions that wait for upstream at a time; more are refused.
const WAITING: usize = 4096;

/// TCP connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long a TCP connection may be silent (RFC 7766 6.2.3 asks for some seconds).
const IDLE: Duration = Duration::from_secs(10);

/// How often a free port is looked for that is free for both protocols.
const PORT_ATTEMPTS: usize = 16;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for DNS on {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// The sockets of one address.
#[derive(Debug)]
pub(super) struct Sockets {
    /// With the port that was taken.
    pub(super) address: SocketAddr,
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// Binds `count` UDP sockets and one for TCP; port 0 takes one that is free for both.
pub(super) fn open(address: SocketAddr, count: usize) -> Result<Sockets, ListenError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..if address.port() == 0 { PORT_ATTEMPTS } else { 1 } {
        match try_open(address, count) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => last = error,
        }
    }
    Err(ListenError { address, source: last })
}

/// Answers until the tasks stop.
pub(super) fn serve(sockets: Sockets, server: &Arc<Server>, tasks: &Tasks) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    for socket in sockets.udp {
        let loop_ = over_udp(Arc::new(socket), Arc::clone(server), Arc::clone(&waiting), tasks.clone());
        tasks.spawn_until_stopped("dns-udp", loop_);
    }
    tasks.spawn_until_stopped("dns-tcp", accept(sockets.tcp, Arc::clone(server), tasks.clone()));
}

fn try_open(address: SocketAddr, count: usize) -> io::Result<Sockets> {
    let tcp = bound(address, SockType::Stream)?;
    listen(&tcp, Backlog::new(BACKLOG)?)?;
    let tcp = TcpListener::from_std(tcp.into())?;
    let address = tcp.local_addr()?;
    let udp = |_| UdpSocket::from_std(bound(address, SockType::Datagram)?.into());
    let udp = (0..count.max(1)).map(udp).collect::<io::Result<_>>()?;
    Ok(Sockets { address, udp, tcp })
}

fn bound(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if kind == SockType::Datagram {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    } else {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    } else {
        setsockopt(&fd, sockopt::IpFreebind, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()), &SockaddrStorage::from(address))?;
    Ok(fd)
}

async fn over_udp(socket: Arc<UdpSocket>, server: Arc<Server>, waiting: Arc<Semaphore>, tasks: Tasks) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "a DNS socket cannot be read");
            return;
        }
        for _ in 0..BATCH {
            let (length, client) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What the network says of an earlier reply.
                Err(_) => continue,
            };
            datagram(&socket, &server, &waiting, &tasks, &buffer[..length], client);
        }
        // Reading without waiting does not count for the scheduler.
        tokio::task::consume_budget().await;
    }
}

fn datagram(
    socket: &Arc<UdpSocket>,
    server: &Arc<Server>,
    waiting: &Arc<Semaphore>,
    tasks: &Tasks,
    bytes: &[u8],
    client: SocketAddr,
) {
    let exchange = Exchange { protocol: Protocol::Udp, start: Instant::now() };
    let (request, limit) = match wire::read(bytes) {
        Received::Noise => return,
        Received::Refused(reply) => {
            let limit = wire::udp_limit(&reply);
            return send(socket, client, &exchange.end(server, reply, Source::None, limit));
        }
        Received::Question(request) => {
            let limit = wire::udp_limit(&request);
            (request, limit)
        }
    };
    exchange.begin(server, &request, client.ip(), bytes.len());
    match server.begin(request, client.ip()) {
        Step::Done(reply, source) => send(socket, client, &exchange.end(server, reply, source, limit)),
        Step::Ask(pending) => {
            let Ok(slot) = Arc::clone(waiting).try_acquire_owned() else {
                let mut reply = pending.reply;
                reply.metadata.response_code = ResponseCode::Refused;
                return send(socket, client, &exchange.end(server, reply, Source::None, limit));
            };
            let (socket, server) = (Arc::clone(socket), Arc::clone(server));
            tasks.spawn_until_stopped("dns-question", async move {
                let _slot = slot;
                let (reply, source) = server.finish(*pending).await;
                send(&socket, client, &exchange.end(&server, reply, source, limit));
            });
        }
    }
}

fn send(socket: &UdpSocket, client: SocketAddr, reply: &[u8]) {
    if let Err(error) = socket.try_send_to(reply, client) {
        tracing::debug!(%client, %error, "a DNS reply cannot be sent");
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, client)) => {
                let server = Arc::clone(&server);
                tasks.spawn_until_stopped("dns-connection", over_tcp(stream, client.ip(), server, slot));
            }
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets others finish.
                tracing::warn!(%error, "a DNS connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn over_tcp(mut stream: TcpStream, client: IpAddr, server: Arc<Server>, _slot: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    while let Ok(Ok(bytes)) = timeout(IDLE, receive(&mut stream)).await {
        let exchange = Exchange { protocol: Protocol::Tcp, start: Instant::now() };
        let (reply, source) = match wire::read(&bytes) {
            Received::Noise => return,
            Received::Refused(reply) => (reply, Source::None),
            Received::Question(request) => {
                exchange.begin(&server, &request, client, bytes.len());
                match server.begin(request, client) {
                    Step::Done(reply, source) => (reply, source),
                    Step::Ask(pending) => server.finish(*pending).await,
                }
            }
        };
        let bytes = exchange.end(&server, reply, source, wire::tcp_limit());
        let Ok(length) = u16::try_from(bytes.len()) else { return };
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        if !matches!(timeout(IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// One question and its reply, for the metrics.
#[derive(Clone, Copy)]
struct Exchange {
    protocol: Protocol,
    start: Instant,
}

impl Exchange {
    fn begin(self, server: &Server, request: &Message, client: IpAddr, bytes: usize) {
        server.metrics.requested(self.protocol, client, request.queries[0].query_type(), bytes);
    }

    /// The reply as bytes.
    fn end(self, server: &Server, reply: Message, source: Source, limit: usize) -> Vec<u8> {
        let code = reply.metadata.response_code;
        let bytes = wire::write(reply, limit);
        server.metrics.responded(self.protocol, code, source, bytes.len(), self.start.elapsed());
        bytes
    }
}
