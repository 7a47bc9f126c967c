//! SPDY/3.1: many byte streams over one connection, as `kubectl exec` and `port-forward` and containerd's
//! streaming server speak it.
//!
//! Promise: `Connection::over` gives a handle to open streams, a queue of streams that the peer opened, and a
//! future that must be driven; the connection ends when the peer goes, or when every handle and stream is dropped
//! and all that was queued is written. Keep a handle while you accept streams. Streams are bounded queues: a slow reader holds the connection back.

mod frame;
mod headers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use frame::Frame;
pub(crate) use headers::Headers;
use headers::{Packer, Unpacker};

/// Messages that wait in one stream, or for the wire, before the sender has to wait.
const QUEUE: usize = 64;

/// Largest data frame that we send.
const DATA_BYTES: usize = 32 << 10;

/// Streams that may be open in one connection; a port-forward uses two a connection.
const STREAMS: usize = 1024;

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpdyError {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    #[error("not a SPDY/3 frame")]
    Version,
    #[error("frame ends too early")]
    Short,
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("header block is broken or too long")]
    HeaderBlock,
    #[error("too many streams")]
    Streams,
}

/// Which side opens odd stream numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// Opens streams. Clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    outgoing: mpsc::Sender<Frame>,
    inbound: Inbound,
    next: Arc<AtomicU32>,
}

type Inbound = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

/// One stream, both directions. `incoming` ends when the peer half-closed it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub headers: Headers,
    pub incoming: mpsc::Receiver<Bytes>,
    pub outgoing: Outgoing,
}

/// The sending half of a stream. Dropping it half-closes the stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Frame>,
    closed: bool,
}

impl Connection {
    /// Starts the protocol on a byte stream: the handle, the peer's streams, and the future that does the work.
    pub(crate) fn over<IO>(
        io: IO,
        role: Role,
    ) -> (Self, mpsc::Receiver<Stream>, impl Future<Output = Result<(), SpdyError>> + Send)
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (outgoing, outgoing_queue) = mpsc::channel(QUEUE);
        // What the reader answers must never wait for the writer, or two peers could block each other.
        let (answers, answer_queue) = mpsc::unbounded_channel();
        let (opened, opened_queue) = mpsc::channel(STREAMS);
        let inbound = Inbound::default();
        let (reader, writer) = tokio::io::split(io);
        let peers = Reader {
            inbound: Arc::clone(&inbound),
            // Weak: a peer that stays connected must not keep our sending side open.
            outgoing: outgoing.downgrade(),
            answers,
            opened,
        };
        let driver = async move {
            let read = peers.run(reader);
            let write = write_all(writer, outgoing_queue, answer_queue);
            tokio::pin!(read);
            tokio::select! {
                result = &mut read => result,
                result = write => match result {
                    // The peer takes nothing more; what it said before it went is still to be read.
                    Err(SpdyError::Io(_)) => read.await,
                    ended => ended,
                },
            }
        };
        let first = if role == Role::Client { 1 } else { 2 };
        (Self { outgoing, inbound, next: Arc::new(AtomicU32::new(first)) }, opened_queue, driver)
    }

    /// Opens a stream; `None` when the connection has ended.
    pub(crate) async fn open(&self, headers: Headers) -> Option<Stream> {
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        let (sender, incoming) = mpsc::channel(QUEUE);
        self.inbound.lock().insert(id, sender);
        let frame = Frame::Open { stream: id, headers: headers.clone(), last: false };
        self.outgoing.send(frame).await.ok()?;
        Some(Stream {
            headers,
            incoming,
            outgoing: Outgoing { id, frames: self.outgoing.clone(), closed: false },
        })
    }
}

