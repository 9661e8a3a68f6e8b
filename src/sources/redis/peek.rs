//! Questions whose answers hold tasks themselves, however long these are: Redis has no command that tells the id of an
//! unread entry, or a lowest score, without what it belongs to.
//!
//! They are asked after all others, on what is left of the time, and only for what is not known from the read before. A
//! reading does without: then it has no age.

use redis::{Pipeline, Value};

use super::answer;
use super::entry_id::EntryId;
use super::fault::{Fault, RIGHTS_FOR_SORTED_SETS};
use super::memory::Memory;
use super::meter;
use super::presets::Clock;
use super::stream::Stream;
use super::unknown::Unknown;
use super::wrong_type::Purpose;
use crate::engine::signals::Reading;
use crate::timestamp::Timestamp;

/// Most unread entries that are counted one by one, where Redis does not know their number.
///
/// Counting fetches the entries with their payload, so it must have an end. Up to here the number is
/// exact, and beyond it an estimate is at most as far off as acknowledged entries were left in the stream.
pub(super) const MOST_COUNTED: usize = 100;

/// A reading, and what it lacks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Peek {
    /// All that is known without it.
    pub(super) reading: Reading,
    pub(super) wanted: Wanted,
    /// When the rest was seen.
    pub(super) now: Timestamp,
}

/// What a reading lacks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// The first unread entry of a stream, of which the last delivered one is known.
    First(Stream, EntryId),
    /// All of its unread entries.
    All {
        /// The stream.
        stream: Stream,
        /// The entry before the first.
        last_delivered: EntryId,
        /// How many unread entries are there at most, if workers delete what they acknowledge.
        not_pending: u64,
    },
    /// The lowest scores of sorted sets, and what they mean.
    Lowest(Vec<(String, Clock)>),
}

impl Peek {
    /// The key whose tasks are looked at, the first of several.
    pub(super) fn key(&self) -> &str {
        match &self.wanted {
            Wanted::First(stream, _) | Wanted::All { stream, .. } => stream.name(),
            Wanted::Lowest(sets) => sets.first().map_or("", |(key, _)| key),
        }
    }

    /// How many tasks come with the answers, at most.
    pub(super) fn count(&self, memory: &mut Memory) -> usize {
        match &self.wanted {
            Wanted::First(..) => 1,
            Wanted::All { stream, last_delivered, .. } => {
                let known = memory.unread(stream, *last_delivered).len();
                memory.weight(self.key()).portion((MOST_COUNTED + 1).saturating_sub(known))
            }
            Wanted::Lowest(sets) => sets.len(),
        }
    }

    /// Adds the commands.
    pub(super) fn ask(&self, memory: &mut Memory, pipeline: &mut Pipeline) {
        let count = self.count(memory);
        match &self.wanted {
            Wanted::First(stream, last_delivered) | Wanted::All { stream, last_delivered, .. } => {
                let known = memory.unread(stream, *last_delivered);
                stream.ask_range(*known.last().unwrap_or(last_delivered), count, pipeline);
            }
            Wanted::Lowest(sets) => {
                for (key, _) in sets {
                    pipeline.cmd("ZRANGE").arg(key).arg(0).arg(0).arg("WITHSCORES");
                }
            }
        }
    }

