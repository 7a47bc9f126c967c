//! The log in one redb file: a row a write, ordered by revision.
//!
//! Promise: what was appended is there after a crash, all of a batch or nothing of it; a damaged file is an error and
//! never other data; a directory of a newer format, or one in use by another process, is refused.
//!
//! A row stays while it is the newest state of its object or within the history. As in etcd, compaction moves a floor:
//! for each row it passes, the state that row replaced goes, and a delete goes itself. So the state at open is simply
//! all rows in order, and every event after the floor finds the state before it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::engine::{Engine, EngineError, Page};
use super::event::{Event, EventKind};
use super::history::HistoryLimits;
use super::load::{self, Loaded, ReadError};
use super::record::{Record, Revision};
use super::row::{self, Row};
use super::topics::covers;
use super::{Extract, OpenError};

/// The version of what is written below the data directory. Raise it when an older program could not read it.
pub const FORMAT: u64 = 1;
/// Events of history kept on disk at most, beside the newest state of each object.
pub const DISK_HISTORY_EVENTS: usize = 100_000;
/// Bytes of history kept on disk at most.
pub const DISK_HISTORY_BYTES: usize = 32 * 1024 * 1024;

/// Rows that compaction passes at once, and by which it is late: a few, so that no write waits long.
const COMPACT_ROWS: usize = 256;
/// Bytes of pages redb may keep in memory. The store keeps the state itself, so only the edges of the log are hot.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// In `META`: everything after this revision is still in the log.
pub(super) const FLOOR: &str = "floor";
/// In `META`: how many rows there are up to the floor, to notice when some are lost.
pub(super) const KEPT: &str = "kept";

/// The log on disk.
#[derive(Debug)]
pub(super) struct Disk {
    database: Open,
    extract: Extract,
    floor: AtomicU64,
    /// Rows up to the floor.
    kept: AtomicU64,
    /// Rows and bytes after the floor.
    rows: AtomicUsize,
    bytes: AtomicUsize,
    limits: HistoryLimits,
}

/// A database that closes itself without bringing anybody down: closing writes what redb knows of its pages, and trips
/// over a damaged one as reading does. What was committed stays as it is; the next open repairs the rest or refuses.
#[derive(Debug)]
struct Open(Option<Database>);

impl Deref for Open {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("only closing takes it away")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let database = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("the store did not close in order: its file is damaged");
        }
    }
}

impl Disk {
    /// Opens the log below a directory, making both if they are not there, and reads it. `memory` says how many of the
    /// last events to load, `limits` how much history to keep on disk.
    pub(super) fn open(
        directory: &Path,
        extract: Extract,
        memory: HistoryLimits,
        limits: HistoryLimits,
    ) -> Result<(Self, Loaded), OpenError> {
        prepare(directory)?;
        let path = directory.join("log.redb");
        // redb checks its pages with assertions; a page that was damaged behind its back can trip one.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_file(&path, extract, memory, limits)));
        let opened = opened.unwrap_or_else(|_| Err(corrupt(&path, "a page makes no sense")))?;
        sync_directory(directory)?;
        Ok(opened)
    }

