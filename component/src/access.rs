//! Who may use a component's own port: authentication and authorization delegated to the API server.
//!
//! Promise: a proxy in front of the port, a client certificate of the client CA or a bearer token name a caller, the
//! token by a TokenReview; without any the caller is `system:anonymous`. `system:masters` may do everything, everybody may read the paths that are
//! always allowed, and others may do what a SubjectAccessReview allows. Answers are remembered for a while; no answer is
//! a no. Upstream: `DelegatingAuthenticationOptions`, `DelegatingAuthorizationOptions` of `k8s.io/apiserver`.

mod front;
mod lookup;
mod memory;
mod refusal;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::authorization::v1 as authorization;
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use front::{EXTRA_PREFIXES, FrontProxy, GROUP_HEADERS, USERNAME_HEADERS};
pub use lookup::{LookupError, Published, published};
use memory::Memory;
pub use refusal::Refusal;

const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

/// How long an answer about a token or a right holds if nothing is said (upstream's defaults).
const ANSWER_HOLDS: Duration = Duration::from_secs(10);

/// Paths for everybody if nothing is said.
const ALWAYS_ALLOWED: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user.
    pub name: String,
    /// Told apart from an earlier user of that name; may be empty.
    pub uid: String,
    /// The groups of the user.
    pub groups: Vec<String>,
    /// What else is known of the user.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What the certificate that a connection came with proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// It is of the client CA, and this is its subject.
    pub user: Option<Caller>,
    /// It is of the CA of proxies.
    pub proxy: Option<Proxy>,
}

/// A proxy that has shown a certificate of the CA of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The common name in the certificate.
    pub name: String,
    /// What is trusted of such proxies.
    pub front: Arc<FrontProxy>,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// To use a path that is no resource.
    Path {
        /// The method in lower case.
        verb: String,
        /// Without the query.
        path: String,
    },
    /// To use a resource of the core group, version v1.
    Resource {
        /// `get`, `create` and so on.
        verb: String,
        /// In the plural.
        resource: &'static str,
        /// Its part.
        subresource: &'static str,
        /// Which one.
        name: String,
    },
}

/// Whom to ask, and how long the answers hold.
#[derive(Clone)]
pub struct Rules {
    /// Where tokens are reviewed; `None`: no token is good.
    pub tokens: Option<Client>,
    /// Where rights are reviewed; `None`: nobody has any but `system:masters`.
    pub rights: Option<Client>,
    /// Paths for everybody; `*` at the end stands for anything.
    pub always_allowed: Vec<String>,
    /// How long an answer about a token holds.
    pub token_holds: Duration,
    /// How long a yes holds.
    pub yes_holds: Duration,
    /// How long a no holds.
    pub no_holds: Duration,
}

impl Rules {
    /// Upstream's defaults, asking by these clients.
    #[must_use]
    pub fn by(tokens: Option<Client>, rights: Option<Client>) -> Self {
        let (token_holds, yes_holds, no_holds) = (ANSWER_HOLDS, ANSWER_HOLDS, ANSWER_HOLDS);
        let always_allowed = ALWAYS_ALLOWED.map(str::to_owned).into();
        Self { tokens, rights, always_allowed, token_holds, yes_holds, no_holds }
    }
}

/// Decides who may do what. Clones share what they remember.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    rules: Rules,
    callers: Memory<String, Option<Caller>>,
    rights: Memory<(Caller, Act), bool>,
}

