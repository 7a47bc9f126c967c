//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1` Scale.
//!
//! Source: kubernetes `pkg/registry/apps/deployment/storage` (`ScaleREST`).

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::WriteOptions;
use crate::http::respond::{self, Answer};
use crate::http::route::Verb;
use crate::kinds::{Kind, Subresource};
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::patch;
use crate::verbs::transaction::{Part, Transaction};
use crate::verbs::{decode, encode, record};

pub(super) async fn serve(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    sub: &Subresource,
) -> ApiResult<Answer> {
    let Subresource::Scale { replicas, status_replicas, selector } = sub else {
        return Err(ApiError::no_such_resource());
    };
    let paths = Paths { replicas, status_replicas, selector };
    let bytes = match call.verb() {
        Verb::Get => record(server, kind, call.namespace(), call.name())?.bytes.clone(),
        Verb::Update => {
            let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
            let wanted = decode::foreign(call, "autoscaling", "v1", "Scale", options.field_validation)?;
            decode::check_name(call, &wanted)?;
            let set = |old: &Value| paths.apply(kind, old, &wanted);
            transaction(server, call, kind, options).run(set).await?
        }
        Verb::Patch => {
            let options = WriteOptions::parse(&call.query, "PatchOptions")?;
            let patch = patch::read(call)?;
            let set = |old: &Value| {
                let wanted = patch::apply(&patch, call, SCALE, &paths.scale(old), options.field_validation)?;
                decode::check_name(call, &wanted)?;
                paths.apply(kind, old, &wanted)
            };
            transaction(server, call, kind, options).run(set).await?
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let scale = paths.scale(&encode::decoded(&bytes)?);
    respond::value_as(StatusCode::OK, &scale, call.output)
}

fn transaction<'a>(
    server: &'a Arc<Server>,
    call: &'a Call,
    kind: &'a Arc<Kind>,
    options: WriteOptions,
) -> Transaction<'a> {
    Transaction { server, call, kind, name: call.name(), part: Part::Other, dry_run: options.dry_run }
}

/// The schema of a Scale.
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Where a kind keeps what a Scale shows.
struct Paths<'a> {
    replicas: &'a str,
    status_replicas: &'a str,
    selector: &'a str,
}

impl Paths<'_> {
    /// The object's Scale.
    fn scale(&self, object: &Value) -> Value {
        let meta = object::meta(object);
        let mut metadata = json!({});
        for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = meta.get(key) {
                metadata[key] = value.clone();
            }
        }
        let mut spec = json!({});
        if let Some(replicas) = int(object, self.replicas).filter(|replicas| *replicas != 0) {
            spec["replicas"] = replicas.into();
        }
        let mut status = json!({ "replicas": int(object, self.status_replicas).unwrap_or(0) });
        let selector = selector_text(at(object, self.selector));
        if !selector.is_empty() {
            status["selector"] = selector.into();
        }
        json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status })
    }

    /// The object with the replicas of a Scale.
    fn apply(&self, kind: &Kind, old: &Value, scale: &Value) -> ApiResult<Value> {
        let (wanted, is) = (object::resource_version(scale), object::resource_version(old));
        if !wanted.is_empty() && wanted != is {
            return Err(ApiError::modified(&kind.group, &kind.plural, object::name(old)));
        }
        let replicas = object::int_at(scale, &["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let at = Path::root("spec");
            let why = "must be greater than or equal to 0";
            let error = FieldError::invalid(at.child("replicas"), replicas, why);
            return Err(ApiError::invalid("autoscaling", "Scale", object::name(scale), [error]));
        }
        let mut new = old.clone();
        let path: Vec<&str> = split(self.replicas).collect();
        object::set_at(&mut new, &path, replicas);
        Ok(new)
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|key| !key.is_empty())
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    split(path).try_fold(object, |value, key| value.get(key))
}

fn int(object: &Value, path: &str) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// A selector as text, whether it is a text, a LabelSelector or a map.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let labels = match selector.get("matchLabels").and_then(Value::as_object) {
        Some(labels) => Some(labels),
        None if selector.get("matchExpressions").is_some() => None,
        None => selector.as_object(),
    };
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        terms.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in object::list_at(selector, &["matchExpressions"]) {
        let key = object::str_at(expression, &["key"]);
        let mut values: Vec<&str> =
            object::list_at(expression, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match object::str_at(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_print_like_upstream() {
        let table = [
            (json!({"matchLabels": {"b": "2", "a": "1"}}), "a=1,b=2"),
            (json!({"app": "x"}), "app=x"),
            (json!("a=b"), "a=b"),
            (
                json!({"matchExpressions": [{"key": "z", "operator": "In", "values": ["2", "1"]},
                    {"key": "a", "operator": "DoesNotExist"}]}),
                "!a,z in (1,2)",
            ),
        ];
        for (selector, text) in table {
            assert_eq!(selector_text(Some(&selector)), text);
        }
    }
}
