//! The scheduler: finds a node for every pod that names it in `spec.schedulerName`, and binds it there.
//!
//! `state` owns queue and cache and decides (no client, no clock); `run` feeds it from the informers and carries out
//! what it decides through `bind`. `cycle` is one pod from top to bottom; `framework` says what a plugin is and
//! `plugins` holds them. `decisions` remembers what was decided, `explain` says why. Reads: pods, nodes, disruption
//! budgets, storage, devices, pod groups. Writes: bindings, PodScheduled conditions, `nominatedNodeName`, evictions for
//! a more important pod, the volume of a claim and the node it is made for, the devices of a claim, events. Nothing
//! else.

pub mod bind;
pub mod cache;
pub mod config;
pub mod cycle;
pub mod decisions;
pub mod devices;
pub mod engine;
pub mod explain;
pub mod extender;
pub mod failure;
mod flags;
pub mod framework;
pub mod groups;
pub mod metrics;
pub mod plugins;
pub mod pod;
pub mod preempt;
mod prepare;
mod process;
pub mod queue;
pub mod related;
mod requests;
mod run;
pub mod simulate;
pub mod state;
mod table;
pub mod terms;
pub mod volumes;
mod watch;
pub mod world;

pub use config::Config;
pub use flags::Args;
pub use process::command;
pub use run::{Error, Surroundings, run, run_in};
