//! An update of one object: read, decide, write, and again if somebody was faster.
//!
//! Promise: the change is decided on the state it replaces. An update that changes nothing writes nothing and
//! answers with what is there. An update that takes the last finalizer of an object being deleted removes it.
//! Source: apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest/update.go`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{decode, encode};
use crate::admission::{self, Attributes};
use crate::http::call::Call;
use crate::http::route::Verb;
use crate::kinds::Kind;
use crate::object;
use crate::schema;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::store::{CommitError, Expect, Record, Write};

/// Tries before an update that keeps losing its race gives up.
const TRIES: usize = 32;

/// Which rules an update follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object; its status stays.
    Main,
    /// The status; everything else stays.
    Status,
    /// A binding, whose rules the change has followed. It is no change of what is wanted: the generation stays.
    Binding,
    /// A subresource with rules of its own, which the change has followed already. Metadata rules hold.
    Other,
}

/// An update about to happen.
pub(crate) struct Transaction<'a> {
    pub server: &'a Arc<Server>,
    pub call: &'a Call,
    pub kind: &'a Arc<Kind>,
    pub name: &'a str,
    pub part: Part,
    pub dry_run: bool,
}

impl Transaction<'_> {
    /// Runs `change` on the newest state until it is written. `change` sees the old object and makes the new.
    pub(crate) async fn run(&self, mut change: impl FnMut(&Value) -> ApiResult<Value>) -> ApiResult<Bytes> {
        for _ in 0..TRIES {
            let record = super::record(self.server, self.kind, self.call.namespace(), self.name)?;
            let old = encode::decoded(&record.bytes)?;
            let new = change(&old)?;
            match self.write(&record, &old, new).await? {
                Some(bytes) => return Ok(bytes),
                None => continue,
            }
        }
        Err(ApiError::modified(&self.kind.group, &self.kind.plural, self.name))
    }

    /// Finishes and writes one attempt; `None` if somebody else wrote in between.
    async fn write(&self, record: &Arc<Record>, old: &Value, mut new: Value) -> ApiResult<Option<Bytes>> {
        self.finish(&mut new, old)?;
        if new == *old {
            return Ok(Some(record.bytes.clone()));
        }
        let claim = self.server.allocations.claim_update(self.kind, &mut new, old, self.dry_run)?;
        if self.dry_run {
            return serde_json::to_vec(&new).map(|bytes| Some(bytes.into())).map_err(ApiError::internal);
        }
        let gone = is_finally_deleted(self.kind, &new);
        let change = if gone { encode::removal(self.kind, &new) } else { encode::put(self.kind, &new) };
        let write = Write { key: record.key.clone(), expect: Expect::Revision(record.revision), change };
        match self.server.store.commit(write).await {
            Ok(written) => {
                claim.keep();
                if gone {
                    self.server.allocations.release(self.kind, &new);
                }
                Ok(Some(written.bytes.clone()))
            }
            Err(CommitError::Conflict(_) | CommitError::Exists(_)) => Ok(None),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Brings the new object into the shape that may be stored, or says what is wrong with it.
    fn finish(&self, new: &mut Value, old: &Value) -> ApiResult<()> {
        let Self { server, call, kind, .. } = self;
        let strategy = &kind.strategy;
        let attributes = Attributes { server, call, kind, verb: Verb::Update, old: Some(old) };
        admission::mutate(&attributes, new)?;
        keep_metadata(new, old);
        match self.part {
            Part::Main => strategy.prepare_update(new, old),
            Part::Status => strategy.prepare_status_update(new, old),
            Part::Binding | Part::Other => {}
        }
        let wants = !matches!(self.part, Part::Status | Part::Binding);
        if wants && strategy.has_generation() && strategy.generation_changed(new, old) {
            let generation = object::int_at(old, &["metadata", "generation"]).unwrap_or(0);
            object::set_at(new, &["metadata", "generation"], generation + 1);
        }
        schema::settle(decode::definition(&kind.definition)?, new);
        let errors = match self.part {
            Part::Main => kind.validate_update(new, old),
            Part::Status => kind.validate_status_update(new, old),
            Part::Binding | Part::Other => Vec::new(),
        };
        if !errors.is_empty() {
            return Err(ApiError::invalid(&kind.group, &kind.kind, self.name, errors));
        }
        if self.part == Part::Main {
            for text in strategy.warnings(new, Some(old)) {
                call.warn(text);
            }
        }
        admission::validate(&attributes, new)
    }
}

/// What an update cannot change and need not repeat.
fn keep_metadata(new: &mut Value, old: &Value) {
    let old = object::meta(old);
    let meta = object::meta_mut(new);
    let mut keep = |key: &str| match old.get(key) {
        Some(value) => {
            meta.insert(key.to_owned(), value.clone());
        }
        None => {
            meta.remove(key);
        }
    };
    for key in ["generation", "creationTimestamp", "selfLink", "resourceVersion", "managedFields"] {
        keep(key);
    }
    if old.get("deletionTimestamp").is_some() {
        keep("deletionTimestamp");
    }
    for key in ["deletionGracePeriodSeconds", "uid", "namespace", "name"] {
        let value = old.get(key).filter(|_| meta.get(key).is_none_or(Value::is_null));
        if let Some(value) = value {
            meta.insert(key.to_owned(), value.clone());
        }
    }
}

/// Whether an object being deleted has nothing left that holds it.
pub(crate) fn is_finally_deleted(kind: &Kind, object: &Value) -> bool {
    object::is_deleting(object)
        && object::finalizers(object).next().is_none()
        && object::int_at(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        && (kind.plural != "namespaces" || object::list_at(object, &["spec", "finalizers"]).is_empty())
}
