//! `steersman explain`: asks the scheduler, or computes the same from what the API server shows, and prints it.
//!
//! Writes nothing but its output. What is wrong is told in one sentence.

use super::find::{Question, ask};
use super::look::explain;
use super::render;
use super::report::{By, Explanation};
use crate::config::{Config, ConfigError};
use crate::pod::PodInfo;
use crate::world::{ReadError, Reader, World};
use clap::ValueEnum;
use component::args::ClientArgs;
use component::clock::Clock;
use objects::views::Pod;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The pod: pod/NAME or NAME
    #[arg(value_name = "pod/NAME")]
    pub pod: String,

    /// The pod's namespace; that of the kubeconfig's context if absent
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,

    /// Say also why the pod is not on this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,

    /// Where the scheduler serves, if it is not found by its lease
    #[arg(long, value_name = "HOST:PORT")]
    pub scheduler_address: Option<String>,

    /// The scheduler's configuration, for the case that the scheduler cannot be asked
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How to print it
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,

    /// Where the API server is.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The argument names something else than a pod.
    #[error("{0:?} is not a pod: write pod/NAME")]
    NotAPod(String),
    /// No such pod.
    #[error("there is no pod {name} in namespace {namespace}: check the name and -n")]
    NoPod {
        /// As given.
        namespace: String,
        /// As given.
        name: String,
    },
    /// No such node.
    #[error("there is no node {0}: check --node")]
    NoNode(String),
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server does not answer, or refuses.
    #[error("cannot read {what}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why it could not.
        source: ReadError,
    },
}

/// Explains a pod on standard output.
///
/// # Errors
///
/// When the cluster cannot be read, or has no such pod or node.
pub async fn command(args: Args) -> anyhow::Result<()> {
    let reader = Reader::new(args.client.client().await?);
    let namespace = args.namespace.clone().unwrap_or_else(|| reader.default_namespace().to_owned());
    let explanation = answer(&args, &reader, &namespace, &Clock::start()).await?;
    let text = match args.output {
        Output::Table => render::text(&explanation),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&explanation)?),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The answer to what the flags ask.
///
/// # Errors
///
/// As [`command`].
pub async fn answer(
    args: &Args,
    reader: &Reader,
    namespace: &str,
    clock: &Clock,
) -> Result<Explanation, Error> {
    let name = match args.pod.split_once('/') {
        None => &args.pod,
        Some(("pod" | "pods" | "po", name)) if !name.is_empty() => name,
        Some(_) => return Err(Error::NotAPod(args.pod.clone())),
    };
    let pod: Pod = match reader.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await {
        Err(error) if error.is_not_found() => {
            return Err(Error::NoPod { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        pod => pod.map_err(|source| Error::Read { what: "the pod", source })?,
    };
    if let Some(node) = &args.node {
        let path = format!("/api/v1/nodes/{node}");
        match reader.get::<serde_json::Value>(&path).await {
            Err(error) if error.is_not_found() => return Err(Error::NoNode(node.clone())),
            found => found.map_err(|source| Error::Read { what: "the node", source })?,
        };
    }
    let info = Arc::new(PodInfo::new(Arc::new(pod)));
    let (scheduler_name, node) = (info.scheduler_name(), args.node.as_deref());
    let question = Question { namespace, name, node, scheduler_name };
    match ask(reader, &args.client, args.scheduler_address.as_deref(), question).await {
        Ok(explanation) => Ok(explanation),
        Err(why) => {
            let config = match &args.config {
                Some(file) => Config::of_file(file)?,
                None => Config::for_names(&[scheduler_name.to_owned()])?,
            };
            let profile =
                if args.config.is_some() { "that of --config" } else { "upstream's default profile" };
            let explained = from_api(reader, &question, info.clone(), config, clock).await?;
            let no_pod = || Error::NoPod { namespace: namespace.to_owned(), name: name.to_owned() };
            let mut explanation = explained.ok_or_else(no_pod)?;
            let besides = explanation.source.note.take().map(|note| format!("; {note}")).unwrap_or_default();
            explanation.source.note = Some(format!(
                "the scheduler could not be asked ({why}), so there are no records, and {profile} is assumed{besides}"
            ));
            Ok(explanation)
        }
    }
}

/// The same from what the API server shows.
async fn from_api(
    reader: &Reader,
    question: &Question<'_>,
    pod: Arc<PodInfo>,
    config: Config,
    clock: &Clock,
) -> Result<Option<Explanation>, Error> {
    let read = |source| Error::Read { what: "the cluster", source };
    let world = World::read(reader, false).await.map_err(read)?;
    let notes = world.notes.clone();
    let state = world.into_state(Arc::new(config.profiles()), clock.now());
    let mut look = state.look(question.namespace, question.name);
    // One that has ended is no longer the scheduler's concern, but it can be told what became of it.
    look.pod.get_or_insert(pod);
    let mut explanation = explain(&look, question.node, By::Client, clock.now());
    if let Some(explanation) = explanation.as_mut().filter(|_| !notes.is_empty()) {
        explanation.source.note = Some(notes.join("; "));
    }
    Ok(explanation)
}
