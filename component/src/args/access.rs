//! Who may use the component's own port: the flags, and the CAs that they name or the cluster tells.
//!
//! Promise: a CA that changes, in its file or in the cluster's ConfigMap, counts after a minute at most, also on
//! connections that are there already; what cannot be read or used leaves everything as it was. Upstream:
//! `DelegatingAuthenticationOptions`, `dynamiccertificates`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use kube::Client;
use tokio::sync::watch;

use super::{ServeArgs, duration};
use crate::access::{
    Access, EXTRA_PREFIXES, FrontProxy, GROUP_HEADERS, LookupError, Published, Rules, USERNAME_HEADERS,
    published,
};
use crate::client;
use crate::serve::{ListenError, LiveTls, Tls};
use crate::tasks::Tasks;
use crate::telemetry::chain;

/// How long a change may go unseen (upstream reads files anew as often).
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Who may use the component's own port, asked of the API server.
#[derive(Args, Clone, Debug)]
pub struct AccessArgs {
    /// Kubeconfig of the API server that tokens are reviewed by; the component's own if absent
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,

    /// Do not look for the client CA in the cluster [default: false]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, default_value = "false",
        default_missing_value = "true", require_equals = true, hide_default_value = true)]
    pub authentication_skip_lookup: bool,

    /// Go on without client certificates when the cluster does not tell the client CA [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, default_value = "true",
        default_missing_value = "true", require_equals = true, hide_default_value = true)]
    pub authentication_tolerate_lookup_failure: bool,

    /// How long the answer about a token holds
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub authentication_token_webhook_cache_ttl: Duration,

    /// Kubeconfig of the API server that rights are reviewed by; the component's own if absent
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,

    /// Paths for everybody; a * at the end stands for anything
    #[arg(long, value_name = "PATHS", value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,

    /// How long it holds that a user may do something
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub authorization_webhook_cache_authorized_ttl: Duration,

    /// How long it holds that a user may not
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,

    /// CA that client certificates are checked with; the cluster's if absent
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// CA of proxies that say in request headers who asks; the cluster's if absent
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,

    /// Common names that the certificate of such a proxy may have; any if absent
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = header)]
    pub requestheader_allowed_names: Vec<String>,

    /// Headers with the user's name
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', value_parser = header, default_value = USERNAME_HEADERS)]
    pub requestheader_username_headers: Vec<String>,

    /// Headers with the user's UID; X-Remote-Uid is usual
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', value_parser = header)]
    pub requestheader_uid_headers: Vec<String>,

    /// Headers with the user's groups
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', value_parser = header, default_value = GROUP_HEADERS)]
    pub requestheader_group_headers: Vec<String>,

    /// What stands before the names of headers with more about the user
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',', value_parser = header, default_value = EXTRA_PREFIXES)]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

impl AccessArgs {
    /// Whom the port lets in, and its certificate with the CAs of others'; both are kept up to date by one of `tasks`.
    /// `own` is the component's client, asked where no other is named.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or used, or the cluster does not tell what is not given and that is not to be tolerated.
    pub async fn secure(
        &self,
        serve: &ServeArgs,
        own: &Client,
        tasks: &Tasks,
    ) -> Result<(Access, LiveTls), AccessError> {
        let reviewer = async |file: &Option<PathBuf>| match file {
            Some(file) => client::from_kubeconfig(Some(file)).await,
            None => Ok(own.clone()),
        };
        let given = self.given()?;
        let told = if self.looks_up(&given) { self.told_or_tolerated(own, &given).await? } else { given };
        let shown = serve.tls()?;
        let (sender, tls) = watch::channel(trusting(shown.clone(), &told)?);
        let access = Access::new(Rules {
            tokens: Some(reviewer(&self.authentication_kubeconfig).await?),
            rights: Some(reviewer(&self.authorization_kubeconfig).await?),
            always_allowed: self.authorization_always_allow_paths.clone(),
            token_holds: self.authentication_token_webhook_cache_ttl,
            yes_holds: self.authorization_webhook_cache_authorized_ttl,
            no_holds: self.authorization_webhook_cache_unauthorized_ttl,
        });
        let (args, own) = (self.clone(), own.clone());
        tasks.spawn_until_stopped("trusted-authorities", async move {
            args.follow(&own, shown, told, &sender).await;
        });
        Ok((access, LiveTls::following(tls)))
    }

