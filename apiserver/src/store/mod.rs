//! The store: one log is the durability, the revision history and the watch history at once.
//!
//! Promise: a write is acknowledged and shown only when it is durable; revisions begin at 1 and only grow, one for each
//! write over all kinds; a watch resumes from any revision still in the log, also after a restart, without a gap.
//!
//! Readers never wait for writers: they take a snapshot (a persistent map of shared records) and read on from there.
//! Nothing outside `apiserver` looks in here.

mod commit;
mod cursor;
mod disk;
mod engine;
mod event;
mod header;
mod history;
mod load;
mod published;
mod record;
mod row;
mod snapshot;
#[cfg(test)]
mod tests;
mod topics;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

pub use commit::{Change, CommitError, Expect, QUEUED_WRITES, Write};
pub use cursor::{Cursor, WatchError};
pub use disk::{DISK_HISTORY_BYTES, DISK_HISTORY_EVENTS, FORMAT};
pub use engine::EngineError;
pub use event::{Event, EventKind, frame_of};
pub use header::{Header, Identity};
pub use history::{HISTORY_BYTES, HISTORY_EVENTS, HistoryLimits};
pub use published::{KEPT_SNAPSHOTS, NoSnapshot, SNAPSHOT_AGE};
pub use record::{Draft, Key, Record, Revision};
pub use snapshot::Snapshot;

use commit::{Committer, Shared};
use disk::Disk;
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
    pub memory_history: HistoryLimits,
    /// How much history to keep on disk.
    pub disk_history: HistoryLimits,
}

impl StoreConfig {
    /// The usual limits.
    pub fn new(engine: EngineChoice) -> Self {
        Self {
            engine,
            memory_history: HistoryLimits { events: HISTORY_EVENTS, bytes: HISTORY_BYTES },
            disk_history: HistoryLimits { events: DISK_HISTORY_EVENTS, bytes: DISK_HISTORY_BYTES },
        }
    }
}

/// Makes the header of an object that is loaded: key and JSON in.
pub type Extract = fn(key: &str, object: &[u8]) -> Header;

/// A handle on the store; clones share it. When the last is dropped, what is queued is still written.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    _committer: Option<Arc<Committer>>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, read or written.
    #[error("the data directory {} cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory was written by another version.
    #[error("the data directory {} has format {found}, this version reads format {supported}: start the version that \
             wrote it, or another directory", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format this version reads.
        supported: u64,
    },
    /// Another process has it open.
    #[error("the store {} is in use by another process", path.display())]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// What is there is not what was written.
    #[error("the store {} is damaged: {what}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The engine failed.
    #[error("the store cannot be opened")]
    Engine(#[source] EngineError),
}

impl Store {
    /// Opens a store and loads its state. Blocks while it reads.
    pub fn open(config: StoreConfig, extract: Extract) -> Result<Self, OpenError> {
        let EngineChoice::Disk(directory) = config.engine else {
            let published = Published::new(Snapshot::default(), config.memory_history);
            return Ok(Self { shared: Arc::new(Shared::new(Box::new(Memory), published)), _committer: None });
        };
        let (disk, loaded) = Disk::open(&directory, extract, config.memory_history, config.disk_history)?;
        let mut published = Published::new(loaded.state, config.memory_history);
        for event in loaded.recent {
            published.restore(event);
        }
        let shared = Arc::new(Shared::new(Box::new(disk), published));
        let committer = Committer::start(shared.clone())
            .map_err(|error| OpenError::Engine(EngineError::new("start the thread of", error)))?;
        Ok(Self { shared, _committer: Some(Arc::new(committer)) })
    }

    /// A store that ends with the process.
    pub fn in_memory() -> Self {
        let published = Published::new(
            Snapshot::default(),
            HistoryLimits { events: HISTORY_EVENTS, bytes: HISTORY_BYTES },
        );
        Self { shared: Arc::new(Shared::new(Box::new(Memory), published)), _committer: None }
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
