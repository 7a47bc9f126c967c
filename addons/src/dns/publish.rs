//! Tells the cluster where its DNS server is, for a server that runs outside a pod.
//!
//! Promise: the Service `kube-dns` in `kube-system` exists under the labels and the address that people expect (the
//! tenth of the service range), and its endpoints are where the server listens. A Service that selects pods is
//! somebody else's, CoreDNS's most likely: it is left alone, and its address is what pods use.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";

/// Which address of the service range is the DNS server's (kubeadm's choice).
const POSITION: u8 = 10;

/// The label of a slice that names its writer, and our name there.
const WRITER: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGED_BY: &str = "dns.steersman";

/// The DNS Service cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The Service that tells the service range.
    #[error("cannot read the Service default/kubernetes")]
    Range(#[source] kube::Error),
    /// It has no address.
    #[error("the Service default/kubernetes has no cluster address")]
    NoAddress,
    /// The Service itself.
    #[error("cannot write the Service {NAMESPACE}/{NAME}")]
    Service(#[source] kube::Error),
    /// Its endpoints.
    #[error("cannot write the endpoints of {NAMESPACE}/{NAME}")]
    Endpoints(#[source] kube::Error),
}

/// Writes Service and endpoints for a server that listens on `at`; answers the address that pods use.
///
/// # Errors
///
/// When the API server refuses.
pub async fn publish(client: &Client, at: SocketAddr) -> Result<IpAddr, PublishError> {
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    if let Some(found) = services.get_opt(NAME).await.map_err(PublishError::Service)? {
        let spec = found.spec.unwrap_or_default();
        let address = spec.cluster_ip.as_deref().and_then(|address| address.parse().ok());
        let selects = spec.selector.is_some_and(|selector| !selector.is_empty());
        if let Some(address) = address {
            if !selects {
                endpoints(client, at).await?;
            }
            return Ok(address);
        }
        services.delete(NAME, &DeleteParams::default()).await.map_err(PublishError::Service)?;
    }
    let address = usual(client).await?;
    let service: Service = serde_json::from_value(service(address)).expect("a Service");
    services.create(&PostParams::default(), &service).await.map_err(PublishError::Service)?;
    endpoints(client, at).await?;
    Ok(address)
}

/// Takes back what `publish` wrote, so that somebody else can bring the Service; answers the address that pods use:
/// that of the Service if there is one, else the tenth of the service range.
///
/// # Errors
///
/// When the API server refuses.
pub async fn withdraw(client: &Client) -> Result<IpAddr, PublishError> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let ours = slices.get_opt(NAME).await.map_err(PublishError::Endpoints)?.filter(is_ours);
    if ours.is_some() {
        let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
        services.delete(NAME, &DeleteParams::default()).await.map_err(PublishError::Service)?;
        slices.delete(NAME, &DeleteParams::default()).await.map_err(PublishError::Endpoints)?;
    }
    match address(client).await? {
        Some(address) => Ok(address),
        None => usual(client).await,
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(WRITER)).is_some_and(|writer| writer == MANAGED_BY)
}

/// The address that pods use, where somebody runs a DNS server: that of the Service `kube-dns`.
///
/// # Errors
///
/// When it cannot be read.
pub async fn address(client: &Client) -> Result<Option<IpAddr>, PublishError> {
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    let found = services.get_opt(NAME).await.map_err(PublishError::Service)?;
    Ok(found.and_then(|service| service.spec?.cluster_ip?.parse().ok()))
}

async fn endpoints(client: &Client, at: SocketAddr) -> Result<(), PublishError> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let wanted = slice(at);
    if slices.get_opt(NAME).await.map_err(PublishError::Endpoints)?.is_some() {
        let patch = Patch::Merge(&wanted);
        slices.patch(NAME, &PatchParams::default(), &patch).await.map_err(PublishError::Endpoints)?;
    } else {
        let slice = serde_json::from_value(wanted).expect("an EndpointSlice");
        slices.create(&PostParams::default(), &slice).await.map_err(PublishError::Endpoints)?;
    }
    Ok(())
}

/// The address that everybody expects.
async fn usual(client: &Client) -> Result<IpAddr, PublishError> {
    let kubernetes = Api::<Service>::namespaced(client.clone(), "default").get("kubernetes").await;
    let spec = kubernetes.map_err(PublishError::Range)?.spec.unwrap_or_default();
    let first = spec.cluster_ip.as_deref().and_then(|address| address.parse().ok());
    Ok(tenth(first.ok_or(PublishError::NoAddress)?))
}

/// The tenth address of the range whose first one is given.
fn tenth(first: IpAddr) -> IpAddr {
    match first {
        IpAddr::V4(first) => (u32::from(first) - 1 + u32::from(POSITION)).to_be_bytes().into(),
        IpAddr::V6(first) => (u128::from(first) - 1 + u128::from(POSITION)).to_be_bytes().into(),
    }
}

fn service(address: IpAddr) -> Value {
    json!({
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {
                "k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": address, "clusterIPs": [address],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    })
}

fn slice(at: SocketAddr) -> Value {
    json!({
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": NAME,
                (WRITER): MANAGED_BY,
                "k8s-app": NAME,
            },
        },
        "addressType": if at.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [at.ip()], "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": [
            {"name": "dns", "port": at.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": at.port(), "protocol": "TCP"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_address_is_the_servers() {
        assert_eq!(tenth("10.96.0.1".parse().unwrap()).to_string(), "10.96.0.10");
        assert_eq!(tenth("fd00:10:96::1".parse().unwrap()).to_string(), "fd00:10:96::a");
    }
}
