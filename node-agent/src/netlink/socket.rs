//! A netlink socket: sends many messages at once and says which of them the kernel refused, and why.
//!
//! Promise: no answer is taken for another request's, and none is lost silently: a receive buffer that overflowed is
//! an error. The kernel works on a request before `send` returns, so all answers but the later parts of a dump wait
//! in the socket by then, and nothing here waits for time to pass. Calls block: use a thread of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

use super::message::{Batch, Message, attributes, messages};

/// Send and receive buffer asked for. A send larger than the send buffer is refused by the kernel.
const BUFFER_BYTES: usize = 64 << 20;

/// Most bytes in one send of independent messages: more gains nothing and holds the kernel's lock longer.
const SEND_BYTES: usize = 256 << 10;

/// One receive; the kernel fills up to 32 KiB of a dump at once, and one answer is never larger than this.
const RECEIVE_BYTES: usize = 256 << 10;

/// How often a dump is repeated when the kernel's table changed under it.
const DUMP_ATTEMPTS: usize = 5;

/// `NLM_F_ACK` etc. are `i32` in libc and two bytes on the wire.
pub const ACK: u16 = libc::NLM_F_ACK as u16;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

/// Flags of an error answer: the request is not repeated in it, attributes with details follow.
const CAPPED: u16 = 0x100;
const DETAILS: u16 = 0x200;
/// Flag of an answer from a dump whose table changed meanwhile.
const INTERRUPTED: u16 = 0x10;
/// `NLMSGERR_ATTR_MSG`: what was wrong, in words.
const DETAIL_TEXT: u16 = 1;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// Families found by name, such as IPVS.
    Generic,
    /// nf_tables, conntrack, ipset.
    Netfilter,
}

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket; without permission this is already where it ends.
    #[error("cannot open a netlink socket for {protocol:?}")]
    Open {
        /// Which one.
        protocol: Protocol,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The kernel took no message of the send.
    #[error("cannot send {bytes} bytes to the kernel by netlink")]
    Send {
        /// Size of the send.
        bytes: usize,
        /// Why.
        #[source]
        source: Errno,
    },
    /// No answer could be read; `ENOBUFS` means that answers were lost.
    #[error("cannot read the kernel's netlink answer")]
    Receive(#[source] Errno),
    /// The kernel refused a single request or a dump.
    #[error("the kernel refused a netlink request{}", detail(.0))]
    Refused(#[source] Failure),
    /// No answer at all came for a request that asked for one.
    #[error("the kernel did not answer a netlink request")]
    Silent,
    /// A dump never came to rest.
    #[error("the kernel's table changed during each of {DUMP_ATTEMPTS} reads")]
    Unstable,
    /// A family of generic netlink that the kernel does not have.
    #[error(
        "the kernel has no netlink family {name}: kernel module {module} is missing or may not be loaded"
    )]
    NoFamily {
        /// The family.
        name: &'static str,
        /// The module that would bring it.
        module: &'static str,
    },
}

impl Error {
    /// The kernel's error number, if it gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Open { source, .. } | Error::Send { source, .. } | Error::Receive(source) => Some(*source),
            Error::Refused(failure) => Some(failure.errno),
            Error::Silent | Error::Unstable | Error::NoFamily { .. } => None,
        }
    }

    /// Whether the process lacks the right (CAP_NET_ADMIN in this network namespace).
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES))
    }
}

