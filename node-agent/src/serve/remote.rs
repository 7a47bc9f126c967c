//! Exec and attach: from an upgraded connection to a session of the runtime.
//!
//! Promise: WebSocket (v5, v4) and SPDY/3.1 (v4) clients get the same session; the exit status goes out on the error
//! stream after all output. The command never starts before every stream that the client announced is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::tasks::Tasks;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tracing::debug;

use super::query::Query;
use super::session::{self, QUEUE, Session, StreamError, TerminalSize};
use super::spdy::{Connection, Role, Stream};
use super::{Body, text, websocket};
use crate::runtime::Runtime;

/// Time for a SPDY client to open its streams. Upstream's `streamCreationTimeout`.
const STREAMS_LIMIT: Duration = Duration::from_secs(30);

/// After the end, how long a client may take to go.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);

const WEBSOCKET_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const SPDY_PROTOCOL: &str = "v4.channel.k8s.io";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// The client's ends of a session.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdin: Option<mpsc::Sender<Bytes>>,
    pub(super) stdout: Option<mpsc::Receiver<Bytes>>,
    pub(super) stderr: Option<mpsc::Receiver<Bytes>>,
    pub(super) resize: mpsc::Sender<TerminalSize>,
}

/// Answers an exec (with a command) or attach request.
pub(super) async fn answer(
    mut request: Request<Incoming>,
    runtime: Arc<dyn Runtime>,
    container: String,
    command: Option<Vec<String>>,
    query: &Query,
    tasks: &Tasks,
) -> Response<Body> {
    let streams = match Streams::parse(query) {
        Ok(streams) => streams,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let work = move |session: Session| async move {
        match command {
            Some(command) => runtime.exec(&container, &command, session).await,
            None => runtime.attach(&container, session).await,
        }
    };
    let headers = request.headers().clone();
    let upgraded = hyper::upgrade::on(&mut request);
    if websocket::is_websocket(&headers) {
        let Some(protocol) = websocket::choose(&headers, &WEBSOCKET_PROTOCOLS) else {
            return text(StatusCode::BAD_REQUEST, "unable to upgrade: no sub-protocol is supported");
        };
        tasks.spawn_until_stopped("remote-session", async move {
            let Ok(upgraded) = upgraded.await else { return };
            let (session, ends) = pair(streams);
            websocket::serve(upgraded, ends, work(session)).await;
        });
        return websocket::accept(&headers, protocol);
    }
    if !is_spdy(&headers) {
        return text(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr and upgrade",
        );
    }
    if !offers(&headers, SPDY_PROTOCOL) {
        let why = format!("unable to upgrade: supported protocols are [{SPDY_PROTOCOL}]");
        return text(StatusCode::FORBIDDEN, why);
    }
    tasks.spawn_until_stopped("remote-session", async move {
        let Ok(upgraded) = upgraded.await else { return };
        serve_spdy(upgraded, streams, work).await;
    });
    spdy_accept(SPDY_PROTOCOL)
}

impl Streams {
    /// The kubelet's names of the parameters, and the API's.
    fn parse(query: &Query) -> Result<Self, &'static str> {
        let tty = query.is("tty");
        let streams = Self {
            stdin: query.is("input") || query.is("stdin"),
            stdout: query.is("output") || query.is("stdout"),
            // A terminal has one output.
            stderr: (query.is("error") || query.is("stderr")) && !tty,
            tty,
        };
        if streams.stdin || streams.stdout || streams.stderr {
            Ok(streams)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr")
        }
    }

    /// Streams that a SPDY client opens: these, the error stream, and the terminal's size.
    fn count(self) -> usize {
        [self.stdin, self.stdout, self.stderr, self.tty, true].into_iter().filter(|wanted| *wanted).count()
    }
}

