//! Reads what workers report, in the pipeline of the queues.
//!
//! A minute that was over for more than a minute cannot change, so it is asked for once. A question is put
//! before Redis has told its time; the caller estimates it from the answer before. Minutes around the
//! estimate are asked for, and Redis's own time decides which of them count.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

pub use super::answer::Unreadable;
use super::cadence::{Cadence, MINUTES_KEPT};
use super::{answer, keys, limit, minute, presence};
use crate::engine::limit::LimitSeen;
use crate::engine::minutes::Minute;
use crate::engine::signals::Workers;
use crate::timestamp::Timestamp;

/// Commands of one read of a scope whose past minutes are known: the leases, the workers, and the minutes that may
/// still change, which are the last two, the present one and the next.
pub const COMMANDS: usize = 6;

/// Most workers of one scope. Redis gives that many fields in one answer, and says whether there are more.
const MOST_WORKERS: usize = 10_000;

/// Most fields of a minute or a limit, of which the protocol has about 600: two histograms and counters.
const MOST_FIELDS: usize = 1_000;

/// The longest lease that is believed: one written in another unit than milliseconds would never end.
const LONGEST_LEASE: Duration = Duration::from_secs(86_400);

/// How far Redis's clock may fall behind the estimate before the answer counts for nothing.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// Most scopes whose minutes are remembered: as many as a server has triggers. Beyond it all are forgotten,
/// which costs each of them one reading of 30 minutes.
const MOST_SCOPES: usize = 20_000;

/// Workers that report under one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    name: String,
    cadence: Cadence,
}

/// A limit that workers report on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitScope {
    name: String,
}

/// Minutes that cannot change any more, by scope. `None` is a minute without work.
#[derive(Debug, Default)]
pub struct Memory {
    scopes: HashMap<Scope, BTreeMap<u64, Option<Arc<Minute>>>>,
    /// When scopes that nobody reads any more were last looked for.
    swept: Timestamp,
}

/// What was asked about a scope, without which the answers cannot be read.
#[derive(Debug)]
pub struct Asked {
    at: Timestamp,
    minutes: Vec<u64>,
}

impl Scope {
    /// The workers that report under `name`, in minutes of this length.
    pub fn new(name: impl Into<String>, minute: Duration) -> Self {
        Self { name: name.into(), cadence: Cadence::of(minute) }
    }

    /// The name under which they report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds the commands of one read; `at` is Redis's time, as well as it is known.
    pub fn ask(&self, memory: &Memory, at: Timestamp, pipeline: &mut Pipeline) -> Asked {
        let longest = at + LONGEST_LEASE;
        let leases = keys::leases(&self.name);
        pipeline.cmd("ZCOUNT").arg(leases).arg(format!("({}", at.as_millis())).arg(longest.as_millis());
        pipeline.cmd("HSCAN").arg(keys::workers(&self.name)).arg(0).arg("COUNT").arg(beyond(MOST_WORKERS));
        let present = self.cadence.number(at);
        let known = memory.scopes.get(self);
        // The next one too: Redis may begin it before it answers.
        let minutes: Vec<u64> = (first_kept(present)..=present.saturating_add(1))
            .filter(|number| {
                !is_over(*number, present) || known.is_none_or(|known| !known.contains_key(number))
            })
            .collect();
        for number in &minutes {
            pipeline
                .cmd("HSCAN")
                .arg(keys::minute(&self.name, *number))
                .arg(0)
                .arg("COUNT")
                .arg(beyond(MOST_FIELDS));
        }
        Asked { at, minutes }
    }

    /// Reads the answers to those commands, which Redis gave at `now`. Returns the workers' reports, and the
    /// faults of the parts that could not be read: any minute, and the list of workers where leases show the
    /// running tasks.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub fn read(
        &self,
        asked: &Asked,
        answers: &[Value],
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<(Workers, Vec<Unreadable>), Unreadable> {
        if now + MOST_BEHIND < asked.at {
            return Err(Unreadable::ClockWentBack);
        }
        let leases = keys::leases(&self.name);
        let [live, alive, minutes @ ..] = answers else { return Err(Unreadable::Nonsense { key: leases }) };
        let live = answer::count(live, &leases, "sorted set")?;
        let key = keys::workers(&self.name);
        let gone_after = self.cadence.gone_after();
        if minutes.len() < asked.minutes.len() {
            return Err(Unreadable::Nonsense { key });
        }
        let mut unreadable = Vec::new();
        let alive = match answer::fields(alive, &key, MOST_WORKERS) {
            Ok(fields) => fields
                .into_iter()
                .collect::<BTreeMap<_, _>>()
                .into_values()
                .filter_map(|said| presence::read(said, gone_after, now))
                .collect(),
            Err(why) if live > 0 => {
                unreadable.push(why);
                Vec::new()
            }
            Err(why) => return Err(why),
        };
        let fresh = self.minutes(asked, minutes, &mut unreadable);
        // If Redis took its time, the last minute that was asked for is the last that is known.
        let present = self.cadence.number(now);
        let last = asked.minutes.last().map_or(present, |last| present.min(*last));
        let minutes = memory.minutes(self, fresh, present, last, now);
        let workers = Workers { leases: live, alive, minutes, minute: last, unknown: Vec::new() };
        Ok((workers, unreadable))
    }

