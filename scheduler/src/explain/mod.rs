//! Why a pod is where it is, why it waits, and what would help: the decision told for people.
//!
//! Pure functions over a snapshot, a pod and a profile; they ask the plugins themselves (the plain definition in
//! `cycle`), so that an answer can never differ from what scheduling does.

mod scores;

pub use scores::{Ranked, Ranking, rank, rank_these};
