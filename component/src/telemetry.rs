//! Logs of a process.
//!
//! Promise: one line an event on standard error, at the level that `-v` asks for; `RUST_LOG` overrides it.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. `verbosity` is upstream's `-v`: 0 to 2 are what an operator wants to know, 3 and 4 add what a
/// developer wants to know, 5 and more add everything. May be called again without effect, as tests do.
pub fn init(verbosity: u8) {
    // The libraries below are silent unless something is wrong: their debug output is a line a request.
    let ours = match verbosity {
        0..=2 => "info",
        3 | 4 => "debug",
        _ => "trace",
    };
    let libraries = if verbosity > 7 { "debug" } else { "warn" };
    let quiet =
        ["hyper", "hyper_util", "tower", "rustls", "h2", "kube_client", "kube_runtime", "kube", "tonic"];
    let mut default = ours.to_owned();
    for library in quiet {
        let _ = write!(default, ",{library}={libraries}");
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Fails only if logging was started before, which is fine.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// An error and its sources in one line: `reconcile: create pod: ApiError: ...`. Stops at kube's errors, whose text
/// includes their own source.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error;
    while !next.is::<kube::Error>()
        && let Some(source) = next.source()
    {
        let _ = write!(text, ": {source}");
        next = source;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("create pod")]
    struct Outer(#[source] kube::Error);

    #[test]
    fn a_chain_names_every_step_once() {
        let inner = kube::Error::Service("connection refused".into());
        assert_eq!(chain(&Outer(inner)), "create pod: ServiceError: connection refused");
    }
}