    fn open_file(
        path: &Path,
        extract: Extract,
        memory: HistoryLimits,
        limits: HistoryLimits,
    ) -> Result<(Self, Loaded), OpenError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = database.map_err(|error| cannot_open(path, load::database(error)))?;
        let database = Open(Some(database));
        let loaded = load::load(&database, memory, extract).map_err(|error| cannot_open(path, error))?;
        let disk = Self {
            database,
            extract,
            floor: AtomicU64::new(loaded.floor.get()),
            kept: AtomicU64::new(loaded.kept),
            rows: AtomicUsize::new(loaded.rows),
            bytes: AtomicUsize::new(loaded.bytes),
            limits,
        };
        Ok((disk, loaded))
    }

    fn write(&self, events: &[Arc<Event>]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let (mut rows, mut bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let (mut floor, mut kept) = (self.floor.load(Ordering::Relaxed), self.kept.load(Ordering::Relaxed));
        {
            let mut log = transaction.open_table(LOG)?;
            let mut row = Vec::new();
            for event in events {
                row::encode(event, &mut row);
                log.insert(event.revision.get(), row.as_slice())?;
                rows += 1;
                bytes += row.len();
            }
            let slack = self.limits.bytes.saturating_add(self.limits.bytes / 16);
            let over = rows > self.limits.events + COMPACT_ROWS || bytes > slack;
            if over {
                // Twice what was added, so that a backlog shrinks; never the newest row, which carries the revision.
                let newest = events.last().map_or(floor, |event| event.revision.get());
                let end = newest.min(floor + 1 + COMPACT_ROWS.max(2 * events.len()) as u64);
                for passed in floor + 1..end {
                    if rows <= self.limits.events && bytes <= self.limits.bytes {
                        break;
                    }
                    let passed = compact(&mut log, Revision(passed))?;
                    bytes -= passed.bytes;
                    rows -= 1;
                    kept = kept + u64::from(passed.stays) - u64::from(passed.replaced);
                    floor += 1;
                }
                let mut meta = transaction.open_table(META)?;
                meta.insert(FLOOR, floor)?;
                meta.insert(KEPT, kept)?;
            }
        }
        transaction.commit()?;
        self.rows.store(rows, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        self.floor.store(floor, Ordering::Release);
        Ok(())
    }

    fn page(&self, prefix: &str, after: Revision, limit: usize) -> Result<Page, ReadError> {
        let read = self.database.begin_read().map_err(load::database)?;
        let log = read.open_table(LOG).map_err(load::database)?;
        let mut page = Page { events: Vec::new(), through: after };
        for row in log.range(after.get() + 1..).map_err(load::database)?.take(limit) {
            let (revision, bytes) = row.map_err(load::database)?;
            let revision = Revision(revision.value());
            if revision != page.through.next() {
                // Compacted since the caller looked: what is there does not follow what it has.
                break;
            }
            page.through = revision;
            let row = row::decode(revision, bytes.value())?;
            if covers(prefix, row.key) {
                let previous = self.replaced_by(&log, &row)?;
                page.events.push(load::restore(&row, revision, previous, self.extract));
            }
        }
        Ok(page)
    }

    /// The state that a row replaced.
    fn replaced_by(&self, log: &load::Log, row: &Row<'_>) -> Result<Option<Arc<Record>>, ReadError> {
        let at = row.previous;
        if at == Revision::ZERO {
            return Ok(None);
        }
        let bytes = log.get(at.get()).map_err(load::database)?.ok_or(ReadError::Missing(at))?;
        let row = row::decode(at, bytes.value())?;
        Ok(Some(load::restore(&row, at, None, self.extract).record.clone()))
    }
}

impl Engine for Disk {
    fn waits(&self) -> bool {
        true
    }

    fn append(&self, events: &[Arc<Event>]) -> Result<(), EngineError> {
        self.write(events).map_err(|error| EngineError::new("write", error))
    }

    fn floor(&self) -> Option<Revision> {
        Some(Revision(self.floor.load(Ordering::Acquire)))
    }

    fn read(&self, prefix: &str, after: Revision, limit: usize) -> Result<Page, EngineError> {
        self.page(prefix, after, limit).map_err(|error| EngineError::new("read", error))
    }
}

/// A row that the floor has passed.
struct Passed {
    bytes: usize,
    /// It is the newest state of its object, as far as the floor.
    stays: bool,
    /// There was a state before it, which went.
    replaced: bool,
}

/// Lets the floor pass one row: the state it replaced goes, a delete goes too.
fn compact(log: &mut redb::Table<'_, u64, &'static [u8]>, revision: Revision) -> Result<Passed, redb::Error> {
    let (bytes, kind, previous) = {
        let row = log.get(revision.get())?;
        let bytes = row.as_ref().map_or(&[][..], |row| row.value());
        let peeked =
            row::peek(revision, bytes).map_err(|damaged| redb::Error::Corrupted(damaged.to_string()));
        let (kind, previous) = peeked?;
        (bytes.len(), kind, previous)
    };
    let replaced = previous != Revision::ZERO;
    if replaced {
        log.remove(previous.get())?;
    }
    let stays = kind != EventKind::Deleted;
    if !stays {
        log.remove(revision.get())?;
    }
    Ok(Passed { bytes, stays, replaced })
}

/// Makes the directory, or refuses what another program may have written there.
fn prepare(directory: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::Directory { path: directory.into(), source: error };
    fs::create_dir_all(directory).map_err(failed)?;
    let path = directory.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u64>() {
            Ok(FORMAT) => Ok(()),
            Ok(found) => Err(OpenError::Format { path: directory.into(), found, supported: FORMAT }),
            Err(_) => Err(corrupt(&path, "it should hold a number")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Renamed into place, so that a crash leaves either no file or a whole one.
            let written = directory.join("format.new");
            let write = || {
                let mut file = fs::File::create(&written)?;
                writeln!(file, "{FORMAT}")?;
                file.sync_all()?;
                fs::rename(&written, &path)
            };
            write().map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    let sync = || fs::File::open(directory)?.sync_all();
    sync().map_err(|source| OpenError::Directory { path: directory.into(), source })
}

fn cannot_open(path: &Path, error: ReadError) -> OpenError {
    match error {
        ReadError::Database(error) => match *error {
            redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path: path.into() },
            redb::Error::Corrupted(what) => corrupt(path, what),
            redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => corrupt(path, error),
            other => OpenError::Engine(EngineError::new("open", other)),
        },
        damaged => corrupt(path, damaged),
    }
}

fn corrupt(path: &Path, what: impl ToString) -> OpenError {
    OpenError::Corrupt { path: path.into(), what: what.to_string() }
}
