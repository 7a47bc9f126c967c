//! A client of the CRI over a unix socket: one method a call, the protocol's messages in and out.
//!
//! Promise: each call has a deadline; a call that the server does not know (gRPC code 12) is told apart from
//! one that failed. `runtime` translates between these messages and the agent's own types; nothing else sees them.

mod events;
mod messages;
mod runtime;
mod streaming;
mod translate;

use std::time::Duration;

use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use messages::*;
pub(crate) use runtime::CriRuntime;

/// Deadline of calls that only ask or do something small. Upstream's `runtimeRequestTimeout`.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// Deadline of image pulls without an answer.
const PULL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Room for the answer of a list call: 10,000 containers have passed 16 MiB elsewhere.
const MESSAGE_BYTES: usize = 64 << 20;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CriError {
    #[error("`{0}` is not an address of a container runtime; expected unix:///path")]
    Endpoint(String),
    #[error("{call}: {message}")]
    Call { call: &'static str, code: i32, message: String },
}

impl CriError {
    fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Call { code, .. } if *code == Code::Unimplemented as i32)
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { code, .. } if *code == Code::NotFound as i32)
    }

    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Call { code, .. }
            if [Code::Unavailable as i32, Code::DeadlineExceeded as i32].contains(code))
    }
}

/// A connection that is made at the first call and again when it breaks. Cheap to clone.
#[derive(Clone, Debug)]
struct Cri {
    channel: Channel,
}

impl Cri {
    /// `unix:///run/containerd/containerd.sock`, or the bare path.
    fn connect(endpoint: &str) -> Result<Self, CriError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            return Err(CriError::Endpoint(endpoint.to_owned()));
        }
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|_| CriError::Endpoint(endpoint.to_owned()))?;
        Ok(Self { channel: endpoint.connect_lazy() })
    }

    async fn version(&self) -> Result<(String, String), CriError> {
        let answer: VersionResponse =
            self.call("Version", "/runtime.v1.RuntimeService/Version", VersionRequest::default()).await?;
        Ok((answer.runtime_name, answer.runtime_version))
    }

    async fn list_sandboxes(&self, uid: Option<&str>) -> Result<Vec<PodSandbox>, CriError> {
        let filter = uid.map(|uid| PodSandboxFilter { label_selector: uid_label(uid), ..Default::default() });
        let request = ListPodSandboxRequest { filter };
        let path = "/runtime.v1.RuntimeService/ListPodSandbox";
        Ok(self.call::<_, ListPodSandboxResponse>("ListPodSandbox", path, request).await?.items)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = PodSandboxIdRequest { pod_sandbox_id: id.to_owned() };
        let path = "/runtime.v1.RuntimeService/StopPodSandbox";
        self.call::<_, Empty>("StopPodSandbox", path, request).await.map(drop)
    }

    async fn image_status(&self, name: &str) -> Result<Option<Image>, CriError> {
        let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
        let request = ImageStatusRequest { image, verbose: false };
        let path = "/runtime.v1.ImageService/ImageStatus";
        Ok(self.call::<_, ImageStatusResponse>("ImageStatus", path, request).await?.image)
    }

    /// One call of the runtime service.
    async fn runtime<Q, A>(&self, call: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.call(call, &format!("/runtime.v1.RuntimeService/{call}"), request).await
    }

    /// One call of the image service.
    async fn images<Q, A>(&self, call: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.call(call, &format!("/runtime.v1.ImageService/{call}"), request).await
    }

    async fn call<Q, A>(&self, call: &'static str, path: &str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let limit = if call == "PullImage" { PULL_LIMIT } else { CALL_LIMIT };
        self.call_within(call, path, request, limit).await
    }

    async fn call_within<Q, A>(
        &self,
        call: &'static str,
        path: &str,
        request: Q,
        limit: Duration,
    ) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let exchange = async {
            let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
            grpc.ready().await.map_err(|error| Status::unavailable(text_of(&error)))?;
            let path = path.parse().map_err(|_| Status::internal("not a call path"))?;
            grpc.unary(Request::new(request), path, tonic_prost::ProstCodec::<Q, A>::default()).await
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(|status| failed(call, &status)),
            Err(_) => Err(failed(call, &Status::deadline_exceeded("no answer in time"))),
        }
    }

    async fn server_stream<Q, A>(
        &self,
        call: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<tonic::Streaming<A>, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| failed(call, &Status::unavailable(text_of(&error))))?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let answer = grpc.server_streaming(Request::new(request), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(call, &status))
    }
}

fn failed(call: &'static str, status: &Status) -> CriError {
    CriError::Call { call, code: status.code() as i32, message: status.message().to_owned() }
}

/// The whole chain of causes: tonic's own text is only "transport error".
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn uid_label(uid: &str) -> std::collections::BTreeMap<String, String> {
    [(crate::containers::labels::POD_UID.to_owned(), uid.to_owned())].into()
}
