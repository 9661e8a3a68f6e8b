//! What Redis knows of a consumer group.

use redis::Value;

use super::answer;
use super::entry_id::EntryId;
use crate::engine::signals::Counters;

/// A group as `XINFO GROUPS` describes it.
pub(super) struct Group {
    /// Entries delivered and not acknowledged.
    pub(super) pending: u64,
    /// The last entry that was delivered.
    pub(super) last_delivered: EntryId,
    /// Entries ever delivered; `None` if Redis does not know.
    entries_read: Option<u64>,
    /// Entries not delivered yet; `None` if Redis does not know.
    pub(super) lag: Option<u64>,
}

impl Group {
    /// The group that a flat list of fields describes.
    pub(super) fn from_fields(fields: &[Value]) -> Option<Self> {
        // Absent before Redis 7.0, null where Redis does not know. A lag below zero is what a wrong
        // ENTRIESREAD of XGROUP leaves behind, which is no knowledge either.
        let total = |name| match answer::field(fields, name) {
            None | Some(Value::Nil) => Some(None),
            Some(value) => answer::integer(value).map(|number| u64::try_from(number).ok()),
        };
        Some(Self {
            pending: answer::count(answer::field(fields, "pending")?)?,
            last_delivered: EntryId::from_answer(answer::field(fields, "last-delivered-id")?)?,
            entries_read: total("entries-read")?,
            lag: total("lag")?,
        })
    }

    /// Totals of the stream's life. What was read and is not pending has been acknowledged.
    pub(super) fn counters(&self) -> Counters {
        let completed = self.entries_read.and_then(|read| read.checked_sub(self.pending));
        let added = self.entries_read.zip(self.lag).and_then(|(read, lag)| read.checked_add(lag));
        Counters { added, completed }
    }
}
