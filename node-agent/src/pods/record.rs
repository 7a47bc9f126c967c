//! Pods as the informer keeps them: metadata, and the rest as the bytes that came.
//!
//! Promise: a record is small (a simulated node holds thousands); the full types are decoded for one pass of a
//! worker and dropped. A pod that does not decode spoils its own worker only, not the watch.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::runtime::PodRef;

/// A pod that was assigned to some node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AssignedPod {
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Arc<RawValue>>,
    #[serde(default)]
    status: Option<Arc<RawValue>>,
}

impl AssignedPod {
    /// The full pod.
    pub(crate) fn decode(&self) -> Result<core::Pod, serde_json::Error> {
        Ok(core::Pod {
            metadata: self.metadata.clone(),
            spec: decode(self.spec.as_deref())?,
            status: decode(self.status.as_deref())?,
        })
    }

    /// The node it was assigned to.
    pub(crate) fn node_name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Assigned<'a> {
            #[serde(rename = "nodeName", borrow)]
            node_name: Option<Cow<'a, str>>,
        }
        let assigned: Assigned<'_> = serde_json::from_str(self.spec.as_deref()?.get()).ok()?;
        assigned.node_name.map(Cow::into_owned).filter(|name| !name.is_empty())
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
}

pub(crate) fn reference(metadata: &ObjectMeta) -> PodRef {
    PodRef {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

fn decode<T: for<'de> Deserialize<'de>>(raw: Option<&RawValue>) -> Result<Option<T>, serde_json::Error> {
    raw.map(|raw| serde_json::from_str(raw.get())).transpose()
}

objects::view_of!(AssignedPod, "Pod", "v1", "pods", NamespaceResourceScope);

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::WatchEvent;

    const POD: &str = r#"{"metadata":{"name":"a","namespace":"n","uid":"u"},
        "spec":{"nodeName":"node-1","containers":[{"name":"c"}]},"status":{"phase":"Running"}}"#;

    #[test]
    fn a_watch_event_decodes_and_so_does_a_value() {
        let line = format!(r#"{{"type":"ADDED","object":{POD}}}"#);
        let WatchEvent::Added(record) = serde_json::from_str::<WatchEvent<AssignedPod>>(&line).unwrap()
        else {
            panic!("not added")
        };
        assert_eq!(record.node_name().as_deref(), Some("node-1"));
        assert_eq!(record.decode().unwrap().spec.unwrap().containers[0].name, "c");
        let value: serde_json::Value = serde_json::from_str(POD).unwrap();
        let record: AssignedPod = serde_json::from_value(value).unwrap();
        assert_eq!(record.decode().unwrap().status.unwrap().phase.as_deref(), Some("Running"));
    }
}