impl Outgoing {
    /// Queues bytes; false when the connection has ended.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(DATA_BYTES));
            if self.frames.send(Frame::Data { stream: self.id, bytes: part, last: false }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that nothing more will come.
    pub(crate) async fn close(mut self) {
        self.closed = true;
        // An ended connection needs no goodbye.
        let _ = self.frames.send(Frame::Data { stream: self.id, bytes: Bytes::new(), last: true }).await;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.closed {
            // With a full queue the stream ends with the connection instead.
            let _ = self.frames.try_send(Frame::Data { stream: self.id, bytes: Bytes::new(), last: true });
        }
    }
}

/// Takes frames off the wire and hands them to their streams.
struct Reader {
    inbound: Inbound,
    outgoing: mpsc::WeakSender<Frame>,
    answers: mpsc::UnboundedSender<Frame>,
    opened: mpsc::Sender<Stream>,
}

impl Reader {
    async fn run(self, mut io: impl AsyncRead + Unpin) -> Result<(), SpdyError> {
        let mut unpacker = Unpacker::new();
        let result = loop {
            match frame::read(&mut io, &mut unpacker).await {
                Ok(Some(frame)) => {
                    if let Err(error) = self.take(frame).await {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.inbound.lock().clear();
        result
    }

    async fn take(&self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::Open { stream, headers, last } => self.open(stream, headers, last).await?,
            Frame::Data { stream, bytes, last } => {
                let sender = self.inbound.lock().get(&stream).cloned();
                if let Some(sender) = sender
                    && !bytes.is_empty()
                {
                    // A reader that lost interest only loses its bytes.
                    let _ = sender.send(bytes).await;
                }
                if last {
                    self.inbound.lock().remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                self.inbound.lock().remove(&stream);
            }
            Frame::Ping { id } => {
                let _ = self.answers.send(Frame::Ping { id });
            }
            Frame::Accept { .. } | Frame::GoAway { .. } => {}
        }
        Ok(())
    }

    async fn open(&self, id: u32, headers: Headers, last: bool) -> Result<(), SpdyError> {
        let Some(frames) = self.outgoing.upgrade() else { return Ok(()) };
        let (sender, incoming) = mpsc::channel(QUEUE);
        if !last {
            let mut inbound = self.inbound.lock();
            if inbound.len() >= STREAMS {
                return Err(SpdyError::Streams);
            }
            inbound.insert(id, sender);
        }
        let _ = self.answers.send(Frame::Accept { stream: id });
        let outgoing = Outgoing { id, frames, closed: false };
        // Nobody who accepts streams: the drop of the stream tells the peer.
        let _ = self.opened.send(Stream { headers, incoming, outgoing }).await;
        Ok(())
    }
}

async fn write_all(
    mut io: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
    mut answers: mpsc::UnboundedReceiver<Frame>,
) -> Result<(), SpdyError> {
    let mut packer = Packer::new()?;
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = answers.recv() => frame,
            frame = frames.recv() => match frame {
                Some(frame) => frame,
                None => break,
            },
        };
        io.write_all(&frame::encode(&frame, &mut packer)?).await?;
        io.flush().await?;
    }
    io.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_peer_said_is_read_though_it_takes_nothing_more() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (deaf, gone) = tokio::io::duplex(1);
        drop(gone);
        let (client, _none, driver) = Connection::over(tokio::io::join(ours, deaf), Role::Client);
        let talk = async {
            let mut stream = client.open(Headers::default()).await.unwrap();
            while stream.outgoing.send("anything".into()).await {
                tokio::task::yield_now().await;
            }
            let frame = Frame::Data { stream: 1, bytes: "status".into(), last: true };
            let said = frame::encode(&frame, &mut Packer::new().unwrap()).unwrap();
            theirs.write_all(&said).await.unwrap();
            drop(theirs);
            assert_eq!(stream.incoming.recv().await.as_deref(), Some(&b"status"[..]));
            assert_eq!(stream.incoming.recv().await, None);
        };
        let (result, ()) = tokio::join!(driver, talk);
        result.unwrap();
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_half_close() {
        let (a, b) = tokio::io::duplex(1024);
        let (client, _none, client_driver) = Connection::over(a, Role::Client);
        let (server, mut opened, server_driver) = Connection::over(b, Role::Server);
        let echo = async {
            let mut stream = opened.recv().await.unwrap();
            assert_eq!(stream.headers.get("streamType"), Some("data"));
            let mut all = Vec::new();
            while let Some(bytes) = stream.incoming.recv().await {
                all.extend_from_slice(&bytes);
            }
            stream.outgoing.send(all.into()).await;
            stream.outgoing.close().await;
            drop(server);
        };
        let talk = async {
            let mut stream = client.open(Headers::default().with("streamtype", "data")).await.unwrap();
            let payload = vec![7u8; 200_000];
            assert!(stream.outgoing.send(payload.clone().into()).await);
            stream.outgoing.close().await;
            let mut back = Vec::new();
            while let Some(bytes) = stream.incoming.recv().await {
                back.extend_from_slice(&bytes);
            }
            assert_eq!(back.len(), payload.len());
            drop(client);
        };
        let (_, _, from_client, from_server) = tokio::join!(echo, talk, client_driver, server_driver);
        from_client.unwrap();
        from_server.unwrap();
    }
}
