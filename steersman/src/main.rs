//! `steersman`: a whole cluster from one command, and each component by its own name.

mod args;
mod control_plane;
mod crew;
mod dns;
mod machine;
mod progress;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

fn main() -> ExitCode {
    component::process::main(args::Args::parse().run())
}
