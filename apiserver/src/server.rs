//! Everything a request may need, shared by all of them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use component::clock::Clock;
use component::random::Random;
use component::ready::Readiness;
use component::serve::Pages;
use component::tasks::Tasks;
use parking_lot::RwLock;

use crate::authn::User;
use crate::authn::token::{Bound, ISSUER, Named, Tokens};
use crate::authz::roles::Roles;
use crate::config::Config;
use crate::discovery::Documents;
use crate::http::limits::Limits;
use crate::kinds::Kinds;
use crate::kinds::allocate::Allocations;
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::pki::Identity;
use crate::status::{ApiError, ApiResult};
use crate::store::Store;

/// The server behind every handle.
#[derive(Debug)]
pub(crate) struct Server {
    pub config: Config,
    pub store: Store,
    pub kinds: Kinds,
    pub discovery: Documents,
    pub openapi: OpenApi,
    pub allocations: Allocations,
    pub clock: Clock,
    pub random: Random,
    pub tasks: Tasks,
    pub readiness: Readiness,
    pub limits: Limits,
    pub roles: Roles,
    pub metrics: Metrics,
    /// What components of the same process show.
    pub pages: Pages,
    pub token_key: OnceLock<Tokens>,
    /// What node agents know this server by.
    pub kubelet_client: OnceLock<Identity>,
    /// Components that run in this process, by their names among the ComponentStatuses.
    pub components_here: RwLock<BTreeSet<&'static str>>,
}

impl Server {
    /// Who a request comes from that nobody vouched for yet: the bearer of a token, or nobody.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> ApiResult<User> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(User::anonymous()) };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let user = token.and_then(|token| self.bearer(token.trim(), ISSUER));
        user.ok_or_else(ApiError::unauthorized)
    }

    /// The user of a token, if what it is bound to is still there.
    pub(crate) fn bearer(&self, token: &str, audience: &str) -> Option<User> {
        let claims = self.tokens().verify(token, self.clock.now().as_second())?;
        let Bound { namespace, pod, secret, serviceaccount, .. } = &claims.kubernetes;
        let same = |resource: &str, named: &Named| {
            let key = format!("/registry/core/{resource}/{namespace}/{}", named.name);
            self.store.get(&key).is_some_and(|record| record.header.uid() == named.uid)
        };
        let holds = same("serviceaccounts", serviceaccount)
            && pod.as_ref().is_none_or(|pod| same("pods", pod))
            && secret.as_ref().is_none_or(|secret| same("secrets", secret));
        claims.user().filter(|_| holds && claims.aud.iter().any(|aud| aud == audience))
    }

    /// Signs and verifies service account tokens; with a key of this process where none was given.
    pub(crate) fn tokens(&self) -> &Tokens {
        self.token_key.get_or_init(|| Tokens::ephemeral().expect("the system has randomness for a key"))
    }

    /// Names of health checks and whether they pass; `ready` asks for those of readiness too.
    pub(crate) fn health(&self, ready: bool) -> Vec<(&'static str, bool)> {
        let mut checks = vec![("ping", true), ("log", true), ("store", true)];
        if ready {
            checks.extend(self.readiness.unfinished().into_iter().map(|name| (name, false)));
            checks.push(("shutdown", !self.tasks.is_stopping()));
        }
        checks
    }
}
