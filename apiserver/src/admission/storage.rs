//! What storage objects get on their way in: the default StorageClass, and finalizers that keep volumes in use.
//!
//! Source: kubernetes `plugin/pkg/admission/storage` (DefaultStorageClass, StorageObjectInUseProtection,
//! PersistentVolumeClaimResize).

use serde_json::{Value, json};

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::Read;
use crate::kinds::resources;
use crate::kinds::storage::class;
use crate::object;
use crate::status::ApiResult;

const OLD_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Value) {
    if attributes.verb != Verb::Create {
        return;
    }
    if attributes.is("", "persistentvolumeclaims") {
        if !object["spec"].has("storageClassName")
            && !object["metadata"]["annotations"].has(OLD_CLASS_ANNOTATION)
        {
            let classes = attributes.all("storage.k8s.io", "storageclasses", "");
            if let Some(name) = newest(classes.iter().filter(|one| class::is_default(one))) {
                object["spec"]["storageClassName"] = name.into();
            }
        }
        protect(object, "kubernetes.io/pvc-protection");
    } else if attributes.is("", "persistentvolumes") {
        protect(object, "kubernetes.io/pv-protection");
    }
}

/// Claims grow where their class allows it (PersistentVolumeClaimResize).
pub(super) fn validate(attributes: &Attributes<'_>, claim: &Value) -> ApiResult<()> {
    let Some(old) = attributes.old.filter(|_| attributes.is("", "persistentvolumeclaims")) else {
        return Ok(());
    };
    let size = |claim: &Value| resources::parse(&claim["spec"]["resources"]["requests"]["storage"]);
    let (Some(new_size), Some(old_size)) = (size(claim), size(old)) else { return Ok(()) };
    if new_size <= old_size {
        return Ok(());
    }
    let class = match old["metadata"]["annotations"].text(OLD_CLASS_ANNOTATION) {
        "" => old["spec"].text("storageClassName"),
        class => class,
    };
    let class = attributes.get("storage.k8s.io", "storageclasses", "", class).unwrap_or_default();
    if class.flag("allowVolumeExpansion") {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(attributes.forbid(claim, why))
}

/// The name of the newest object; among those of one second, the first by name.
pub(super) fn newest<'a>(objects: impl Iterator<Item = &'a Value>) -> Option<String> {
    let mut best: Option<&Value> = None;
    for one in objects {
        let age = |object: &Value| object["metadata"].text("creationTimestamp").to_owned();
        if best.is_none_or(|best| age(one) > age(best)) {
            best = Some(one);
        }
    }
    best.map(|object| object::name(object).to_owned())
}

fn protect(object: &mut Value, finalizer: &str) {
    let meta = object::meta_mut(object);
    match meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        Some(all) if all.iter().any(|one| one == finalizer) => {}
        Some(all) => all.push(finalizer.into()),
        None => drop(meta.insert("finalizers".to_owned(), json!([finalizer]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_then_the_name() {
        let class = |name: &str, at: &str| json!({"metadata": {"name": name, "creationTimestamp": at}});
        let all = [
            class("a", "2026-01-01T00:00:00Z"),
            class("b", "2026-01-02T00:00:00Z"),
            class("c", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(newest(all.iter()).as_deref(), Some("b"));
        assert_eq!(newest([].iter()), None);
    }

    #[test]
    fn finalizers_are_added_once() {
        let mut claim = json!({"metadata": {}});
        protect(&mut claim, "x/y");
        protect(&mut claim, "x/y");
        assert_eq!(claim["metadata"]["finalizers"], json!(["x/y"]));
    }
}
