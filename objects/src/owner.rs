//! Who owns an object.
//!
//! Promise: at most one owner reference of an object is its controller; these functions read and make it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::{Metadata, Resource};

/// The owner reference marked as controller.
#[must_use]
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the object is controlled by the object with this UID.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    controller_of(metadata).is_some_and(|owner| owner.uid == uid)
}

/// The reference that makes `owner` the controller of another object (`metav1.NewControllerRef`). Name and UID are
/// empty if the owner was not created yet.
#[must_use]
pub fn reference<K>(owner: &K) -> OwnerReference
where
    K: Resource + Metadata<Ty = ObjectMeta>,
{
    let metadata = owner.metadata();
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;

    use super::*;

    #[test]
    fn a_reference_makes_a_controller() {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some("web".to_owned());
        set.metadata.uid = Some("u1".to_owned());
        let owner = reference(&set);
        assert_eq!((owner.api_version.as_str(), owner.kind.as_str()), ("apps/v1", "ReplicaSet"));
        let plain = OwnerReference { controller: None, uid: "u2".to_owned(), ..owner.clone() };
        let metadata = ObjectMeta { owner_references: Some(vec![plain, owner]), ..ObjectMeta::default() };
        assert!(is_controlled_by(&metadata, "u1"));
        assert!(!is_controlled_by(&metadata, "u2"));
        assert!(controller_of(&ObjectMeta::default()).is_none());
    }
}
