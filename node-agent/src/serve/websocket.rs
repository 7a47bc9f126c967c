//! WebSocket framing of streams: `v5.channel.k8s.io` and `v4.channel.k8s.io`, and SPDY inside of WebSocket.
//!
//! Promise: the first byte of a message names its channel: 0 stdin, 1 stdout, 2 stderr, 3 status, 4 terminal size; in
//! v5 message 255 closes the channel that its second byte names, which is how stdin ends. Sources: KEP-4006 and the
//! API server's `remotecommand` documentation.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::remote::Ends;
use super::session::{StreamError, TerminalSize, status};
use super::{Body, text};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Room between SPDY and the WebSocket that carries it.
const TUNNEL_BYTES: usize = 64 << 10;

/// After the end, how long a client may take to go.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The first protocol of ours that the client offers.
pub(super) fn choose<'a>(headers: &HeaderMap, ours: &[&'a str]) -> Option<&'a str> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|line| line.split(',')).map(str::trim).collect();
    ours.iter().copied().find(|our| offered.contains(our))
}

pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer that switches to WebSocket.
pub(super) fn accept(headers: &HeaderMap, protocol: &str) -> Response<Body> {
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key");
    };
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let answer = response.headers_mut();
    answer.remove(header::CONTENT_TYPE);
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = derive_accept_key(key.as_bytes());
    if let (Ok(accept), Ok(protocol)) = (HeaderValue::from_str(&accept), HeaderValue::from_str(protocol)) {
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Serves one session over a socket.
pub(super) async fn serve(
    upgraded: Upgraded,
    ends: Ends,
    run: impl Future<Output = Result<(), StreamError>>,
) {
    let socket: Socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    let Ends { stdin, mut stdout, mut stderr, resize } = ends;
    let outputs = async {
        loop {
            let message = tokio::select! {
                Some(bytes) = next(&mut stdout) => framed(STDOUT, &bytes),
                Some(bytes) = next(&mut stderr) => framed(STDERR, &bytes),
                else => return Ok::<_, WsError>(sink),
            };
            sink.send(message).await?;
        }
    };
    let inputs = async {
        let (mut stdin, resize) = (stdin, resize);
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) => take(&bytes, &mut stdin, &resize).await,
                Message::Close(_) => break,
                _ => {}
            }
        }
    };
    let work = async { tokio::join!(run, outputs) };
    tokio::pin!(inputs);
    let (result, sink) = tokio::select! {
        done = work => done,
        // The client is gone.
        () = &mut inputs => return,
    };
    if let Ok(mut sink) = sink {
        let status = status(&result).to_string();
        // A client that went away meanwhile misses nothing.
        let _ = sink.send(framed(STATUS, status.as_bytes())).await;
        let _ = sink.send(goodbye()).await;
        // Closing at once could cut off what the client has not read yet.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, inputs).await;
    }
}

async fn take(message: &[u8], stdin: &mut Option<mpsc::Sender<Bytes>>, resize: &mpsc::Sender<TerminalSize>) {
    let Some((channel, rest)) = message.split_first() else { return };
    match *channel {
        STDIN => {
            if let Some(queue) = stdin
                && !rest.is_empty()
                && queue.send(Bytes::copy_from_slice(rest)).await.is_err()
            {
                *stdin = None;
            }
        }
        RESIZE => {
            if let Ok(size) = serde_json::from_slice(rest) {
                // A size that does not fit the queue will be followed by another.
                let _ = resize.try_send(size);
            }
        }
        CLOSE if rest.first() == Some(&STDIN) => *stdin = None,
        _ => {}
    }
}

/// The next bytes of an output; `None` when it has ended or is not wanted.
async fn next(queue: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    queue.as_mut()?.recv().await
}

/// kubectl takes any other end for a broken connection.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn framed(channel: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// A byte stream whose bytes travel in binary messages (`SPDY/3.1+portforward.k8s.io`). The future must be driven.
pub(super) async fn tunnel(upgraded: Upgraded) -> (DuplexStream, impl Future<Output = ()>) {
    let socket: Socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    let (near, far) = tokio::io::duplex(TUNNEL_BYTES);
    let (mut from_spdy, mut to_spdy) = tokio::io::split(far);
    let pump = async move {
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                let written = match message {
                    Message::Binary(bytes) => to_spdy.write_all(&bytes).await,
                    Message::Close(_) => break,
                    _ => Ok(()),
                };
                if written.is_err() {
                    break;
                }
            }
            let _ = to_spdy.shutdown().await;
        };
        let outward = async {
            let mut chunk = vec![0; 32 << 10];
            while let Ok(count) = from_spdy.read(&mut chunk).await {
                if count == 0
                    || sink.send(Message::Binary(Bytes::copy_from_slice(&chunk[..count]))).await.is_err()
                {
                    break;
                }
            }
            let _ = sink.send(goodbye()).await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
        }
    };
    (near, pump)
}
