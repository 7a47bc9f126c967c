//! Writes the schema tables of the API server from the crates that carry the facts.
//!
//! `cargo run -p tests --bin generate` writes `apiserver/src/schema/generated/`; with `--check` it writes nothing
//! and fails when a file differs, which is what `tests/tidy` runs.
//!
//! Sources, in this order: `k8s-openapi` (kinds, JSON names, types, required fields, descriptions), `k8s-pb`
//! (protobuf numbers, list types, patch strategies, defaults), `supplement.txt` (what neither carries).

mod facts;
mod join;
mod json_side;
mod locate;
mod output;
mod supplement;
mod wire_side;

use std::io::Write;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument {other}: only --check is known"),
    };
    let crates = locate::crates()?;
    let json = json_side::read(&crates.k8s_openapi).context("reading k8s-openapi")?;
    let wire = wire_side::read(&crates.k8s_pb).context("reading k8s-pb")?;
    let supplement = supplement::read(include_str!("supplement.txt")).context("reading supplement.txt")?;
    let schema = join::join(&json, &wire, &supplement)?;

    let folder = crates.workspace.join("apiserver/src/schema/generated");
    let definitions = output::definitions(&schema);
    let descriptions = output::descriptions(&schema);
    if check {
        return output::compare(&folder, &definitions, &descriptions);
    }
    output::write(&folder, &definitions, &descriptions)?;
    writeln!(std::io::stderr(), "{} definitions in {}", schema.definitions.len(), folder.display())?;
    for gap in &schema.gaps {
        writeln!(std::io::stderr(), "no protobuf number: {gap}")?;
    }
    Ok(())
}
