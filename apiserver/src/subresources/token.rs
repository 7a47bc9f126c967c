//! `serviceaccounts/token`: a token for a service account, for a while, for an audience, for a pod.
//!
//! Source: kubernetes `pkg/registry/core/serviceaccount/storage/token.go`.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::authn::token::{Bound, Claims, ISSUER, Named};
use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::{self, Answer};
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{decode, encode, record};

/// Seconds that a token lives unless asked otherwise, and the bounds of what may be asked.
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut request =
        decode::foreign(call, "authentication.k8s.io", "v1", "TokenRequest", options.field_validation)?;
    let account = encode::decoded(&record(server, kind, call.namespace(), call.name())?.bytes)?;
    let seconds = object::int_at(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
    check(seconds)?;
    let mut audiences: Vec<String> = object::list_at(&request, &["spec", "audiences"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let now = server.clock.now_seconds();
    let claims = Claims {
        aud: audiences.clone(),
        exp: now.as_second() + seconds,
        iat: now.as_second(),
        nbf: now.as_second(),
        iss: ISSUER.to_owned(),
        jti: server.random.uuid(),
        sub: format!("system:serviceaccount:{}:{}", call.namespace(), call.name()),
        kubernetes: bound(server, call, &account, &request)?,
    };
    let token = server.tokens().sign(&claims).map_err(ApiError::internal)?;
    let expires = Timestamp::from_second(claims.exp).map_err(ApiError::internal)?;
    request["metadata"] = json!({
        "name": call.name(), "namespace": call.namespace(),
        "uid": server.random.uuid(), "creationTimestamp": now.to_string(),
    });
    let reference = object::at(&request, &["spec", "boundObjectRef"]).cloned();
    request["spec"] =
        json!({ "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference });
    request["status"] = json!({ "token": token, "expirationTimestamp": expires.to_string() });
    respond::value_as(StatusCode::CREATED, &request, call.output)
}

fn check(seconds: i64) -> ApiResult<()> {
    let why = if seconds < LEAST_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > MOST_SECONDS {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let at = Path::root("spec");
    let error = FieldError::invalid(at.child("expirationSeconds"), seconds, why);
    Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", [error]))
}

/// What the token will be bound to; the object must be there and be the one meant.
fn bound(server: &Server, call: &Call, account: &Value, request: &Value) -> ApiResult<Bound> {
    let mut bound =
        Bound { namespace: call.namespace().to_owned(), serviceaccount: named(account), ..Bound::default() };
    let Some(reference) = object::at(request, &["spec", "boundObjectRef"]) else { return Ok(bound) };
    let (kind, name) = (object::str_at(reference, &["kind"]), object::str_at(reference, &["name"]));
    let find = |kind: &str| -> ApiResult<Value> {
        let kind = server.kinds.kind("", "v1", kind).ok_or_else(ApiError::no_such_resource)?;
        let object = encode::decoded(&record(server, kind, call.namespace(), name)?.bytes)?;
        let wanted = object::str_at(reference, &["uid"]);
        if !wanted.is_empty() && wanted != object::uid(&object) {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", &kind.plural, name, &why));
        }
        Ok(object)
    };
    match kind {
        "Pod" => {
            let pod = find("Pod")?;
            if object::str_at(&pod, &["spec", "serviceAccountName"]) != call.name() {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                )));
            }
            let node = object::str_at(&pod, &["spec", "nodeName"]);
            bound.node = (!node.is_empty()).then(|| node_named(server, node));
            bound.pod = Some(named(&pod));
        }
        "Secret" => bound.secret = Some(named(&find("Secret")?)),
        "Node" => bound.node = Some(named(&find("Node")?)),
        other => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type v1, Kind={other}"
            )));
        }
    }
    Ok(bound)
}

fn named(object: &Value) -> Named {
    Named { name: object::name(object).to_owned(), uid: object::uid(object).to_owned() }
}

fn node_named(server: &Server, name: &str) -> Named {
    let record = server.kinds.kind("", "v1", "Node").and_then(|kind| record(server, kind, "", name).ok());
    let uid = record.map(|record| record.header.uid().to_owned()).unwrap_or_default();
    Named { name: name.to_owned(), uid }
}
