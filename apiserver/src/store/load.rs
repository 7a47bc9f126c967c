//! Reading the whole log when a store is opened.
//!
//! Promise: either the state and the recent history exactly as they were, or an error that says which row is wrong.
//! Headers are extracted only for what memory keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableError};

use super::Extract;
use super::disk::{FLOOR, KEPT, LOG, META};
use super::event::{Event, EventKind, Parts};
use super::history::HistoryLimits;
use super::record::{Key, Record, Revision};
use super::row::{self, Damaged, Row};
use super::snapshot::{ByKey, Snapshot};

/// What an opened log holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The state at the beginning of `recent`.
    pub(super) state: Snapshot,
    /// The last events, as many as memory keeps.
    pub(super) recent: Vec<Arc<Event>>,
    /// Everything after this revision is in the log.
    pub(super) floor: Revision,
    /// Rows up to the floor.
    pub(super) kept: u64,
    /// Rows after the floor.
    pub(super) rows: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the database failed")]
    Database(#[source] Box<redb::Error>),
    #[error("row {0} is damaged")]
    Damaged(Revision),
    #[error("row {0} is missing")]
    Missing(Revision),
    #[error("row {0} does not follow the state before it")]
    Stray(Revision),
    #[error("{found} rows are older than the history, there were {expected}")]
    Kept { found: u64, expected: u64 },
}

impl From<Damaged> for ReadError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.0)
    }
}

/// Any of redb's errors.
pub(super) fn database(error: impl Into<redb::Error>) -> ReadError {
    ReadError::Database(Box::new(error.into()))
}

/// Reads the log.
pub(super) fn load(from: &Database, memory: HistoryLimits, extract: Extract) -> Result<Loaded, ReadError> {
    let read = from.begin_read().map_err(database)?;
    let log = match read.open_table(LOG) {
        Ok(log) => log,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Loaded::default()),
        Err(error) => return Err(database(error)),
    };
    let (floor, kept) = match read.open_table(META) {
        Ok(meta) => {
            let number = |name| meta.get(name).map(|number| number.map_or(0, |number| number.value()));
            (number(FLOOR).map_err(database)?, number(KEPT).map_err(database)?)
        }
        Err(TableError::TableDoesNotExist(_)) => (0, 0),
        Err(error) => return Err(database(error)),
    };
    let mut loaded = Loaded { floor: Revision(floor), kept, ..Loaded::default() };
    let (begin, newest) = measure(&log, memory, &mut loaded)?;
    let old = read_old(&log, begin, &loaded)?;
    loaded.state.revision = begin;
    let records = old.into_values().map(|latest| latest.record(extract).map(ByKey));
    loaded.state.objects = records.collect::<Result<_, Damaged>>()?;
    read_recent(&log, begin, extract, &mut loaded)?;
    let last = loaded.recent.last().map_or(begin, |event| event.revision);
    if last == newest { Ok(loaded) } else { Err(ReadError::Missing(last.next())) }
}

/// Makes an event of its row.
pub(super) fn restore(
    row: &Row<'_>,
    revision: Revision,
    previous: Option<Arc<Record>>,
    extract: Extract,
) -> Arc<Event> {
    let key = previous.as_ref().map_or_else(|| Key::from(row.key), |previous| previous.key.clone());
    let header = extract(row.key, row.object);
    let parts = Parts { key, revision, created: row.created, kind: row.kind, header, previous };
    Event::restore(parts, row.object, row.cut as usize)
}

/// The log as a reader sees it.
pub(super) type Log = ReadOnlyTable<u64, &'static [u8]>;

/// The bytes of an object's newest row so far.
struct Latest {
    revision: Revision,
    bytes: Vec<u8>,
}

impl Latest {
    fn record(self, extract: Extract) -> Result<Arc<Record>, Damaged> {
        let row = row::decode(self.revision, &self.bytes)?;
        Ok(restore(&row, self.revision, None, extract).record.clone())
    }
}

/// Counts the history and finds where the part for memory begins, and the newest revision.
fn measure(log: &Log, memory: HistoryLimits, loaded: &mut Loaded) -> Result<(Revision, Revision), ReadError> {
    let mut begin = None;
    let mut newest = loaded.floor;
    for row in log.range(loaded.floor.get() + 1..).map_err(database)?.rev() {
        let (revision, bytes) = row.map_err(database)?;
        newest = newest.max(Revision(revision.value()));
        loaded.rows += 1;
        loaded.bytes += bytes.value().len();
        if begin.is_none() && (loaded.rows > memory.events || loaded.bytes > memory.bytes) {
            begin = Some(Revision(revision.value()));
        }
    }
    if loaded.rows == 0 && loaded.floor > Revision::ZERO {
        // The floor never passes the newest row.
        return Err(ReadError::Missing(loaded.floor.next()));
    }
    Ok((begin.unwrap_or(loaded.floor), newest))
}

/// The newest row of each object up to `begin`.
fn read_old(log: &Log, begin: Revision, loaded: &Loaded) -> Result<BTreeMap<String, Latest>, ReadError> {
    let mut latest: BTreeMap<String, Latest> = BTreeMap::new();
    let (mut expected, mut kept) = (loaded.floor.next(), 0);
    for row in log.range(..=begin.get()).map_err(database)? {
        let (revision, bytes) = row.map_err(database)?;
        let (revision, bytes) = (Revision(revision.value()), bytes.value());
        let row = row::decode(revision, bytes)?;
        if revision <= loaded.floor {
            kept += 1;
        } else {
            if revision != expected {
                return Err(ReadError::Missing(expected));
            }
            expected = expected.next();
            let before = latest.get(row.key).map_or(Revision::ZERO, |latest| latest.revision);
            if before != row.previous {
                return Err(ReadError::Stray(revision));
            }
        }
        if row.kind == EventKind::Deleted {
            latest.remove(row.key);
        } else {
            latest.insert(row.key.to_owned(), Latest { revision, bytes: bytes.to_vec() });
        }
    }
    if expected != begin.next() {
        return Err(ReadError::Missing(expected));
    }
    if kept != loaded.kept {
        return Err(ReadError::Kept { found: kept, expected: loaded.kept });
    }
    Ok(latest)
}

/// The events after `begin`.
fn read_recent(log: &Log, begin: Revision, extract: Extract, loaded: &mut Loaded) -> Result<(), ReadError> {
    let mut state = loaded.state.clone();
    for row in log.range(begin.get() + 1..).map_err(database)? {
        let (revision, bytes) = row.map_err(database)?;
        let revision = Revision(revision.value());
        if revision != state.revision.next() {
            return Err(ReadError::Missing(state.revision.next()));
        }
        let row = row::decode(revision, bytes.value())?;
        let previous = state.get(row.key).cloned();
        if previous.as_ref().map_or(Revision::ZERO, |previous| previous.revision) != row.previous {
            return Err(ReadError::Stray(revision));
        }
        let event = restore(&row, revision, previous, extract);
        state.apply(&event);
        loaded.recent.push(event);
    }
    Ok(())
}
