//! The shared limiter: all workers of one scope ask Redis when their next request may start, and so keep to what the
//! scaler allows them together, in the second and not only in the minute.
//!
//! A waiter reserves its moment and sleeps until then, so waiters go in order and none asks twice. Tokens are reserved
//! by estimate and corrected when the answer is there. While the limit is blocked nobody starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::minutes::Used;
use agent_scaler::workers::keys;
use redis::RedisResult;
use redis::aio::ConnectionManager;
use tokio::time::{Instant, sleep};

use crate::books::Books;

/// Amounts a minute by dimension; for concurrency requests at a time.
pub(crate) type Amounts = BTreeMap<Dimension, f64>;

/// Bursts are what fills up in this part of a minute: a second of a minute.
const BURST: u32 = 60;

/// Reservations reach at most this part of a minute ahead: 30 s. Who would wait longer asks again then, because by
/// that time the share may be another.
const AHEAD: u32 = 2;

/// Pauses after a refusal are at least and at most this part of a minute: 1 s and 5 s. The bucket of the provider fills
/// up in a pause, so that the next refusal is not around the corner.
const SHORTEST_PAUSE: u32 = 60;
const LONGEST_PAUSE: u32 = 12;

/// The part of a minute's tokens that requests under way may ask for together. Providers take the longest answer that a
/// request allows out of the bucket when they admit it, and put back at its end what was not used.
const ASKED_FOR: f64 = 0.9;

/// Waits while Redis cannot be asked, and while there is no room for one more request at a time.
const RETRY: Duration = Duration::from_millis(200);

/// The limiter of one worker scope on one limit.
pub(crate) struct Limiter {
    connection: ConnectionManager,
    books: Arc<Books>,
    limit: String,
    /// The reservations of this scope.
    pace: String,
    /// The requests under way of this scope.
    under_way: String,
    minute: Duration,
    /// How long a request may be under way before its place is free again whatever became of it.
    longest: Duration,
    amounts: Mutex<Amounts>,
}

/// What a request was admitted for.
pub(crate) struct Admission {
    limiter: Option<Arc<Limiter>>,
    reserved: Used,
    /// Its name among the requests under way, where they are counted.
    name: Option<String>,
    /// How long it waited.
    pub(crate) waited: Duration,
}

/// An answer of the script that reserves.
enum Turn {
    /// At this time from now.
    In(Duration),
    /// Not reserved: ask again after this time.
    AskIn(Duration),
}

/// Redis's time, the end of the block, and when somebody was last refused.
type BlockSaid = ((u64, u64), (Option<u64>, Option<u64>));

impl Limiter {
    pub(crate) fn new(
        connection: ConnectionManager,
        books: Arc<Books>,
        limit: &str,
        scope: &str,
        minute: Duration,
        longest: Duration,
        amounts: Amounts,
    ) -> Self {
        // The limit's name is the hash tag, as it is for the limit itself: in a cluster one script sees both.
        let pace = format!("agent-scaler:pace:{{{limit}}}:{scope}");
        Self {
            connection,
            books,
            limit: keys::limit(limit),
            under_way: format!("{pace}:under-way"),
            pace,
            minute,
            longest,
            amounts: Mutex::new(amounts),
        }
    }

    /// Keeps to these amounts from now on.
    pub(crate) fn keep_to(&self, share: &Amounts) {
        if let Ok(mut amounts) = self.amounts.lock() {
            amounts.clone_from(share);
        }
    }

    /// Whether there is anything to keep to.
    pub(crate) fn paces(&self) -> bool {
        self.amounts.lock().is_ok_and(|amounts| !amounts.is_empty())
    }

    /// Waits until a request may start that will use about this much, and this much at most.
    pub(crate) async fn admit(self: &Arc<Self>, estimate: Used, most: Used) -> Admission {
        let asked = Instant::now();
        self.turn(estimate).await;
        let name = self.enter(most).await;
        Admission { limiter: Some(Arc::clone(self)), reserved: estimate, name, waited: asked.elapsed() }
    }

    /// Waits for the moment of a request.
    async fn turn(&self, estimate: Used) {
        let mut given_up = Used::default();
        loop {
            match self.reserve(estimate, given_up).await {
                Ok(Turn::In(wait)) if wait.is_zero() => return,
                Ok(Turn::In(wait)) => {
                    self.wait(wait).await;
                    // Somebody was refused in the meantime: ask for a moment after the block.
                    if !self.is_blocked().await {
                        return;
                    }
                    given_up = estimate;
                }
                Ok(Turn::AskIn(wait)) => {
                    given_up = Used::default();
                    self.wait(wait).await;
                }
                // Nobody starts unpaced. Without Redis a step cannot be kept either.
                Err(error) => {
                    tracing::debug!(%error, "The limiter cannot ask Redis.");
                    self.wait(jittered(RETRY)).await;
                }
            }
        }
    }

    async fn wait(&self, time: Duration) {
        let _waiting = self.books.waits();
        sleep(time).await;
    }

    async fn reserve(&self, estimate: Used, given_up: Used) -> RedisResult<Turn> {
        let longest = self.minute / AHEAD;
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter.lua")).arg(2).arg(&self.pace).arg(&self.limit);
        command.arg(micros(self.minute)).arg(micros(self.minute / BURST)).arg(micros(longest));
        for (dimension, rate) in self.rates() {
            let amount = |used: Used| used.of(dimension).unwrap_or_default();
            command.arg(dimension.label()).arg(rate).arg(amount(estimate)).arg(amount(given_up));
        }
        let (reserved, wait): (bool, u64) = command.query_async(&mut self.connection.clone()).await?;
        let wait = Duration::from_micros(wait);
        if reserved {
            return Ok(Turn::In(wait));
        }
        // When it can be reserved, but no later than a reservation reaches.
        let until = wait.saturating_sub(longest).clamp(longest / 10, longest);
        Ok(Turn::AskIn(jittered(until)))
    }

