//! Deletes what is in a namespace, kind by kind, and counts what is left.
//!
//! Pods go first and alone (KEP-5080): nothing they depend on, such as a NetworkPolicy that shields them, may go
//! while they run.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::DeleteParams;

use super::conditions::Findings;
use super::half;
use crate::collection::{Collection, is_not_found, message};
use crate::discovery::{Resource, discover};

/// Seconds that an object with a finalizer is given before it is looked at again.
const FINALIZER_SECONDS: u64 = 15;

/// Deletes everything in the namespace. Answers what was found, and when it is worth looking again.
pub(super) async fn delete(client: &Client, namespace: &str) -> (Findings, Duration) {
    let mut findings = Findings::default();
    let mut slowest = 0;
    let discovered = match discover(client).await {
        Ok(discovered) => discovered,
        Err(error) => {
            findings.discovery = Some(message(&error));
            return (findings, half(slowest));
        }
    };
    if !discovered.missing.is_empty() {
        findings.discovery = Some(discovered.missing.join(", "));
    }
    let deletable =
        |resource: &&Resource| resource.namespaced && resource.can("delete") && resource.can("list");
    let (pods, others): (Vec<&Resource>, Vec<&Resource>) =
        discovered.resources.iter().filter(deletable).partition(|resource| is_pods(resource));
    for resource in pods {
        slowest = slowest.max(delete_kind(client, namespace, resource, &mut findings).await);
    }
    if findings.remaining.is_empty() && findings.failures.is_empty() {
        for resource in others {
            slowest = slowest.max(delete_kind(client, namespace, resource, &mut findings).await);
        }
    }
    (findings, half(slowest))
}

fn is_pods(resource: &Resource) -> bool {
    resource.api.group.is_empty() && resource.api.plural == "pods"
}

/// Deletes all objects of one kind. Answers how many seconds those that are left need.
async fn delete_kind(client: &Client, namespace: &str, resource: &Resource, findings: &mut Findings) -> u64 {
    let objects = Collection::dynamic(client, &resource.api, namespace);
    match empty(&objects, resource).await {
        Ok(left) => count(namespace, resource, &left, findings),
        // A kind that went away meanwhile has no objects.
        Err(error) if is_not_found(&error) => 0,
        Err(error) => {
            findings.failures.push(format!("{}: {}", resource.name(), message(&error)));
            0
        }
    }
}

/// Asks for the deletion of all objects; answers those that are still there afterwards.
async fn empty(objects: &Collection, resource: &Resource) -> Result<Vec<ObjectMeta>, kube::Error> {
    let found = objects.list().await?;
    if found.iter().all(|meta| meta.deletion_timestamp.is_some()) {
        return Ok(found);
    }
    if resource.can("deletecollection") {
        objects.delete_all(&DeleteParams::background()).await?;
    } else {
        for meta in &found {
            match objects.delete(meta.name.as_deref().unwrap_or_default(), &DeleteParams::background()).await
            {
                Err(error) if !is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
    }
    objects.list().await
}

/// Notes what is left of a kind and what holds it.
fn count(namespace: &str, resource: &Resource, left: &[ObjectMeta], findings: &mut Findings) -> u64 {
    if left.is_empty() {
        return 0;
    }
    findings.remaining.insert(resource.name(), left.len());
    let finalizers = left.iter().flat_map(|meta| meta.finalizers.iter().flatten());
    let mut held = false;
    for finalizer in finalizers {
        *findings.finalizers.entry(finalizer.clone()).or_default() += 1;
        held = true;
    }
    let graces = left.iter().filter_map(|meta| meta.deletion_grace_period_seconds);
    let grace = graces.max().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    if !held && grace == 0 && !is_pods(resource) {
        let plural = &resource.api.plural;
        findings
            .failures
            .push(format!("unexpected items still remain in namespace: {namespace} for {plural}"));
    }
    if held { grace.max(FINALIZER_SECONDS) } else { grace }
}
