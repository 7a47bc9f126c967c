//! A watch: a place in the log that moves forward.
//!
//! Promise: every event under the prefix is delivered once, in order, without a gap, however slow the reader; a slow
//! reader costs the others nothing. Reads the recent history in memory, and behind that the engine's own log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::commit::Shared;
use super::engine::EngineError;
use super::event::Event;
use super::record::Revision;
use super::topics::{Topic, covers};

/// Events a cursor takes from the history at once.
const CHUNK: usize = 64;
/// Events looked at in one read of the engine's log.
const PAGE: usize = 512;

/// Why a watch cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// What comes after this revision is no longer kept: the client must list again (410).
    #[error("the history after revision {from} is gone, it begins after {oldest}")]
    Expired {
        /// Where the watch stood.
        from: Revision,
        /// Where history begins.
        oldest: Revision,
    },
    /// The log could not be read.
    #[error("the history could not be read")]
    Io(#[source] EngineError),
}

/// A watch on everything under a prefix.
pub struct Cursor {
    shared: Arc<Shared>,
    prefix: Box<str>,
    /// `None` only while dropping.
    topic: Option<Arc<Topic>>,
    /// Taken from the log, not yet delivered.
    taken: VecDeque<Arc<Event>>,
    /// Everything up to here was taken.
    position: Revision,
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, from: Revision) -> Result<Self, WatchError> {
        let topic = Some(shared.topics.join(prefix));
        let cursor = Self { shared, prefix: prefix.into(), topic, taken: VecDeque::new(), position: from };
        cursor.reachable()?;
        Ok(cursor)
    }

    /// The next event; waits for it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchError> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Ok(event);
            }
            let topic = self.topic.clone().expect("only dropping takes the topic");
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            // Listening begins before looking, so that nothing falls between.
            changed.as_mut().enable();
            self.take().await?;
            if self.taken.is_empty() {
                changed.await;
            }
        }
    }

    /// The next event if it is in memory already.
    pub fn recent(&mut self) -> Option<Arc<Event>> {
        if self.taken.is_empty() {
            self.take_recent();
        }
        self.taken.pop_front()
    }

    /// The next event if there is one already.
    pub async fn ready(&mut self) -> Result<Option<Arc<Event>>, WatchError> {
        if self.taken.is_empty() {
            self.take().await?;
        }
        Ok(self.taken.pop_front())
    }

    /// The revision up to which everything was delivered: what a bookmark says.
    pub fn progress(&mut self) -> Revision {
        if self.taken.is_empty() {
            self.take_recent();
        }
        self.taken.front().map_or(self.position, |next| Revision(next.revision.0 - 1))
    }

    async fn take(&mut self) -> Result<(), WatchError> {
        while !self.take_recent() && self.taken.is_empty() {
            self.take_old().await?;
        }
        Ok(())
    }

    /// Takes what is in memory; false if something between the position and that is not.
    fn take_recent(&mut self) -> bool {
        let published = self.shared.published.read();
        if !published.history.covers(&self.prefix, self.position) {
            return false;
        }
        let events = published.history.after(&self.prefix, self.position);
        self.taken.extend(
            events.filter(|event| covers(&self.prefix, event.record.key.as_str())).take(CHUNK).cloned(),
        );
        self.position = match self.taken.back() {
            Some(last) if self.taken.len() == CHUNK => last.revision,
            _ => self.position.max(published.current.revision()),
        };
        true
    }

    /// Takes a page from the engine's log.
    async fn take_old(&mut self) -> Result<(), WatchError> {
        self.reachable()?;
        let (shared, prefix, from) = (self.shared.clone(), self.prefix.clone(), self.position);
        let read = move || shared.engine.read(&prefix, from, PAGE);
        let page = tokio::task::spawn_blocking(read).await.map_err(|died| EngineError::new("read", died));
        let page = page.flatten().map_err(WatchError::Io)?;
        if page.through == from {
            // Compacted between the check and the read.
            return Err(self.expired());
        }
        self.taken.extend(page.events);
        self.position = page.through;
        Ok(())
    }

    fn reachable(&self) -> Result<(), WatchError> {
        let in_memory = self.shared.published.read().history.covers(&self.prefix, self.position);
        let in_log = self.shared.engine.floor().is_some_and(|floor| self.position >= floor);
        if in_memory || in_log { Ok(()) } else { Err(self.expired()) }
    }

    fn expired(&self) -> WatchError {
        let in_memory = self.shared.published.read().history.floor();
        let oldest = self.shared.engine.floor().map_or(in_memory, |floor| floor.min(in_memory));
        WatchError::Expired { from: self.position, oldest }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(topic) = self.topic.take() {
            self.shared.topics.leave(&self.prefix, topic);
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("prefix", &self.prefix).field("position", &self.position).finish()
    }
}
