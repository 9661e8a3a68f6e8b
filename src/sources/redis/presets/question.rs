//! One command about one key, and what its answer says.

use std::time::{Duration, UNIX_EPOCH};

use redis::{Pipeline, ServerError, Value};

use super::{Ask, Clock, Role, Row, Span, Stamp};
use crate::sources::redis::answer;
use crate::sources::redis::fault::Fault;
use crate::sources::redis::wrong_type::Purpose;
use crate::timestamp::Timestamp;

/// What a key has where the id at the head of its queue belongs.
pub(super) const HEAD: &str = "\0";

/// Most processes whose busy threads are summed in one answer.
const MOST_PROCESSES: usize = 1_000;

/// Most names of processes that Redis is asked to sort, which takes it 15 ms: all others wait for that.
const MOST_NAMES: u64 = 50_000;

/// A row of a table, with the names that a trigger gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) row: Row,
    pub(super) key: String,
    /// What is looked for in the key, where the command takes such a text.
    member: Option<String>,
    /// The queue that it is about; `None` if it is about all of them.
    pub(super) queue: Option<usize>,
}

/// What an answer says.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A number of tasks, or a yes that is not zero.
    Count(u64),
    /// There is no such field, id or member.
    Nothing,
    /// An id.
    Id(String),
    /// A time.
    At(Timestamp),
}

/// Lengths of time that bound scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spans {
    /// How long a replica takes to start.
    pub(super) start_up: Duration,
    /// How long a worker may keep what it was given before any other gets it.
    pub(super) visibility: Duration,
}

/// A time, in relation to Redis's own.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Now,
    In(Duration),
    Ago(Duration),
}

/// The times that bound scores.
pub(super) trait Times {
    /// The highest score that is due then.
    fn last(&self, clock: Clock, when: When) -> String;
}

impl Question {
    pub(super) const fn new(row: Row, key: String, member: Option<String>, queue: Option<usize>) -> Self {
        Self { row, key, member, queue }
    }

    /// Whether it needs to know the id at the head of its queue.
    pub(super) fn needs_head(&self) -> bool {
        self.key.contains(HEAD)
    }

    /// Whether it is about the lowest score of a sorted set, whose member is a task.
    pub(super) const fn is_lowest(&self) -> bool {
        matches!(self.row.ask, Ask::Zrange)
    }

    /// What that score means.
    pub(super) const fn score_clock(&self) -> Option<Clock> {
        let Role::Since(Stamp::Score(clock)) = self.row.role else { return None };
        if self.is_lowest() { Some(clock) } else { None }
    }

    /// Whether a score is still the lowest, by the numbers of members `below` it and `with` it.
    ///
    /// # Errors
    /// When Redis refuses, or the answers make no sense.
    pub(super) fn still_lowest(
        &self,
        below: &Value,
        with: &Value,
        rights: &dyn Fn() -> String,
    ) -> Result<bool, Fault> {
        let count = |answer: &Value| match answer::refusal(answer) {
            Some(error) => Err(self.refused(error, rights)),
            None => answer::count(answer).ok_or_else(|| Fault::nonsense(&format!("ZCOUNT {}", self.key))),
        };
        Ok(count(below)? == 0 && count(with)? > 0)
    }

    /// Adds the command.
    pub(super) fn ask(&self, times: &dyn Times, spans: Spans, head: &str, pipeline: &mut Pipeline) {
        let key = self.key.replace(HEAD, head);
        let member = self.member.as_deref().unwrap_or_default();
        let command = pipeline.cmd(self.row.ask.name()).arg(key);
        match self.row.ask {
            Ask::Llen | Ask::Hlen | Ask::Zcard | Ask::Scard | Ask::Get | Ask::Exists => {}
            Ask::Zcount(span, clock) => {
                let (low, high) = span.bounds(times, clock, spans);
                command.arg(low).arg(high);
            }
            Ask::Zrange => {
                command.arg(0).arg(0).arg("WITHSCORES");
            }
            Ask::Hget(field) => {
                command.arg(field);
            }
            Ask::Sismember(_) => {
                command.arg(member);
            }
            Ask::Lindex(index) => {
                command.arg(index);
            }
            Ask::Sort { each: _, by, get } => {
                let most = MOST_PROCESSES + 1;
                command.arg("BY").arg(format!("{member}->{by}")).arg("LIMIT").arg(0).arg(most);
                command.arg("GET").arg(format!("{member}->{get}")).arg("DESC");
            }
        }
    }

