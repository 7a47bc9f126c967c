//! The client: asks an address once, and says what came of it.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use crate::network::Network;
use crate::sctp;

/// For who expects silence, or asks again: answers come at once or not at all, since everything is on one machine.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(700);
/// For who asks once and must be answered, also by a virtual machine on busy cores.
pub(crate) const LONG: Duration = Duration::from_secs(8);

/// Ports that UDP questions come from, in turn: to the kernel a second question from the same port belongs to the flow
/// of the first, and goes where that went, whatever the service has become meanwhile.
const UDP_SOURCES: Range<u16> = 10_000..30_000;
static NEXT_UDP_SOURCE: AtomicU16 = AtomicU16::new(0);

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// Who answered, and the client's address as it saw it.
    From(String, IpAddr),
    /// An ICMP error or a reset.
    Refused,
    Silence,
}

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    Udp,
    Sctp,
}

/// Asks `to` from a place of the network.
pub(crate) fn ask(network: &Network, from: &str, way: Way, to: SocketAddr) -> Answer {
    network.within(from, || here(way, None, to, BRIEFLY))
}

/// Asks from the calling thread's namespace, with a chosen source address where the place has several.
pub(crate) fn here(way: Way, source: Option<IpAddr>, to: SocketAddr, patience: Duration) -> Answer {
    let answered = match way {
        Way::Tcp | Way::Sctp => stream(way, source, to, patience),
        Way::Udp => udp(source, to, patience),
    };
    match answered {
        Ok(text) => match text.split_once(' ') {
            Some((name, seen)) => {
                Answer::From(name.to_owned(), seen.parse().expect("servers tell an address"))
            }
            None => Answer::Silence,
        },
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Err(_) => Answer::Silence,
    }
}

fn stream(way: Way, source: Option<IpAddr>, to: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = match way {
        Way::Sctp => sctp::socket(to.is_ipv6())?,
        _ => socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?,
    };
    let patience = TimeVal::new(patience.as_secs() as i64, patience.subsec_micros().into());
    // The timeout for sending is the one for connecting as well.
    setsockopt(&fd, sockopt::SendTimeout, &patience)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
    let raw = fd.into_raw_fd();
    #[expect(unsafe_code, reason = "a std stream around a socket that was bound before it connects")]
    // SAFETY: the descriptor is open and nobody else's.
    let mut stream = unsafe { TcpStream::from_raw_fd(raw) };
    if let Some(source) = source {
        bind(raw, &nix::sys::socket::SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    connect(raw, &nix::sys::socket::SockaddrStorage::from(to))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn udp(source: Option<IpAddr>, to: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let port = UDP_SOURCES.start + NEXT_UDP_SOURCE.fetch_add(1, Ordering::Relaxed) % UDP_SOURCES.len() as u16;
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), port))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    // A packet that is rejected on its own machine fails here, with EPERM; the ICMP error waits for the receive.
    if let Err(error) = socket.send(b"?")
        && error.kind() != ErrorKind::PermissionDenied
    {
        return Err(error);
    }
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
