//! Publishes the cluster's certificate authority as ConfigMap `kube-root-ca.crt` in every active namespace: pods
//! check the API server's certificate against it.
//!
//! Reads: Namespaces, the ConfigMaps of that name. Writes: those ConfigMaps; an edited or deleted one is repaired.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::informers::{Informer, Key, Selection};
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::{Value, json};

use crate::collection::{guarded, is_namespace_terminating, is_taken};
use crate::context::Context;
use crate::service_account::is_active;

/// The name in `--controllers`.
pub(crate) const NAME: &str = "root-ca-certificate-publisher-controller";

const CONFIG_MAP: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// Starts the controller; without a certificate there is nothing to publish.
pub(crate) fn start(ctx: &Context) {
    let Some(certificate) = ctx.config.root_ca.clone() else {
        tracing::info!(controller = NAME, "no root certificate given, publishing none");
        return;
    };
    let namespaces = ctx.informers.of::<Namespace>();
    let of_that_name =
        Selection { fields: Some(format!("metadata.name={CONFIG_MAP}")), ..Selection::default() };
    let maps = ctx.informers.selected::<ConfigMap>(of_that_name);
    let queue = Queue::new(NAME);
    queue.follow(&namespaces);
    queue.watch(&maps, |change| Some(Key::cluster(change.key().namespace)));
    let controller =
        Arc::new(Controller { ctx: ctx.clone(), certificate, maps: maps.clone(), queue: queue.clone() });
    let concurrency = ctx.config.concurrent_account_syncs;
    let work = run(NAME, namespaces, queue, controller, concurrency, reconcile, ctx.tasks.clone());
    ctx.start(NAME, async move { maps.synced().await }, work);
}

struct Controller {
    ctx: Context,
    certificate: String,
    maps: Informer<ConfigMap>,
    queue: Queue<Key>,
}

/// What is to be done in a namespace.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create(Value),
    Repair(Value),
}

async fn reconcile(namespace: Arc<Namespace>, controller: Arc<Controller>) -> Result<Action, Error> {
    let key = Key::of(&*namespace);
    let found = controller.maps.get(&Key::new(&*key.name, CONFIG_MAP));
    let maps = controller.ctx.collection::<ConfigMap>(Some(&key.name));
    let written = match plan(&namespace, found.as_deref(), &controller.certificate) {
        Plan::Nothing => return Ok(Action::await_change()),
        Plan::Create(map) => maps.create(&map).await.map_err(Error::Create),
        Plan::Repair(patch) => {
            let meta = found.map(|found| found.metadata.clone()).unwrap_or_default();
            maps.patch(CONFIG_MAP, &guarded(&meta, patch)).await.map_err(Error::Repair)
        }
    };
    match written {
        Ok(written) => controller.queue.writes().wrote(&key, &controller.maps, &written),
        Err(Error::Create(error)) if is_taken(&error) || is_namespace_terminating(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Action::await_change())
}

fn plan(namespace: &Namespace, found: Option<&ConfigMap>, certificate: &str) -> Plan {
    if !is_active(namespace) {
        return Plan::Nothing;
    }
    let annotations = json!({DESCRIPTION_KEY: DESCRIPTION});
    let wanted = BTreeMap::from([(FIELD.to_owned(), certificate.to_owned())]);
    let Some(found) = found else {
        let meta = json!({"name": CONFIG_MAP, "annotations": annotations});
        return Plan::Create(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": wanted}),
        );
    };
    let described = found.metadata.annotations.as_ref().and_then(|notes| notes.get(DESCRIPTION_KEY));
    if found.data.as_ref() == Some(&wanted) && described.is_some_and(|text| !text.is_empty()) {
        return Plan::Nothing;
    }
    let strangers = found.data.iter().flatten().filter(|(key, _)| *key != FIELD);
    let mut data: serde_json::Map<String, Value> =
        strangers.map(|(key, _)| (key.clone(), Value::Null)).collect();
    data.insert(FIELD.to_owned(), json!(certificate));
    Plan::Repair(json!({"metadata": {"annotations": annotations}, "data": data}))
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("create config map")]
    Create(#[source] kube::Error),
    #[error("repair config map")]
    Repair(#[source] kube::Error),
}

impl Failure for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_repaired_or_left() {
        let active = Namespace::default();
        let Plan::Create(map) = plan(&active, None, "CA") else { panic!("it is to be created") };
        assert_eq!(map["data"], json!({FIELD: "CA"}));
        let mut map: ConfigMap = serde_json::from_value(map).unwrap();
        assert_eq!(plan(&active, Some(&map), "CA"), Plan::Nothing);
        map.data.get_or_insert_default().insert("more".into(), "x".into());
        let Plan::Repair(patch) = plan(&active, Some(&map), "CA2") else { panic!("it is to be repaired") };
        assert_eq!(patch["data"], json!({FIELD: "CA2", "more": null}));
        let mut going = Namespace::default();
        going.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        assert_eq!(plan(&going, None, "CA"), Plan::Nothing);
    }
}
