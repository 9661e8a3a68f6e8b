//! Tasks in a stream, taken by a consumer group.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::answer;
use super::entry_id::EntryId;
use super::fault::Fault;
use super::group::Group;
use super::layout::{Layout, Look, quoted};
use crate::engine::signals::{Counters, InFlight, Reading};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;
use crate::timestamp::Timestamp;

/// The trigger keys of a stream.
pub(super) const KEYS: &[Key] = &[STREAM, CONSUMER_GROUP];

/// Keys of KEDA's `redis-streams` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("pendingEntriesCount", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("lagCount", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("streamLength", "`tasksPerReplica`, with a `consumerGroup`: a length says nothing of what is done"),
    ("activationLagCount", "`activationBacklog`"),
];

const STREAM: Key = Key {
    name: "stream",
    need: Need::Required,
    unit: "name",
    help: "stream that holds the tasks",
    example: "acme:tasks",
};

const CONSUMER_GROUP: Key = Key {
    name: "consumerGroup",
    need: Need::Required,
    unit: "name",
    help: "consumer group of the workers",
    example: "workers",
};

/// Most unread entries that are counted one by one, where Redis does not know their number.
///
/// Counting fetches the entries with their payload, so it must have an end. Up to here the number is
/// exact, and beyond it an estimate is at most as far off as acknowledged entries were left in the stream.
const MOST_COUNTED: u64 = 100;

/// A stream and the group that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    name: String,
    group: String,
}

/// A stream whose unread entries Redis has not counted.
///
/// The lag of a group is null when the group was created at an id in the middle, and when an entry at or
/// after the last one delivered has been deleted: so it is with every worker that acknowledges and deletes
/// while others still run. Before Redis 7.0 there is no lag at all.
#[derive(Debug, PartialEq)]
pub(super) struct Uncounted {
    stream: Stream,
    last_delivered: EntryId,
    length: u64,
    pending: u64,
    counters: Counters,
}

/// Parses the trigger keys of a stream.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let name = fields.read::<Name>(&STREAM);
    let group = fields.read::<Name>(&CONSUMER_GROUP);
    let (Name(name), Name(group)) = (name?, group?);
    Some(Arc::new(Layout::Stream(Stream::new(name, group))))
}

impl Stream {
    /// Most commands of one read: the group, the length, and either the oldest entry or the count of all.
    pub(super) const COMMANDS: usize = 3;

    /// A stream, as the group reads it.
    pub(super) const fn new(name: String, group: String) -> Self {
        Self { name, group }
    }

    /// The key of the stream.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds the commands of one read.
    ///
    /// `unread_after` is what the read before saw: one more command then fetches the entry behind it, whose
    /// id tells how long it has waited, unless somebody has taken it since. A wait that grows is seen so
    /// without a second round trip.
    pub(super) fn ask(&self, unread_after: Option<EntryId>, pipeline: &mut Pipeline) {
        pipeline.cmd("XINFO").arg("GROUPS").arg(&self.name);
        pipeline.cmd("XLEN").arg(&self.name);
        if let Some(id) = unread_after {
            self.ask_range(id, 1, pipeline);
        }
    }

    /// Reads the answers to those commands, which Redis gave at `now`.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(super) fn look(&self, answers: &[Value], now: Timestamp) -> Result<Look, Fault> {
        let [groups, length, unread @ ..] = answers else { return Err(self.nonsense("XINFO GROUPS")) };
        let length = answer::count(self.granted(length)?).ok_or_else(|| self.nonsense("XLEN"))?;
        let Some(group) = self.group_in(groups)? else {
            // Without a group nobody has taken anything; without a stream the length is zero.
            let reading = known(length, 0, None, Counters::default());
            return Ok(Look::Complete { reading, unread_after: None });
        };
        let first = unread.first().map(|entries| self.entries(entries)).transpose()?;
        let Group { pending, last_delivered, .. } = group;
        let counters = group.counters();
        match group.lag {
            Some(lag) => {
                // Trimming deletes entries that the lag still counts.
                let ready = lag.min(length);
                let unread_after = (0 < ready).then_some(last_delivered);
                let oldest = first
                    .and_then(|entries| entries.first().copied())
                    // Delivered since the read before: it waits no longer.
                    .filter(|id| unread_after.is_some_and(|last| last < *id))
                    .and_then(|id| id.age(now));
                let reading = known(ready, pending, oldest, counters);
                Ok(Look::Complete { reading, unread_after })
            }
            None if length == 0 => {
                Ok(Look::Complete { reading: known(0, pending, None, counters), unread_after: None })
            }
            None => {
                let stream = self.clone();
                Ok(Look::Uncounted(Uncounted { stream, last_delivered, length, pending, counters }))
            }
        }
    }

    /// Our group; `None` if there is no such stream, or it has no such group.
    fn group_in(&self, answer: &Value) -> Result<Option<Group>, Fault> {
        if let Value::ServerError(error) = answer
            && error.details().is_some_and(|details| details.starts_with("no such key"))
        {
            return Ok(None);
        }
        let nonsense = || self.nonsense("XINFO GROUPS");
        for group in answer::array(self.granted(answer)?).ok_or_else(nonsense)? {
            let fields = answer::array(group).ok_or_else(nonsense)?;
            let name = answer::field(fields, "name").and_then(answer::bytes).ok_or_else(nonsense)?;
            if name == self.group.as_bytes() {
                return Group::from_fields(fields).map(Some).ok_or_else(nonsense);
            }
        }
        Ok(None)
    }

    /// The ids of an answer to `XRANGE`.
    fn entries(&self, answer: &Value) -> Result<Vec<EntryId>, Fault> {
        let ids = answer::array(self.granted(answer)?)
            .and_then(|entries| entries.iter().map(EntryId::from_entry).collect());
        ids.ok_or_else(|| self.nonsense("XRANGE"))
    }

    /// Adds the command for the first `count` entries after `id`.
    fn ask_range(&self, id: EntryId, count: u64, pipeline: &mut Pipeline) {
        pipeline.cmd("XRANGE").arg(&self.name).arg(id.next().to_string()).arg("+").arg("COUNT").arg(count);
    }

    /// The answer, unless Redis refused it.
    fn granted<'a>(&self, answer: &'a Value) -> Result<&'a Value, Fault> {
        if let Value::ServerError(error) = answer {
            return Err(Fault::about(&self.name, "stream", error));
        }
        Ok(answer)
    }

    fn nonsense(&self, command: &str) -> Fault {
        Fault::nonsense(&format!("{command} {}", self.name))
    }
}

