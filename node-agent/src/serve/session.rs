//! One exec or attach session, however it came in: the streams of a terminal as bounded queues.
//!
//! Promise: protocols (`websocket`, `remote`) fill one end, runtimes the other; neither knows the other. The end of
//! `stdin` is a true half-close. The result carries the exit code.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Messages that may wait in one direction of a session.
pub(crate) const QUEUE: usize = 64;

/// What a runtime gets of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    pub stdout: Option<mpsc::Sender<Bytes>>,
    pub stderr: Option<mpsc::Sender<Bytes>>,
    pub resize: mpsc::Receiver<TerminalSize>,
    pub tty: bool,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// How a session ended, if not with exit code 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("command terminated with non-zero exit code: exit status {0}")]
    Exit(i32),
    #[error("{0}")]
    Failed(String),
}

/// The metav1.Status that goes to the client on the error stream (protocol v4 and later).
pub(crate) fn status(result: &Result<(), StreamError>) -> Value {
    match result {
        Ok(()) => json!({"metadata": {}, "status": "Success"}),
        Err(error @ StreamError::Exit(code)) => json!({
            "metadata": {}, "status": "Failure", "message": error.to_string(), "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(StreamError::Failed(text)) => json!({
            "metadata": {}, "status": "Failure", "message": text, "reason": "InternalError", "code": 500,
            "details": { "causes": [{ "message": text }] },
        }),
    }
}

/// The inverse of [`status`]: what a runtime's streaming server said.
pub(crate) fn result_of(status: &[u8]) -> Result<(), StreamError> {
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        return Err(StreamError::Failed(String::from_utf8_lossy(status).into_owned()));
    };
    if status["status"] == "Success" {
        return Ok(());
    }
    let causes = status.pointer("/details/causes").and_then(Value::as_array).cloned().unwrap_or_default();
    let code =
        causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => Err(StreamError::Exit(code)),
        None => Err(StreamError::Failed(status["message"].as_str().unwrap_or("unknown failure").to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_result_are_inverse() {
        for result in
            [Ok(()), Err(StreamError::Exit(3)), Err(StreamError::Failed("no such container".into()))]
        {
            assert_eq!(result_of(status(&result).to_string().as_bytes()), result);
        }
        assert_eq!(result_of(b"plain text"), Err(StreamError::Failed("plain text".into())));
    }
}