    /// The reading with what the answers tell.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(super) fn read(self, answers: &[Value], memory: &mut Memory) -> Result<Reading, Fault> {
        let cost = answers.iter().map(meter::cost).sum();
        let asked = self.count(memory);
        let key = self.key().to_owned();
        let weigh = |memory: &mut Memory, count| {
            let weight = memory.weight(&key).fetched(count, cost);
            memory.set_weight(&key, weight);
        };
        match &self.wanted {
            Wanted::First(stream, last_delivered) | Wanted::All { stream, last_delivered, .. } => {
                let entries = stream.entries(answers.first().unwrap_or(&Value::Nil))?;
                if entries.iter().any(|id| id <= last_delivered) {
                    return Err(stream.nonsense("XRANGE"));
                }
                weigh(memory, entries.len());
                let are_all = entries.len() < asked;
                memory.add_unread(stream, *last_delivered, entries);
                Ok(self.with_known(are_all, memory))
            }
            Wanted::Lowest(sets) => {
                let mut reading = self.reading.clone();
                if answers.len() != sets.len() {
                    return Err(Fault::nonsense("ZRANGE"));
                }
                for ((key, clock), answer) in sets.iter().zip(answers) {
                    let nonsense = || Fault::nonsense(&format!("ZRANGE {key}"));
                    if let Some(error) = answer::refusal(answer) {
                        let (kind, rights) = ("sorted set", RIGHTS_FOR_SORTED_SETS);
                        return Err(Fault::refused(key, kind, Purpose::DueSet, rights, error));
                    }
                    let score = answer::lowest(answer).ok_or_else(nonsense)?;
                    memory.set_lowest(key, score);
                    let at = score.and_then(|score| clock.at(score)).filter(|at| *at <= self.now);
                    reading.oldest = reading.oldest.max(at.map(|at| self.now.since(at)));
                }
                weigh(memory, sets.len());
                Ok(reading)
            }
        }
    }

    /// The reading without an answer: there was no time, the tasks are fetched less often, or they are too long.
    pub(super) fn unanswered(self, memory: &mut Memory) -> Reading {
        self.with_known(false, memory)
    }

    /// The same without a usable answer.
    pub(super) fn failed(self, fault: Fault, memory: &mut Memory) -> Reading {
        let mut unknown = Unknown::default();
        if matches!(self.wanted, Wanted::All { .. }) {
            unknown.add("the exact number of unread entries", fault.clone());
        }
        unknown.add("the age of the oldest task", fault);
        let mut reading = self.unanswered(memory);
        reading.unknown.extend(unknown.into_causes());
        reading
    }

    /// The reading of a stream with the entries that are known; `are_all` says that there are no others.
    ///
    /// Where there are more than [`MOST_COUNTED`], acknowledged entries count as unread too. There are none
    /// if workers delete what they acknowledge, as most do that leave no lag; else the number is too high,
    /// until the group has read to the end and Redis knows the lag again. It is never too low together with
    /// the pending ones: both are then all that the stream holds.
    fn with_known(self, are_all: bool, memory: &mut Memory) -> Reading {
        let Self { mut reading, wanted, now } = self;
        let (Wanted::First(stream, last_delivered) | Wanted::All { stream, last_delivered, .. }) = &wanted
        else {
            return reading;
        };
        let known = memory.unread(stream, *last_delivered);
        reading.oldest = known.first().and_then(|id| id.age(now));
        if let Wanted::All { not_pending, .. } = wanted {
            let counted = known.len() as u64;
            let is_exact = are_all && known.len() <= MOST_COUNTED;
            reading.ready = Some(if is_exact { counted } else { not_pending.max(counted) });
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redis::Value::{Array, BulkString, Double, Int, Nil};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn a_score_is_a_time_in_both_versions_of_the_protocol() {
        let pair = |score| Array(vec![Array(vec![text("task"), Double(score)])]);
        let flat = |score| Array(vec![text("task"), text(score)]);
        for answer in
            [Array(vec![]), flat("0"), flat("-1"), flat("inf"), flat("-inf"), pair(0.0), pair(f64::NAN)]
        {
            assert_eq!(lowest().read(&[answer], &mut Memory::new(NOW)).unwrap().oldest, None);
        }
        for answer in [flat("1700000050.5"), pair(1_700_000_050.5)] {
            let oldest = lowest().read(&[answer], &mut Memory::new(NOW)).unwrap().oldest;
            assert_eq!(oldest, Some(Duration::from_millis(9_500)));
        }
    }

    #[test]
    fn nonsense_is_neither_a_number_nor_a_panic() {
        let mut memory = Memory::new(NOW);
        for answer in [Nil, Int(1), Array(vec![text("a")]), Array(vec![text("a"), text("soon")])] {
            let read = lowest().read(&[answer], &mut memory);
            assert!(matches!(read, Err(Fault::Unexpected(_))), "{read:?}");
        }
        for answer in [Nil, Array(vec![text("1-1")]), Array(vec![Array(vec![text("soon")])])] {
            let read = all(0).read(&[answer], &mut memory);
            assert!(matches!(read, Err(Fault::Unexpected(_))), "{read:?}");
        }
        // An entry from before the range.
        let fault = Fault::Unexpected("the answer to XRANGE acme:tasks makes no sense".to_owned());
        assert_eq!(all(0).read(&[entries(1, 1)], &mut memory), Err(fault));
    }

    #[test]
    fn up_to_a_hundred_entries_are_counted_and_beyond_it_they_are_estimated() {
        for (unread, not_pending, ready) in [(0, 46, 0), (100, 296, 100), (101, 296, 296), (101, 98, 101)] {
            let reading = all(not_pending).read(&[entries(2, unread)], &mut Memory::new(NOW)).unwrap();
            let oldest = (unread > 0).then(|| Duration::from_secs(60));
            assert_eq!((reading.ready, reading.oldest), (Some(ready), oldest), "{unread}");
        }
    }

    #[test]
    fn an_entry_that_was_counted_is_not_fetched_again() {
        let mut memory = Memory::new(NOW);
        let asks = |peek: &Peek, memory: &mut Memory| {
            let mut pipeline = Pipeline::new();
            peek.ask(memory, &mut pipeline);
            let command = pipeline.cmd_iter().next().unwrap().get_packed_command();
            String::from_utf8(command)
                .unwrap()
                .split("\r\n")
                .filter(|word| !word.starts_with(['$', '*']))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(asks(&all(9), &mut memory), "XRANGE acme:tasks 1700000000000-2 + COUNT 101 ");
        assert_eq!(all(9).read(&[entries(2, 3)], &mut memory).unwrap().ready, Some(3));
        assert_eq!(asks(&all(9), &mut memory), "XRANGE acme:tasks 1700000000000-5 + COUNT 98 ");
        assert_eq!(all(9).read(&[entries(5, 1)], &mut memory).unwrap().ready, Some(4));
        // Without an answer it is what it may be at most.
        assert_eq!(all(9).unanswered(&mut memory).ready, Some(9));
        // A group that was set back has others before them.
        let back = Wanted::First(stream(), id("1600000000000-1"));
        assert_eq!(
            asks(&Peek { wanted: back, ..all(9) }, &mut memory),
            "XRANGE acme:tasks 1600000000000-2 + COUNT 1 "
        );
    }

    #[test]
    fn long_entries_are_counted_by_portions() {
        let mut memory = Memory::new(NOW);
        let long =
            Array(vec![Array(vec![text("1700000000000-2"), Array(vec![text(&"x".repeat(20 << 10))])])]);
        all(9).read(&[long], &mut memory).unwrap();
        assert_eq!(all(9).count(&mut memory), 3);
        let reading = all(9).read(&[entries(3, 3)], &mut memory).unwrap();
        assert_eq!(reading.ready, Some(9), "there may be more");
    }

    fn lowest() -> Peek {
        let wanted = Wanted::Lowest(vec![("q".to_owned(), Clock::Seconds)]);
        Peek { reading: Reading::default(), wanted, now: NOW }
    }

    fn all(not_pending: u64) -> Peek {
        let wanted = Wanted::All { stream: stream(), last_delivered: id("1700000000000-1"), not_pending };
        Peek { reading: Reading::default(), wanted, now: NOW }
    }

    fn stream() -> Stream {
        Stream::new("acme:tasks".to_owned(), "workers".to_owned())
    }

    fn entries(first: usize, count: usize) -> Value {
        let entry = |n| Array(vec![text(&format!("1700000000000-{n}")), Array(vec![])]);
        Array((first..first + count).map(entry).collect())
    }

    fn id(text: &str) -> EntryId {
        EntryId::from_answer(&BulkString(text.into())).unwrap()
    }

    fn text(text: &str) -> Value {
        BulkString(text.into())
    }
}
