//! Reports what one worker does. The reference worker uses it; one in another language does the same with
//! the commands of `docs/worker-protocol.md`.

mod limits;

use std::collections::BTreeSet;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{Pipeline, RedisError, RedisResult, Value, cmd, pipe};

use super::cadence::{Cadence, seconds};
use super::minute::{self, Times};
pub use super::tally::Tally;
use super::{keys, limit, presence};
use crate::engine::limit::{Allowance, Block};
use crate::engine::signals::Worker;
use crate::timestamp::Timestamp;
pub use limits::Standing;

/// Most fields of workers that are looked through for those that are gone.
const MOST_SWEPT: usize = 1_000;

/// Beats between two looks for workers that are gone: half an hour.
const BEATS_A_SWEEP: u64 = 180;

/// Who reports.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name under which the workers of one queue report: the queue's, unless the trigger names another.
    pub scope: String,
    /// Name of the limit that they use, if they use one.
    pub limit: Option<String>,
    /// Names this worker among them, for as long as it lives: its host.
    pub worker: String,
    /// Length of the protocol's minute: 60 s, and shorter only in tests and demonstrations.
    pub minute: Duration,
    /// How long a running task is believed to run without a beat.
    pub lease: Duration,
}

/// What a worker says in one beat.
#[derive(Debug)]
pub struct Beat<'a> {
    /// What it says of itself.
    pub worker: Worker,
    /// The tasks that it runs.
    pub running: &'a [String],
    /// What it did since the last beat that succeeded.
    pub tally: &'a Tally,
}

/// The reports of one worker process.
///
/// The times that it is given should be Redis's: [`time`](Self::time) tells it.
pub struct Reporter {
    connection: ConnectionManager,
    settings: Settings,
    cadence: Cadence,
    /// Tasks that we hold a lease on.
    leased: BTreeSet<String>,
    /// What was counted and did not fill a millisecond yet.
    rest: Rest,
    /// The day for which daily counts of the past were removed.
    day: Option<u64>,
    beats: u64,
    /// When headers were last written.
    sampled: Option<Timestamp>,
    allowance: Option<Allowance>,
}

/// Times that did not fill a millisecond.
#[derive(Clone, Copy, Default)]
struct Rest {
    busy: Duration,
    throttled: Duration,
    calling: Duration,
}

impl Reporter {
    /// Reports through `connection`, which should not be shared: a block of the limit is written by a
    /// transaction that watches its key, and commands of others would end it. Does nothing yet.
    pub fn new(connection: ConnectionManager, settings: Settings) -> Self {
        Self {
            connection,
            cadence: Cadence::of(settings.minute),
            settings,
            leased: BTreeSet::new(),
            rest: Rest::default(),
            day: None,
            beats: 0,
            sampled: None,
            allowance: None,
        }
    }

    /// How often to beat: every sixth of a minute or third of a lease, whichever is shorter.
    pub fn beat_every(&self) -> Duration {
        self.cadence.beat().min(self.settings.lease / 3)
    }