impl Access {
    /// By these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Inner { rules, callers: Memory::default(), rights: Memory::default() }))
    }

    /// Who makes a request with these headers on a connection of this holder.
    ///
    /// # Errors
    ///
    /// When credentials are shown, and none is good.
    pub async fn caller_of(&self, holder: &Holder, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer(headers);
        let named = |proxy: &Proxy| proxy.front.user(&proxy.name, headers);
        if let Some(user) = holder.proxy.as_ref().and_then(named) {
            return Ok(user);
        }
        if holder.proxy.is_some() && holder.user.is_none() && token.is_none() {
            return Err(Refusal::Unauthorized);
        }
        self.caller(holder.user.as_ref(), token).await
    }

    /// Who asks: the subject of a certificate that the handshake has checked, the bearer of a token, or nobody in
    /// particular.
    ///
    /// # Errors
    ///
    /// When a token is given that is not good.
    pub async fn caller(&self, certificate: Option<&Caller>, token: Option<&str>) -> Result<Caller, Refusal> {
        if let Some(caller) = certificate {
            return Ok(caller.clone());
        }
        let Some(token) = token else { return Ok(Caller::anonymous()) };
        let key = token.to_owned();
        if let Some(known) = self.0.callers.get(&key) {
            return known.ok_or(Refusal::Unauthorized);
        }
        let Some(client) = &self.0.rules.tokens else { return Err(Refusal::Unauthorized) };
        match review_token(client, token).await {
            Ok(caller) => {
                self.0.callers.keep(key, caller.clone(), self.0.rules.token_holds);
                caller.ok_or(Refusal::Unauthorized)
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot ask whose a token is");
                Err(Refusal::Unauthorized)
            }
        }
    }

    /// Whether the caller may.
    ///
    /// # Errors
    ///
    /// When not.
    pub async fn authorize(&self, caller: &Caller, act: Act) -> Result<(), Refusal> {
        if self.allowed(caller, &act).await {
            Ok(())
        } else {
            Err(Refusal::Forbidden(caller.name.clone(), act))
        }
    }

    async fn allowed(&self, caller: &Caller, act: &Act) -> bool {
        let rules = &self.0.rules;
        if caller.is_in(MASTERS) || rules.always_allow(act) {
            return true;
        }
        let key = (caller.clone(), act.clone());
        if let Some(allowed) = self.0.rights.get(&key) {
            return allowed;
        }
        let Some(client) = &rules.rights else { return false };
        match review_access(client, caller, act).await {
            Ok(allowed) => {
                self.0.rights.keep(key, allowed, if allowed { rules.yes_holds } else { rules.no_holds });
                allowed
            }
            Err(error) => {
                tracing::warn!(user = caller.name, error = %error, "cannot ask whether a user may do something");
                false
            }
        }
    }
}

impl Rules {
    fn always_allow(&self, act: &Act) -> bool {
        let Act::Path { path, .. } = act else { return false };
        let path = path.trim_start_matches('/');
        self.always_allowed.iter().map(|allowed| allowed.trim_start_matches('/')).any(|allowed| match allowed
            .strip_suffix('*')
        {
            Some(prefix) => path.starts_with(prefix),
            None => path == allowed,
        })
    }
}

impl Caller {
    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        let groups = vec!["system:unauthenticated".to_owned()];
        Self { name: "system:anonymous".to_owned(), groups, ..Self::default() }
    }

    /// The subject of a certificate in DER: its common name, and its organizations as groups. `None` if it names nobody.
    #[must_use]
    pub fn from_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let groups = groups.chain([AUTHENTICATED]).map(str::to_owned).collect();
        Some(Self { name: name.to_owned(), groups, ..Self::default() })
    }

    /// The common name of a certificate in DER; empty if it has none.
    pub(crate) fn common_name(der: &[u8]) -> String {
        let name = |certificate: &X509Certificate<'_>| {
            let subject = certificate.subject();
            subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
        };
        X509Certificate::from_der(der)
            .ok()
            .and_then(|(_, certificate)| name(&certificate))
            .unwrap_or_default()
    }

    /// The subject of the first of the certificates that the other end of a connection has shown.
    #[must_use]
    pub fn shown_by(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        certificates?.first().and_then(|certificate| Self::from_certificate(certificate))
    }

    /// Whether the user is of this group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// The bearer token of a request.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

async fn review_token(client: &Client, token: &str) -> Result<Option<Caller>, kube::Error> {
    let review = authentication::TokenReview {
        spec: authentication::TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..Default::default()
    };
    let api: Api<authentication::TokenReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    let status = answer.status.filter(|status| status.authenticated == Some(true));
    let user = status.and_then(|status| status.user);
    Ok(user.and_then(|user| {
        let groups = user.groups.unwrap_or_default();
        let (uid, extra) = (user.uid.unwrap_or_default(), user.extra.unwrap_or_default());
        Some(Caller { name: user.username?, uid, groups, extra })
    }))
}

async fn review_access(client: &Client, caller: &Caller, act: &Act) -> Result<bool, kube::Error> {
    let text = |text: &str| Some(text.to_owned());
    let mut spec = authorization::SubjectAccessReviewSpec {
        user: text(&caller.name),
        uid: Some(caller.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(caller.groups.clone()),
        extra: Some(caller.extra.clone()).filter(|extra| !extra.is_empty()),
        ..Default::default()
    };
    match act {
        Act::Path { verb, path } => {
            spec.non_resource_attributes =
                Some(authorization::NonResourceAttributes { path: text(path), verb: text(verb) });
        }
        Act::Resource { verb, resource, subresource, name } => {
            spec.resource_attributes = Some(authorization::ResourceAttributes {
                verb: text(verb),
                version: text("v1"),
                resource: text(resource),
                subresource: text(subresource),
                name: text(name),
                ..Default::default()
            });
        }
    }
    let review = authorization::SubjectAccessReview { spec, ..Default::default() };
    let api: Api<authorization::SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("always_allowed", &self.0.rules.always_allowed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("always_allowed", &self.always_allowed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
