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
use super::memory::Memory;
use super::peek::{Peek, Wanted};
use super::unknown;
use super::wrong_type::Purpose;
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

/// A stream and the group that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    name: String,
    group: String,
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

    /// Adds the commands of one read, whose answers hold no tasks.
    pub(super) fn ask(&self, pipeline: &mut Pipeline) {
        pipeline.cmd("XINFO").arg("GROUPS").arg(&self.name);
        pipeline.cmd("XLEN").arg(&self.name);
    }

    /// Reads the answers to those commands, which Redis gave at `now`.
    ///
    /// The lag of a group is null when the group was created at an id in the middle, and when an entry at or
    /// after the last one delivered has been deleted: so it is with every worker that acknowledges and deletes
    /// while others still run. Before Redis 7.0 there is no lag at all. Then the entries have to be counted.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(super) fn look(&self, answers: &[Value], memory: &mut Memory, now: Timestamp) -> Result<Look, Fault> {
        let [groups, length] = answers else { return Err(self.nonsense("XINFO GROUPS")) };
        let group = self.group_in(groups)?;
        let length = self
            .granted(length)
            .and_then(|length| answer::count(length).ok_or_else(|| self.nonsense("XLEN")));
        let length = match (length, &group) {
            (Ok(length), _) => length,
            // It only corrects the lag, and the lag is the number of waiting tasks.
            (Err(fault), Some(Group { lag: Some(lag), pending, .. })) => {
                let unknown = vec![unknown::one("the number of trimmed entries in the lag", fault)];
                let counters = group.as_ref().map(Group::counters).unwrap_or_default();
                let reading = known(*lag, *pending, None, counters);
                return Ok(Look::complete(Reading { unknown, ..reading }));
            }
            (Err(fault), _) => return Err(fault),
        };
        let Some(group) = group else {
            // Without a group nobody has taken anything; without a stream the length is zero.
            return Ok(Look::complete(known(length, 0, None, Counters::default())));
        };
        let Group { pending, last_delivered, .. } = group;
        // Trimming deletes entries that the lag still counts.
        let ready = group.lag.map_or(length, |lag| lag.min(length));
        let reading = known(ready, pending, None, group.counters());
        if ready == 0 {
            memory.forget_unread(self);
            return Ok(Look::complete(reading));
        }
        let unread = memory.unread(self, last_delivered);
        if group.lag.is_some_and(|lag| lag > length) || unread.len() as u64 > length {
            memory.forget_unread(self);
        }
        let stream = self.clone();
        let wanted = if group.lag.is_some() {
            // As long as there is a lag nobody has deleted an entry that it counts.
            if let Some(first) = memory.unread(self, last_delivered).first() {
                return Ok(Look::complete(Reading { oldest: first.age(now), ..reading }));
            }
            Wanted::First(stream, last_delivered)
        } else {
            memory.recount(self);
            Wanted::All { stream, last_delivered, not_pending: length.saturating_sub(pending) }
        };
        Ok(Look::Unfinished(Peek { reading, wanted, now }))
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
    pub(super) fn entries(&self, answer: &Value) -> Result<Vec<EntryId>, Fault> {
        let ids = answer::array(self.granted(answer)?)
            .and_then(|entries| entries.iter().map(EntryId::from_entry).collect());
        ids.ok_or_else(|| self.nonsense("XRANGE"))
    }

    /// Adds the command for the first `count` entries after `id`.
    pub(super) fn ask_range(&self, id: EntryId, count: usize, pipeline: &mut Pipeline) {
        pipeline.cmd("XRANGE").arg(&self.name).arg(id.next().to_string()).arg("+").arg("COUNT").arg(count);
    }

    /// The answer, unless Redis refused it.
    fn granted<'a>(&self, answer: &'a Value) -> Result<&'a Value, Fault> {
        if let Value::ServerError(error) = answer {
            return Err(Fault::about(&self.name, "stream", Purpose::Stream, error));
        }
        Ok(answer)
    }

    /// The answer to `command` about it has a shape that it never has.
    pub(super) fn nonsense(&self, command: &str) -> Fault {
        Fault::nonsense(&format!("{command} {}", self.name))
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
    use crate::sources::Sighting;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn a_known_lag_is_ready_but_never_more_than_there_are_entries() {
        for (lag, length, ready) in [(3, 9, 3), (0, 9, 0), (8, 5, 5), (8, 0, 0)] {
            let answers =
                answers(&[("pending", "2"), ("entries-read", "10"), ("lag", &lag.to_string())], length);
            let counters = Counters { added: Some(10 + lag), completed: Some(8) };
            let (reading, wanted) = looked(&answers, &mut Memory::new(NOW));
            assert_eq!(reading, known(ready, 2, None, counters));
            let first = Wanted::First(stream(), id("1700000000000-1"));
            assert_eq!(wanted, (ready > 0).then_some(first), "{lag} {length}");
        }
    }

    #[test]
    fn counters_are_known_as_far_as_redis_knows_them() {
        for (fields, added, completed) in [
            (vec![("pending", "2"), ("entries-read", "5"), ("lag", "1")], Some(6), Some(3)),
            (vec![("pending", "2"), ("entries-read", "1"), ("lag", "1")], Some(2), None),
            (vec![("pending", "2"), ("entries-read", "nil"), ("lag", "1")], None, None),
        ] {
            let (reading, _) = looked(&answers(&fields, 9), &mut Memory::new(NOW));
            assert_eq!(reading.counters, Counters { added, completed }, "{fields:?}");
        }
    }

    #[test]
    fn the_first_unread_entry_is_asked_for_once_while_it_stands() {
        let mut memory = Memory::new(NOW);
        let look = |delivered, lag: u64, length, memory: &mut Memory| {
            let fields = [("pending", "0"), ("lag", &*lag.to_string())];
            looked(&answers_after(delivered, &fields, length), memory)
        };
        let first = "1700000000000-1";
        assert!(look(first, 2, 5, &mut memory).1.is_some());
        memory.add_unread(&stream(), id(first), vec![id("1700000050000-0"), id("1700000055000-0")]);
        for (lag, length) in [(2, 5), (3, 6), (3, 3)] {
            let (reading, wanted) = look(first, lag, length, &mut memory);
            assert_eq!((reading.oldest, wanted), (Some(Duration::from_secs(10)), None));
        }
        // It was delivered, and the next is known.
        let (reading, wanted) = look("1700000050000-0", 1, 6, &mut memory);
        assert_eq!((reading.oldest, wanted), (Some(Duration::from_secs(5)), None));
        // Unread entries were trimmed.
        assert!(look("1700000050000-0", 9, 6, &mut memory).1.is_some());
    }

    #[test]
    fn without_a_lag_the_entries_are_counted() {
        // Absent as before Redis 7.0, null, or below zero.
        for fields in [
            vec![("pending", "4")],
            vec![("pending", "4"), ("lag", "nil")],
            vec![("pending", "4"), ("lag", "-1")],
        ] {
            let (_, wanted) = looked(&answers(&fields, 50), &mut Memory::new(NOW));
            let last_delivered = id("1700000000000-1");
            assert_eq!(wanted, Some(Wanted::All { stream: stream(), last_delivered, not_pending: 46 }));
            let (reading, wanted) = looked(&answers(&fields, 0), &mut Memory::new(NOW));
            assert_eq!((reading, wanted), (known(0, 4, None, Counters::default()), None));
        }
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
        let without_lag = answers(&[("pending", "1"), ("lag", "nil")], 1);
        for length in [Value::Nil, Value::Int(-1), Value::Okay, Value::Array(vec![])] {
            nonsense.push(vec![without_lag[0].clone(), length.clone()]);
            // The lag is the number of waiting tasks.
            let (reading, _) = looked(&[good[0].clone(), length], &mut Memory::new(NOW));
            assert_eq!((reading.ready, reading.in_flight), (Some(1), Some(InFlight::Known(1))));
            assert_eq!(reading.unknown.len(), 1);
        }
        for fields in [vec![("lag", "1")], vec![("pending", "-1")], vec![("pending", "nil")]] {
            nonsense.push(answers(&fields, 1));
        }
        for answers in nonsense {
            let look = stream().look(&answers, &mut Memory::new(NOW), NOW);
            assert!(matches!(look, Err(Fault::Unexpected(_))), "{answers:?}: {look:?}");
        }
    }

    fn stream() -> Stream {
        Stream { name: "acme:tasks".to_owned(), group: "workers".to_owned() }
    }

    fn id(text: &str) -> EntryId {
        EntryId::from_answer(&Value::SimpleString(text.to_owned())).unwrap()
    }

    /// The reading, and what it lacks.
    fn looked(answers: &[Value], memory: &mut Memory) -> (Reading, Option<Wanted>) {
        match stream().look(answers, memory, NOW) {
            Ok(Look::Complete(Sighting::Queue(reading))) => (reading, None),
            Ok(Look::Unfinished(Peek { reading, wanted, now: NOW })) => (reading, Some(wanted)),
            look => panic!("{look:?}"),
        }
    }

    /// Answers about a stream of `length` entries, the group of which delivered `1700000000000-1` last.
    fn answers(fields: &[(&str, &str)], length: i64) -> Vec<Value> {
        answers_after("1700000000000-1", fields, length)
    }

    fn answers_after(last_delivered: &str, fields: &[(&str, &str)], length: i64) -> Vec<Value> {
        let mut group: Vec<Value> = ["name", "workers", "last-delivered-id", last_delivered]
            .map(|text| Value::BulkString(text.into()))
            .into();
        for (name, number) in fields {
            group.push(Value::BulkString((*name).into()));
            group.push(number.parse().map_or(Value::Nil, Value::Int));
        }
        vec![Value::Array(vec![Value::Array(group)]), Value::Int(length)]
    }

    fn parsed(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).unwrap()
    }
}