/// Both ends of a session.
fn pair(streams: Streams) -> (Session, Ends) {
    let queue = |wanted: bool| wanted.then(|| mpsc::channel(QUEUE)).unzip();
    let (stdin_sender, stdin) = queue(streams.stdin);
    let (stdout, stdout_receiver) = queue(streams.stdout);
    let (stderr, stderr_receiver) = queue(streams.stderr);
    let (resize_sender, resize) = mpsc::channel(QUEUE);
    let session = Session { stdin, stdout, stderr, resize, tty: streams.tty };
    let ends =
        Ends { stdin: stdin_sender, stdout: stdout_receiver, stderr: stderr_receiver, resize: resize_sender };
    (session, ends)
}

pub(super) fn is_spdy(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"SPDY/3.1"))
}

/// True when the client offers this stream protocol.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let lines = headers.get_all(STREAM_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|offered| offered.trim() == protocol)
}

/// The answer that switches to SPDY.
pub(super) fn spdy_accept(protocol: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

async fn serve_spdy<F, Work>(upgraded: Upgraded, streams: Streams, work: F)
where
    F: FnOnce(Session) -> Work,
    Work: Future<Output = Result<(), StreamError>>,
{
    let (connection, mut opened, driver) = Connection::over(TokioIo::new(upgraded), Role::Server);
    let talk = async {
        let collected = tokio::time::timeout(STREAMS_LIMIT, collect(&mut opened, streams.count())).await;
        let Ok(Some(mut all)) = collected else {
            debug!("the client did not open its streams");
            return;
        };
        let mut take = |kind: &str| {
            let at = all.iter().position(|stream: &Stream| stream.headers.get("streamtype") == Some(kind))?;
            Some(all.swap_remove(at))
        };
        let Some(mut error) = take("error") else { return };
        let (session, ends) = pair(streams);
        let (stdin, stdout, stderr, resize) = (take("stdin"), take("stdout"), take("stderr"), take("resize"));
        let inputs = async {
            tokio::join!(forward(stdin, ends.stdin), sizes(resize, ends.resize));
            std::future::pending::<()>().await;
        };
        let outputs = async { tokio::join!(drain(ends.stdout, stdout), drain(ends.stderr, stderr)) };
        let all_done = async { tokio::join!(work(session), outputs).0 };
        let result = tokio::select! {
            result = all_done => result,
            () = inputs => return,
        };
        error.outgoing.send(session::status(&result).to_string().into()).await;
        error.outgoing.close().await;
        // The client closes the connection once it has read everything.
        let gone = async { while error.incoming.recv().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE_LIMIT, gone).await;
        drop(connection);
    };
    tokio::select! {
        () = talk => {}
        result = driver => if let Err(error) = result {
            debug!(error = %error, "SPDY connection broke");
        },
    }
}

async fn collect(opened: &mut mpsc::Receiver<Stream>, count: usize) -> Option<Vec<Stream>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        all.push(opened.recv().await?);
    }
    Some(all)
}

async fn forward(stream: Option<Stream>, queue: Option<mpsc::Sender<Bytes>>) {
    let (Some(mut stream), Some(queue)) = (stream, queue) else { return };
    while let Some(bytes) = stream.incoming.recv().await {
        if queue.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn sizes(stream: Option<Stream>, queue: mpsc::Sender<TerminalSize>) {
    let Some(mut stream) = stream else { return };
    let mut pending = Vec::new();
    while let Some(bytes) = stream.incoming.recv().await {
        pending.extend_from_slice(&bytes);
        let mut parsed = serde_json::Deserializer::from_slice(&pending).into_iter::<TerminalSize>();
        while let Some(Ok(size)) = parsed.next() {
            // A size that does not fit the queue will be followed by another.
            let _ = queue.try_send(size);
        }
        let used = parsed.byte_offset();
        pending.drain(..used);
    }
}

async fn drain(queue: Option<mpsc::Receiver<Bytes>>, stream: Option<Stream>) {
    let (Some(mut queue), Some(mut stream)) = (queue, stream) else { return };
    while let Some(bytes) = queue.recv().await {
        if !stream.outgoing.send(bytes).await {
            return;
        }
    }
    stream.outgoing.close().await;
}
