//! The writes that come before a bind, as merge patches of single objects.
//!
//! Sent in order; the first that fails ends it. What was taken is answered as the server has it then, so that the
//! state knows it before the watch shows it.

use crate::framework::{Target, Write};
use crate::related::Related;
use crate::state::WriteError;
use crate::volumes::{Claim, PersistentVolume};
use component::informers::Key;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Sends them. Answers what was taken, and which plugin's write failed, if one did.
pub(crate) async fn send(
    client: &Client,
    writes: Vec<Write>,
) -> (Vec<Related>, Result<(), (&'static str, WriteError)>) {
    let mut wrote: Vec<Related> = Vec::new();
    for mut write in writes {
        // A claim is written twice; the second patch is for what the first one made.
        if let (Target::DeviceClaimStatus(key), Some(Related::DeviceClaim(before))) =
            (&write.target, wrote.last())
            && Key::of(&**before) == *key
        {
            write.patch["metadata"]["resourceVersion"] = before.metadata.resource_version.clone().into();
        }
        match carry_out(client, &write).await {
            Ok(object) => wrote.extend(object),
            Err(error) => return (wrote, Err((write.plugin, error))),
        }
    }
    (wrote, Ok(()))
}

/// Takes back what was written, as far as that can be done: what is left, the next try takes back.
pub(crate) async fn take_back(client: &Client, writes: Vec<Write>) -> Result<(), WriteError> {
    let mut outcome = Ok(());
    for write in writes {
        outcome = outcome.and(carry_out(client, &write).await.map(|_| ()));
    }
    outcome
}

/// Answers the object as it is then, if the scheduler keeps it.
async fn carry_out(client: &Client, write: &Write) -> Result<Option<Related>, WriteError> {
    Ok(Some(match &write.target {
        Target::Volume(name) => {
            let volume: PersistentVolume =
                merge(client, "/api/v1/persistentvolumes", name, &write.patch).await?;
            Related::Volume(Arc::new(volume))
        }
        Target::Claim(key) => {
            let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims", key.namespace);
            let claim: Claim = merge(client, &path, &key.name, &write.patch).await?;
            Related::Claim(Arc::new(claim))
        }
        Target::DeviceClaim(key) => {
            let claim: ResourceClaim = merge(client, &device_claims(key), &key.name, &write.patch).await?;
            Related::DeviceClaim(Arc::new(claim))
        }
        Target::DeviceClaimStatus(key) => {
            let name = format!("{}/status", key.name);
            let claim: ResourceClaim = merge(client, &device_claims(key), &name, &write.patch).await?;
            Related::DeviceClaim(Arc::new(claim))
        }
        Target::NewDeviceClaim(key) => {
            let body = write.patch.to_string().into_bytes();
            let request = Request::new(device_claims(key)).create(&PostParams::default(), body);
            let claim: ResourceClaim = client.request(request.map_err(kube::Error::BuildRequest)?).await?;
            Related::DeviceClaim(Arc::new(claim))
        }
        Target::OldDeviceClaim(key) => {
            let path = device_claims(key);
            let patched: Result<ResourceClaim, _> = merge(client, &path, &key.name, &write.patch).await;
            let request = Request::new(path).delete(&key.name, &DeleteParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            for outcome in
                [patched.map(|_| ()), client.request_text(request).await.map(|_| ()).map_err(Into::into)]
            {
                match outcome {
                    Ok(()) | Err(WriteError::Api { code: 404, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(None);
        }
        Target::PodStatus(key) => {
            let path = format!("/api/v1/namespaces/{}/pods", key.namespace);
            let _: Value = merge(client, &path, &format!("{}/status", key.name), &write.patch).await?;
            return Ok(None);
        }
    }))
}

fn device_claims(key: &Key) -> String {
    format!("/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims", key.namespace)
}

async fn merge<K: DeserializeOwned>(
    client: &Client,
    path: &str,
    name: &str,
    patch: &Value,
) -> Result<K, WriteError> {
    let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Merge(patch));
    let request = request.map_err(kube::Error::BuildRequest)?;
    Ok(client.request(request).await?)
}
