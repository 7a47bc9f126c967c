//! A cap on requests a second, for those who ask for one (`--kube-api-qps`). By default nothing is capped: the API
//! server has its own means, and a cap on a scheduler's binds is the first thing that makes it slow.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tower::{BoxError, Service};

/// A client whose requests pass at this rate, and `burst` of them at once after a rest. Requests keep their order.
#[must_use]
pub fn limited(client: Client, a_second: f64, burst: u32) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Limited { client, gate: Arc::new(Gate::new(a_second, burst)) }, namespace)
}

/// When the next request may pass.
#[derive(Debug)]
struct Gate {
    interval: Duration,
    /// How far ahead of its time a request may pass.
    ahead: Duration,
    /// When the next request would pass if none were ever early.
    next: Mutex<Instant>,
}

impl Gate {
    fn new(a_second: f64, burst: u32) -> Self {
        let interval = Duration::try_from_secs_f64(a_second.recip()).unwrap_or_default();
        Self { interval, ahead: interval * burst.saturating_sub(1), next: Mutex::new(Instant::now()) }
    }

    /// Takes a place in the line; answers when it comes up.
    fn enter(&self) -> Option<Instant> {
        let mut next = self.next.lock();
        let turn = (*next).max(Instant::now());
        *next = turn + self.interval;
        turn.checked_sub(self.ahead)
    }
}

#[derive(Clone)]
struct Limited {
    client: Client,
    gate: Arc<Gate>,
}

impl Service<Request<Body>> for Limited {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, turn) = (self.client.clone(), self.gate.enter());
        Box::pin(async move {
            if let Some(turn) = turn {
                sleep_until(turn).await;
            }
            Ok(client.send(request).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lets_a_burst_pass_and_then_keeps_the_rate() {
        let gate = Gate::new(10.0, 3);
        let start = Instant::now();
        let waits: Vec<_> = (0..6)
            .map(|_| gate.enter().map_or(0, |turn| turn.saturating_duration_since(start).as_millis()))
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let now = Instant::now();
        let after_rest: Vec<_> = (0..4)
            .map(|_| gate.enter().map_or(0, |turn| turn.saturating_duration_since(now).as_millis()))
            .collect();
        assert_eq!(after_rest, [0, 0, 0, 100], "a long rest saves up no more than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_for_requests() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, BoxError>(Response::new(Body::from(b"{}".to_vec())))
        });
        let client = limited(Client::new(service, "default"), 2.0, 1);
        let start = Instant::now();
        for _ in 0..5 {
            client.request_text(Request::get("/x").body(Vec::new()).unwrap()).await.unwrap();
        }
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