    /// Reads the answer to it; `rights` tells those that the whole table takes.
    ///
    /// # Errors
    /// When Redis refuses, or the answer makes no sense.
    pub(super) fn read(&self, answer: &Value, rights: &dyn Fn() -> String) -> Result<Told, Fault> {
        let Row { ask, key: _, role } = self.row;
        if let Value::ServerError(error) = answer {
            if self.follows_names() && error.code() == "ERR" {
                return Err(Fault::unfollowed(&self.key, error));
            }
            return Err(self.refused(error, rights));
        }
        let told = match role {
            Role::Head(_) if *answer == Value::Nil => Some(Told::Nothing),
            Role::Head(_) => {
                answer::bytes(answer).map(|id| Told::Id(String::from_utf8_lossy(id).into_owned()))
            }
            Role::Since(stamp) => since(answer, stamp),
            Role::Paused if matches!(ask, Ask::Hget(_)) => (*answer == Value::Nil
                || answer::bytes(answer).is_some())
            .then(|| Told::Count(u64::from(*answer != Value::Nil))),
            Role::Concurrency | Role::Rate | Role::Started => optional(answer),
            Role::InFlight if self.follows_names() => return self.sum(answer),
            Role::Ready
            | Role::Due
            | Role::Soon
            | Role::Delayed
            | Role::Asleep
            | Role::InFlight
            | Role::Members
            | Role::Lost
            | Role::Unfinished
            | Role::Dead
            | Role::Paused => answer::count(answer).map(Told::Count),
        };
        told.ok_or_else(|| self.nonsense())
    }

    /// Whether its command follows the names in a set.
    pub(super) const fn follows_names(&self) -> bool {
        matches!(self.row.ask, Ask::Sort { .. })
    }

    /// Whether its answer is a stored text, which may be of any length, and not a number.
    pub(super) const fn may_be_long(&self) -> bool {
        matches!(self.row.ask, Ask::Hget(_) | Ask::Get | Ask::Lindex(_) | Ask::Sort { .. })
    }

    /// The reason not to ask it, if the set had too many `names` at the last read.
    pub(super) fn too_many(&self, names: u64) -> Option<Fault> {
        (self.follows_names() && names > MOST_NAMES).then(|| {
            Fault::Unexpected(format!(
                "`{}` has more than {MOST_NAMES} members, nearly all of them dead processes, and no more are sorted",
                self.key
            ))
        })
    }

    /// The error in place of an answer.
    fn refused(&self, error: &ServerError, rights: &dyn Fn() -> String) -> Fault {
        let Row { ask, key: template, role: _ } = self.row;
        let purpose = match template {
            "{listName}" => Purpose::WaitingList,
            "{sortedSetName}" => Purpose::DueSet,
            "{processingListName}" => Purpose::RunningList,
            "{processingSortedSetName}" => Purpose::RunningSet,
            "{delayedSortedSetName}" => Purpose::DelayedSet,
            _ => Purpose::Framework,
        };
        Fault::refused(&self.key, ask.kind(), purpose, &rights(), error)
    }

    /// The sum of the numbers that a set's members have.
    fn sum(&self, answer: &Value) -> Result<Told, Fault> {
        let numbers = answer::array(answer).ok_or_else(|| self.nonsense())?;
        // Live processes come first. If the last one is alive, there may be more.
        if numbers.get(MOST_PROCESSES).is_some_and(|last| *last != Value::Nil) {
            return Err(Fault::Unexpected(format!(
                "`{}` names more than {MOST_PROCESSES} live processes, and no more are summed",
                self.key
            )));
        }
        let sum = numbers.iter().try_fold(0_u64, |sum, number| match optional(number)? {
            Told::Count(count) => Some(sum.saturating_add(count)),
            // A process that has given no sign of life for a minute.
            Told::Nothing | Told::Id(_) | Told::At(_) => Some(sum),
        });
        sum.map(Told::Count).ok_or_else(|| self.nonsense())
    }

