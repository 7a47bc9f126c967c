//! What a person reads while the cluster starts: one line a step, with the time since the process began.

use std::io::Write as _;

use tokio::time::Instant;

/// Prints steps as they are done.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// A step that is done: `  0.35s  API server listens on https://127.0.0.1:6443`.
    pub(crate) fn done(&self, step: &str) {
        say(&format!("{:6.2}s  {step}", self.start.elapsed().as_secs_f64()));
    }

    /// The last line; scripts wait for its first word.
    pub(crate) fn ready(&self, next: &str) {
        say(&format!("ready in {:.2}s: {next}", self.start.elapsed().as_secs_f64()));
    }
}

/// A closed standard output is no reason to take the cluster down.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
