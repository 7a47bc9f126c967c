//! What a network and a busy server do to a client, from a seed: refused requests, answers that get lost after the
//! write happened, delays, watches that break.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tower::{BoxError, Service};

/// Chance of a fault a request, in percent; a third each of refused, lost and late.
const FAULTS_PERCENT: u32 = 15;
/// Longest delay of a late answer.
const LATEST: Duration = Duration::from_secs(3);
/// A watch breaks after at most this many chunks of its body.
const WATCH_CHUNKS: u32 = 40;

/// The switch and the dice, shared by all clients of a run.
#[derive(Debug, Clone)]
pub struct Faults {
    on: Arc<AtomicBool>,
    dice: Arc<Mutex<StdRng>>,
}

impl Faults {
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { on: Arc::new(AtomicBool::new(true)), dice: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// A network without faults.
    #[must_use]
    pub fn none() -> Self {
        let faults = Self::from_seed(0);
        faults.end();
        faults
    }

    /// From now on the network is perfect.
    pub fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// `service` behind this network.
    pub fn around<S>(&self, service: S) -> Faulty<S> {
        Faulty { service, faults: self.clone() }
    }

    fn below(&self, limit: u32) -> u32 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..limit)
    }

    fn draw(&self) -> Fault {
        if !self.on.load(Ordering::Relaxed) {
            return Fault::None;
        }
        let milliseconds = self.below(u32::try_from(LATEST.as_millis()).expect("seconds"));
        match self.below(300) {
            dice if dice >= 3 * FAULTS_PERCENT => Fault::None,
            dice if dice % 3 == 0 => Fault::Refused,
            dice if dice % 3 == 1 => Fault::Lost,
            _ => Fault::Late(Duration::from_millis(milliseconds.into())),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// The server answers 503 and did nothing.
    Refused,
    /// The server did it, the client never hears of it.
    Lost,
    Late(Duration),
}

/// A service behind a bad network.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    service: S,
    faults: Faults,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B, A> Service<Request<B>> for Faulty<S>
where
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
    A: Body<Data = Bytes> + Send + 'static,
    A::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let fault = self.faults.draw();
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let chunks = watch.then(|| (self.faults.clone(), self.faults.below(WATCH_CHUNKS)));
        let answer = self.service.call(request);
        Box::pin(async move {
            if matches!(fault, Fault::Refused) {
                return Ok(unavailable());
            }
            let answer = answer.await.map_err(Into::into)?;
            match fault {
                Fault::Lost => return Err("connection reset by the fault layer".into()),
                Fault::Late(delay) => tokio::time::sleep(delay).await,
                Fault::None | Fault::Refused => {}
            }
            Ok(answer.map(|body| {
                Breaking { body: body.map_err(Into::into).boxed_unsync(), chunks }.boxed_unsync()
            }))
        })
    }
}

fn unavailable() -> Response<AnswerBody> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 503,
        "reason": "ServiceUnavailable", "message": "refused by the fault layer",
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

/// A body that ends early when the network is bad and it belongs to a watch.
struct Breaking {
    body: AnswerBody,
    chunks: Option<(Faults, u32)>,
}

impl Body for Breaking {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((faults, left)) = &mut self.chunks
            && faults.on.load(Ordering::Relaxed)
        {
            if *left == 0 {
                return Poll::Ready(None);
            }
            *left -= 1;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
