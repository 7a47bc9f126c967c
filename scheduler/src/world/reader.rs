//! Reads from an API server, and can do nothing else: the only method sends GET.

use super::ObjectError;
use super::kinds::Kind;
use component::telemetry::chain;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// Objects in an answer; a list goes on where it ended.
const PAGE: usize = 500;

/// A client that reads.
#[derive(Clone)]
pub struct Reader(Client);

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server refused it.
    #[error("{message}")]
    Api {
        /// HTTP status code.
        code: u16,
        /// What it said.
        message: String,
    },
    /// No answer came.
    #[error("cannot reach the API server: {0}")]
    NoAnswer(String),
    /// The answer is not what was asked for.
    #[error("{path} answers something else than Kubernetes does")]
    NotKubernetes {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An object of the answer is not valid.
    #[error(transparent)]
    Object(Box<ObjectError>),
}

impl ReadError {
    /// True when the API server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { code: 404, .. })
    }
}

impl Reader {
    /// Reads by this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The namespace of the kubeconfig's context.
    pub fn default_namespace(&self) -> &str {
        self.0.default_namespace()
    }

    /// The JSON at a path.
    ///
    /// # Errors
    ///
    /// When the answer is not 2xx, is no JSON of that type, or does not come.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ReadError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| ReadError::NoAnswer(error.to_string()))?;
        let text = self.0.request_text(request).await.map_err(ReadError::from)?;
        serde_json::from_str(&text)
            .map_err(|source| ReadError::NotKubernetes { path: path.to_owned(), source })
    }

    /// Gives all objects of a kind to `take`, with their `kind`. An API server without the kind has none.
    ///
    /// # Errors
    ///
    /// As [`Self::get`], and those of `take`.
    pub async fn list<T>(
        &self,
        kind: &Kind,
        mut take: impl FnMut(Value) -> Result<T, ReadError>,
    ) -> Result<(), ReadError> {
        let mut from = String::new();
        loop {
            let path = format!("{}?limit={PAGE}{from}", kind.path);
            let mut page: Value = match self.get(&path).await {
                Err(error) if error.is_not_found() => return Ok(()),
                page => page?,
            };
            let Value::Array(items) = page["items"].take() else { return Ok(()) };
            for mut item in items {
                item["apiVersion"] = kind.version.into();
                item["kind"] = kind.kind.into();
                take(item)?;
            }
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                // The token is base64 for URLs, or plain letters.
                Some(token) => from = format!("&continue={}", token.replace('+', "%2B").replace('=', "%3D")),
                None => return Ok(()),
            }
        }
    }
}

impl From<kube::Error> for ReadError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Api { code: status.code, message: status.message.clone() },
            other => Self::NoAnswer(chain(&other)),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
