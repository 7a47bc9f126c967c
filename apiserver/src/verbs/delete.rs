//! DELETE: at once, gracefully, or when the last finalizer is gone.
//!
//! Promise: preconditions hold on the state that is deleted; an object with finalizers or a grace period is
//! marked and stays. Source: apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest/delete.go`.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::transaction::is_finally_deleted;
use super::{answer, decode, encode};
use crate::admission::{self, Attributes};
use crate::field::{FieldError, Path};
use crate::http::call::Call;
use crate::http::query::invalid_options;
use crate::http::respond::{self, Answer};
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult, Details, Status};
use crate::store::{CommitError, Expect, Record, Write};

/// Tries before a delete that keeps losing its race gives up.
const TRIES: usize = 32;
const ORPHAN: &str = "orphan";
const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set \
    propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
const FOREGROUND: &str = "foregroundDeletion";

pub(crate) async fn delete(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let options = DeleteOptions::parse(call)?;
    if kind.group == "batch" && kind.plural == "jobs" && options.leaves_dependents_to_us() {
        call.warn(JOB_WARNING);
    }
    let outcome = delete_object(server, call, kind, call.name(), &options).await?;
    match outcome {
        Deleted::Gone(object) if !returns_object(kind) => {
            let details = Details {
                name: object::name(&object).to_owned(),
                group: kind.group.to_string(),
                kind: kind.plural.to_string(),
                uid: object::uid(&object).to_owned(),
                ..Details::default()
            };
            respond::success(StatusCode::OK, &Status::success(details), call.output)
        }
        Deleted::Gone(object) => {
            let bytes = serde_json::to_vec(&object).map_err(ApiError::internal)?;
            answer::object(server, call, kind, StatusCode::OK, &bytes.into())
        }
        Deleted::Marked(bytes) => {
            // Upstream's 202: not yet deleted although the dependents shall go first.
            let code =
                if options.orphan_dependents == Some(false) { StatusCode::ACCEPTED } else { StatusCode::OK };
            answer::object(server, call, kind, code, &bytes)
        }
    }
}

/// What became of an object.
pub(crate) enum Deleted {
    /// Gone; its final state.
    Gone(Value),
    /// Marked for deletion; its state now.
    Marked(Bytes),
}

/// Deletes one object, or marks it.
pub(crate) async fn delete_object(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    name: &str,
    options: &DeleteOptions,
) -> ApiResult<Deleted> {
    for _ in 0..TRIES {
        let record = super::record(server, kind, call.namespace(), name)?;
        let old = encode::decoded(&record.bytes)?;
        options.check_preconditions(kind, &old)?;
        let attributes = Attributes { server, call, kind, verb: Verb::Delete, old: Some(&old) };
        admission::validate(&attributes, &old)?;
        let new = match decide(kind, &old, options, server.clock.now_seconds()) {
            Decision::Pending => return Ok(Deleted::Marked(record.bytes.clone())),
            Decision::Mark(new) | Decision::Remove(new) if options.dry_run => {
                if is_finally_deleted(kind, &new) || !object::is_deleting(&new) {
                    return Ok(Deleted::Gone(new));
                }
                let bytes = serde_json::to_vec(&new).map_err(ApiError::internal)?;
                return Ok(Deleted::Marked(bytes.into()));
            }
            decision => decision,
        };
        if let Some(done) = write(server, kind, &record, new).await? {
            return Ok(done);
        }
    }
    Err(ApiError::modified(&kind.group, &kind.plural, name))
}