    /// Redis's time, from which a worker learns how far its own clock is off.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn time(&mut self) -> Result<Timestamp, RedisError> {
        let (seconds, micros): (u64, u64) = cmd("TIME").query_async(&mut self.connection).await?;
        Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
    }

    /// Gives a sign of life, renews the leases of what runs, removes those of what does not, and adds what
    /// was done to the present minute: all of it in one transaction.
    ///
    /// # Errors
    /// When Redis could not be reached, or did not take the sign of life, the leases or any of the tally. The
    /// caller keeps the tally and adds it to the next one. If the connection broke after Redis had taken it,
    /// it counts twice, which is better than not at all.
    pub async fn beat(&mut self, beat: &Beat<'_>, now: Timestamp) -> Result<(), RedisError> {
        let Beat { worker, running, tally } = beat;
        let running: BTreeSet<String> = running.iter().cloned().collect();
        let workers = keys::workers(&self.settings.scope);
        let mut pipeline = pipe();
        pipeline.hset(&workers, &self.settings.worker, presence::written(worker, now));
        self.renew(&running, now, &mut pipeline);
        pipeline.cmd("EXPIRE").arg(&workers).arg(seconds(self.cadence.kept()));
        self.send(pipeline, tally, now).await?;
        self.leased = running;
        if self.beats.is_multiple_of(BEATS_A_SWEEP) {
            self.sweep(now).await;
        }
        self.beats += 1;
        Ok(())
    }

    /// A task ends: removes its lease at once, so that nobody takes it for running until the next beat.
    ///
    /// # Errors
    /// When Redis could not be reached. The next beat removes the lease, or it ends by itself.
    pub async fn release(&mut self, task: &str) -> Result<(), RedisError> {
        let lease = keys::lease(&self.settings.worker, task);
        let mut remove = cmd("ZREM");
        remove.arg(keys::leases(&self.settings.scope)).arg(lease);
        let () = remove.query_async(&mut self.connection).await?;
        self.leased.remove(task);
        Ok(())
    }

    /// Says goodbye: counts what is left to count, and removes the worker and its leases.
    ///
    /// # Errors
    /// As for [`beat`](Self::beat). Without it the worker is gone after half a minute all the same.
    pub async fn leave(&mut self, tally: &Tally, now: Timestamp) -> Result<(), RedisError> {
        let mut pipeline = pipe();
        pipeline.hdel(keys::workers(&self.settings.scope), &self.settings.worker);
        self.renew(&BTreeSet::new(), now, &mut pipeline);
        self.send(pipeline, tally, now).await?;
        self.leased.clear();
        self.sweep(now).await;
        Ok(())
    }

    /// Adds the commands that renew the leases of `running`, and remove those of what does not run any more.
    fn renew(&self, running: &BTreeSet<String>, now: Timestamp, pipeline: &mut Pipeline) {
        let Settings { scope, worker, lease, .. } = &self.settings;
        let key = keys::leases(scope);
        if !running.is_empty() {
            let end = (now + *lease).as_millis();
            let renew = pipeline.cmd("ZADD").arg(&key);
            running.iter().for_each(|task| {
                renew.arg(end).arg(keys::lease(worker, task));
            });
            let kept = self.cadence.kept().max(2 * *lease);
            pipeline.cmd("EXPIRE").arg(&key).arg(seconds(kept));
        }
        let ended: Vec<String> =
            self.leased.difference(running).map(|task| keys::lease(worker, task)).collect();
        if !ended.is_empty() {
            pipeline.cmd("ZREM").arg(&key).arg(ended);
        }
        // Leases of workers that crashed, long after they ended.
        let long_ago = (now - self.cadence.kept()).as_millis();
        pipeline.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(long_ago);
    }

    /// Sends `vital` commands and those that count a tally, in one transaction.
    async fn send(&mut self, vital: Pipeline, tally: &Tally, now: Timestamp) -> Result<(), RedisError> {
        let mut pipeline = vital;
        let first = pipeline.len();
        let (times, rest) = self.rest.with(tally);
        let key = keys::minute(&self.settings.scope, self.cadence.number(now));
        minute::write(&key, tally, times, &mut pipeline);
        let counting = first..pipeline.len();
        pipeline.cmd("EXPIRE").arg(&key).arg(seconds(self.cadence.kept()));
        if let Some(scope) = &self.settings.limit {
            let key = keys::limit(scope);
            limit::count(&key, tally.used, now, &mut pipeline);
            if self.day != Some(limit::day_of(now)) {
                let before = limit::day_of(now).saturating_sub(2);
                pipeline
                    .cmd("HDEL")
                    .arg(&key)
                    .arg(&keys::DAILY.map(|dimension| keys::day(before, dimension)));
            }
            pipeline.cmd("EXPIRE").arg(&key).arg(self.limit_is_kept(None, now));
        }
        let answers: Vec<RedisResult<Value>> =
            pipeline.atomic().ignore_errors().query_async(&mut self.connection).await?;
        taken(answers, counting)?;
        self.rest = rest;
        self.day = Some(limit::day_of(now));
        Ok(())
    }

    /// Seconds for which the hash of a limit is kept: at least a day, for the counts of the day.
    fn limit_is_kept(&self, block: Option<Block>, now: Timestamp) -> u64 {
        let block = block.map_or(Duration::ZERO, |block| block.until.since(now));
        seconds(self.cadence.kept().max(limit::DAY).max(block))
    }

    /// Removes workers that have been silent for long. Only tidiness: whoever reads looks at the time.
    async fn sweep(&mut self, now: Timestamp) {
        if let Err(error) = self.remove_silent(now).await {
            tracing::warn!(scope = %self.settings.scope, %error, "workers that are gone could not be removed");
        }
    }

    async fn remove_silent(&mut self, now: Timestamp) -> Result<(), RedisError> {
        let key = keys::workers(&self.settings.scope);
        let mut look = cmd("HSCAN");
        look.arg(&key).arg(0).arg("COUNT").arg(MOST_SWEPT);
        let (_, fields): (String, Vec<(String, String)>) = look.query_async(&mut self.connection).await?;
        // A minute longer than anybody would wait: the clocks of two workers may differ.
        let silence = self.cadence.gone_after() + self.settings.minute;
        let gone = |said: &str| presence::last_seen(said).is_none_or(|seen| silence < now.since(seen));
        let gone: Vec<String> =
            fields.into_iter().filter(|(_, said)| gone(said)).map(|(name, _)| name).collect();
        if gone.is_empty() {
            return Ok(());
        }
        cmd("HDEL").arg(&key).arg(gone).query_async(&mut self.connection).await
    }
}

