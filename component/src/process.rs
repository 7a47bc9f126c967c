//! A component as a process of its own: runtime, signals, exit code.
//!
//! Promise: ctrl-C and SIGTERM end it cleanly with 0; an error or a task that panicked ends it with 1 and one line
//! on standard error that begins with `error:`. Usage errors exit with 2 before any of this runs.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::tasks::Tasks;
use crate::telemetry::chain;

/// The allocator of our programs; each `main` makes it the global one. Requests are many small, short-lived
/// allocations on several threads: with the system's allocator they were a third of the server's CPU.
pub use mimalloc::MiMalloc as Allocator;

/// Runs a command to its end on a runtime of its own; for `main`.
pub fn main(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "what an operator reads when nothing else works")]
            {
                eprintln!("error: {}", chain(&*error));
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs a component until it ends, the process is told to stop, or a task panics; then stops all tasks.
///
/// # Errors
///
/// The component's own, or the name of the task that panicked.
pub async fn until_stopped<E>(
    component: impl Future<Output = Result<(), E>>,
    tasks: Tasks,
) -> anyhow::Result<()>
where
    E: Into<anyhow::Error>,
{
    let ended = tokio::select! {
        ended = component => ended.map_err(Into::into),
        signal = told_to_stop() => signal.map_err(Into::into),
        name = tasks.failed() => Err(anyhow::anyhow!("task {name} panicked; its log lines say why")),
    };
    tasks.stop().await;
    ended
}

/// Resolves at the first SIGINT (ctrl-C) or SIGTERM after the call.
///
/// # Errors
///
/// When the process cannot listen for signals.
pub async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
