//! Requests as no typed client would send them, and their answers as they came.

use apiserver::AsUser;
use bytes::Bytes;
use harness::cluster::TestCluster;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub code: StatusCode,
    pub warnings: Vec<String>,
    pub bytes: Bytes,
}

impl Answer {
    /// The body as JSON, or as text where it is none.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&self.bytes).into_owned().into())
    }

    /// The message of a Status.
    pub(crate) fn message(&self) -> String {
        self.body()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The frames of a watch.
    pub(crate) fn frames(&self) -> Vec<Value> {
        let lines = self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a frame is JSON")).collect()
    }
}

/// Sends requests as one user.
#[derive(Clone, Debug)]
pub(crate) struct Sender(AsUser);

impl Sender {
    /// The administrator's.
    pub(crate) fn of(cluster: &TestCluster) -> Self {
        Self(cluster.service())
    }

    pub(crate) fn new(service: AsUser) -> Self {
        Self(service)
    }

    /// Sends bytes of a type.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = Request::builder()
            .method(method.parse::<Method>().expect("a method"))
            .uri(path)
            .header("content-type", content_type)
            .body(Full::new(body.into()))
            .expect("a request");
        self.send(request).await
    }

    /// Sends JSON; a PATCH as a merge patch.
    pub(crate) async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let content_type =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.raw(method, path, content_type, body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, "application/json", Bytes::new()).await
    }

    /// GET with an `Accept` header.
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header("accept", accept).body(Full::new(Bytes::new()));
        self.send(request.expect("a request")).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.0.clone().oneshot(request).await.expect("the service always answers");
        let (head, body) = answer.into_parts();
        let warnings = head.headers.get_all("warning").iter();
        let warnings = warnings.map(|value| value.to_str().expect("text").to_owned()).collect();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer { code: head.status, warnings, bytes }
    }
}