impl Uncounted {
    /// Adds the command that counts the unread entries.
    pub(super) fn ask(&self, pipeline: &mut Pipeline) {
        self.stream.ask_range(self.last_delivered, MOST_COUNTED + 1, pipeline);
    }

    /// Reads the answer to it.
    ///
    /// Where there are more than [`MOST_COUNTED`], acknowledged entries count as unread too. There are none
    /// if workers delete what they acknowledge, as most do that leave no lag; else the number is too high,
    /// until the group has read to the end and Redis knows the lag again. It is never too low together with
    /// the pending ones: both are then all that the stream holds.
    ///
    /// # Errors
    /// When Redis refuses, or the answer makes no sense.
    pub(super) fn read(&self, answer: &Value, now: Timestamp) -> Result<Reading, Fault> {
        let entries = self.stream.entries(answer)?;
        if entries.iter().any(|id| *id <= self.last_delivered) {
            return Err(self.stream.nonsense("XRANGE"));
        }
        let counted = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let not_pending = self.length.saturating_sub(self.pending);
        let ready = if counted <= MOST_COUNTED { counted } else { not_pending.max(counted) };
        let oldest = entries.first().and_then(|id| id.age(now));
        Ok(known(ready, self.pending, oldest, self.counters))
    }
}

/// What a group with known numbers shows.
fn known(ready: u64, pending: u64, oldest: Option<Duration>, counters: Counters) -> Reading {
    Reading {
        ready: Some(ready),
        in_flight: Some(InFlight::Known(pending)),
        oldest,
        counters,
        ..Reading::default()
    }
}

