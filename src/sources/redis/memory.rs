//! What a connection remembers between two reads, so that the next one asks for less.

use std::collections::HashMap;

use redis::Value;
use tokio::time::{Duration, Instant};

use super::entry_id::EntryId;
use super::stream::Stream;
use super::weight::Weight;
use crate::timestamp::Timestamp;
use crate::workers::reader;

/// Most streams and queues of which anything is remembered: as many as a server has triggers. Beyond it all are
/// forgotten, which costs the age of the oldest entry in one reading.
const MOST_POSITIONS: usize = 20_000;

/// The longest id of a task that is remembered; those of frameworks are UUIDs, or chosen by people.
const LONGEST_ID: usize = 512;

/// How long counted entries are believed to be there: who takes back a task deletes its entry.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// How long the type of a key is remembered after it was found to be wrong.
const KIND_STANDS: Duration = Duration::from_secs(60);

/// The memory of one connection.
pub(super) struct Memory {
    /// The unread entries of streams, as far as they are known.
    unread: HashMap<Stream, Unread>,
    /// The ids that were at the heads of frameworks' queues when these were last read, by a key of theirs.
    heads: HashMap<String, String>,
    /// The lowest scores of sorted sets, by their keys.
    lowest: HashMap<String, f64>,
    /// The numbers of members of sets, by their keys.
    members: HashMap<String, u64>,
    /// The faults that name the types of keys with a wrong type, and when Redis told them.
    kinds: HashMap<Vec<u8>, (Option<Value>, Instant)>,
    /// What the tasks in streams and sorted sets weigh, by their keys.
    weights: HashMap<String, Weight>,
    /// What workers did in minutes that are over.
    pub(super) minutes: reader::Memory,
    /// The time that Redis told last, and when.
    told: (Timestamp, Instant),
}

/// The first unread entries of a stream, without a gap.
struct Unread {
    /// The entry before the first.
    after: EntryId,
    ids: Vec<EntryId>,
    since: Instant,
}

impl Memory {
    /// Nothing but the time.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            unread: HashMap::new(),
            heads: HashMap::new(),
            lowest: HashMap::new(),
            members: HashMap::new(),
            kinds: HashMap::new(),
            weights: HashMap::new(),
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

    /// The first entries of a stream after `last_delivered`, as far as they are known.
    pub(super) fn unread(&mut self, stream: &Stream, last_delivered: EntryId) -> &[EntryId] {
        // A group that was set back has others before the known ones.
        if self.unread.get(stream).is_some_and(|unread| last_delivered < unread.after) {
            self.unread.remove(stream);
        }
        let Some(unread) = self.unread.get_mut(stream) else { return &[] };
        unread.after = last_delivered;
        unread.ids.retain(|id| last_delivered < *id);
        &unread.ids
    }

    /// Adds the entries that come after the known ones, or after `last_delivered`.
    pub(super) fn add_unread(&mut self, stream: &Stream, last_delivered: EntryId, ids: Vec<EntryId>) {
        if ids.is_empty() {
            return;
        }
        if let Some(unread) = self.unread.get_mut(stream) {
            unread.ids.extend(ids);
            return;
        }
        make_room(&mut self.unread);
        self.unread.insert(stream.clone(), Unread { after: last_delivered, ids, since: Instant::now() });
    }

    /// Forgets the entries of a stream, some of which are no longer there.
    pub(super) fn forget_unread(&mut self, stream: &Stream) {
        self.unread.remove(stream);
    }

    /// Forgets the entries of a stream that were counted a while ago.
    pub(super) fn recount(&mut self, stream: &Stream) {
        if self.unread.get(stream).is_some_and(|unread| unread.since.elapsed() > BELIEVED_FOR) {
            self.unread.remove(stream);
        }
    }

    /// The id that was at the head of the queue with that key.
    pub(super) fn head(&self, key: &str) -> Option<String> {
        self.heads.get(key).cloned()
    }

    /// Remembers what is at the head of the queue with that key.
    pub(super) fn set_head(&mut self, key: &str, id: Option<String>) {
        set(&mut self.heads, key, id.filter(|id| id.len() <= LONGEST_ID));
    }

    /// The lowest score that the sorted set with that key had.
    pub(super) fn lowest(&self, key: &str) -> Option<f64> {
        self.lowest.get(key).copied()
    }

    /// Remembers the lowest score of the sorted set with that key.
    pub(super) fn set_lowest(&mut self, key: &str, score: Option<f64>) {
        set(&mut self.lowest, key, score);
    }

    /// How many members the set with that key had.
    pub(super) fn members(&self, key: &str) -> u64 {
        self.members.get(key).copied().unwrap_or(0)
    }

    /// Remembers how many members the set with that key has.
    pub(super) fn set_members(&mut self, key: &str, members: Option<u64>) {
        set(&mut self.members, key, members);
    }

    /// The fault about the key's type, if it is remembered.
    pub(super) fn kind(&self, key: &[u8]) -> Option<&Option<Value>> {
        self.kinds.get(key).filter(|(_, since)| since.elapsed() < KIND_STANDS).map(|(kind, _)| kind)
    }

    /// Remembers the fault about the key's type.
    pub(super) fn set_kind(&mut self, key: Vec<u8>, kind: Option<Value>) {
        make_room(&mut self.kinds);
        self.kinds.insert(key, (kind, Instant::now()));
    }

    /// What a task in this key weighs.
    pub(super) fn weight(&self, key: &str) -> Weight {
        self.weights.get(key).copied().unwrap_or_default()
    }

    /// Remembers what a task in this key weighs.
    pub(super) fn set_weight(&mut self, key: &str, weight: Weight) {
        set(&mut self.weights, key, Some(weight));
    }
}

fn set<T>(map: &mut HashMap<String, T>, key: &str, value: Option<T>) {
    let Some(value) = value else {
        map.remove(key);
        return;
    };
    if let Some(known) = map.get_mut(key) {
        *known = value;
        return;
    }
    make_room(map);
    map.insert(key.to_owned(), value);
}

fn make_room<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= MOST_POSITIONS {
        map.clear();
    }
}
