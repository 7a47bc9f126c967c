//! What a cluster tells its components about authentication: the ConfigMap `extension-apiserver-authentication`.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;

/// Where it stands (upstream: `pkg/server/options/authentication_dynamic_request_header.go` and its neighbours).
const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// How long the answer may take: a component also starts while the API server is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It cannot be read.
    #[error("cannot read configmap kube-system/extension-apiserver-authentication")]
    Read(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("the API server does not answer")]
    Late,
}

/// The CA of client certificates in PEM; `None`: the cluster takes none.
///
/// # Errors
///
/// When the API server does not answer, or refuses.
pub async fn cluster_client_ca(client: &Client) -> Result<Option<Vec<u8>>, LookupError> {
    let request = Request::get(PATH).body(Vec::new()).expect("the path is one");
    let answer = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
    let map = answer.map_err(|_| LookupError::Late)?.map_err(|error| LookupError::Read(Box::new(error)))?;
    Ok(map["data"]["client-ca-file"].as_str().map(|pem| pem.as_bytes().to_vec()))
}
