//! One kind in one namespace, as the API offers it: get, list, create, patch, delete.
//!
//! Bodies are JSON and answers are metadata, so that a controller neither drops fields it does not know nor
//! decodes objects that it only wrote. The metadata answered says which resourceVersion the caches must reach.

use std::fmt;
use std::marker::PhantomData;

use component::informers::ObjectMetadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{ApiResource, DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Objects read in one page of a list.
const PAGE: u32 = 500;

/// One kind in one namespace.
#[derive(Clone)]
pub(crate) struct Collection {
    client: Client,
    request: Request,
}

/// What is read of the answer to a write: which object it is, and the version that the write made.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    metadata: AnswerMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AnswerMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
}

impl From<Answer> for ObjectMetadata {
    fn from(Answer { metadata: meta }: Answer) -> Self {
        let metadata = ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            deletion_timestamp: meta.deletion_timestamp,
            ..ObjectMeta::default()
        };
        Self { types: None, metadata, _phantom: PhantomData }
    }
}

#[derive(Deserialize)]
struct Found {
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default = "Vec::new")]
    items: Vec<Found>,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

impl fmt::Debug for Collection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Collection").field(&self.request.url_path).finish()
    }
}

impl Collection {
    /// The objects of kind `K` in `namespace`; empty for a cluster-scoped kind.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Self {
        Self::at(client, K::url_path(&(), Some(namespace).filter(|namespace| !namespace.is_empty())))
    }

    /// The objects of a kind known by discovery in `namespace`; empty for a cluster-scoped kind.
    pub(crate) fn dynamic(client: &Client, resource: &ApiResource, namespace: &str) -> Self {
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        Self::at(client, kube::api::DynamicObject::url_path(resource, namespace))
    }

    fn at(client: &Client, path: String) -> Self {
        Self { client: client.clone(), request: Request::new(path) }
    }

    /// The metadata of an object as the server has it now; none when there is no such object.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<ObjectMeta>, Error> {
        let request = self.request.get_metadata(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        match self.client.request::<Found>(request).await {
            Ok(found) => Ok(Some(found.metadata)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object as the server has it now; none when there is no such object.
    pub(crate) async fn read<K: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<K>, Error> {
        let request = self.request.get(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        match self.client.request::<K>(request).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The metadata of all objects, page by page.
    pub(crate) async fn list(&self) -> Result<Vec<ObjectMeta>, Error> {
        let mut params = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let request = self.request.list_metadata(&params).map_err(Error::BuildRequest)?;
            let page: Page = self.client.request(request).await?;
            found.extend(page.items.into_iter().map(|item| item.metadata));
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(found),
            }
        }
    }

    /// Creates an object.
    pub(crate) async fn create(&self, object: &Value) -> Result<ObjectMetadata, Error> {
        let request =
            self.request.create(&PostParams::default(), bytes(object)?).map_err(Error::BuildRequest)?;
        Ok(self.client.request::<Answer>(request).await?.into())
    }

    /// Changes an object.
    pub(crate) async fn patch(&self, name: &str, patch: &Patch<Value>) -> Result<ObjectMetadata, Error> {
        let request =
            self.request.patch(name, &PatchParams::default(), patch).map_err(Error::BuildRequest)?;
        Ok(self.client.request::<Answer>(request).await?.into())
    }

    /// Changes an object's status.
    pub(crate) async fn patch_status(
        &self,
        name: &str,
        patch: &Patch<Value>,
    ) -> Result<ObjectMetadata, Error> {
        let request = self
            .request
            .patch_subresource("status", name, &PatchParams::default(), patch)
            .map_err(Error::BuildRequest)?;
        Ok(self.client.request::<Answer>(request).await?.into())
    }

    /// Writes a whole object to one of its subresources.
    pub(crate) async fn replace_in(
        &self,
        subresource: &str,
        name: &str,
        object: &Value,
    ) -> Result<ObjectMetadata, Error> {
        let request = self
            .request
            .replace_subresource(subresource, name, &PostParams::default(), bytes(object)?)
            .map_err(Error::BuildRequest)?;
        Ok(self.client.request::<Answer>(request).await?.into())
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, name: &str, params: &DeleteParams) -> Result<ObjectMetadata, Error> {
        let request = self.request.delete(name, params).map_err(Error::BuildRequest)?;
        Ok(self.client.request::<Answer>(request).await?.into())
    }

    /// Deletes all objects of this collection.
    pub(crate) async fn delete_all(&self, params: &DeleteParams) -> Result<(), Error> {
        let request =
            self.request.delete_collection(params, &ListParams::default()).map_err(Error::BuildRequest)?;
        self.client.request::<serde::de::IgnoredAny>(request).await.map(|_| ())
    }
}

/// The merge patch that turns `before` into `after` and leaves alone what neither names; none when they are equal.
pub(crate) fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let change = match old.get(key) {
            Some(before) => difference(before, value)?,
            None => value.clone(),
        };
        Some((key.clone(), change))
    });
    let patch: serde_json::Map<String, Value> = gone.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// A merge patch of `fields` that fails unless the object is still the one `meta` describes.
pub(crate) fn guarded(meta: &ObjectMeta, fields: Value) -> Patch<Value> {
    let mut patch = fields;
    if !patch["metadata"].is_object() {
        patch["metadata"] = json!({});
    }
    patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
    patch["metadata"]["uid"] = json!(meta.uid);
    Patch::Merge(patch)
}

/// The merge patch that turns one status into another; none when they are equal.
pub(crate) fn status_patch<S: Serialize>(before: &S, after: &S) -> Option<Value> {
    let json = |status: &S| serde_json::to_value(status).expect("a status has a JSON form");
    difference(&json(before), &json(after)).map(|status| json!({ "status": status }))
}

fn bytes(object: &Value) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(Error::SerdeError)
}

/// Whether the server said that there is no such object.
pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_not_found())
}

/// Whether the server said that the object was changed or replaced meanwhile.
pub(crate) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_conflict() && !status.is_already_exists())
}

/// Whether the server said that the name is taken.
pub(crate) fn is_taken(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_already_exists())
}

/// Whether nothing can be created because the namespace is going: no failure worth a word.
pub(crate) fn is_namespace_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| cause.reason.as_str()).any(|reason| reason == "NamespaceTerminating")
}

/// What the server said, in its own words: as upstream puts it into events and conditions.
pub(crate) fn message(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        for (before, after, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({}), Some(json!({"a": null}))),
            (json!({}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1, "c": 3}}), Some(json!({"a": {"c": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [2]}), Some(json!({"a": [2]}))),
        ] {
            assert_eq!(difference(&before, &after), expected, "{before} {after}");
        }
    }

    #[test]
    fn guards_name_version_and_uid() {
        let meta =
            ObjectMeta { uid: Some("u".into()), resource_version: Some("7".into()), ..ObjectMeta::default() };
        let Patch::Merge(patch) = guarded(&meta, json!({"metadata": {"labels": {"a": "b"}}, "spec": {}}))
        else {
            panic!("a merge patch")
        };
        let expected =
            json!({"metadata": {"labels": {"a": "b"}, "resourceVersion": "7", "uid": "u"}, "spec": {}});
        assert_eq!(patch, expected);
    }
}
