//! The controllers alone, against any API server.

use std::process::ExitCode;

use clap::Parser;

/// Runs the Kubernetes controllers
#[derive(Debug, Parser)]
#[command(name = "controllers", version)]
struct Cli {
    #[command(flatten)]
    args: controllers::Args,
}

#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

fn main() -> ExitCode {
    component::process::main(controllers::command(Cli::parse().args))
}