fn detail(failure: &Failure) -> String {
    failure.text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

/// One message of a batch that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{errno}")]
pub struct Failure {
    /// Which message of the batch, from 0.
    pub index: usize,
    /// Why.
    pub errno: Errno,
    /// Why, in the kernel's words, where it has some.
    pub text: Option<String>,
}

/// An open socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    number: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Socket, Error> {
        Self::open_fd(protocol)
            .map(|fd| Socket { fd, number: 1, buffer: vec![0; RECEIVE_BYTES] })
            .map_err(|source| Error::Open { protocol, source })
    }

    fn open_fd(protocol: Protocol) -> Result<OwnedFd, Errno> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Generic => SockProtocol::NetlinkGeneric,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Without the right to go beyond the system's limit we get what the limit allows.
        if setsockopt(&fd, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
            setsockopt(&fd, sockopt::SndBuf, &BUFFER_BYTES)?;
        }
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUFFER_BYTES)?;
        }
        switch_on(&fd, libc::NETLINK_CAP_ACK)?;
        switch_on(&fd, libc::NETLINK_EXT_ACK)?;
        Ok(fd)
    }

    /// Sends independent messages, as many at once as fit, and gives those that the kernel refused; it goes on
    /// after a refused one. The last of each send is acknowledged, so success is known, not guessed.
    pub fn execute(&mut self, batch: &mut Batch) -> Result<Vec<Failure>, Error> {
        let mut failures = Vec::new();
        let base = self.take_numbers(batch);
        let mut first = 0;
        while first < batch.len() {
            let mut last = first + 1;
            while last < batch.len() && batch.range_bytes(first, last + 1) <= SEND_BYTES {
                last += 1;
            }
            batch.add_flags(last - 1, ACK);
            self.send(batch.range(first, last))?;
            let answered = self.collect_failures(base, batch.len(), &mut failures)?;
            if !answered.contains(&(last - 1)) {
                return Err(Error::Silent);
            }
            first = last;
        }
        Ok(failures)
    }

    /// For independent messages without number: sent while they are written, see [`Stream`].
    pub fn stream(&mut self) -> Stream<'_> {
        Stream { socket: self, batch: Batch::new(), sent: 0, failures: Vec::new() }
    }

    /// Sends all messages in one piece, for protocols whose batch is a transaction (nf_tables), and gives what the
    /// kernel refused; an empty list means that it took all of it.
    pub fn transact(&mut self, batch: &mut Batch) -> Result<Vec<Failure>, Error> {
        let mut failures = Vec::new();
        let base = self.take_numbers(batch);
        self.send(batch.bytes())?;
        self.collect_failures(base, batch.len(), &mut failures)?;
        Ok(failures)
    }

    /// Sends one request and hands each answer to `read`.
    pub fn request(&mut self, batch: &mut Batch, mut read: impl FnMut(Message<'_>)) -> Result<(), Error> {
        let base = self.take_numbers(batch);
        self.send(batch.bytes())?;
        let mut answered = false;
        while let Some(length) = self.receive(MsgFlags::MSG_DONTWAIT)? {
            for message in messages(&self.buffer[..length]).filter(|message| message.number == base) {
                answered = true;
                match failure_of(&message, base) {
                    Some(failure) if failure.errno as i32 != 0 => return Err(Error::Refused(failure)),
                    Some(_) => {}
                    None => read(message),
                }
            }
        }
        if answered { Ok(()) } else { Err(Error::Silent) }
    }

    /// Reads a whole table. `request` writes the request (with the flag `DUMP`); `read` gets each row. When the
    /// table changed meanwhile the read starts anew: `start` tells the reader to forget what it has.
    pub fn dump<T>(
        &mut self,
        request: impl Fn(&mut Batch),
        read: impl Fn(&mut Vec<T>, Message<'_>),
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut batch = Batch::new();
            request(&mut batch);
            let base = self.take_numbers(&mut batch);
            self.send(batch.bytes())?;
            let mut rows = Vec::new();
            if self.read_dump(base, &mut rows, &read)? {
                return Ok(rows);
            }
        }
        Err(Error::Unstable)
    }

    /// Reads a dump to its end, also of an interrupted one; false if it was interrupted.
    fn read_dump<T>(
        &mut self,
        base: u32,
        rows: &mut Vec<T>,
        read: &impl Fn(&mut Vec<T>, Message<'_>),
    ) -> Result<bool, Error> {
        let mut steady = true;
        loop {
            let length = self.receive(MsgFlags::empty())?.ok_or(Error::Silent)?;
            for message in messages(&self.buffer[..length]).filter(|message| message.number == base) {
                steady &= message.flags & INTERRUPTED == 0;
                if i32::from(message.kind) == libc::NLMSG_DONE {
                    return match done_errno(&message) {
                        Errno::UnknownErrno => Ok(steady),
                        errno => Err(Error::Refused(Failure { index: 0, errno, text: None })),
                    };
                }
                match failure_of(&message, base) {
                    Some(failure) if failure.errno != Errno::UnknownErrno => {
                        return Err(Error::Refused(failure));
                    }
                    Some(_) => {}
                    None => read(rows, message),
                }
            }
        }
    }

    fn take_numbers(&mut self, batch: &mut Batch) -> u32 {
        let base = self.number;
        // Zero marks what the kernel sends by itself.
        self.number = base.checked_add(batch.len() as u32).unwrap_or(1);
        batch.number(base);
        base
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(source) => return Err(Error::Send { bytes: bytes.len(), source }),
            }
        }
    }

    /// One receive into the buffer; none if nothing waits.
    fn receive(&mut self, flags: MsgFlags) -> Result<Option<usize>, Error> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Ok(length) => return Ok(Some(length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(source) => return Err(Error::Receive(source)),
            }
        }
    }

    /// Reads all waiting answers; gives the indexes of the messages that were answered.
    fn collect_failures(
        &mut self,
        base: u32,
        count: usize,
        failures: &mut Vec<Failure>,
    ) -> Result<Vec<usize>, Error> {
        let mut answered = Vec::new();
        while let Some(length) = self.receive(MsgFlags::MSG_DONTWAIT)? {
            for message in messages(&self.buffer[..length]) {
                // An answer to an earlier, abandoned batch is nobody's.
                let Some(failure) = failure_of(&message, base).filter(|failure| failure.index < count) else {
                    continue;
                };
                answered.push(failure.index);
                if failure.errno != Errno::UnknownErrno {
                    failures.push(failure);
                }
            }
        }
        Ok(answered)
    }
}

