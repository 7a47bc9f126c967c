//! Slim views of the sets that own pods: nothing but the selector. A full ReplicaSet carries a whole pod template,
//! and a cluster keeps ten old ones of each Deployment.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use objects::labels::Selector;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A set whose pods belong together.
pub(super) trait Owning {
    const KIND: &'static str;

    /// `spec.selector`; `None` if it is missing or not valid.
    fn selector(&self) -> Option<Selector>;
}

macro_rules! owner {
    ($name:ident, $group:literal, $api:literal, $plural:literal, $selector:ty, $parse:expr) => {
        #[doc = concat!("The selector of a ", stringify!($name), ".")]
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            metadata: ObjectMeta,
            spec: Spec<$selector>,
        }

        impl Owning for $name {
            const KIND: &'static str = stringify!($name);

            fn selector(&self) -> Option<Selector> {
                self.spec.selector.as_ref().and_then($parse)
            }
        }

        objects::view_of!(@names $name, stringify!($name), $group, "v1", $api, $plural, NamespaceResourceScope);
    };
}

#[derive(Clone, Debug, Deserialize)]
struct Spec<S> {
    selector: Option<S>,
}

impl<S> Default for Spec<S> {
    fn default() -> Self {
        Self { selector: None }
    }
}

fn expressions(selector: &LabelSelector) -> Option<Selector> {
    Selector::from_label_selector(selector).ok()
}

fn labels(selector: &BTreeMap<String, String>) -> Option<Selector> {
    Some(Selector::from_set(selector))
}

owner!(ReplicaSet, "apps", "apps/v1", "replicasets", LabelSelector, expressions);
owner!(StatefulSet, "apps", "apps/v1", "statefulsets", LabelSelector, expressions);
owner!(ReplicationController, "", "v1", "replicationcontrollers", BTreeMap<String, String>, labels);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_the_selector_only() {
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": []}}},
            "status": {"replicas": 3},
        }))
        .unwrap();
        let web = Selector::from_set(&[("app".to_owned(), "web".to_owned())].into());
        assert_eq!(set.selector(), Some(web.clone()));
        let old: ReplicationController =
            serde_json::from_value(json!({"spec": {"selector": {"app": "web"}}})).unwrap();
        assert_eq!(old.selector(), Some(web));
        assert_eq!(StatefulSet::default().selector(), None);
    }
}