    fn nonsense(&self) -> Fault {
        Fault::nonsense(&format!("{} {}", self.row.ask.name(), self.key.replace(HEAD, "ID")))
    }
}

/// A number that is written as a text, if there is one.
fn optional(answer: &Value) -> Option<Told> {
    if *answer == Value::Nil {
        return Some(Told::Nothing);
    }
    text(answer)?.parse().ok().map(Told::Count)
}

/// The time that an answer holds, if it holds one.
fn since(answer: &Value, stamp: Stamp) -> Option<Told> {
    let at = match stamp {
        Stamp::Millis | Stamp::Rfc3339 if *answer == Value::Nil => None,
        Stamp::Millis => Some(Timestamp::from_millis(text(answer)?.parse().ok()?)),
        Stamp::Rfc3339 => {
            let since = humantime::parse_rfc3339(text(answer)?).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(Timestamp::default() + since)
        }
        Stamp::Score(clock) => answer::lowest(answer)?.and_then(|score| clock.at(score)),
    };
    Some(at.map_or(Told::Nothing, Told::At))
}

fn text(answer: &Value) -> Option<&str> {
    str::from_utf8(answer::bytes(answer)?).ok()
}

impl Ask {
    /// The command.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Llen => "LLEN",
            Self::Hlen => "HLEN",
            Self::Zcard => "ZCARD",
            Self::Zcount(..) => "ZCOUNT",
            Self::Zrange => "ZRANGE",
            Self::Hget(_) => "HGET",
            Self::Get => "GET",
            Self::Exists => "EXISTS",
            Self::Sismember(_) => "SISMEMBER",
            Self::Lindex(_) => "LINDEX",
            Self::Scard => "SCARD",
            Self::Sort { .. } => "SORT_RO",
        }
    }

    /// What it looks for in the key, with names in braces.
    pub(super) const fn member(self) -> Option<&'static str> {
        match self {
            Self::Sismember(member) | Self::Sort { each: member, .. } => Some(member),
            Self::Llen
            | Self::Hlen
            | Self::Zcard
            | Self::Scard
            | Self::Zcount(..)
            | Self::Zrange
            | Self::Hget(_)
            | Self::Get
            | Self::Exists
            | Self::Lindex(_) => None,
        }
    }

    /// The type of key that it reads.
    const fn kind(self) -> &'static str {
        match self {
            Self::Llen | Self::Lindex(_) => "list",
            Self::Hlen | Self::Hget(_) => "hash",
            Self::Zcard | Self::Zcount(..) | Self::Zrange => "sorted set",
            Self::Get | Self::Exists => "text",
            Self::Scard | Self::Sismember(_) | Self::Sort { .. } => "set",
        }
    }
}

impl Span {
    /// The lowest and the highest score, as `ZCOUNT` takes them.
    fn bounds(self, times: &dyn Times, clock: Clock, spans: Spans) -> (String, String) {
        let now = times.last(clock, When::Now);
        let soon = times.last(clock, When::In(spans.start_up));
        match self {
            Self::Past => ("-inf".to_owned(), now),
            Self::Future => (format!("({now}"), "+inf".to_owned()),
            Self::Soon => (format!("({now}"), soon),
            Self::Later => (format!("({soon}"), "+inf".to_owned()),
            Self::Lost => ("-inf".to_owned(), times.last(clock, When::Ago(spans.visibility))),
        }
    }
}

impl Clock {
    /// The highest score that is due at `time`.
    pub(super) fn last(self, time: Timestamp) -> String {
        let millis = time.as_millis();
        match self {
            Self::Seconds => format!("{}.{:03}", millis / 1_000, millis % 1_000),
            Self::Millis => millis.to_string(),
            Self::Millis4096 => millis.saturating_mul(4_096).saturating_add(4_095).to_string(),
        }
    }

    /// The time of a score; `None` if it is none, as zero for "at once" and infinity for "never".
    pub(in crate::sources::redis) fn at(self, score: f64) -> Option<Timestamp> {
        let millis = match self {
            Self::Seconds => score * 1_000.0,
            Self::Millis => score,
            Self::Millis4096 => score / 4_096.0,
        };
        let since = Duration::try_from_secs_f64(millis / 1_000.0).ok().filter(|since| !since.is_zero())?;
        Some(Timestamp::default() + since)
    }
}