/// Whether a transaction did what matters. Its commands are independent: one that failed leaves the others done.
///
/// # Errors
/// When the sign of life or the leases were refused, or all that counts. What else was refused can only be a
/// field that somebody filled with nonsense: it is lost with that field, because to count again what the
/// others have counted would be worse.
fn taken(answers: Vec<RedisResult<Value>>, counting: std::ops::Range<usize>) -> Result<(), RedisError> {
    let mut counted = counting.is_empty();
    let mut refused = None;
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(_) => counted |= counting.contains(&index),
            Err(error) if index < counting.start => return Err(error),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) if !counted => Err(error),
        Some(error) => {
            tracing::warn!(%error, "a part of the report was refused");
            Ok(())
        }
        None => Ok(()),
    }
}

impl Rest {
    /// Whole milliseconds of the times of a tally and what was left before, and what is left after.
    fn with(self, tally: &Tally) -> (Times, Self) {
        let (busy, busy_rest) = whole(self.busy + tally.busy);
        let (throttled, throttled_rest) = whole(self.throttled + tally.throttled);
        let (calling, calling_rest) = whole(self.calling + tally.calling);
        let rest = Self { busy: busy_rest, throttled: throttled_rest, calling: calling_rest };
        (Times { busy, throttled, calling }, rest)
    }
}

/// Whole milliseconds, and the rest.
fn whole(time: Duration) -> (u64, Duration) {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    (millis, time.saturating_sub(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_millisecond_in_parts_is_a_millisecond() {
        let mut rest = Rest::default();
        let part = Tally {
            busy: Duration::from_micros(333),
            throttled: Duration::from_micros(1_500),
            calling: Duration::from_nanos(999),
            ..Tally::default()
        };
        let mut sum = (0, 0, 0);
        for _ in 0..1_000 {
            let (times, next) = rest.with(&part);
            rest = next;
            sum = (sum.0 + times.busy, sum.1 + times.throttled, sum.2 + times.calling);
        }
        assert_eq!(sum, (333, 1_500, 0));
        assert_eq!(rest.calling, Duration::from_nanos(999_000));
    }
}