    async fn is_blocked(&self) -> bool {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME").cmd("HMGET").arg(&self.limit).arg(keys::BLOCKED).arg(keys::BLOCKED_SEEN);
        let answer: RedisResult<BlockSaid> = pipeline.query_async(&mut self.connection.clone()).await;
        answer.is_ok_and(|((seconds, micros), (until, refused))| {
            let now = seconds * 1_000 + micros / 1_000;
            // As in `limiter.lua`.
            let is_kept = match refused {
                Some(refused) => now < refused.saturating_add(300_000),
                None => until.is_some_and(|until| until <= now + 600_000),
            };
            is_kept && until.is_some_and(|until| now < until)
        })
    }

    /// How long all workers are to pause after a refusal, if the provider does not want longer.
    pub(crate) async fn pause(&self) -> Duration {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter_pause.lua")).arg(1).arg(&self.pace).arg(micros(self.minute));
        command.arg(micros(self.minute / SHORTEST_PAUSE)).arg(micros(self.minute / LONGEST_PAUSE));
        let pause: RedisResult<u64> = command.query_async(&mut self.connection.clone()).await;
        pause.map_or(self.minute / SHORTEST_PAUSE, Duration::from_micros)
    }

    /// How many requests may be under way that use up to this much each.
    fn places(&self, most: Used) -> Option<f64> {
        let amounts = self.amounts.lock().ok()?;
        let of = |(dimension, amount): (&Dimension, &f64)| match dimension {
            Dimension::Concurrency => Some(*amount),
            Dimension::OutputTokensPerMinute | Dimension::TokensPerMinute => {
                let most = most.of(*dimension).and_then(|most| u32::try_from(most).ok())?;
                Some(ASKED_FOR * amount / f64::from(most.max(1)))
            }
            // Of the others a request takes at once what it uses.
            Dimension::RequestsPerMinute
            | Dimension::InputTokensPerMinute
            | Dimension::RequestsPerDay
            | Dimension::InputTokensPerDay
            | Dimension::OutputTokensPerDay
            | Dimension::TokensPerDay => None,
        };
        amounts.iter().filter_map(of).reduce(f64::min)
    }

    /// Waits for a place among the requests under way, where their number is limited.
    async fn enter(&self, each: Used) -> Option<String> {
        let most = self.places(each)?;
        let name = format!("{:016x}", fastrand::u64(..));
        loop {
            let mut command = redis::cmd("EVAL");
            command.arg(include_str!("limiter_enter.lua")).arg(1).arg(&self.under_way);
            // A share below one request at a time admits one: nothing would ever get on otherwise.
            command.arg(most.floor().max(1.0)).arg(&name).arg(self.longest.as_millis());
            let entered: RedisResult<bool> = command.query_async(&mut self.connection.clone()).await;
            if entered.is_ok_and(|entered| entered) {
                return Some(name);
            }
            self.wait(jittered(RETRY.min(self.minute / 100))).await;
        }
    }

    /// The amounts that are rates.
    fn rates(&self) -> Vec<(Dimension, f64)> {
        let amounts = self.amounts.lock().map(|amounts| amounts.clone()).unwrap_or_default();
        let is_rate = |dimension: Dimension| !dimension.is_daily() && dimension != Dimension::Concurrency;
        // A rate of nothing would wait for ever: the least is one request a day.
        let least = self.minute.as_secs_f64() / 86_400.0;
        amounts
            .into_iter()
            .filter(|(dimension, _)| is_rate(*dimension))
            .map(|(dimension, rate)| (dimension, rate.max(least)))
            .collect()
    }

    /// Corrects a reservation.
    async fn settle(&self, reserved: Used, used: Used) -> RedisResult<()> {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter_settle.lua")).arg(1).arg(&self.pace).arg(micros(self.minute));
        let mut differs = false;
        for (dimension, rate) in self.rates() {
            let amount =
                |of: Used| of.of(dimension).and_then(|amount| i64::try_from(amount).ok()).unwrap_or(0);
            let more = amount(used).saturating_sub(amount(reserved));
            if more != 0 {
                differs = true;
                command.arg(dimension.label()).arg(rate).arg(more);
            }
        }
        if differs { command.exec_async(&mut self.connection.clone()).await } else { Ok(()) }
    }
}

impl Admission {
    /// For a worker without a limit.
    pub(crate) fn free() -> Self {
        Self { limiter: None, reserved: Used::default(), name: None, waited: Duration::ZERO }
    }

    /// The request used this much; nothing if it was refused.
    pub(crate) async fn settle(self, used: Used) {
        if let Some(limiter) = &self.limiter
            && let Err(error) = limiter.settle(self.reserved, used).await
        {
            tracing::debug!(%error, "A reservation could not be corrected.");
        }
    }
}

impl Drop for Admission {
    /// Leaves its place, also when the task is cut off in the middle of a request.
    fn drop(&mut self) {
        if let (Some(limiter), Some(name)) = (self.limiter.take(), self.name.take()) {
            tokio::spawn(async move {
                let mut leave = redis::cmd("ZREM");
                leave.arg(&limiter.under_way).arg(name);
                // Without it the place is free when the request's time is over.
                drop(leave.exec_async(&mut limiter.connection.clone()).await);
            });
        }
    }
}

/// Up to a tenth more, so that those who were turned away together do not come back together.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 + fastrand::f64() / 10.0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
