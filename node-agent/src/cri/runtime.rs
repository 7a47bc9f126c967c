//! The runtime trait over the CRI.
//!
//! Promise: each method is one call of the protocol (streams: the URL it answers, then that connection). A thing
//! that is gone already counts as stopped and removed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::messages::*;
use super::{Cri, CriError, events, streaming, translate};
use crate::runtime::{
    self, ContainerConfig, ContainerDetail, ContainerStats, Hint, Listing, Login, Output, Reply, Runtime,
    RuntimeError, RuntimeVersion, SandboxConfig,
};
use crate::serve::session::{Session, StreamError};

/// Pause before an event stream that broke is opened again.
const RESUBSCRIBE: Duration = Duration::from_secs(2);

/// Added to a stop's grace, so that the runtime's own kill comes first.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// A runtime behind a CRI socket.
#[derive(Debug)]
pub(crate) struct CriRuntime {
    cri: Cri,
    subscribed: Arc<AtomicBool>,
}

impl CriRuntime {
    pub(crate) fn connect(endpoint: &str) -> Result<Self, CriError> {
        Ok(Self { cri: Cri::connect(endpoint)?, subscribed: Arc::default() })
    }

    async fn stream_url<Q>(&self, call: &'static str, request: Q) -> Result<String, StreamError>
    where
        Q: prost::Message + Send + Sync + 'static,
    {
        let answer: Result<UrlResponse, _> = self.cri.runtime(call, request).await;
        answer.map(|answer| answer.url).map_err(|error| StreamError::Failed(error.to_string()))
    }
}

impl From<CriError> for RuntimeError {
    fn from(error: CriError) -> Self {
        match &error {
            CriError::Call { call, .. } if error.is_unimplemented() => Self::Unsupported(call),
            CriError::Call { message, .. } if error.is_not_found() => Self::NotFound(message.clone()),
            CriError::Call { message, .. } if error.is_unavailable() => Self::Unavailable(message.clone()),
            CriError::Call { code, message, .. } => {
                // Upstream's events show gRPC errors this way.
                Self::Refused(format!("rpc error: code = {} desc = {message}", go_name(*code)))
            }
            CriError::Endpoint(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl Runtime for CriRuntime {
    fn version(&self) -> Reply<'_, RuntimeVersion> {
        async {
            let (name, version) = self.cri.version().await?;
            Ok(RuntimeVersion { name, version })
        }
        .boxed()
    }

    fn problems(&self) -> Reply<'_, Vec<String>> {
        async {
            let answer: StatusResponse = self.cri.runtime("Status", StatusRequest::default()).await?;
            let conditions = answer.status.unwrap_or_default().conditions;
            let failing = conditions.into_iter().filter(|condition| !condition.status);
            // Upstream's wording in the node's Ready condition.
            let text = |c: RuntimeCondition| match c.kind.as_str() {
                "NetworkReady" => format!(
                    "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                    c.reason, c.message
                ),
                kind => format!(
                    "container runtime not ready: {kind}=false reason:{} message:{}",
                    c.reason, c.message
                ),
            };
            Ok(failing.map(text).collect())
        }
        .boxed()
    }

    fn set_pod_cidr<'a>(&'a self, cidr: &'a str) -> Reply<'a, ()> {
        async {
            let network_config = Some(NetworkConfig { pod_cidr: cidr.to_owned() });
            let request =
                UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config }) };
            self.cri.runtime::<_, Empty>("UpdateRuntimeConfig", request).await?;
            Ok(())
        }
        .boxed()
    }

    fn is_real(&self) -> bool {
        true
    }

