//! Where the log is kept: the seam between the store and what makes writes durable.
//!
//! Promise: when `append` returns Ok, its events survive a crash of the machine; after an error nothing more is
//! appended (what the device holds is then unknown).

use std::fmt;
use std::sync::Arc;

use super::event::Event;
use super::record::Revision;

/// A place that keeps the log.
pub(super) trait Engine: fmt::Debug + Send + Sync {
    /// Whether `append` waits for a device. If so it is called on a thread of its own, never on the async runtime.
    fn waits(&self) -> bool;

    /// Makes events durable. They follow each other and everything appended before without a gap.
    fn append(&self, events: &[Arc<Event>]) -> Result<(), EngineError>;

    /// Every event after this revision can still be read; `None` if the engine keeps no history of its own.
    fn floor(&self) -> Option<Revision>;

    /// Reads on from a revision: events under a prefix, oldest first, about `limit` events looked at.
    fn read(&self, prefix: &str, after: Revision, limit: usize) -> Result<Page, EngineError>;
}

/// Some events of the log.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Arc<Event>>,
    /// Everything up to here was looked at.
    pub(super) through: Revision,
}

/// The log could not be written or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {what} the log of the store")]
pub struct EngineError {
    pub(super) what: &'static str,
    #[source]
    pub(super) source: Arc<dyn std::error::Error + Send + Sync>,
}

impl EngineError {
    pub(super) fn new(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { what, source: Arc::new(source) }
    }

    /// The engine panicked, which is a bug in it or a damaged file.
    pub(super) fn panicked() -> Self {
        Self::new("write", std::io::Error::other("the engine panicked"))
    }
}

/// Keeps nothing: the state lives as long as the process.
#[derive(Debug)]
pub(super) struct Memory;

impl Engine for Memory {
    fn waits(&self) -> bool {
        false
    }

    fn append(&self, _: &[Arc<Event>]) -> Result<(), EngineError> {
        Ok(())
    }

    fn floor(&self) -> Option<Revision> {
        None
    }

    fn read(&self, _: &str, after: Revision, _: usize) -> Result<Page, EngineError> {
        Ok(Page { events: Vec::new(), through: after })
    }
}
