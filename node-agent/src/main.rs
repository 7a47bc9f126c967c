//! The node agent as a program of its own.

use anyhow::Context;
use clap::Parser;
use component::clock::Clock;
use component::tasks::Tasks;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = node_agent::Args::parse();
    args.log.init();
    let client = args.client.client().await.context("cannot find the API server")?;
    let tasks = Tasks::new();
    let agent = node_agent::run(args.config()?, client, Clock::start(), tasks.clone());
    tokio::select! {
        result = agent => result?,
        task = tasks.failed() => anyhow::bail!("task {task} panicked"),
        signal = tokio::signal::ctrl_c() => signal?,
    }
    tasks.stop().await;
    Ok(())
}
