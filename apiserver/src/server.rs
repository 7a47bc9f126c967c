//! Everything a request may need, shared by all of them.

use std::sync::OnceLock;

use component::clock::Clock;
use component::random::Random;
use component::ready::Readiness;
use component::tasks::Tasks;
use http::HeaderMap;

use crate::authn::User;
use crate::config::Config;
use crate::discovery::Documents;
use crate::http::limits::Limits;
use crate::kinds::Kinds;
use crate::kinds::allocate::Allocations;
use crate::metrics::Metrics;
use crate::pki::Identity;
use crate::status::ApiResult;
use crate::store::Store;

/// The server behind every handle.
#[derive(Debug)]
pub(crate) struct Server {
    pub config: Config,
    pub store: Store,
    pub kinds: Kinds,
    pub discovery: Documents,
    pub allocations: Allocations,
    pub clock: Clock,
    pub random: Random,
    pub tasks: Tasks,
    pub readiness: Readiness,
    pub limits: Limits,
    pub metrics: Metrics,
    /// What node agents know this server by.
    pub kubelet_client: OnceLock<Identity>,
}

impl Server {
    /// Who a request comes from that nobody vouched for yet.
    pub(crate) fn authenticate(&self, _headers: &HeaderMap) -> ApiResult<User> {
        Ok(User::anonymous())
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