async fn write(
    server: &Arc<Server>,
    kind: &Arc<Kind>,
    record: &Arc<Record>,
    decision: Decision,
) -> ApiResult<Option<Deleted>> {
    let (gone, new) = match decision {
        Decision::Remove(new) => (true, new),
        Decision::Mark(new) => (false, new),
        Decision::Pending => return Ok(Some(Deleted::Marked(record.bytes.clone()))),
    };
    let change = if gone { encode::removal(kind, &new) } else { encode::put(kind, &new) };
    let write = Write { key: record.key.clone(), expect: Expect::Revision(record.revision), change };
    match server.store.commit(write).await {
        Ok(_) if gone => {
            server.allocations.release(kind, &new);
            Ok(Some(Deleted::Gone(new)))
        }
        Ok(written) => Ok(Some(Deleted::Marked(written.bytes.clone()))),
        Err(CommitError::Conflict(_) | CommitError::Exists(_)) => Ok(None),
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// What a delete does to an object.
#[derive(Debug, PartialEq)]
enum Decision {
    /// A deletion is on its way already, and this one changes nothing.
    Pending,
    /// The object stays, marked like this.
    Mark(Value),
    /// The object goes; this is its last state.
    Remove(Value),
}

/// Decides from the object alone.
fn decide(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Decision {
    let mut new = old.clone();
    let graceful = match begin(kind, &mut new, options, now) {
        Grace::Pending => return Decision::Pending,
        Grace::Graceful => true,
        Grace::None => false,
    };
    let finalizers = finalizers(kind, old, options);
    set_finalizers(&mut new, &finalizers);
    if kind.plural == "namespaces" && kind.group.is_empty() {
        return namespace(new, now);
    }
    if !finalizers.is_empty() && !graceful {
        mark(&mut new, now);
    }
    match (finalizers.is_empty(), graceful) {
        (true, false) => Decision::Remove(new),
        (true, true) if is_finally_deleted(kind, &new) => Decision::Remove(new),
        _ if new == *old => Decision::Pending,
        _ => Decision::Mark(new),
    }
}

enum Grace {
    None,
    Graceful,
    Pending,
}

/// Starts, shortens or leaves a graceful deletion (upstream's `BeforeDelete`).
fn begin(kind: &Kind, new: &mut Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    let Some(wanted) = kind.strategy.grace_seconds(new, options.grace_seconds) else { return Grace::None };
    let deletion: Option<Timestamp> = object::meta_str(new, "deletionTimestamp").parse().ok();
    if let Some(deletion) = deletion {
        let Some(granted) = object::int_at(new, &["metadata", "deletionGracePeriodSeconds"]) else {
            return Grace::None;
        };
        // A grace period can only get shorter.
        let Some(asked) = options.grace_seconds.filter(|asked| *asked < granted) else {
            return Grace::Pending;
        };
        let earlier = deletion - SignedDuration::from_secs(granted - asked);
        set_deletion(new, earlier, asked);
        return Grace::Graceful;
    }
    set_deletion(new, now + SignedDuration::from_secs(wanted), wanted);
    bump_generation(new);
    Grace::Graceful
}

/// Marks an object that waits for its finalizers only.
fn mark(new: &mut Value, now: Timestamp) {
    if !object::is_deleting(new) {
        set_deletion(new, now, 0);
        bump_generation(new);
    } else if object::int_at(new, &["metadata", "deletionGracePeriodSeconds"]).is_none_or(|s| s > 0) {
        object::set_at(new, &["metadata", "deletionGracePeriodSeconds"], 0);
    }
}

/// A namespace terminates until its contents are gone (core/v1 `NamespaceSpec.finalizers`).
fn namespace(mut new: Value, now: Timestamp) -> Decision {
    if !object::is_deleting(&new) {
        object::set_at(&mut new, &["metadata", "deletionTimestamp"], now.to_string());
    }
    let waits = !object::list_at(&new, &["spec", "finalizers"]).is_empty();
    if waits || object::finalizers(&new).next().is_some() {
        let marked = object::str_at(&new, &["status", "phase"]) == "Terminating";
        object::set_at(&mut new, &["status", "phase"], "Terminating");
        return if marked && waits { Decision::Pending } else { Decision::Mark(new) };
    }
    Decision::Remove(new)
}

fn set_deletion(new: &mut Value, at: Timestamp, grace: i64) {
    object::set_at(new, &["metadata", "deletionTimestamp"], at.to_string());
    object::set_at(new, &["metadata", "deletionGracePeriodSeconds"], grace);
}

fn bump_generation(new: &mut Value) {
    if let Some(generation) = object::int_at(new, &["metadata", "generation"]).filter(|g| *g > 0) {
        object::set_at(new, &["metadata", "generation"], generation + 1);
    }
}

/// The finalizers after the propagation policy has its say.
fn finalizers(kind: &Kind, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let all: Vec<&str> = object::finalizers(old).collect();
    let has = |name: &str| all.contains(&name);
    let (orphan, foreground) = if !is_collected(kind) {
        (false, false)
    } else if let Some(orphan) = options.orphan_dependents {
        (orphan, false)
    } else {
        match options.propagation {
            Some(Propagation::Orphan) => (true, false),
            Some(Propagation::Foreground) => (false, true),
            Some(Propagation::Background) => (false, false),
            None if has(ORPHAN) || has(FOREGROUND) => (has(ORPHAN), has(FOREGROUND)),
            None => (orphans_by_default(kind), false),
        }
    };
    let kept =
        all.iter().filter(|name| !matches!(**name, ORPHAN | FOREGROUND)).map(|name| (*name).to_owned());
    let mut finalizers: Vec<String> = kept.collect();
    finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
    finalizers.extend(foreground.then(|| FOREGROUND.to_owned()));
    finalizers
}

fn set_finalizers(new: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        object::remove_at(new, &["metadata", "finalizers"]);
    } else {
        object::set_at(new, &["metadata", "finalizers"], finalizers.to_vec());
    }
}

/// Events are never owners (their strategies say `GarbageCollectionPolicy` Unsupported).
fn is_collected(kind: &Kind) -> bool {
    kind.plural != "events"
}

/// Kinds that orphaned before the garbage collector existed and still do.
fn orphans_by_default(kind: &Kind) -> bool {
    matches!((&*kind.group, &*kind.plural), ("", "replicationcontrollers") | ("batch", "jobs"))
}

/// Kinds whose delete answers with the object (`ReturnDeletedObject` in their storage).
pub(crate) fn returns_object(kind: &Kind) -> bool {
    match &*kind.group {
        "" => matches!(
            &*kind.plural,
            "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "storage.k8s.io" => kind.plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// What happens to an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// `meta.k8s.io/v1` DeleteOptions.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub orphan_dependents: Option<bool>,
    pub dry_run: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads the options from the body, or from the query where there is none.
    pub(crate) fn parse(call: &Call) -> ApiResult<Self> {
        let body =
            if call.body.is_empty() { from_query(call)? } else { decode::options(call, "DeleteOptions")? };
        Self::read(&body)
    }

    /// Reads and checks decoded options.
    pub(crate) fn read(body: &Value) -> ApiResult<Self> {
        let text = |path: &[&str]| object::at(body, path).and_then(Value::as_str).map(str::to_owned);
        let orphan_dependents = body.get("orphanDependents").and_then(Value::as_bool);
        let policy = text(&["propagationPolicy"]);
        let mut errors = Vec::new();
        let at = || Path::root("propagationPolicy");
        if let (Some(policy), Some(_)) = (&policy, orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(at(), policy.as_str(), why));
        }
        let propagation = match policy.as_deref() {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(at(), other, &known));
                None
            }
        };
        let dry_run = object::list_at(body, &["dryRun"]);
        if dry_run.iter().any(|value| value != "All") {
            let values = Value::Array(dry_run.to_vec());
            errors.push(FieldError::not_supported(Path::root("dryRun"), values, &["All"]));
        }
        if !errors.is_empty() {
            return Err(invalid_options("DeleteOptions", errors));
        }
        Ok(Self {
            grace_seconds: object::int_at(body, &["gracePeriodSeconds"]),
            propagation,
            orphan_dependents,
            dry_run: !dry_run.is_empty(),
            uid: text(&["preconditions", "uid"]),
            resource_version: text(&["preconditions", "resourceVersion"]),
        })
    }

    /// Whether nobody said what happens to the dependents.
    fn leaves_dependents_to_us(&self) -> bool {
        self.propagation.is_none() && self.orphan_dependents.is_none()
    }

    fn check_preconditions(&self, kind: &Kind, old: &Value) -> ApiResult<()> {
        let conflict = |why: String| ApiError::conflict(&kind.group, &kind.kind, object::name(old), &why);
        let is = object::uid(old);
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != is) {
            return Err(conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({is}). \
                 The object might have been deleted and then recreated"
            )));
        }
        let is = object::resource_version(old);
        if let Some(version) = self.resource_version.as_deref().filter(|version| *version != is) {
            return Err(conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion \
                 in record ({is}). The object might have been modified"
            )));
        }
        Ok(())
    }
}

fn from_query(call: &Call) -> ApiResult<Value> {
    let query = &call.query;
    let mut body = Map::new();
    if let Some(seconds) = query.int("gracePeriodSeconds")? {
        body.insert("gracePeriodSeconds".to_owned(), seconds.into());
    }
    if let Some(orphan) = query.flag("orphanDependents") {
        body.insert("orphanDependents".to_owned(), orphan.into());
    }
    if let Some(policy) = query.get("propagationPolicy") {
        body.insert("propagationPolicy".to_owned(), policy.into());
    }
    let dry: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
    if !dry.is_empty() {
        body.insert("dryRun".to_owned(), dry.into());
    }
    Ok(Value::Object(body))
}
