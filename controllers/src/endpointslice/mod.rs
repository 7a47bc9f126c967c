//! Publishes, for every Service with a selector, the addresses of its pods in EndpointSlices.
//!
//! Reads: Services, Pods, Nodes (zone), EndpointSlices. Writes: the slices that carry its managed-by label, and no
//! others. It never changes a Service.

mod diff;
mod endpoint;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::{Recorder, Type};
use component::informers::{Change, Informer, Key, ObjectMetadata};
use component::work::{Action, Failure, Queue, run};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::Resource as _;
use kube::api::{DeleteParams, Preconditions};
use objects::owner;
use objects::views::{Node, Pod};
use serde_json::{Value, json};

use crate::claim::is_moot;
use crate::collection::{Collection, difference, guarded, is_namespace_terminating};
use crate::context::Context;
use crate::indexes::{index_nodes, on_node};
use diff::{Draft, Plan, diff};
use endpoint::{families, groups};

/// The name in `--controllers`.
pub(crate) const NAME: &str = "endpointslice-controller";

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// When to look again after a pod was left out because its node is not known yet.
const NODE_RETRY: Duration = Duration::from_secs(10);

const SELECTED_BY: &str = "services-by-selector-term";

/// Starts the controller.
pub(crate) fn start(ctx: &Context) {
    let (services, pods) = (ctx.informers.of::<Service>(), ctx.informers.of::<Pod>());
    let (nodes, slices) = (ctx.informers.of::<Node>(), ctx.informers.of::<EndpointSlice>());
    let queue = Queue::new(NAME);
    index_nodes(&pods);
    slices
        .add_index(SERVICE_NAME, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
    // A Service is found from a pod by one of the labels it selects: without this, every pod would be held against
    // every Service of its namespace.
    services.add_index(SELECTED_BY, |service| selector_term(service).into_iter().collect());
    queue.follow(&services);
    queue.watch(&slices, |change| service_of(change.object()));
    let selecting = services.clone();
    queue.watch(&pods, move |change| selecting_either(&selecting, change));
    let (placed, all) = (pods.clone(), services.clone());
    queue.watch(&nodes, move |change| touched_by_node(&all, &placed, change));
    let controller = Arc::new(Controller {
        recorder: ctx.recorder(NAME),
        ctx: ctx.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        slices: slices.clone(),
        queue: queue.clone(),
    });
    let concurrency = ctx.config.concurrent_endpoint_syncs;
    let work = run(NAME, services, queue, controller, concurrency, reconcile, ctx.tasks.clone());
    let synced = async move {
        pods.synced().await;
        nodes.synced().await;
        slices.synced().await;
    };
    ctx.start(NAME, synced, work);
}

/// The Service that one of our slices belongs to.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let name = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    spec.selector
        .as_ref()
        .filter(|selector| !selector.is_empty() && spec.type_.as_deref() != Some("ExternalName"))
}

/// One label that every pod of the Service has, with the namespace.
fn selector_term(service: &Service) -> Option<String> {
    let (key, value) = selector(service)?.first_key_value()?;
    Some(term(service.metadata.namespace.as_deref().unwrap_or_default(), key, value))
}

fn term(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}/{key}={value}")
}

/// The Services that select the pod.
fn selecting(services: &Informer<Service>, pod: &Pod) -> Vec<Key> {
    let labels = pod.metadata.labels.iter().flatten();
    let candidates =
        labels.flat_map(|(key, value)| services.by_index(SELECTED_BY, &term(pod.namespace(), key, value)));
    candidates.filter(|service| selects(service, pod)).map(|service| Key::of(&*service)).collect()
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.is_some_and(|labels| labels.get(key) == Some(value));
    selector(service).is_some_and(|selector| selector.iter().all(has))
}

/// The Services that select a pod, or did; none when the change does not show in a slice.
fn selecting_either(services: &Informer<Service>, change: &Change<Pod>) -> Vec<Key> {
    if let Change::Updated { old, new } = change
        && shown(old) == shown(new)
    {
        return Vec::new();
    }
    let mut keys: Vec<Key> = change.new().map(|pod| selecting(services, pod)).unwrap_or_default();
    if let Some(old) = change.old()
        && change.new().is_none_or(|new| new.metadata.labels != old.metadata.labels)
    {
        keys.extend(selecting(services, old));
    }
    keys
}

/// What of a pod shows in a slice.
fn shown(pod: &Pod) -> impl PartialEq + '_ {
    (
        &pod.metadata.labels,
        pod.node_name(),
        &pod.status.pod_ips,
        (&pod.spec.hostname, &pod.spec.subdomain),
        (objects::pod::is_ready(pod), objects::pod::is_finished(pod), objects::pod::is_terminating(pod)),
    )
}

/// The Services with pods on a node that came, went or changed its labels (the zone is one).
fn touched_by_node(services: &Informer<Service>, pods: &Informer<Pod>, change: &Change<Node>) -> Vec<Key> {
    if let Change::Updated { old, new } = change
        && old.metadata.labels == new.metadata.labels
    {
        return Vec::new();
    }
    on_node(pods, change.object().name()).iter().flat_map(|pod| selecting(services, pod)).collect()
}

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    queue: Queue<Key>,
    recorder: Recorder,
}