    fn list<'a>(&'a self, uid: Option<&'a str>) -> Reply<'a, Listing> {
        async move {
            let filter = uid
                .map(|uid| ContainerFilter { label_selector: super::uid_label(uid), ..Default::default() });
            // Containers first: a container whose sandbox is listed later is then never taken for an orphan.
            let request = ListContainersRequest { filter };
            let containers: ListContainersResponse = self.cri.runtime("ListContainers", request).await?;
            let sandboxes = self.cri.list_sandboxes(uid).await?;
            let mut listing = Listing {
                sandboxes: sandboxes.into_iter().map(translate::sandbox).collect(),
                containers: containers.containers.into_iter().map(translate::container).collect(),
            };
            listing.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.created, sandbox.attempt)));
            listing.containers.sort_by_key(|container| std::cmp::Reverse(container.created));
            Ok(listing)
        }
        .boxed()
    }

    fn hints(&self) -> BoxStream<'_, Hint> {
        let streams = futures::stream::repeat(()).then(|()| async {
            let events = match events::subscribe(&self.cri).await {
                Ok(events) => {
                    self.subscribed.store(true, Ordering::Relaxed);
                    events
                }
                Err(error) => {
                    tracing::debug!(error = %error, "no event stream from the runtime");
                    futures::stream::empty().boxed()
                }
            };
            let ended = futures::stream::once(async {
                self.subscribed.store(false, Ordering::Relaxed);
                tokio::time::sleep(RESUBSCRIBE).await;
                Hint::Something
            });
            events.chain(ended)
        });
        streams.flatten().boxed()
    }

    fn hints_are_complete(&self) -> BoxFuture<'_, bool> {
        std::future::ready(self.subscribed.load(Ordering::Relaxed)).boxed()
    }

    fn run_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Reply<'a, String> {
        async {
            let request = RunPodSandboxRequest {
                config: Some(translate::sandbox_config(config)),
                runtime_handler: config.handler.clone(),
            };
            let answer: RunPodSandboxResponse = self.cri.runtime("RunPodSandbox", request).await?;
            Ok(answer.pod_sandbox_id)
        }
        .boxed()
    }

    fn sandbox_addresses<'a>(&'a self, id: &'a str) -> Reply<'a, Vec<IpAddr>> {
        async {
            let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
            let answer: PodSandboxStatusResponse = self.cri.runtime("PodSandboxStatus", request).await?;
            let network = answer.status.unwrap_or_default().network.unwrap_or_default();
            let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
            Ok(all.filter_map(|ip| ip.parse().ok()).collect())
        }
        .boxed()
    }

    fn stop_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        async { unless_gone(self.cri.stop_sandbox(id).await) }.boxed()
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        async {
            let request = PodSandboxIdRequest { pod_sandbox_id: id.to_owned() };
            unless_gone(self.cri.runtime::<_, Empty>("RemovePodSandbox", request).await)
        }
        .boxed()
    }

    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
        sandbox_config: &'a SandboxConfig,
    ) -> Reply<'a, String> {
        async {
            let request = CreateContainerRequest {
                pod_sandbox_id: sandbox.to_owned(),
                config: Some(translate::container_config(config)),
                sandbox_config: Some(translate::sandbox_config(sandbox_config)),
            };
            let answer: CreateContainerResponse = self.cri.runtime("CreateContainer", request).await?;
            Ok(answer.container_id)
        }
        .boxed()
    }

    fn start_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        async {
            let request = ContainerIdRequest { container_id: id.to_owned() };
            self.cri.runtime::<_, Empty>("StartContainer", request).await?;
            Ok(())
        }
        .boxed()
    }

    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> Reply<'a, ()> {
        async move {
            let timeout = grace.as_secs() as i64;
            let request = StopContainerRequest { container_id: id.to_owned(), timeout };
            let path = "/runtime.v1.RuntimeService/StopContainer";
            let limit = grace + STOP_SLACK;
            unless_gone(self.cri.call_within::<_, Empty>("StopContainer", path, request, limit).await)
        }
        .boxed()
    }

    fn remove_container<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        async {
            let request = ContainerIdRequest { container_id: id.to_owned() };
            unless_gone(self.cri.runtime::<_, Empty>("RemoveContainer", request).await)
        }
        .boxed()
    }

    fn container_detail<'a>(&'a self, id: &'a str) -> Reply<'a, ContainerDetail> {
        async {
            let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
            let answer: ContainerStatusResponse = self.cri.runtime("ContainerStatus", request).await?;
            Ok(translate::detail(answer.status.unwrap_or_default()))
        }
        .boxed()
    }

    fn exec_sync<'a>(&'a self, id: &'a str, command: &'a [String], limit: Duration) -> Reply<'a, Output> {
        async move {
            let request = ExecSyncRequest {
                container_id: id.to_owned(),
                cmd: command.to_vec(),
                timeout: limit.as_secs() as i64,
            };
            let answer: ExecSyncResponse = self.cri.runtime("ExecSync", request).await?;
            Ok(Output { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
        }
        .boxed()
    }

    fn exec<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        session: Session,
    ) -> BoxFuture<'a, Result<(), StreamError>> {
        async move {
            let request = ExecRequest {
                container_id: id.to_owned(),
                cmd: command.to_vec(),
                tty: session.tty,
                stdin: session.stdin.is_some(),
                stdout: session.stdout.is_some(),
                stderr: session.stderr.is_some() && !session.tty,
            };
            let url = self.stream_url("Exec", request).await?;
            streaming::run(&url, session).await
        }
        .boxed()
    }

    fn attach<'a>(&'a self, id: &'a str, session: Session) -> BoxFuture<'a, Result<(), StreamError>> {
        async move {
            let request = AttachRequest {
                container_id: id.to_owned(),
                tty: session.tty,
                stdin: session.stdin.is_some(),
                stdout: session.stdout.is_some(),
                stderr: session.stderr.is_some() && !session.tty,
            };
            let url = self.stream_url("Attach", request).await?;
            streaming::run(&url, session).await
        }
        .boxed()
    }

    fn network_namespace<'a>(&'a self, sandbox: &'a str) -> Reply<'a, Option<PathBuf>> {
        async {
            let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: true };
            let answer: PodSandboxStatusResponse = self.cri.runtime("PodSandboxStatus", request).await?;
            Ok(namespace_of(answer.info.get("info").map(String::as_str).unwrap_or_default()))
        }
        .boxed()
    }

    fn image<'a>(&'a self, name: &'a str) -> Reply<'a, Option<runtime::Image>> {
        async { Ok(self.cri.image_status(name).await?.map(translate::image)) }.boxed()
    }

    fn images(&self) -> Reply<'_, Vec<runtime::Image>> {
        async {
            let answer: ListImagesResponse =
                self.cri.images("ListImages", ListImagesRequest::default()).await?;
            Ok(answer.images.into_iter().map(translate::image).collect())
        }
        .boxed()
    }

    fn pull<'a>(&'a self, name: &'a str, login: Option<&'a Login>) -> Reply<'a, String> {
        async move {
            let auth = login.map(|login| AuthConfig {
                username: login.user.clone(),
                password: login.password.clone(),
                server_address: login.server.clone(),
                identity_token: login.identity_token.clone(),
                ..Default::default()
            });
            let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
            let request = PullImageRequest { image, auth, sandbox_config: None };
            let answer: PullImageResponse = self.cri.images("PullImage", request).await?;
            Ok(answer.image_ref)
        }
        .boxed()
    }

    fn stats(&self) -> Reply<'_, Vec<ContainerStats>> {
        async {
            let request = ListContainerStatsRequest::default();
            let answer: ListContainerStatsResponse = self.cri.runtime("ListContainerStats", request).await?;
            Ok(answer.stats.into_iter().filter_map(translate::stats).collect())
        }
        .boxed()
    }

    fn image_filesystem(&self) -> Reply<'_, (u64, u64)> {
        async {
            let answer: ImageFsInfoResponse = self.cri.images("ImageFsInfo", Empty {}).await?;
            let first = answer.image_filesystems.into_iter().next().unwrap_or_default();
            Ok((first.used_bytes.unwrap_or_default().value, first.inodes_used.unwrap_or_default().value))
        }
        .boxed()
    }
}

/// The network namespace in the verbose status of a sandbox: containerd shows its OCI runtime spec there.
fn namespace_of(info: &str) -> Option<PathBuf> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let namespaces = info.pointer("/runtimeSpec/linux/namespaces")?.as_array()?;
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
    Some(PathBuf::from(network["path"].as_str()?))
}

fn unless_gone(result: Result<impl Sized, CriError>) -> Result<(), RuntimeError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// gRPC code names as Go prints them.
fn go_name(code: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code).copied()).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_namespace_is_found_in_the_verbose_status() {
        let info = r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}]}}}"#;
        assert_eq!(namespace_of(info), Some(PathBuf::from("/run/netns/x")));
        assert_eq!(namespace_of(r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"}]}}}"#), None);
        assert_eq!(namespace_of("not json"), None);
    }

    #[test]
    fn errors_read_like_upstream() {
        let error =
            CriError::Call { call: "CreateContainer", code: 2, message: "no command specified".into() };
        assert_eq!(
            RuntimeError::from(error).to_string(),
            "rpc error: code = Unknown desc = no command specified"
        );
    }
}
