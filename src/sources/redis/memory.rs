//! What a connection remembers between two reads, so that the next one asks for less.

use std::collections::HashMap;

use tokio::time::Instant;

use super::entry_id::EntryId;
use super::layout::Layout;
use crate::timestamp::Timestamp;
use crate::workers::reader;

/// Most streams and queues whose position is remembered: as many as a server has triggers. Beyond it all are
/// forgotten, which costs the age of the oldest entry in one reading.
const MOST_POSITIONS: usize = 20_000;

/// The memory of one connection.
pub(super) struct Memory {
    /// Streams that had unread entries when they were last read, and the entry after which these lie.
    unread_after: HashMap<Layout, EntryId>,
    /// The ids that were at the heads of frameworks' queues when these were last read, by a key of theirs.
    heads: HashMap<String, String>,
    /// What workers did in minutes that are over.
    pub(super) minutes: reader::Memory,
    /// The time that Redis told last, and when.
    told: (Timestamp, Instant),
}

impl Memory {
    /// Nothing but the time.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            unread_after: HashMap::new(),
            heads: HashMap::new(),
            minutes: reader::Memory::default(),
            told: (now, Instant::now()),
        }
    }

    /// Redis's time, as it must be if its clock went on like ours: late by the way of its last answer.
    pub(super) fn now(&self) -> Timestamp {
        let (told, at) = self.told;
        told + at.elapsed()
    }

    /// Sets the clock by what Redis told.
    pub(super) fn tell(&mut self, now: Timestamp) {
        self.told = (now, Instant::now());
    }

    /// The entry after which the unread ones of a stream lay, if there were any.
    pub(super) fn unread_after(&self, layout: &Layout) -> Option<EntryId> {
        self.unread_after.get(layout).copied()
    }

    /// Remembers where the unread entries of a stream begin.
    pub(super) fn begins(&mut self, layout: &Layout, unread_after: Option<EntryId>) {
        let Some(id) = unread_after else {
            self.unread_after.remove(layout);
            return;
        };
        if self.unread_after.len() >= MOST_POSITIONS {
            self.unread_after.clear();
        }
        self.unread_after.insert(layout.clone(), id);
    }

    /// The id that was at the head of the queue with that key.
    pub(super) fn head(&self, key: &str) -> Option<String> {
        self.heads.get(key).cloned()
    }

    /// Remembers what is at the head of the queue with that key.
    pub(super) fn set_head(&mut self, key: &str, id: Option<String>) {
        let Some(id) = id else {
            self.heads.remove(key);
            return;
        };
        if self.heads.len() >= MOST_POSITIONS {
            self.heads.clear();
        }
        self.heads.insert(key.to_owned(), id);
    }
}