/// Sends independent messages while they are written, a full send at a time, so that one buffer serves any number of
/// them. As with [`Socket::execute`] the kernel goes on after a refused one, and the last of each send is acknowledged.
#[derive(Debug)]
pub struct Stream<'a> {
    socket: &'a mut Socket,
    batch: Batch,
    sent: usize,
    failures: Vec<Failure>,
}

impl Stream<'_> {
    /// Where the next message is to be written.
    ///
    /// # Errors
    ///
    /// When the messages before it could not be sent.
    pub fn room(&mut self) -> Result<&mut Batch, Error> {
        if self.batch.bytes().len() >= SEND_BYTES {
            self.flush()?;
        }
        Ok(&mut self.batch)
    }

    /// Sends the rest and gives those of all messages that the kernel refused, numbered from 0.
    ///
    /// # Errors
    ///
    /// When they could not be sent.
    pub fn finish(mut self) -> Result<Vec<Failure>, Error> {
        self.flush()?;
        Ok(self.failures)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let failures = self.socket.execute(&mut self.batch)?;
        let sent = self.sent;
        self.failures.extend(failures.into_iter().map(|it| Failure { index: it.index + sent, ..it }));
        self.sent += self.batch.len();
        self.batch.clear();
        Ok(())
    }
}

fn switch_on(fd: &impl AsFd, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    #[allow(unsafe_code, reason = "nix does not know the options of netlink sockets")]
    // SAFETY: the file descriptor is open, and the value outlives the call and has the length that is given.
    let result = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
    };
    Errno::result(result).map(drop)
}

/// What an error message says; `UnknownErrno` (0) is an acknowledgement. None for any other message.
fn failure_of(message: &Message<'_>, base: u32) -> Option<Failure> {
    if i32::from(message.kind) != libc::NLMSG_ERROR {
        return None;
    }
    let code = i32::from_ne_bytes(message.payload.get(..4)?.try_into().ok()?);
    // After the code comes the request's header, and its body too unless the answer is capped.
    let request_bytes = match message.flags & CAPPED {
        0 => u32::from_ne_bytes(message.payload.get(4..8)?.try_into().ok()?) as usize,
        _ => super::message::HEADER_BYTES,
    };
    let details = message.payload.get(4 + request_bytes.next_multiple_of(4)..).unwrap_or_default();
    let text = attributes(details)
        .filter(|_| message.flags & DETAILS != 0)
        .find(|attribute| attribute.kind == DETAIL_TEXT)
        .and_then(|attribute| attribute.text().map(str::to_owned));
    let index = message.number.wrapping_sub(base) as usize;
    Some(Failure { index, errno: Errno::from_raw(-code), text })
}

/// The end of a dump carries an error number when the dump failed on the way.
fn done_errno(message: &Message<'_>) -> Errno {
    let code = message.payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    Errno::from_raw(-code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_message_and_the_kernels_words() {
        let mut batch = Batch::new();
        batch.message(libc::NLMSG_ERROR as u16, CAPPED | DETAILS, |body| {
            body.raw(&(-22i32).to_ne_bytes());
            body.raw(&[0; 16]);
            body.text(DETAIL_TEXT, "Invalid prefix");
        });
        batch.number(12);
        let message = messages(batch.bytes()).next().unwrap();
        let failure = failure_of(&message, 10).unwrap();
        assert_eq!(failure, Failure { index: 2, errno: Errno::EINVAL, text: Some("Invalid prefix".into()) });
    }

    #[test]
    fn the_kernel_answers_a_dump_and_refuses_nonsense() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        // RTM_GETLINK needs no right; the loopback is in every network namespace.
        let links = socket
            .dump(
                |batch| batch.message(18, DUMP, |body| body.raw(&[0; 16])),
                |rows, message| rows.push(message.kind),
            )
            .unwrap();
        assert!(links.contains(&16), "{links:?}");
        // Two messages of types that do not exist around one that is right.
        let mut batch = Batch::new();
        batch.message(9999, 0, |body| body.raw(&[0; 16]));
        batch.message(libc::NLMSG_NOOP as u16, 0, |_| ());
        batch.message(9998, 0, |body| body.raw(&[0; 16]));
        let failures = socket.execute(&mut batch).unwrap();
        assert_eq!(failures.iter().map(|failure| failure.index).collect::<Vec<_>>(), [0, 2]);
        assert!(failures.iter().all(|failure| failure.errno == Errno::EOPNOTSUPP), "{failures:?}");
    }

    #[test]
    fn a_stream_of_several_sends_counts_through() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let (mut stream, count) = (socket.stream(), 3 * SEND_BYTES / 1024);
        for index in 0..count {
            let kind = if index % 100 == 7 { 9999 } else { libc::NLMSG_NOOP as u16 };
            stream.room().unwrap().message(kind, 0, |body| body.raw(&[0; 1024]));
        }
        let refused: Vec<usize> = stream.finish().unwrap().iter().map(|failure| failure.index).collect();
        assert!(count > 700 && refused == (7..count).step_by(100).collect::<Vec<_>>(), "{refused:?}");
        assert_eq!(socket.stream().finish().unwrap(), []);
    }
}
