//! What changed in a snapshot, change by change, for whoever keeps tables about it.
//!
//! Kept only once somebody has asked for it, and never by a clone: a simulation's copy has no readers. Places of nodes
//! are those at the time of the change; a reader that follows the removals in order arrives at today's.

use crate::pod::PodInfo;
use std::sync::Arc;

/// More changes than this that nobody has read are dropped; the reader then starts anew from the snapshot.
const UNREAD_LIMIT: usize = 1 << 18;

/// One change.
#[derive(Clone, Debug)]
pub enum Delta {
    /// A node was added at the end, or replaced.
    Node(usize),
    /// A node was removed with its pods; the last one took its place.
    Removed(usize),
    /// A pod was counted in on a node.
    PodAdded(usize, Arc<PodInfo>),
    /// A pod was taken off a node.
    PodRemoved(usize, Arc<PodInfo>),
    /// A pod on a node got a newer version that counts the same.
    PodRefreshed(usize),
    /// Other pods than before are promised room on a node.
    Promises(usize),
    /// The labels of this namespace changed.
    Namespace(String),
}

/// What a reader finds.
#[derive(Debug)]
pub enum Unread {
    /// All changes since it last read.
    Since(Vec<Delta>),
    /// It never read before, or not for too long: everything may have changed.
    All,
}

/// The changes that were not read yet.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// `None`: not kept.
    unread: Option<Vec<Delta>>,
}

impl Journal {
    pub(super) fn note(&mut self, delta: impl FnOnce() -> Delta) {
        if let Some(unread) = &mut self.unread {
            if unread.len() >= UNREAD_LIMIT {
                self.unread = None;
            } else {
                unread.push(delta());
            }
        }
    }

    pub(super) fn take(&mut self) -> Unread {
        self.unread.replace(Vec::new()).map_or(Unread::All, Unread::Since)
    }
}

impl Clone for Journal {
    fn clone(&self) -> Self {
        Self::default()
    }
}
