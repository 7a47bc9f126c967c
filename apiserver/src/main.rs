//! The API server as a program of its own.

use clap::Parser;

/// The Kubernetes API server.
#[derive(Debug, Parser)]
#[command(name = "apiserver", version)]
struct Cli {
    #[command(flatten)]
    args: apiserver::Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    apiserver::run(Cli::parse().args).await
}
