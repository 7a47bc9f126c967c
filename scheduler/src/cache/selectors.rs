//! Which pods belong together: the selectors of services and of the sets that own pods.

use crate::pod::PodInfo;
use objects::labels::Selector;
use objects::owner;
use std::collections::BTreeMap;

/// The selectors of all namespaces. Upstream: `helper.DefaultSelector`.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    services: BTreeMap<String, BTreeMap<String, Selector>>,
    owners: BTreeMap<Owner, Selector>,
    version: u64,
}

/// A set that owns pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `ReplicaSet`, `StatefulSet` or `ReplicationController`.
    pub kind: &'static str,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Selectors {
    /// A service as it is now; `None`: it is gone, or selects no pods by itself.
    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Option<Selector>) {
        self.version += 1;
        match selector {
            Some(selector) => {
                self.services.entry(namespace.to_owned()).or_default().insert(name.to_owned(), selector);
            }
            None => {
                if let Some(services) = self.services.get_mut(namespace) {
                    services.remove(name);
                }
            }
        }
    }

    /// An owner as it is now; `None`: it is gone.
    pub fn set_owner(&mut self, owner: Owner, selector: Option<Selector>) {
        self.version += 1;
        match selector {
            Some(selector) => self.owners.insert(owner, selector),
            None => self.owners.remove(&owner),
        };
    }

    /// Changes whenever [`Self::for_pod`] may answer differently.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What all services that select the pod and its owner ask for together; everything when there is none.
    pub fn for_pod(&self, pod: &PodInfo) -> Selector {
        let services = self.services.get(pod.namespace()).into_iter().flat_map(BTreeMap::values);
        let selecting = services.filter(|selector| selector.matches(pod.labels()));
        selecting.chain(self.owner(pod)).fold(Selector::everything(), |all, one| all.and(one))
    }

    fn owner(&self, pod: &PodInfo) -> Option<&Selector> {
        let reference = owner::controller_of(&pod.view().metadata)?;
        let kind = match (reference.api_version.as_str(), reference.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => "ReplicaSet",
            ("apps/v1", "StatefulSet") => "StatefulSet",
            ("v1", "ReplicationController") => "ReplicationController",
            _ => return None,
        };
        let (namespace, name) = (pod.namespace().to_owned(), reference.name.clone());
        self.owners.get(&Owner { kind, namespace, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::pod_from;
    use serde_json::json;

    #[test]
    fn joins_services_and_owner() {
        let set = |key: &str, value: &str| Selector::from_set(&[(key.to_owned(), value.to_owned())].into());
        let owner = |name: &str| Owner { kind: "ReplicaSet", namespace: "default".into(), name: name.into() };
        let mut selectors = Selectors::default();
        selectors.set_service("default", "web", Some(set("app", "web")));
        selectors.set_service("default", "db", Some(set("app", "db")));
        selectors.set_service("other", "web", Some(set("tier", "x")));
        selectors.set_owner(owner("web-1"), Some(set("hash", "1")));
        let pod = pod_from(json!({"metadata": {
            "name": "p", "labels": {"app": "web", "hash": "1", "tier": "x"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}],
        }}));
        assert_eq!(selectors.for_pod(&pod), set("app", "web").and(&set("hash", "1")));
        selectors.set_owner(owner("web-1"), None);
        assert_eq!(selectors.for_pod(&pod), set("app", "web"));
        selectors.set_service("default", "web", None);
        assert!(selectors.for_pod(&pod).is_everything());
    }
}