/// A name that is not empty.
pub(super) struct Name(pub(super) String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Err("an empty name") } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, group } = self;
        write!(f, "stream {} group {}", quoted(name), quoted(group))
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn a_known_lag_is_ready_but_never_more_than_there_are_entries() {
        for (lag, length, ready) in [(3, 9, 3), (0, 9, 0), (8, 5, 5), (8, 0, 0)] {
            let answers =
                answers(&[("pending", "2"), ("entries-read", "10"), ("lag", &lag.to_string())], length);
            let added = Some(10 + lag);
            let reading = known(ready, 2, None, Counters { added, completed: Some(8) });
            let unread_after = (ready > 0).then(|| id("1700000000000-1"));
            assert_eq!(stream().look(&answers, NOW), Ok(Look::Complete { reading, unread_after }));
        }
    }

    #[test]
    fn counters_are_known_as_far_as_redis_knows_them() {
        for (fields, added, completed) in [
            (vec![("pending", "2"), ("entries-read", "5"), ("lag", "1")], Some(6), Some(3)),
            (vec![("pending", "2"), ("entries-read", "1"), ("lag", "1")], Some(2), None),
            (vec![("pending", "2"), ("entries-read", "nil"), ("lag", "1")], None, None),
        ] {
            let Ok(Look::Complete { reading, .. }) = stream().look(&answers(&fields, 9), NOW) else {
                panic!("{fields:?}");
            };
            assert_eq!(reading.counters, Counters { added, completed }, "{fields:?}");
        }
    }

    #[test]
    fn the_oldest_is_the_entry_behind_the_last_one_delivered() {
        for (lag, first, oldest) in [
            ("1", "*1\r\n*2\r\n+1700000050000-0\r\n*0\r\n", Some(10)),
            // Delivered since, and not deleted yet.
            ("1", "*1\r\n*2\r\n+1700000000000-1\r\n*0\r\n", None),
            ("1", "*0\r\n", None),
            ("0", "*1\r\n*2\r\n+1700000050000-0\r\n*0\r\n", None),
        ] {
            let mut answers = answers(&[("pending", "0"), ("lag", lag)], 5);
            answers.push(parsed(first));
            let Ok(Look::Complete { reading, .. }) = stream().look(&answers, NOW) else { panic!("{first}") };
            assert_eq!(reading.oldest, oldest.map(Duration::from_secs), "{lag} {first}");
        }
    }

    #[test]
    fn without_a_lag_the_entries_are_counted_and_beyond_a_hundred_estimated() {
        // Absent as before Redis 7.0, null, or below zero.
        for fields in [
            vec![("pending", "4")],
            vec![("pending", "4"), ("lag", "nil")],
            vec![("pending", "4"), ("lag", "-1")],
        ] {
            for (unread, length, ready) in [(0, 50, 0), (100, 300, 100), (101, 300, 296), (101, 102, 101)] {
                let look = stream().look(&answers(&fields, length), NOW);
                let Ok(Look::Uncounted(uncounted)) = look else { panic!("{look:?}") };
                let oldest = (unread > 0).then(|| Duration::from_secs(60));
                let reading = known(ready, 4, oldest, Counters::default());
                assert_eq!(uncounted.read(&entries(unread), NOW), Ok(reading), "{unread} of {length}");
            }
        }
    }

    #[test]
    fn without_a_lag_and_without_entries_nothing_needs_counting() {
        let look = stream().look(&answers(&[("pending", "4"), ("lag", "nil")], 0), NOW);
        let reading = known(0, 4, None, Counters::default());
        assert_eq!(look, Ok(Look::Complete { reading, unread_after: None }));
    }

    #[test]
    fn nonsense_is_neither_a_number_nor_a_panic() {
        let good = answers(&[("pending", "1"), ("lag", "1")], 1);
        let mut nonsense = vec![vec![], vec![good[0].clone()]];
        for groups in
            ["+OK\r\n", ":1\r\n", "$-1\r\n", "*1\r\n:1\r\n", "*1\r\n*0\r\n", "*1\r\n*1\r\n+name\r\n"]
        {
            nonsense.push(vec![parsed(groups), Value::Int(1)]);
        }
        for length in [Value::Nil, Value::Int(-1), Value::Okay, Value::Array(vec![])] {
            nonsense.push(vec![good[0].clone(), length]);
        }
        for fields in [vec![("lag", "1")], vec![("pending", "-1")], vec![("pending", "nil")]] {
            nonsense.push(answers(&fields, 1));
        }
        for unread in ["+OK\r\n", "*1\r\n+1-1\r\n", "*1\r\n*1\r\n+soon\r\n"] {
            nonsense.push([good.as_slice(), &[parsed(unread)]].concat());
        }
        for answers in nonsense {
            let look = stream().look(&answers, NOW);
            assert!(matches!(look, Err(Fault::Unexpected(_))), "{answers:?}: {look:?}");
        }
    }

    #[test]
    fn entries_from_before_the_range_are_nonsense() {
        let Ok(Look::Uncounted(uncounted)) = stream().look(&answers(&[("pending", "0")], 5), NOW) else {
            panic!("there is no lag");
        };
        let answer = parsed("*1\r\n*2\r\n+1600000000000-0\r\n*0\r\n");
        let fault = Fault::Unexpected("the answer to XRANGE acme:tasks makes no sense".to_owned());
        assert_eq!(uncounted.read(&answer, NOW), Err(fault));
    }

    fn stream() -> Stream {
        Stream { name: "acme:tasks".to_owned(), group: "workers".to_owned() }
    }

    fn id(text: &str) -> EntryId {
        EntryId::from_answer(&Value::SimpleString(text.to_owned())).unwrap()
    }

    /// Answers about a stream of `length` entries, the group of which delivered `1700000000000-1` last.
    fn answers(fields: &[(&str, &str)], length: i64) -> Vec<Value> {
        let mut group: Vec<Value> = ["name", "workers", "last-delivered-id", "1700000000000-1"]
            .map(|text| Value::BulkString(text.into()))
            .into();
        for (name, number) in fields {
            group.push(Value::BulkString((*name).into()));
            group.push(number.parse().map_or(Value::Nil, Value::Int));
        }
        vec![Value::Array(vec![Value::Array(group)]), Value::Int(length)]
    }

    fn entries(count: u64) -> Value {
        let entry = |n| parsed(&format!("*2\r\n+1700000000000-{}\r\n*0\r\n", n + 2));
        Value::Array((0..count).map(entry).collect())
    }

    fn parsed(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).unwrap()
    }
}
