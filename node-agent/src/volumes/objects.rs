//! Config maps, secrets and service account tokens, as pods on this node need them.
//!
//! Promise: objects are read one by one by name, as the node authorizer allows. A read is reused for `FRESH`, so that
//! fifty pods with the same config map cost one request a minute. Tokens are asked for once and again after four
//! fifths of their life (upstream's token manager).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use component::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pods::reference;

/// How long a read is reused. Upstream's `configMapAndSecretChangeDetectionStrategy: Cache` has a minute.
const FRESH: Duration = Duration::from_secs(30);

/// Entries above which stale ones are swept.
const CACHE_ENTRIES: usize = 512;

/// Default life of a token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

pub(crate) struct Objects {
    client: Client,
    clock: Clock,
    config_maps: Cache<core::ConfigMap>,
    secrets: Cache<core::Secret>,
    tokens: Mutex<HashMap<TokenKey, Token>>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The contents are secrets.
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

type Cache<K> = Mutex<HashMap<(String, String), (Instant, Option<K>)>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TokenKey {
    pod_uid: String,
    audience: String,
    seconds: i64,
}

#[derive(Clone, Debug)]
struct Token {
    /// `None`: this server gives no tokens.
    text: Option<String>,
    renew_at: Timestamp,
}

impl Objects {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            config_maps: Cache::default(),
            secrets: Cache::default(),
            tokens: Mutex::default(),
        }
    }

    /// `None`: it does not exist.
    pub(crate) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<core::ConfigMap>, String> {
        self.read(&self.config_maps, namespace, name).await
    }

    /// `None`: it does not exist.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Option<core::Secret>, String> {
        self.read(&self.secrets, namespace, name).await
    }

    /// A token for the pod; `None` when the server has no TokenRequest.
    pub(crate) async fn token(
        &self,
        pod: &core::Pod,
        source: &core::ServiceAccountTokenProjection,
    ) -> Result<Option<String>, String> {
        let of = reference(&pod.metadata);
        let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        let audience = source.audience.clone().unwrap_or_default();
        let key = TokenKey { pod_uid: of.uid.clone(), audience: audience.clone(), seconds };
        let now = self.clock.now();
        let held = self.tokens.lock().get(&key).filter(|token| token.renew_at > now).cloned();
        if let Some(token) = held {
            return Ok(token.text);
        }
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
        let request = authentication::TokenRequest {
            spec: Some(authentication::TokenRequestSpec {
                audiences: (!audience.is_empty()).then(|| vec![audience]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(authentication::BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(of.name),
                    uid: Some(of.uid),
                }),
            }),
            ..Default::default()
        };
        let accounts: Api<core::ServiceAccount> = Api::namespaced(self.client.clone(), &of.namespace);
        let token = match accounts
            .create_token_request(&account, &kube::api::PostParams::default(), &request)
            .await
        {
            Ok(answer) => {
                let status = answer.status.unwrap_or_default();
                let life = status.expiration_timestamp.map(|end| end.0.duration_since(now));
                let life = life.unwrap_or_else(|| SignedDuration::from_secs(seconds));
                Token { text: status.token, renew_at: now + life * 4 / 5 }
            }
            Err(kube::Error::Api(status)) if is_unknown_resource(&status) => {
                tracing::warn!("the API server gives no service account tokens; pods run without");
                Token { text: None, renew_at: now + SignedDuration::from_secs(TOKEN_SECONDS) }
            }
            Err(error) => return Err(format!("failed to fetch token: {error}")),
        };
        let text = token.text.clone();
        self.tokens.lock().insert(key, token);
        Ok(text)
    }

    /// Drops what was kept for a pod.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.tokens.lock().retain(|key, _| key.pod_uid != pod_uid);
    }

    async fn read<K>(&self, cache: &Cache<K>, namespace: &str, name: &str) -> Result<Option<K>, String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let key = (namespace.to_owned(), name.to_owned());
        // What was missing is asked for again at once: somebody may just have made it.
        let held =
            cache.lock().get(&key).filter(|(read, held)| held.is_some() && read.elapsed() < FRESH).cloned();
        if let Some((_, object)) = held {
            return Ok(object);
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let object = api.get_opt(name).await.map_err(|error| error.to_string())?;
        let mut cache = cache.lock();
        if cache.len() >= CACHE_ENTRIES {
            cache.retain(|_, (read, _)| read.elapsed() < FRESH);
        }
        cache.insert(key, (Instant::now(), object.clone()));
        Ok(object)
    }
}

/// A 404 about the path (`the server could not find the requested resource`), or 405: not about the account.
fn is_unknown_resource(status: &kube::core::Status) -> bool {
    let about_account = status.details.as_ref().is_some_and(|details| details.kind == "serviceaccounts");
    status.code == 405 || status.code == 404 && !about_account
}
