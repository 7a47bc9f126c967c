//! The binding, asked for until it is known whether it was carried out.
//!
//! Promise: an error means that the pod is not on the node, and that no binding to it is under way that we know of.
//! When an answer is lost the binding may have happened all the same; to call that a failure would give the room of
//! the pod to another one, and overcommit the node until the watch shows the first.

use super::pods;
use crate::pod::{NodeName, PodInfo};
use crate::state::WriteError;
use component::client::lean;
use kube::Client;
use kube::api::{GetParams, PostParams};
use objects::views::Pod;
use serde_json::Value;
use std::time::Duration;

/// Between two tries after a lost answer: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known after a try that did not succeed.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Bound,
    NotBound,
    Nothing,
}

/// POSTs the binding `body` of `pod` to `node`.
pub(crate) async fn bind(
    client: &Client,
    pod: &PodInfo,
    node: &NodeName,
    body: &Value,
) -> Result<(), WriteError> {
    let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    let (mut lost, mut doubtful, mut pause) = (false, false, FIRST_PAUSE);
    loop {
        let Err(error) = post(client, pod, body.clone()).await else { return Ok(()) };
        lost |= matches!(error, WriteError::NoAnswer(_));
        doubtful |= lost || matches!(error, WriteError::Api { code: 500 | 504, .. });
        if !doubtful {
            return Err(error);
        }
        match judge(lost, &error, look(client, pod).await, pod, node) {
            Known::Bound => return Ok(()),
            Known::NotBound => return Err(error),
            Known::Nothing => tracing::debug!(%pod, %node, %error, "binding without an answer; asking again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// `lost` when some try had no answer and may still be under way; `error` is what the last one ended with.
fn judge(
    lost: bool,
    error: &WriteError,
    seen: Result<Pod, WriteError>,
    pod: &PodInfo,
    node: &NodeName,
) -> Known {
    let refused = matches!(error, WriteError::Api { code: code @ 400..500, .. } if *code != 429);
    match seen {
        Ok(seen) if seen.uid() != &*pod.uid => Known::NotBound,
        Ok(seen) => match seen.spec.node_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) if name == &**node => Known::Bound,
            Some(_) => Known::NotBound,
            None if lost && !refused => Known::Nothing,
            None => Known::NotBound,
        },
        // Gone, or not for us to see.
        Err(WriteError::Api { code: 400..500, .. }) => Known::NotBound,
        Err(_) => Known::Nothing,
    }
}

async fn post(client: &Client, pod: &PodInfo, body: Vec<u8>) -> Result<(), WriteError> {
    let request = pods(pod).create_subresource("binding", pod.name(), &PostParams::default(), body);
    Ok(lean::write(client, request).await?)
}

async fn look(client: &Client, pod: &PodInfo) -> Result<Pod, WriteError> {
    let request = pods(pod).get(pod.name(), &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    Ok(client.request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::json;
    use std::collections::VecDeque;
    use std::sync::Arc;

    /// What the network makes of one request.
    #[derive(Clone, Copy, Debug)]
    enum Turn {
        Arrives,
        /// Carried out, but its answer is lost.
        AnswerLost,
        /// Never arrives.
        Lost,
        /// Answered with this code and not carried out.
        Refused(u16),
        /// Carried out, and answered with this code.
        CarriedOutBut(u16),
        /// Before it arrives, somebody else binds the pod there.
        After(&'static str),
        /// Before it arrives, the pod is replaced by another of its name.
        Replaced,
    }

    /// An API server with one pod, behind a network that takes these turns and then works.
    #[derive(Default)]
    struct Server {
        turns: VecDeque<Turn>,
        node: Option<String>,
        uid: String,
        posts: usize,
    }

    impl Server {
        fn answer(&mut self, method: &Method) -> Option<Response<Body>> {
            let turn = self.turns.pop_front().unwrap_or(Turn::Arrives);
            match turn {
                Turn::Lost => return None,
                Turn::Refused(code) => return Some(answer(code, &json!({"code": code}))),
                Turn::After(node) => self.node = Some(node.into()),
                Turn::Replaced => self.uid = "another".into(),
                Turn::Arrives | Turn::AnswerLost | Turn::CarriedOutBut(_) => {}
            }
            let done = if method == Method::GET { self.get() } else { self.post() };
            match turn {
                Turn::AnswerLost => None,
                Turn::CarriedOutBut(code) => Some(answer(code, &json!({"code": code}))),
                _ => Some(done),
            }
        }

        fn get(&self) -> Response<Body> {
            let spec = json!({"nodeName": self.node, "containers": []});
            answer(
                200,
                &json!({"metadata": {"name": "p", "namespace": "default", "uid": self.uid}, "spec": spec}),
            )
        }

        fn post(&mut self) -> Response<Body> {
            self.posts += 1;
            if self.node.is_some() || self.uid != "p" {
                return answer(409, &json!({"code": 409}));
            }
            self.node = Some("n".into());
            answer(201, &json!({}))
        }
    }

    fn answer(code: u16, body: &Value) -> Response<Body> {
        Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
    }

    /// The outcome of the bind, where the pod is, and how many POSTs arrived.
    async fn outcome(turns: &[Turn]) -> (Result<(), WriteError>, Option<String>, usize) {
        let server = Server { turns: turns.iter().copied().collect(), uid: "p".into(), ..Server::default() };
        let server = Arc::new(Mutex::new(server));
        let served = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = served.lock().answer(request.method());
            async move { answer.ok_or("connection reset") }
        });
        let pod = fixtures::pod("p", json!({}));
        let outcome = bind(&Client::new(service, "default"), &pod, &"n".into(), &json!({})).await;
        let server = server.lock();
        (outcome, server.node.clone(), server.posts)
    }

    #[tokio::test(start_paused = true)]
    async fn succeeds_when_the_pod_is_on_the_node_whatever_was_lost() {
        use Turn::{AnswerLost, Arrives, CarriedOutBut, Lost, Refused};
        let table: [&[Turn]; 11] = [
            &[],
            &[AnswerLost],
            &[AnswerLost, Lost],
            &[AnswerLost, Refused(503), Refused(503)],
            &[AnswerLost, AnswerLost, AnswerLost],
            &[Lost],
            &[Lost, Lost, Lost, Lost, Lost, Lost],
            &[Lost, Arrives, Refused(503)],
            &[Lost, Arrives, Refused(429)],
            &[CarriedOutBut(500)],
            &[CarriedOutBut(504), Lost],
        ];
        for turns in table {
            let (outcome, node, _) = outcome(turns).await;
            assert_eq!((outcome, node.as_deref()), (Ok(()), Some("n")), "{turns:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fails_only_when_the_pod_is_not_on_the_node() {
        use Turn::{After, Arrives, Lost, Refused, Replaced};
        let table: [(&[Turn], u16, Option<&str>, usize); 8] = [
            (&[Refused(503)], 503, None, 0),
            (&[Refused(429)], 429, None, 0),
            (&[Refused(500)], 500, None, 0),
            (&[Refused(504), Lost, Refused(403)], 403, None, 0),
            (&[After("other")], 409, Some("other"), 1),
            (&[Lost, After("other")], 0, Some("other"), 0),
            (&[Lost, Arrives, After("other")], 409, Some("other"), 1),
            (&[Replaced], 409, None, 1),
        ];
        for (turns, code, on, posts) in table {
            let (outcome, node, posted) = outcome(turns).await;
            let failed = match outcome {
                Err(WriteError::Api { code, .. }) => code,
                Err(WriteError::NoAnswer(_)) => 0,
                Ok(()) => panic!("{turns:?}: bound"),
            };
            assert_eq!((failed, node.as_deref(), posted), (code, on, posts), "{turns:?}");
        }
    }
}
