//! `steersman simulate`: reads a cluster or a file, asks the question, prints the answer.
//!
//! Writes nothing but its output. What is wrong is told in one sentence.

use super::{NodeChanges, render, report::Report, simulate};
use crate::config::Config;
use crate::explain::Output;
use crate::world::{Reader, World, documents};
use anyhow::{Context as _, bail};
use component::args::ClientArgs;
use component::clock::Clock;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// The most nodes that --count adds.
const COUNT_LIMIT: i64 = 10_000;

/// Flags of `simulate`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// The cluster in a file, as `kubectl get nodes,pods,... -A -o yaml` prints it; - is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with_all = ["kubeconfig", "master"])]
    pub dump: Option<PathBuf>,

    /// Place the pods of these manifests; may be given several times
    #[arg(long, value_name = "FILE")]
    pub apply: Vec<PathBuf>,

    /// Drain these nodes
    #[arg(long, value_name = "NODE,...", value_delimiter = ',')]
    pub drain: Vec<String>,

    /// Lose these nodes at once
    #[arg(long, value_name = "NODE,...", value_delimiter = ',')]
    pub lose: Vec<String>,

    /// Add a node like one that is there
    #[arg(long, value_name = "NAME=NODE", value_parser = pair)]
    pub add: Vec<(String, String)>,

    /// Add --count nodes like this one
    #[arg(long, value_name = "NODE")]
    pub add_like: Option<String>,

    /// How many nodes --add-like adds
    #[arg(long, default_value_t = 1, requires = "add_like",
        value_parser = clap::value_parser!(u32).range(1..=COUNT_LIMIT))]
    pub count: u32,

    /// The scheduler's configuration (KubeSchedulerConfiguration); upstream's default profile if absent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The scheduler whose pods are placed; may be given several times
    #[arg(long = "scheduler-name", value_name = "NAME", conflicts_with = "config")]
    pub scheduler_names: Vec<String>,

    /// How to print it
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,

    /// Where the API server is.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Answers on standard output.
///
/// # Errors
///
/// When the cluster or a file cannot be read, or the question does not fit the cluster.
pub async fn command(args: Args) -> anyhow::Result<()> {
    let reader = match args.dump {
        Some(_) => None,
        None => Some(Reader::new(args.client.client().await?)),
    };
    let report = answer(&args, reader.as_ref(), &Clock::start()).await?;
    let text = match args.output {
        Output::Table => render::text(&report),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The answer to what the flags ask, over the cluster that `reader` reads or the file that they name.
///
/// # Errors
///
/// As [`command`].
pub async fn answer(args: &Args, reader: Option<&Reader>, clock: &Clock) -> anyhow::Result<Report> {
    let mut world = World::default();
    match (&args.dump, reader) {
        (Some(dump), _) => {
            for object in documents(dump)? {
                world.add(object).with_context(|| format!("{} is not a cluster's dump", dump.display()))?;
            }
            if world.nodes.is_empty() {
                bail!(
                    "{} has no nodes in it: dump them with kubectl get nodes,pods -A -o yaml",
                    dump.display()
                );
            }
        }
        (None, Some(reader)) => world = World::read(reader, true).await.context("cannot read the cluster")?,
        (None, None) => bail!("no cluster: give -f or --kubeconfig"),
    }
    let mut manifests = Vec::new();
    for file in &args.apply {
        manifests.extend(documents(file)?);
    }
    let mut add = args.add.clone();
    if let Some(like) = &args.add_like {
        let names = (1..).map(|number| format!("{like}-copy-{number}"));
        let free = names.filter(|name| world.nodes.iter().all(|node| node.name() != name));
        add.extend(free.take(args.count as usize).map(|name| (name, like.clone())));
    }
    let changes = NodeChanges { drain: args.drain.clone(), lose: args.lose.clone(), add };
    let config = match &args.config {
        Some(file) => Config::of_file(file)?,
        None => Config::for_names(&args.scheduler_names)?,
    };
    let profiles = Arc::new(config.profiles());
    Ok(simulate(world, &changes, manifests, &profiles, clock.now())?)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, node)| !name.is_empty() && !node.is_empty());
    let (name, node) = pair.ok_or("write it as NAME=NODE: a new name, and the node that it is like")?;
    Ok((name.to_owned(), node.to_owned()))
}
