//! Task frameworks on Redis: each a table of commands, keys and what the answers count.
//!
//! A framework is a file with its trigger keys and a [`Preset`]. The names in braces of a row's key are those of trigger
//! keys: `{queue}` stands for each queue that the trigger names, `{prefix}` for one text, and `{namespace:}` for a
//! text and a colon, or for nothing. A switch stands for nothing where it is on, and leaves the row out where it is
//! off. A duration bounds [`Span::Lost`]. `{head}` is the id at the head of the queue, as the read before saw it.

pub(super) mod bullmq;
pub(super) mod celery;
pub(super) mod dramatiq;
mod framework;
pub(super) mod lists;
mod missed;
mod parameters;
mod product;
mod question;
pub(super) mod rq;
pub(super) mod sidekiq;
pub(super) mod sorted_set;
mod tally;
pub(super) mod taskiq;

use crate::fields::{Key, Need};

pub(super) use framework::{Framework, Heads};
pub(super) use parameters::parse;

/// A framework's way to keep queues.
#[derive(Debug)]
pub(super) struct Preset {
    /// Name of the source, and what its queues are called in texts.
    pub(super) name: &'static str,
    /// One line for `agent-scaler keys`.
    pub(super) summary: &'static str,
    /// Its trigger keys; the first names the queues.
    pub(super) keys: &'static [Key],
    /// The key that makes a trigger show its running tasks; `None` where every trigger shows them.
    pub(super) to_show_running: Option<&'static str>,
    /// What to ask, in this order: where tasks come from before where they go, so that one that moves in between is
    /// counted twice for a tick, and never missed.
    pub(super) rows: &'static [Row],
}

/// One command, and what its answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    ask: Ask,
    key: &'static str,
    role: Role,
}

/// A row of a table.
pub(super) const fn row(ask: Ask, key: &'static str, role: Role) -> Row {
    Row { ask, key, role }
}

/// A command that reads one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// Length of a list.
    Llen,
    /// Number of fields of a hash.
    Hlen,
    /// Number of members of a sorted set.
    Zcard,
    /// Number of members of a sorted set whose score lies there.
    Zcount(Span, Clock),
    /// The member of a sorted set with the lowest score, and that score.
    Zrange,
    /// A field of a hash.
    Hget(&'static str),
    /// A text.
    Get,
    /// Whether there is such a key.
    Exists,
    /// Whether a set has this member, which may have names in braces.
    Sismember(&'static str),
    /// The item of a list at this index; negative ones count from the end.
    Lindex(i64),
    /// Number of members of a set.
    Scard,
    /// A field of each hash that a set names, those with the highest number in another field first: what is gone comes
    /// last. The only command here that follows names: it needs Redis 7, the right to read all keys, and a Redis that
    /// is no cluster.
    Sort {
        /// The keys of the hashes, `*` being the name.
        each: &'static str,
        /// The field that orders them.
        by: &'static str,
        /// The field that is returned.
        get: &'static str,
    },
}

/// Where a score lies, in relation to Redis's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Span {
    /// Up to the present.
    Past,
    /// After it.
    Future,
    /// After it, and within the start-up time of a replica.
    Soon,
    /// After that.
    Later,
    /// Longer ago than a worker may keep what it was given.
    Lost,
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Clock {
    /// Seconds since 1970, with or without decimals.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Milliseconds since 1970 times 4,096; the low bits keep the order within a millisecond.
    Millis4096,
}

/// What an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Tasks that a worker could take.
    Ready,
    /// Tasks that are due, or lost by a worker that died, and that the next worker moves to the ready ones.
    Due,
    /// Delayed tasks that will be due within the start-up time.
    Soon,
    /// Delayed tasks that will be due later.
    Delayed,
    /// Delayed tasks of which Redis does not know when they are due. Workers move them, so that one has to be there:
    /// together they weigh one task that is due.
    Asleep,
    /// Tasks that were taken and are not finished.
    InFlight,
    /// The number of processes that may hold running tasks. It bounds the time that asking them takes.
    Members,
    /// Those of them that a worker has had for too long: any other gets them again.
    Lost,
    /// Ready tasks and those in flight together.
    Unfinished,
    /// Tasks that failed for good.
    Dead,
    /// Whether workers take nothing: what waits is then held back, and wakes nobody.
    Paused,
    /// Most tasks that may run at a time.
    Concurrency,
    /// Most tasks that may start in a window of time.
    Rate,
    /// Tasks that have started in this window.
    Started,
    /// The id of the task that is next. One that begins with this marker, if it is not empty, is no task.
    Head(&'static str),
    /// Since when that task has waited.
    Since(Stamp),
}

impl Role {
    /// Whether it counts tasks that need a slot.
    const fn counts(self) -> bool {
        match self {
            Self::Ready
            | Self::Due
            | Self::Soon
            | Self::Asleep
            | Self::InFlight
            | Self::Lost
            | Self::Unfinished => true,
            Self::Delayed
            | Self::Dead
            | Self::Members
            | Self::Paused
            | Self::Concurrency
            | Self::Rate
            | Self::Started
            | Self::Head(_)
            | Self::Since(_) => false,
        }
    }
}

/// How a time is written in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stamp {
    /// Milliseconds since 1970.
    Millis,
    /// As `2026-01-31T08:30:00.5Z`.
    Rfc3339,
    /// As the score of a sorted set.
    Score(Clock),
}

/// The queues of a framework.
const fn queue(help: &'static str, example: &'static str) -> Key {
    Key { name: "queue", need: Need::Required, unit: parameters::NAMES, help, example }
}
