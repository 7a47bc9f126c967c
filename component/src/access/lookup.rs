//! What a cluster tells its components about authentication: the ConfigMap `extension-apiserver-authentication`.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;

use super::FrontProxy;

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
    /// A list in it is none.
    #[error("{0} of configmap kube-system/extension-apiserver-authentication is no list of texts")]
    List(&'static str, #[source] serde_json::Error),
}

/// What a cluster tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The CA of client certificates in PEM; `None`: the cluster takes none.
    pub client_ca: Option<Vec<u8>>,
    /// Whose word about users is taken; `None`: nobody's.
    pub front: Option<FrontProxy>,
}

/// What the cluster tells.
///
/// # Errors
///
/// When the API server does not answer, or refuses, or what it tells makes no sense.
pub async fn published(client: &Client) -> Result<Published, LookupError> {
    let request = Request::get(PATH).body(Vec::new()).expect("the path is one");
    let answer = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
    let map = answer.map_err(|_| LookupError::Late)?.map_err(|error| LookupError::Read(Box::new(error)))?;
    read(&map["data"])
}

fn read(data: &Value) -> Result<Published, LookupError> {
    let list = |key: &'static str| match data[key].as_str() {
        None | Some("") => Ok(Vec::new()),
        Some(text) => {
            serde_json::from_str::<Vec<String>>(text).map_err(|error| LookupError::List(key, error))
        }
    };
    let pem = |key: &str| data[key].as_str().filter(|pem| !pem.is_empty()).map(|pem| pem.as_bytes().to_vec());
    let front = match pem("requestheader-client-ca-file") {
        None => None,
        Some(authority) => Some(FrontProxy {
            authority,
            allowed_names: list("requestheader-allowed-names")?,
            username_headers: list("requestheader-username-headers")?,
            uid_headers: list("requestheader-uid-headers")?,
            group_headers: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        }),
    };
    Ok(Published { client_ca: pem("client-ca-file"), front })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_published() {
        assert_eq!(read(&Value::Null).unwrap(), Published::default());
        let client_only = read(&json!({"client-ca-file": "pem"})).unwrap();
        assert_eq!(client_only, Published { client_ca: Some(b"pem".to_vec()), front: None });
        let both = json!({
            "client-ca-file": "pem", "requestheader-client-ca-file": "front", "requestheader-allowed-names": "[\"proxy\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]", "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]"});
        let front = read(&both).unwrap().front.unwrap();
        let one = |text: &str| vec![text.to_owned()];
        assert_eq!(front.authority, b"front");
        assert_eq!((front.allowed_names, front.username_headers), (one("proxy"), one("X-Remote-User")));
        assert_eq!(
            (front.group_headers, front.extra_prefixes),
            (one("X-Remote-Group"), one("X-Remote-Extra-"))
        );
        assert!(front.uid_headers.is_empty());
        let broken = json!({"requestheader-client-ca-file": "front", "requestheader-allowed-names": "proxy"});
        assert!(
            read(&broken).unwrap_err().to_string().starts_with("requestheader-allowed-names of configmap")
        );
    }
}
