//! One extender as it is configured: where it is, what it does, and about whom it is asked.

use crate::config::Extender as Configured;
use crate::pod::PodInfo;
use component::client::connect;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::time::Duration;

/// How long an answer may take if nothing is said (upstream: DefaultExtenderTimeout).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why an extender cannot be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up a connection to the extender at {url}: {why}")]
pub struct Error {
    /// Its address.
    url: String,
    /// What does not work.
    why: String,
}

/// Which pods extenders are asked about. The part of them that the decision needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// Of those that filter or score.
    placing: Vec<Interest>,
    /// Of those that have a say about victims.
    preempting: Vec<Interest>,
}

/// Which pods an extender is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Those that ask for one of these resources; none: all.
    resources: Vec<String>,
}

pub(super) struct Extender {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) interest: Interest,
    pub(super) filter: Option<String>,
    pub(super) prioritize: Option<String>,
    pub(super) preempt: Option<String>,
    pub(super) bind: Option<String>,
    pub(super) weight: i64,
    pub(super) timeout: Duration,
    pub(super) keeps_nodes: bool,
    pub(super) ignorable: bool,
}

impl Interest {
    fn of(extender: &Configured) -> Self {
        Self { resources: extender.managed_resources.iter().map(|resource| resource.name.clone()).collect() }
    }

    /// Whether it is asked about this pod.
    pub fn concerns(&self, pod: &PodInfo) -> bool {
        let wants = |name: &String| pod.requests.scalars.get(name).is_some_and(|amount| *amount > 0);
        self.resources.is_empty() || self.resources.iter().any(wants)
    }
}

impl Interests {
    /// Of these extenders.
    pub fn of(extenders: &[Configured]) -> Self {
        let those =
            |that: fn(&&Configured) -> bool| extenders.iter().filter(that).map(Interest::of).collect();
        Self {
            placing: those(|extender| {
                !extender.filter_verb.is_empty() || !extender.prioritize_verb.is_empty()
            }),
            preempting: those(|extender| !extender.preempt_verb.is_empty()),
        }
    }

    /// Whether an extender has a say about where this pod goes.
    pub fn concern(&self, pod: &PodInfo) -> bool {
        self.placing.iter().any(|interest| interest.concerns(pod))
    }

    /// Whether an extender has a say about who goes for this pod.
    pub fn concern_victims(&self, pod: &PodInfo) -> bool {
        self.preempting.iter().any(|interest| interest.concerns(pod))
    }
}

impl Extender {
    /// Whether it is asked about nodes.
    pub(super) fn is_sent_nodes(&self) -> bool {
        self.filter.is_some() || self.prioritize.is_some()
    }

    pub(super) async fn connect(extender: &Configured) -> Result<Self, Error> {
        let url = extender.url_prefix.trim_end_matches('/').to_owned();
        let client = client(extender, &url).await.map_err(|why| Error { url: url.clone(), why })?;
        let verb = |verb: &String| Some(verb.clone()).filter(|verb| !verb.is_empty());
        let timeout = extender.http_timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero());
        Ok(Self {
            url,
            client,
            interest: Interest::of(extender),
            filter: verb(&extender.filter_verb),
            prioritize: verb(&extender.prioritize_verb),
            preempt: verb(&extender.preempt_verb),
            bind: verb(&extender.bind_verb),
            weight: extender.weight,
            timeout: timeout.unwrap_or(TIMEOUT),
            keeps_nodes: extender.node_cache_capable,
            ignorable: extender.ignorable,
        })
    }
}

/// A client as of a kubeconfig that says the same: addresses, certificates and names are read in one place only.
async fn client(extender: &Configured, url: &str) -> Result<Client, String> {
    let tls = extender.tls_config.clone().unwrap_or_default();
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let authority = !tls.ca_file.is_empty() || !tls.ca_data.is_empty();
    // As upstream: HTTPS is asked for and nobody is named to trust.
    let insecure = tls.insecure || (extender.enable_https && !authority);
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "x", "cluster": {
            "server": url, "insecure-skip-tls-verify": insecure, "tls-server-name": given(&tls.server_name),
            "certificate-authority": given(&tls.ca_file), "certificate-authority-data": given(&tls.ca_data),
        }}],
        "users": [{"name": "x", "user": {
            "client-certificate": given(&tls.cert_file), "client-certificate-data": given(&tls.cert_data),
            "client-key": given(&tls.key_file), "client-key-data": given(&tls.key_data),
        }}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }))
    .map_err(|error| error.to_string())?;
    let chain = |error: &(dyn std::error::Error + 'static)| component::telemetry::chain(error);
    let options = KubeConfigOptions::default();
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| chain(&error))?;
    // The proxy of the environment is for the API server.
    config.proxy_url = None;
    connect(config).map_err(|error| chain(&error))
}
