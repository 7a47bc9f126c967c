//! The controllers alone, against any API server.

use clap::Parser;
use component::tasks::Tasks;
use controllers::command::{ControllersArgs, execute};

/// Runs the Kubernetes controllers
#[derive(Debug, Parser)]
#[command(name = "controllers", version)]
struct Cli {
    #[command(flatten)]
    args: ControllersArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let signalled = tasks.clone();
    let outcome = tokio::select! {
        outcome = execute(Cli::parse().args, tasks.clone()) => outcome,
        name = tasks.failed() => Err(anyhow::anyhow!("task {name} panicked")),
        () = interrupted() => {
            signalled.tell_to_stop();
            Ok(())
        }
    };
    tasks.stop().await;
    outcome
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