    fn minutes(
        &self,
        asked: &Asked,
        answers: &[Value],
        unreadable: &mut Vec<Unreadable>,
    ) -> BTreeMap<u64, Option<Arc<Minute>>> {
        let mut minutes = BTreeMap::new();
        for (number, answer) in asked.minutes.iter().zip(answers) {
            let key = keys::minute(&self.name, *number);
            match answer::fields(answer, &key, MOST_FIELDS) {
                Ok(fields) => {
                    let minute = (!fields.is_empty()).then(|| Arc::new(minute::read(*number, &fields)));
                    minutes.insert(*number, minute);
                }
                // The next read asks for it again.
                Err(why) => unreadable.push(why),
            }
        }
        minutes
    }

    /// What one read sends, for people: which minutes it asks for depends on what is known already.
    pub fn commands(&self) -> Vec<String> {
        vec![
            format!("ZCOUNT {} (NOW NOW+1d", keys::leases(&self.name)),
            format!("HSCAN {} 0 COUNT {}", keys::workers(&self.name), beyond(MOST_WORKERS)),
            format!(
                "HSCAN agent-scaler:{{{}}}:m:MINUTE 0 COUNT {}, for the present minute, those beside it and any of \
                 the last {MINUTES_KEPT} that is not known yet",
                self.name,
                beyond(MOST_FIELDS)
            ),
        ]
    }
}

impl LimitScope {
    /// The limit that workers report under `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name under which they report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds the command of one read.
    pub fn ask(&self, pipeline: &mut Pipeline) {
        pipeline.cmd("HSCAN").arg(keys::limit(&self.name)).arg(0).arg("COUNT").arg(beyond(MOST_FIELDS));
    }

    /// Reads the answer to it, which Redis gave at `now`.
    ///
    /// # Errors
    /// When Redis refuses, or the answer makes no sense.
    pub fn read(&self, answers: &[Value], now: Timestamp) -> Result<LimitSeen, Unreadable> {
        let key = keys::limit(&self.name);
        let answer = answers.first().unwrap_or(&Value::Nil);
        Ok(limit::read(&answer::fields(answer, &key, MOST_FIELDS)?, now))
    }
}

impl Memory {
    /// The minutes that are kept, up to `last`: the `fresh` ones, and those that are remembered. Remembers
    /// those that cannot change any more.
    fn minutes(
        &mut self,
        scope: &Scope,
        fresh: BTreeMap<u64, Option<Arc<Minute>>>,
        present: u64,
        last: u64,
        now: Timestamp,
    ) -> Vec<Arc<Minute>> {
        self.sweep(now);
        if self.scopes.len() >= MOST_SCOPES && !self.scopes.contains_key(scope) {
            self.scopes.clear();
        }
        if !self.scopes.contains_key(scope) {
            self.scopes.insert(scope.clone(), BTreeMap::new());
        }
        let mut all = fresh;
        if let Some(known) = self.scopes.get_mut(scope) {
            known.retain(|number, _| first_kept(last) <= *number && is_over(*number, present));
            all.extend(known.iter().map(|(number, minute)| (*number, minute.clone())));
            known.extend(
                all.range(first_kept(last)..)
                    .filter(|(number, _)| is_over(**number, present))
                    .map(|(number, minute)| (*number, minute.clone())),
            );
        }
        all.range(first_kept(last)..=last).filter_map(|(_, minute)| minute.clone()).collect()
    }

    /// Forgets, twice in the time that minutes are kept, the scopes of which no minute is kept any more.
    fn sweep(&mut self, now: Timestamp) {
        const EVERY: Duration = Duration::from_secs(15 * 60);
        if self.swept <= now && now < self.swept + EVERY {
            return;
        }
        self.swept = now;
        self.scopes.retain(|scope, known| {
            let first = first_kept(scope.cadence.number(now));
            known.last_key_value().is_some_and(|(number, _)| first <= *number)
        });
    }
}

/// How many fields to ask for: Redis stops looking as soon as it has as many, and then says that there may be more.
const fn beyond(most: usize) -> usize {
    most + 1
}

/// The first of the minutes that are kept when `present` is the last.
const fn first_kept(present: u64) -> u64 {
    present.saturating_sub(MINUTES_KEPT - 1)
}

/// Whether nobody writes to a minute any more: it was over before the one before the present began, so
/// that even a worker whose clock is late by a minute is through with it.
const fn is_over(number: u64, present: u64) -> bool {
    number.saturating_add(2) <= present
}

#[cfg(test)]
mod tests;
