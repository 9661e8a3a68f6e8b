//! The id of a stream's entry, which tells when it was added.

use std::fmt;
use std::time::Duration;

use redis::Value;

use super::answer;
use crate::timestamp::Timestamp;

/// Streams came with Redis 5.0 in 2018: the time in an older id is a number of the producer's own.
const FIRST_STREAMS: Timestamp = Timestamp::from_millis(1_514_764_800_000);

/// The millisecond in which an entry was added, and a number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    millis: u64,
    sequence: u64,
}

impl EntryId {
    /// The id that an answer is.
    pub(super) fn from_answer(answer: &Value) -> Option<Self> {
        let (millis, sequence) = str::from_utf8(answer::bytes(answer)?).ok()?.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, sequence: sequence.parse().ok()? })
    }

    /// The id of an entry as `XRANGE` gives it: the id, then the payload.
    pub(super) fn from_entry(entry: &Value) -> Option<Self> {
        Self::from_answer(answer::array(entry)?.first()?)
    }

    /// The smallest id after this one. Redis before 6.2 has no exclusive ranges.
    pub(super) const fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Self { millis: self.millis, sequence },
            None => Self { millis: self.millis.saturating_add(1), sequence: 0 },
        }
    }

    /// How long before `now` the entry was added; `None` if its id is no time.
    pub(super) fn age(self, now: Timestamp) -> Option<Duration> {
        let added = Timestamp::from_millis(self.millis);
        (FIRST_STREAMS <= added).then(|| now.since(added))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { millis, sequence } = self;
        write!(f, "{millis}-{sequence}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_id_is_the_smallest_after_it() {
        for (id, next) in [("0-0", "0-1"), ("7-3", "7-4"), ("7-18446744073709551615", "8-0")] {
            assert_eq!(parsed(id).unwrap().next().to_string(), next);
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in ["", "7", "7-", "-7", "a-b", "7-3-1", "18446744073709551616-0"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(EntryId::from_entry(&Value::Array(vec![])), None);
        assert_eq!(EntryId::from_entry(&Value::Nil), None);
    }

    #[test]
    fn an_id_of_the_producers_own_has_no_age() {
        let now = Timestamp::from_millis(1_700_000_005_000);
        assert_eq!(parsed("1700000000000-0").unwrap().age(now), Some(Duration::from_secs(5)));
        assert_eq!(parsed("1700000009000-0").unwrap().age(now), Some(Duration::ZERO));
        assert_eq!(parsed("42-1").unwrap().age(now), None);
    }

    fn parsed(text: &str) -> Option<EntryId> {
        EntryId::from_answer(&Value::BulkString(text.into()))
    }
}