async fn reconcile(service: Arc<Service>, controller: Arc<Controller>) -> Result<Action, Error> {
    let (Some(_), Some(spec)) = (selector(&service), &service.spec) else {
        return Ok(Action::await_change());
    };
    let key = Key::of(&*service);
    let pods = controller.pods.in_namespace(&key.namespace);
    let pods: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| selects(&service, pod)).collect();
    let node = |name: &str| controller.nodes.get(&Key::cluster(name));
    let families = families(spec);
    let (groups, left_out) = groups(&service, &families, &pods, node);
    let slices = controller.slices.by_index(SERVICE_NAME, &key.to_string());
    let slices: Vec<_> =
        slices.into_iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()).collect();
    let labels = labels(&service);
    let plan = diff(
        &families,
        &groups,
        &slices,
        controller.ctx.config.max_endpoints_per_slice,
        |slice| slice.metadata.labels.as_ref() == Some(&labels),
        |slice| {
            service.metadata.uid.as_ref().is_some_and(|uid| owner::is_controlled_by(&slice.metadata, uid))
        },
    );
    controller
        .carry_out(&service, &labels, plan)
        .await
        .inspect_err(|error| controller.tell(&service, error))?;
    Ok(if left_out { Action::requeue(NODE_RETRY) } else { Action::await_change() })
}

/// The labels a slice of this Service is to have: the Service's own and those that say whose it is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    let headless = service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"));
    labels.remove(HEADLESS);
    if headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

impl Controller {
    fn slices_of(&self, service: &Service) -> Collection {
        self.ctx.collection::<EndpointSlice>(service.metadata.namespace.as_deref())
    }

    fn wrote(&self, service: &Service, written: &ObjectMetadata) {
        self.queue.writes().wrote(&Key::of(service), &self.slices, written);
    }

    async fn carry_out(
        &self,
        service: &Service,
        labels: &BTreeMap<String, String>,
        plan: Plan,
    ) -> Result<(), Error> {
        for change in &plan.update {
            let before = body(
                change.slice.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()),
                change.slice.ports.as_deref().unwrap_or_default(),
                change.slice.endpoints.as_deref().unwrap_or_default(),
            );
            let Some(patch) = difference(&before, &body(labels, &change.ports, &change.endpoints)) else {
                continue;
            };
            let name = change.slice.metadata.name.as_deref().unwrap_or_default();
            let patched = self.slices_of(service).patch(name, &guarded(&change.slice.metadata, patch)).await;
            self.wrote(service, &patched.map_err(|source| Error::Update { slice: name.to_owned(), source })?);
        }
        for draft in &plan.create {
            match self.slices_of(service).create(&slice(service, labels, draft)).await {
                Ok(created) => self.wrote(service, &created),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(Error::Create(error)),
            }
        }
        for slice in &plan.delete {
            let same = Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            match self.slices_of(service).delete(name, &params).await {
                Ok(_) => self.queue.writes().deleted(&Key::of(service), &self.slices, &**slice),
                Err(error) if is_moot(&error) => {}
                Err(source) => return Err(Error::Delete { slice: name.to_owned(), source }),
            }
        }
        Ok(())
    }

    fn tell(&self, service: &Service, error: &Error) {
        if error.is_conflict() {
            return;
        }
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let message = format!("Error updating Endpoint Slices for Service {namespace}/{name}: {error}");
        self.recorder.event(
            &service.object_ref(&()),
            Type::Warning,
            "FailedToUpdateEndpointSlices",
            &message,
        );
    }
}

/// The part of a slice that may change.
fn body(labels: &BTreeMap<String, String>, ports: &[EndpointPort], endpoints: &[Endpoint]) -> Value {
    json!({"metadata": {"labels": labels}, "ports": ports, "endpoints": endpoints})
}

/// The slice to create, in JSON.
fn slice(service: &Service, labels: &BTreeMap<String, String>, draft: &Draft) -> Value {
    let mut slice = body(labels, &draft.ports, &draft.endpoints);
    slice["apiVersion"] = json!("discovery.k8s.io/v1");
    slice["kind"] = json!("EndpointSlice");
    slice["addressType"] = json!(draft.family);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    slice["metadata"]["generateName"] = json!(format!("{name}-"));
    slice["metadata"]["namespace"] = json!(service.metadata.namespace);
    slice["metadata"]["ownerReferences"] = json!([owner::reference(service)]);
    slice
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("create slice")]
    Create(#[source] kube::Error),
    #[error("update slice {slice}")]
    Update { slice: String, source: kube::Error },
    #[error("delete slice {slice}")]
    Delete { slice: String, source: kube::Error },
}

impl Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Update { source, .. } if crate::collection::is_conflict(source))
    }
}

impl Failure for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_slices() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "labels": {"team": "a", HEADLESS: "x"}},
            "spec": {"clusterIP": "None"},
        }))
        .unwrap();
        let expected = [(HEADLESS, ""), (MANAGED_BY, MANAGER), (SERVICE_NAME, "web"), ("team", "a")];
        assert_eq!(labels(&service), expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn services_that_are_not_ours() {
        for (spec, ours) in [
            (json!({"selector": {"app": "web"}}), true),
            (json!({"selector": {}}), false),
            (json!({}), false),
            (json!({"selector": {"app": "web"}, "type": "ExternalName"}), false),
        ] {
            let service: Service =
                serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}))
                    .unwrap();
            assert_eq!(selector_term(&service), ours.then(|| "ns/app=web".to_owned()), "{spec}");
        }
    }
}
