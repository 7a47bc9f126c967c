//! The API server as a program of its own.

use std::process::ExitCode;

use clap::Parser;

/// The Kubernetes API server.
#[derive(Debug, Parser)]
#[command(name = "apiserver", version)]
struct Cli {
    #[command(flatten)]
    args: apiserver::Args,
}

#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

fn main() -> ExitCode {
    component::process::main(apiserver::command(Cli::parse().args))
}
