//! The store: one log is the durability, the revision history and the watch history at once.
//!
//! Promise: a write is acknowledged and shown only when it is durable; revisions begin at 1 and only grow, one for each
//! write over all kinds; a watch resumes from any revision still in the log, also after a restart, without a gap.
//!
//! Readers never wait for writers: they take a snapshot (a persistent map of shared records) and read on from there.
//! Nothing outside `apiserver` looks in here.

mod commit;
mod cursor;
mod engine;
mod event;
mod history;
mod published;
mod record;
mod snapshot;
#[cfg(test)]
mod tests;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

pub use commit::{Change, CommitError, Expect, QUEUED_WRITES, Write};
pub use cursor::{Cursor, WatchError};
pub use engine::EngineError;
pub use event::{Event, EventKind, frame_of};
pub use history::{HISTORY_BYTES, HISTORY_EVENTS, HistoryLimits};
pub use published::{KEPT_SNAPSHOTS, NoSnapshot, SNAPSHOT_AGE};
pub use record::{Draft, Header, Key, Labels, Record, Revision};
pub use snapshot::Snapshot;

use commit::Shared;
use engine::Memory;
use published::Published;

/// Where the log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Nowhere: everything ends with the process. Writes complete without a thread, a device or a clock.
    Memory,
    /// In files of this directory, which is made if it is not there.
    Disk(PathBuf),
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where the log is kept.
    pub engine: EngineChoice,
    /// How much history to keep in memory.
    pub history: HistoryLimits,
}

/// Makes the header of an object that is loaded: key and JSON in.
pub type Extract = fn(key: &str, object: &[u8]) -> Header;

/// A handle on the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine failed.
    #[error("the store cannot be opened")]
    Engine(#[source] EngineError),
}

impl Store {
    /// Opens a store and loads its state. Blocks while it reads.
    pub fn open(config: StoreConfig, _extract: Extract) -> Result<Self, OpenError> {
        if let EngineChoice::Disk(path) = config.engine {
            let unsupported =
                std::io::Error::new(std::io::ErrorKind::Unsupported, path.display().to_string());
            return Err(OpenError::Engine(EngineError::new("open", unsupported)));
        }
        let published = Published::new(Snapshot::default(), Revision::ZERO, config.history);
        Ok(Self { shared: Arc::new(Shared::new(Box::new(Memory), published)) })
    }

    /// A store that ends with the process.
    pub fn in_memory() -> Self {
        let published = Published::new(Snapshot::default(), Revision::ZERO, HistoryLimits::default());
        Self { shared: Arc::new(Shared::new(Box::new(Memory), published)) }
    }

    /// The last durable write.
    pub fn revision(&self) -> Revision {
        self.shared.published.read().current.revision()
    }

    /// The newest state of one object.
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared.published.read().current.get(key).cloned()
    }

    /// The newest state of everything.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.published.read().current.clone()
    }

    /// The state as it was after the write of this revision.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, NoSnapshot> {
        let rewind = self.shared.published.read().rewind(revision, Instant::now())?;
        Ok(rewind.run())
    }

    /// Keeps a snapshot for [`SNAPSHOT_AGE`] at most, so that [`Self::snapshot_at`] finds it again: for a list of which
    /// a client has read one page. The oldest beyond [`KEPT_SNAPSHOTS`] go.
    pub fn keep(&self, snapshot: &Snapshot) {
        self.shared.published.write().keep(snapshot, Instant::now());
    }

    /// Carries out a write. Resolves when it is durable and visible to readers and watchers. A caller that stops
    /// waiting does not undo the write.
    pub async fn commit(&self, write: Write) -> Result<Arc<Record>, CommitError> {
        self.shared.commit(write).await
    }

    /// Watches what is written after `from` under a prefix: one that ends with `/` covers every key below it, any
    /// other is one key. A revision that has not happened yet is waited for.
    pub fn watch(&self, prefix: &str, from: Revision) -> Result<Cursor, WatchError> {
        Cursor::new(self.shared.clone(), prefix, from)
    }

    /// Waits until a revision is visible.
    pub async fn reached(&self, revision: Revision) {
        loop {
            let advanced = self.shared.advanced.notified();
            tokio::pin!(advanced);
            advanced.as_mut().enable();
            if self.revision() >= revision {
                return;
            }
            advanced.await;
        }
    }
}
