//! Where the scheduler of a pod can be asked: behind the API server of an all-in-one, at a given address, or at the
//! holder of its lease.
//!
//! Promise: GETs only, and no secret to anything but the API server. A scheduler's certificate is usually made by itself,
//! so an answer from its own port is believed without checking it; it is shown, and nothing else. What the scheduler is
//! shown is a client certificate, whose key stays here; never a token.

use super::page::DECISIONS;
use super::report::Explanation;
use crate::pod::DEFAULT_SCHEDULER;
use crate::world::{ReadError, Reader};
use component::args::ClientArgs;
use kube::config::AuthInfo;
use std::time::Duration;

/// How long one place may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The port and the lease of kube-scheduler.
const PORT: u16 = 10259;
const LEASE: &str = "kube-scheduler";
const LEASE_NAMESPACE: &str = "kube-system";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) node: Option<&'a str>,
    pub(super) scheduler_name: &'a str,
}

impl Question<'_> {
    fn path(&self) -> String {
        let node = self.node.map(|node| format!("?node={node}")).unwrap_or_default();
        format!("{DECISIONS}/{}/{}{node}", self.namespace, self.name)
    }
}

/// The scheduler's answer, or why there is none.
pub(super) async fn ask(
    reader: &Reader,
    client: &ClientArgs,
    address: Option<&str>,
    question: Question<'_>,
) -> Result<Explanation, String> {
    let path = question.path();
    if let Some(address) = address {
        let answer = direct(address, certificate(client).await, &path).await;
        return answer.map_err(|why| format!("the scheduler at {address}: {why}"));
    }
    if let Ok(answer) = within(reader.get(&path)).await {
        return Ok(answer);
    }
    let lease = match question.scheduler_name {
        DEFAULT_SCHEDULER => LEASE,
        name => name,
    };
    let holder = holder(reader, lease).await?;
    let pod = format!("/api/v1/namespaces/{LEASE_NAMESPACE}/pods/https:{holder}:{PORT}/proxy{path}");
    if let Ok(answer) = within(reader.get(&pod)).await {
        return Ok(answer);
    }
    let host = if holder == component::args::host_name() { "127.0.0.1".to_owned() } else { holder.clone() };
    direct(&format!("{host}:{PORT}"), certificate(client).await, &path)
        .await
        .map_err(|why| format!("the holder of lease {LEASE_NAMESPACE}/{lease}, {holder}: {why}"))
}

/// The host name in the identity of a lease's holder.
async fn holder(reader: &Reader, lease: &str) -> Result<String, String> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases/{lease}");
    let found: serde_json::Value =
        within(reader.get(&path)).await.map_err(|why| format!("lease {LEASE_NAMESPACE}/{lease}: {why}"))?;
    let identity = found["spec"]["holderIdentity"].as_str().unwrap_or_default();
    match identity.rsplit_once('_').map_or(identity, |(host, _)| host) {
        "" => Err(format!("nobody holds the lease {LEASE_NAMESPACE}/{lease}")),
        host => Ok(host.to_owned()),
    }
}

/// The client certificate of the kubeconfig, if it has one.
async fn certificate(client: &ClientArgs) -> AuthInfo {
    let Ok(config) = component::client::config(client.kubeconfig.as_deref()).await else {
        return AuthInfo::default();
    };
    let own = config.auth_info;
    AuthInfo {
        client_certificate: own.client_certificate,
        client_certificate_data: own.client_certificate_data,
        client_key: own.client_key,
        client_key_data: own.client_key_data,
        ..AuthInfo::default()
    }
}

async fn direct(address: &str, certificate: AuthInfo, path: &str) -> Result<Explanation, String> {
    let url = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = url.parse().map_err(|_| "this is no address: write HOST:PORT".to_owned())?;
    let mut config = kube::Config::new(url);
    (config.accept_invalid_certs, config.auth_info) = (true, certificate);
    let client = component::client::connect(config).map_err(|error| error.to_string())?;
    within(Reader::new(client).get(path)).await
}

async fn within<T>(answer: impl Future<Output = Result<T, ReadError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::{Desk, Look};
    use crate::explain::report::By;
    use crate::explain::show;
    use crate::framework::{Profile, Profiles};
    use crate::plugins::fixtures::{cluster, node, requesting};
    use component::clock::Clock;
    use component::metrics::Registry;
    use component::ready::Readiness;
    use component::serve::{Endpoints, Health, Pages, Tls, serve_pages};
    use component::tasks::Tasks;
    use serde_json::json;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_scheduler_is_asked_at_its_own_port() {
        let (tasks, pages, desk) = (Tasks::new(), Pages::default(), Desk::default());
        show(&pages, &desk, &Clock::start());
        let endpoints = Endpoints::new(Health::new(Readiness::new()), Registry::new()).with(pages);
        let tls = Tls::self_signed(&["localhost"]).unwrap();
        let address =
            serve_pages("127.0.0.1:0".parse().unwrap(), Some(tls.into()), endpoints, &tasks).await.unwrap();
        let nobody = AuthInfo::default;
        let get =
            async |path: &str| direct(&address.to_string(), nobody(), &format!("{DECISIONS}/{path}")).await;
        let unled = get("default/p").await.unwrap_err();
        assert_eq!(unled, "this scheduler does not lead: ask the holder of its lease");

        let answering = desk.clone();
        tasks.spawn_until_stopped("scheduler", async move {
            let profiles = Profiles::new(vec![Profile::new("default-scheduler", crate::plugins::defaults())]);
            let profiles = Arc::new(profiles);
            let room = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}});
            let mut questions = answering.sit().await;
            while let Some(asked) = questions.recv().await {
                let known = asked.name.as_deref() == Some("p");
                let pod = known.then(|| requesting("p", json!({"cpu": "2"})));
                let cluster = cluster([node("n", room.clone())]);
                let look = Look { pod, cluster, profiles: profiles.clone(), ..Look::default() };
                asked.answer.send(look).unwrap();
            }
        });
        // The task has to take its seat first.
        while get("default/p").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let told = get("default/p?node=n").await.unwrap();
        assert_eq!((told.source.by, told.node.unwrap().fits), (By::Scheduler, false));
        assert_eq!(told.fixes[0].text, "request at most 1 cpu (asks 2)");
        assert_eq!(get("default/q").await.unwrap_err(), "no pod default/q here");
        assert!(get("a/b/c").await.unwrap_err().ends_with("is the deepest path"));
        assert!(direct("not an address", nobody(), "/").await.unwrap_err().starts_with("this is no address"));
        assert!(tasks.stop().await.is_empty());
    }
}
