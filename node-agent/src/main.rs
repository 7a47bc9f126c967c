//! The node agent as a program of its own.

use std::process::ExitCode;

use clap::Parser;

/// Runs the pods that the cluster assigned to this machine.
#[derive(Debug, Parser)]
#[command(name = "node-agent", version)]
struct Cli {
    #[command(flatten)]
    args: node_agent::Args,
}

#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

fn main() -> ExitCode {
    component::process::main(node_agent::command(Cli::parse().args))
}
