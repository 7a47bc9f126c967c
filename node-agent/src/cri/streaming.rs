//! The client end of the runtime's streaming server: exec and attach over SPDY/3.1.
//!
//! Promise: `run` joins a session to the URL that the CRI answered and gives the exit status that the runtime
//! reports. The end of stdin is passed on as a half-close, which WebSocket v4 cannot do.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::debug;

use crate::serve::session::{self, Session, StreamError};
use crate::serve::spdy::{Connection, Headers, Outgoing, Role, Stream};

/// Time for connecting and the upgrade.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest answer head that is read.
const HEAD_BYTES: usize = 16 << 10;

/// After the status came, how long the output streams may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(url: &str, session: Session) -> Result<(), StreamError> {
    let io = match tokio::time::timeout(CONNECT_LIMIT, connect(url)).await {
        Ok(result) => result?,
        Err(_) => return Err(failed("the runtime's streaming server does not answer")),
    };
    let (connection, peers, driver) = Connection::over(io, Role::Client);
    drop(peers);
    let talk = talk(connection, session);
    tokio::pin!(talk);
    tokio::select! {
        result = &mut talk => result,
        ended = driver => {
            if let Err(error) = ended {
                debug!(%error, "the connection to the runtime broke");
            }
            // What the other side said before it closed may still be queued, the status too.
            talk.await
        }
    }
}

async fn talk(connection: Connection, session: Session) -> Result<(), StreamError> {
    // The order of client-go; the server waits for all of them.
    let mut error = open(&connection, "error").await?;
    let stdin = match session.stdin {
        Some(queue) => Some((open(&connection, "stdin").await?, queue)),
        None => None,
    };
    let stdout = match session.stdout {
        Some(queue) => Some((open(&connection, "stdout").await?, queue)),
        None => None,
    };
    let stderr = match session.stderr {
        Some(queue) if !session.tty => Some((open(&connection, "stderr").await?, queue)),
        _ => None,
    };
    let resize = if session.tty { Some((open(&connection, "resize").await?, session.resize)) } else { None };

    let status = async {
        let mut bytes = Vec::new();
        while let Some(part) = error.incoming.recv().await {
            bytes.extend_from_slice(&part);
        }
        bytes
    };
    let outputs = async {
        tokio::join!(copy_out(stdout), copy_out(stderr));
    };
    let inputs = async {
        tokio::join!(copy_in(stdin), send_sizes(resize));
        std::future::pending::<()>().await;
    };
    tokio::pin!(outputs);
    tokio::pin!(inputs);
    let mut outputs_ended = false;
    tokio::pin!(status);
    let bytes = loop {
        tokio::select! {
            bytes = &mut status => break bytes,
            () = &mut outputs, if !outputs_ended => outputs_ended = true,
            () = &mut inputs => {}
        }
    };
    if !outputs_ended {
        // A child that keeps the output open must not hold the session.
        let _ = tokio::time::timeout(DRAIN_LIMIT, outputs).await;
    }
    if bytes.is_empty() {
        return Err(failed("the runtime closed the stream without a status"));
    }
    session::result_of(&bytes)
}

async fn open(connection: &Connection, kind: &str) -> Result<Stream, StreamError> {
    let stream = connection.open(Headers::default().with("streamtype", kind)).await;
    stream.ok_or_else(|| failed("the runtime closed the connection"))
}

async fn copy_out(from: Option<(Stream, mpsc::Sender<Bytes>)>) {
    let Some((mut stream, queue)) = from else { return };
    while let Some(bytes) = stream.incoming.recv().await {
        if queue.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn copy_in(to: Option<(Stream, mpsc::Receiver<Bytes>)>) {
    let Some((mut stream, mut queue)) = to else { return };
    while let Some(bytes) = queue.recv().await {
        if !stream.outgoing.send(bytes).await {
            return;
        }
    }
    stream.outgoing.close().await;
}

async fn send_sizes(to: Option<(Stream, mpsc::Receiver<session::TerminalSize>)>) {
    let Some((stream, mut sizes)) = to else { return };
    let mut outgoing: Outgoing = stream.outgoing;
    while let Some(size) = sizes.recv().await {
        let text = serde_json::to_vec(&size).expect("two numbers always encode");
        if !outgoing.send(text.into()).await {
            return;
        }
    }
}

/// Connects and upgrades to SPDY.
async fn connect(url: &str) -> Result<TcpStream, StreamError> {
    let uri: http::Uri = url.parse().map_err(|_| failed("the runtime's streaming address is not a URL"))?;
    let authority = uri.authority().ok_or_else(|| failed("the runtime's streaming address has no host"))?;
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let mut io = TcpStream::connect(address)
        .await
        .map_err(|error| failed(&format!("cannot reach the runtime's streaming server: {error}")))?;
    // Failure is only slower typing.
    let _ = io.set_nodelay(true);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    let broken = |error: std::io::Error| failed(&format!("upgrade at the runtime failed: {error}"));
    io.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to SPDY.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES {
            return Err(failed("the runtime's streaming server talks nonsense"));
        }
        head.push(io.read_u8().await.map_err(broken)?);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        return Ok(io);
    }
    let line = String::from_utf8_lossy(&head);
    Err(failed(&format!("the runtime refused the stream: {}", line.lines().next().unwrap_or_default())))
}

fn failed(text: &str) -> StreamError {
    StreamError::Failed(text.to_owned())
}
