//! The scheduler as a program of its own.

use std::process::ExitCode;

use clap::Parser;

/// Finds a node for every pod that names this scheduler, on any Kubernetes API server.
#[derive(Debug, Parser)]
#[command(name = "scheduler", version)]
struct Cli {
    #[command(flatten)]
    args: scheduler::Args,
}

#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

fn main() -> ExitCode {
    component::process::main(scheduler::command(Cli::parse().args))
}
