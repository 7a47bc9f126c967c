//! The HTTP side: from a request to a verb, and from its outcome to an answer.
//!
//! Promise: every request is authenticated, authorized and bounded in size and number before a verb sees it;
//! every failure leaves as a `metav1.Status`. Flow: identity, impersonation, route, authorization, dispatch.

pub mod body;
pub(crate) mod call;
pub(crate) mod limits;
pub(crate) mod list_body;
pub mod negotiate;
pub(crate) mod paths;
pub mod query;
pub mod respond;
pub mod route;
pub mod shape;
pub(crate) mod watch_body;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use self::call::{Call, Served};
use self::negotiate::Output;
use self::query::Query;
use self::respond::{Answer, failure};
use self::route::{ResourcePath, Target, Verb};
use crate::authn::{User, impersonation};
use crate::authz;
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{component_status, convert};
use crate::{subresources, verbs};

/// Bytes of a request's body (apiserver `MaxRequestBodyBytes`).
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A request's body, whatever carried it here.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;
/// What a connection reports when a body breaks off.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers one request. Never fails: failures are answers too.
pub(crate) async fn handle(server: Arc<Server>, request: Request<RequestBody>) -> Answer {
    let audit_id = server.random.uuid();
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    // Errors are written in what was asked for, or JSON where that is not understood.
    let output = Output::negotiate(&parts.headers, query.get("pretty"));
    let plain = Output { shape: Default::default(), ..output.clone().unwrap_or_default() };
    let watch = query.flag("watch").unwrap_or(false);
    let target = Target::parse(&parts.method, parts.uri.path(), watch);
    let measured = server.metrics.begin(&target, &parts.method);
    let mut answer = match admit(&server, &parts.headers, parts.extensions.get(), &target, &parts.method) {
        Err(error) => failure(&error, plain),
        Ok(user) => match target {
            Target::Path(path) => paths::answer(&server, &path, &parts, &query, output, plain).await,
            Target::Resource(path) => match output {
                Err(error) => failure(&error, plain),
                Ok(output) => {
                    let call = Call::new(user, path, query, output, parts);
                    resource(&server, call, body, plain).await
                }
            },
        },
    };
    if let Ok(id) = HeaderValue::try_from(audit_id) {
        answer.headers_mut().insert(HeaderName::from_static("audit-id"), id);
    }
    measured.end(answer.status());
    answer
}

/// Says who is asking and lets them pass, or refuses.
fn admit(
    server: &Server,
    headers: &HeaderMap,
    user: Option<&User>,
    target: &Target,
    method: &Method,
) -> ApiResult<User> {
    let user = match user {
        Some(user) => user.clone(),
        None => server.authenticate(headers)?,
    };
    let verb = match target {
        Target::Resource(path) => path.verb,
        Target::Path(_) => path_verb(method),
    };
    let policy = || server.roles.policy(&server.store);
    let user = impersonation::impersonate(user, headers, policy)?;
    authz::authorize(&user, target, verb, policy)?;
    Ok(user)
}

fn path_verb(method: &Method) -> Verb {
    match *method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Unknown,
    }
}

async fn resource(server: &Arc<Server>, mut call: Call, body: RequestBody, plain: Output) -> Answer {
    let held = match server.limits.enter(call.verb()) {
        Ok(held) => held,
        Err(error) => return failure(&error, plain),
    };
    let outcome = match take_body(&mut call, body).await {
        Ok(()) => dispatch(server, &mut call).await,
        Err(error) => Err(error),
    };
    drop(held);
    let mut answer = outcome.unwrap_or_else(|error| failure(&error, plain));
    for text in call.take_warnings() {
        if let Ok(value) = HeaderValue::try_from(warning(&text)) {
            answer.headers_mut().append(http::header::WARNING, value);
        }
    }
    answer
}

/// Reads the body of verbs that have one, up to the limit. Connections keep theirs.
async fn take_body(call: &mut Call, body: RequestBody) -> ApiResult<()> {
    if !call.verb().writes() || subresources::connects(&call.path.subresource) {
        return Ok(());
    }
    let mut body = Limited::new(body, BODY_LIMIT);
    let mut whole: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ApiError::too_large(BODY_LIMIT),
            None => ApiError::bad_request(format!("the body of the request could not be read: {error}")),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        // Nearly every body is one frame, which is kept as it is.
        match whole.take() {
            None if more.is_empty() => whole = Some(data),
            None => more.extend_from_slice(&data),
            Some(first) => {
                more.extend_from_slice(&first);
                more.extend_from_slice(&data);
            }
        }
    }
    call.body = whole.unwrap_or_else(|| more.freeze());
    Ok(())
}

async fn dispatch(server: &Arc<Server>, call: &mut Call) -> ApiResult<Answer> {
    let ResourcePath { group, version, namespace, resource, name, subresource, verb, .. } = &call.path;
    let kind = server.kinds.resource(group, version, resource).ok_or_else(ApiError::no_such_resource)?;
    let in_namespace = !namespace.is_empty() && resource != "namespaces";
    if in_namespace && !kind.namespaced {
        return Err(ApiError::no_such_resource());
    }
    if kind.namespaced && !in_namespace {
        // Across namespaces one can only look.
        if !name.is_empty() {
            return Err(ApiError::no_such_resource());
        }
        if !matches!(verb, Verb::List | Verb::Watch) {
            return Err(ApiError::method_not_allowed());
        }
    }
    if let Some(warning) = kind.deprecated {
        call.warn(warning);
    }
    if !subresource.is_empty() {
        let stored = stored_kind(server, call, kind);
        return subresources::serve(server, call, &stored).await;
    }
    if !kind.is_stored() && *verb == Verb::Create {
        return subresources::post_only(server, call, kind).await;
    }
    // Collections are posted to, single objects are changed.
    let misplaced = match verb {
        Verb::Create => !name.is_empty(),
        Verb::Update | Verb::Patch => name.is_empty(),
        _ => false,
    };
    if misplaced || !kind.verbs.contains(&verb.as_str()) {
        return Err(ApiError::method_not_allowed());
    }
    if component_status::is(kind) {
        return component_status::serve(server, call, kind).await;
    }
    let verb = *verb;
    let stored = stored_kind(server, call, kind);
    let (call, kind) = (&*call, &stored);
    match verb {
        Verb::Get => verbs::get(server, call, kind).await,
        Verb::List => verbs::list(server, call, kind).await,
        Verb::Watch => verbs::watch(server, call, kind).await,
        Verb::Create => verbs::create(server, call, kind).await,
        Verb::Update => verbs::update(server, call, kind).await,
        Verb::Patch => verbs::patch(server, call, kind).await,
        Verb::Delete => verbs::delete(server, call, kind).await,
        Verb::DeleteCollection => verbs::delete_collection(server, call, kind).await,
        Verb::Unknown => Err(ApiError::method_not_allowed()),
    }
}

/// The kind whose shape is stored; notes in the call where that is not the one the path names.
fn stored_kind(server: &Server, call: &mut Call, kind: &Arc<Kind>) -> Arc<Kind> {
    let Some(shape) = convert::Shape::of(kind) else { return kind.clone() };
    let (group, version) = shape.stored_as();
    match server.kinds.resource(group, version, &kind.plural) {
        Some(stored) => {
            call.served = Some(Served { kind: kind.clone(), shape });
            stored.clone()
        }
        None => kind.clone(),
    }
}

/// RFC 7234 5.5: code 299, no agent, a quoted text.
fn warning(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
    format!("299 - \"{quoted}\"")
}
