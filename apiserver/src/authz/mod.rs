//! Who may do what.
//!
//! Promise: `system:masters` may do everything, the components of the control plane and nodes do their work,
//! anybody may ask for health and version, anybody authenticated may read discovery, everybody may do what roles and
//! bindings grant; all else is refused.

pub(crate) mod roles;
pub(crate) mod rules;

use self::roles::Policy;
use self::rules::Act;
use crate::authn::{AUTHENTICATED, MASTERS, User};
use crate::http::route::{ResourcePath, Target, Verb};
use crate::status::{ApiError, ApiResult};

/// Components whose whole work is the API; no role narrows what they may do.
const COMPONENTS: [&str; 4] =
    ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver", "system:kube-proxy"];
/// The group of node agents.
const NODES: &str = "system:nodes";
/// What nobody needs an identity for (`system:public-info-viewer`).
const PUBLIC: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
/// What everybody with an identity may read (`system:discovery`).
const DISCOVERY: [&str; 5] = ["/api", "/apis", "/openapi", "/.well-known", "/openid"];

/// Refuses with upstream's text, or lets pass. The policy is only asked for where it decides.
pub(crate) fn authorize<P: AsRef<Policy>>(
    user: &User,
    target: &Target,
    verb: Verb,
    policy: impl FnOnce() -> P,
) -> ApiResult<()> {
    let named = match target {
        Target::Resource(_) => verb.as_str(),
        Target::Path(_) => path_verb(verb),
    };
    if by_identity(user, target, verb) || policy().as_ref().allows(user, &act(target, named)).is_some() {
        return Ok(());
    }
    Err(match target {
        Target::Resource(path) => refused(user, path),
        Target::Path(path) => {
            let why = format!("User {:?} cannot {} path {path:?}", user.name(), path_verb(verb));
            ApiError::forbidden("", "", "", &why)
        }
    })
}

/// Whether who the user is decides it already.
pub(crate) fn by_identity(user: &User, target: &Target, verb: Verb) -> bool {
    if user.is_in(MASTERS) {
        return true;
    }
    match target {
        Target::Resource(path) => is_component(user) || asks_about_itself(user, path),
        Target::Path(path) => {
            let reads = matches!(verb, Verb::Get | Verb::List | Verb::Watch);
            let public = PUBLIC.contains(&path.as_str());
            let known = user.is_in(AUTHENTICATED) && DISCOVERY.iter().any(|d| is_under(path, d));
            reads && (public || known || is_component(user))
        }
    }
}

/// Whether no role limits what the user may grant to others.
pub(crate) fn is_unlimited(user: &User) -> bool {
    user.is_in(MASTERS) || is_component(user)
}

/// What roles are asked. `verb` is the verb as it was named, which may be one that no request has (`use`, `bind`).
pub(crate) fn act<'a>(target: &'a Target, verb: &'a str) -> Act<'a> {
    match target {
        Target::Path(path) => Act { verb, path: Some(path), ..Act::default() },
        Target::Resource(path) => Act {
            verb,
            namespace: &path.namespace,
            group: &path.group,
            resource: &path.resource,
            subresource: &path.subresource,
            name: &path.name,
            path: None,
        },
    }
}

fn is_component(user: &User) -> bool {
    COMPONENTS.contains(&user.name()) || (user.is_in(NODES) && user.name().starts_with("system:node:"))
}

/// Everybody with an identity may ask who they are and what they may do (`system:basic-user`).
fn asks_about_itself(user: &User, path: &ResourcePath) -> bool {
    user.is_in(AUTHENTICATED)
        && path.verb == Verb::Create
        && match (path.group.as_str(), path.resource.as_str()) {
            ("authentication.k8s.io", resource) => resource == "selfsubjectreviews",
            ("authorization.k8s.io", resource) => resource.starts_with("selfsubject"),
            _ => false,
        }
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refused(user: &User, path: &ResourcePath) -> ApiError {
    let resource = match path.subresource.as_str() {
        "" => path.resource.clone(),
        subresource => format!("{}/{subresource}", path.resource),
    };
    let place = match path.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        user.name(),
        path.verb,
        path.group
    );
    ApiError::forbidden(&path.group, &path.resource, &path.name, &why)
}

/// Non-resource requests are named by their method.
fn path_verb(verb: Verb) -> &'static str {
    match verb {
        Verb::List | Verb::Watch | Verb::Get => "get",
        Verb::Create => "post",
        Verb::Update => "put",
        Verb::Delete | Verb::DeleteCollection => "delete",
        Verb::Patch => "patch",
        Verb::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;

    fn ask(user: &User, method: Method, path: &str) -> ApiResult<()> {
        let target = Target::parse(&method, path, false);
        let verb = match &target {
            Target::Resource(path) => path.verb,
            Target::Path(_) => Verb::Get,
        };
        authorize(user, &target, verb, Arc::<Policy>::default)
    }

    #[test]
    fn refuses_with_upstreams_words() {
        let alice = User::new("alice", ["dev"]);
        let table = [
            (
                "/api/v1/namespaces/default/pods",
                r#"pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default""#,
            ),
            (
                "/api/v1/nodes",
                r#"nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#,
            ),
            (
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                r#"deployments.apps "d" is forbidden: User "alice" cannot get resource "deployments/scale" in API group "apps" in the namespace "x""#,
            ),
            ("/metrics", r#"forbidden: User "alice" cannot get path "/metrics""#),
        ];
        for (path, text) in table {
            assert_eq!(ask(&alice, Method::GET, path).unwrap_err().message(), text);
        }
    }

    #[test]
    fn anonymous_sees_health_and_version_only() {
        let nobody = User::anonymous();
        for path in PUBLIC {
            assert!(ask(&nobody, Method::GET, path).is_ok(), "{path}");
        }
        for path in ["/api", "/apis", "/openapi/v3", "/metrics", "/api/v1/namespaces", "/readyz/store"] {
            assert_eq!(ask(&nobody, Method::GET, path).unwrap_err().code(), 403, "{path}");
        }
    }

    #[test]
    fn nodes_and_components_do_their_work() {
        let node = User::new("system:node:n1", [NODES]);
        assert!(ask(&node, Method::PATCH, "/api/v1/nodes/n1/status").is_ok());
        let liar = User::new("system:node:n1", ["dev"]);
        assert!(ask(&liar, Method::PATCH, "/api/v1/nodes/n1/status").is_err());
        assert!(ask(&User::system_masters("root"), Method::GET, "/metrics").is_ok());
    }
}
