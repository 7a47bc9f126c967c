//! Which nodes changed, in order, for tables that are brought up to date when they are next read.

use super::tables::At;

/// Entries kept. A table that fell behind further is filled anew, which costs about as much.
const KEPT: usize = 1 << 16;

/// What about a node changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The object; pods may have changed too.
    Object,
    /// Its pods, or who was promised room there.
    Pods,
    /// Nothing that is counted: only the versions of its pods.
    Versions,
}

/// The log. Positions only grow.
#[derive(Debug, Default)]
pub(super) struct Log {
    start: u64,
    entries: Vec<(At, What)>,
}

impl Log {
    pub(super) fn note(&mut self, at: At, what: What) {
        if self.entries.len() >= 2 * KEPT {
            self.entries.drain(..KEPT);
            self.start += KEPT as u64;
        }
        self.entries.push((at, what));
    }

    /// The position after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    /// What was noted from `position` on; `None`: some of it is forgotten.
    pub(super) fn since(&self, position: u64) -> Option<&[(At, What)]> {
        let from = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.entries.get(from..)
    }
}

/// Where a table stands: which order of nodes it knows, and up to where it read the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) order: u64,
    pub(super) read: u64,
}

/// What a table has to look at again.
#[derive(Debug)]
pub(super) enum Stale<'a> {
    /// Every node.
    All,
    /// These; some perhaps twice, new ones at the end among them.
    Some(&'a [(At, What)]),
}

impl Mark {
    /// What changed since the mark; the mark then stands at the end. `order` is today's.
    pub(super) fn advance<'a>(this: &mut Option<Self>, order: u64, nodes: usize, log: &'a Log) -> Stale<'a> {
        let before = this.replace(Self { order, read: log.end() });
        let known = before.filter(|mark| mark.order == order).and_then(|mark| log.since(mark.read));

        // Many single corrections cost more than one sweep.
        known.filter(|some| some.len() <= nodes / 2 + 64).map_or(Stale::All, Stale::Some)
    }
}
