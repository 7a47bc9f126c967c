//! Why a pod is where it is, why it waits, and what would help: the decision told for people.
//!
//! Pure functions over a snapshot, a pod and a profile; they ask the plugins themselves (the plain definition in
//! `cycle`), so that an answer can never differ from what scheduling does. `page` serves them over the scheduler's
//! port, `command` is `steersman explain`, `render` its tables.

pub mod amounts;
mod command;
mod find;
mod look;
mod node;
mod numbers;
mod page;
mod relax;
mod render;
pub mod report;
mod scores;

pub use command::{Args, Error, Output, answer, command};
pub use look::{Case, explain, outlook};
pub use page::{DECISIONS, show};
pub(crate) use relax::like;
pub use render::text;
pub use scores::{Ranked, Ranking, rank, rank_these};