    /// Looks again and again whether others are trusted now. What cannot be read or used changes nothing.
    async fn follow(&self, own: &Client, shown: Tls, mut told: Published, sender: &watch::Sender<Tls>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = match self.authorities(own).await {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "cannot look whose client certificates are good now"
                    );
                    continue;
                }
            };
            if now == told {
                continue;
            }
            match trusting(shown.clone(), &now) {
                Ok(tls) => {
                    tracing::info!("other client certificates are good now");
                    sender.send_replace(tls);
                    told = now;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the CAs of client certificates cannot be used");
                }
            }
        }
    }

    /// The CAs of clients and proxies: of the files, and where one is not given, those that the cluster tells its
    /// components.
    async fn authorities(&self, own: &Client) -> Result<Published, AccessError> {
        let given = self.given()?;
        if !self.looks_up(&given) {
            return Ok(given);
        }
        let told = published(own).await.map_err(AccessError::Lookup)?;
        Ok(Published { client_ca: given.client_ca.or(told.client_ca), front: given.front.or(told.front) })
    }

    async fn told_or_tolerated(&self, own: &Client, given: &Published) -> Result<Published, AccessError> {
        match self.authorities(own).await {
            Err(AccessError::Lookup(error)) if self.authentication_tolerate_lookup_failure => {
                tracing::warn!(
                    error = chain(&error),
                    "the cluster does not tell whose client certificates are good"
                );
                Ok(given.clone())
            }
            // Proxies are the exception, and a client CA is given.
            Err(AccessError::Lookup(error)) if given.client_ca.is_some() => {
                tracing::warn!(error = chain(&error), "the cluster does not tell which proxies are trusted");
                Ok(given.clone())
            }
            told => told,
        }
    }

    fn looks_up(&self, given: &Published) -> bool {
        !self.authentication_skip_lookup && (given.client_ca.is_none() || given.front.is_none())
    }

    /// What the files say.
    fn given(&self) -> Result<Published, AccessError> {
        let read = |path: &PathBuf, flag| {
            std::fs::read(path).map_err(|source| AccessError::Read { path: path.clone(), flag, source })
        };
        let client_ca =
            self.client_ca_file.as_ref().map(|path| read(path, "--client-ca-file")).transpose()?;
        let front = match &self.requestheader_client_ca_file {
            None => None,
            Some(path) => Some(FrontProxy {
                authority: read(path, "--requestheader-client-ca-file")?,
                allowed_names: self.requestheader_allowed_names.clone(),
                username_headers: self.requestheader_username_headers.clone(),
                uid_headers: self.requestheader_uid_headers.clone(),
                group_headers: self.requestheader_group_headers.clone(),
                extra_prefixes: self.requestheader_extra_headers_prefix.clone(),
            }),
        };
        Ok(Published { client_ca, front })
    }
}

fn trusting(shown: Tls, told: &Published) -> Result<Tls, ListenError> {
    let mut tls = shown;
    if let Some(authority) = &told.client_ca {
        tls = tls.checking_clients(authority)?;
    }
    match &told.front {
        Some(front) => tls.trusting_proxies(front.clone()),
        None => Ok(tls),
    }
}

/// The name of a header, or its beginning.
fn header(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read.
    #[error("cannot read {}: check {flag}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Who named it.
        flag: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A certificate is of no use.
    #[error(transparent)]
    Tls(#[from] ListenError),
    /// A kubeconfig is not usable.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The cluster does not tell it.
    #[error("the cluster does not tell the client CA: give --client-ca-file")]
    Lookup(#[source] LookupError),
}
