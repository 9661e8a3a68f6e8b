//! The shared limiter: all workers of one scope ask Redis when their next request may start, and so keep to what the
//! scaler allows them together, in the second and not only in the minute.
//!
//! A waiter reserves its moment and sleeps until then, so waiters go in order and none asks twice. Tokens are reserved
//! by estimate and corrected when the answer is there. While the limit is blocked nobody starts, and where nobody knows
//! when a block ends, one request tries and the others wait for what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::limit::{Dimension, LimitSeen};
use agent_scaler::engine::minutes::Used;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys;
use redis::RedisResult;
use redis::aio::ConnectionManager;
use tokio::time::{Instant, sleep};

use crate::admission::Admission;
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

/// Waiting requests check this often whether they still need to wait, as a part of the longest reservation: 30
/// s / 10 = 3 s.
const LOOKS: u32 = 10;

/// The answer of `limiter.lua` for a wait in a block.
const IN_A_BLOCK: i64 = -2;

/// Field with the end of a block that is a guess, because the provider did not say it. `limiter.lua` uses it.
const GUESS: &str = "guess_ms";

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
    /// The requests of this scope that were refused lately.
    refused: String,
    minute: Duration,
    /// How long a request may be under way before its place is free again whatever became of it.
    longest: Duration,
    amounts: Mutex<Amounts>,
}

/// Which requests a refusal because of a rate concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// All requests of the limit, until this time, or until the time that the provider names if that is later.
    All(Timestamp),
    /// Perhaps only the one that was refused. It tries again at this time, or at the provider's if that is
    /// later, and the result decides.
    First(Timestamp),
    /// Only the one that was refused, because others have answers.
    Alone,
}

/// An answer of the script that reserves.
enum Turn {
    /// At this time from now, reserved at that microsecond.
    In { wait: Duration, since: u64 },
    /// At once, to try whether the block with this end is over.
    Try(u64),
    /// Not reserved: ask again after this time.
    AskIn(Duration),
}

/// Redis's time; the end of the block, the time of the last refusal, and the end if it is a guess.
type BlockSaid = ((u64, u64), (Option<u64>, Option<u64>, Option<u64>));

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
            refused: format!("{pace}:refused"),
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
        let tries = self.turn(estimate).await;
        // From here on its place is left on drop, however it ends.
        let mut admission = Admission::of(self, estimate, tries);
        admission.enters(self.enter(most).await, asked.elapsed());
        admission
    }

    /// Waits for the moment of a request; the end of the block that it tries, if it does.
    async fn turn(&self, estimate: Used) -> Option<u64> {
        let mut given_up = Used::default();
        loop {
            match self.reserve(estimate, given_up).await {
                Ok(Turn::Try(end)) => return Some(end),
                Ok(Turn::In { wait, since }) => {
                    if self.stands(wait, since).await {
                        return None;
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

    /// Waits for a reserved moment. `false` if the reservation does not hold any more: a request was refused in
    /// the meantime, or a large request before this one was, which gave its reservation back.
    async fn stands(&self, wait: Duration, since: u64) -> bool {
        let look = self.minute / AHEAD / LOOKS;
        let mut left = wait;
        while look < left {
            self.wait(look).await;
            left -= look;
            if self.is_returned(since).await {
                return false;
            }
        }
        self.wait(left).await;
        wait.is_zero() || self.may_start().await
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
        let rates = self.rates();
        for (dimension, rate) in &rates {
            let amount = |used: Used| used.of(*dimension).unwrap_or_default();
            command.arg(dimension.label()).arg(rate).arg(amount(estimate)).arg(amount(given_up));
        }
        let (reserved, wait, block, since): (bool, u64, i64, u64) =
            command.query_async(&mut self.connection.clone()).await?;
        let wait = Duration::from_micros(wait);
        Ok(match (reserved, u64::try_from(block)) {
            (true, Ok(end)) if end > 0 => Turn::Try(end),
            // Without rates, a random wait spreads the requests that start at the end of a block.
            (true, _) if rates.is_empty() && !wait.is_zero() => {
                let spread = (self.minute / LONGEST_PAUSE).mul_f64(fastrand::f64());
                Turn::In { wait: wait + spread, since }
            }
            (true, _) => Turn::In { wait, since },
            // The time at which it can be reserved, but at most the longest reservation ahead.
            (false, Err(_)) if block == IN_A_BLOCK => {
                Turn::AskIn(jittered(wait.saturating_sub(longest).clamp(longest / LOOKS, longest)))
            }
            (false, Err(_)) => Turn::AskIn(jittered(wait.min(longest / LOOKS / LOOKS))),
            (false, Ok(_)) => Turn::AskIn(jittered(longest / LOOKS)),
        })
    }

    /// Whether a large reservation was given back since then.
    async fn is_returned(&self, since: u64) -> bool {
        let mut ask = redis::cmd("HGET");
        ask.arg(&self.pace).arg("returned");
        let returned: RedisResult<Option<u64>> = ask.query_async(&mut self.connection.clone()).await;
        returned.is_ok_and(|returned| returned > Some(since))
    }

    /// Whether no block keeps a request from starting at the moment that it reserved.
    async fn may_start(&self) -> bool {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME").cmd("HMGET").arg(&self.limit);
        pipeline.arg(keys::BLOCKED).arg(keys::BLOCKED_SEEN).arg(GUESS);
        let said: RedisResult<BlockSaid> = pipeline.query_async(&mut self.connection.clone()).await;
        // Without Redis no block is known.
        let Ok(((seconds, micros), (Some(until), refused, guess))) = said else { return true };
        let now = seconds * 1_000 + micros / 1_000;
        // As in `limiter.lua`, which then says whether this is the request that tries.
        let is_believed = refused.is_some() || until <= now + 600_000;
        let is_guess = guess == Some(until) && now < until + millis(self.minute);
        !is_believed || (until <= now && !is_guess)
    }

    /// Which requests a refusal because of a rate concerns. `request` is the same name for all tries of one
    /// request.
    pub(crate) async fn concerns(
        &self,
        request: &str,
        seen: &LimitSeen,
        admission: &Admission,
        now: Timestamp,
    ) -> Concerns {
        let longest = self.minute / LONGEST_PAUSE;
        // If nothing is left of the limit, the refusal concerns all requests.
        let is_used_up = seen
            .headroom
            .iter()
            .any(|(dimension, headroom)| !dimension.is_daily() && headroom.remaining == Some(0));
        let end = match seen.blocked {
            None => "unknown",
            Some(_) if is_used_up => "certain",
            Some(_) => "named",
        };
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter_refused.lua")).arg(3);
        command.arg(&self.pace).arg(&self.limit).arg(&self.refused).arg(micros(self.minute));
        command.arg(micros(self.minute / SHORTEST_PAUSE)).arg(micros(longest));
        command.arg(request).arg(end).arg(u8::from(admission.is_trial()));
        let judged: RedisResult<(String, u64)> = command.query_async(&mut self.connection.clone()).await;
        match judged {
            Ok((word, _)) if word == "alone" => Concerns::Alone,
            Ok((word, until)) if word == "first" => Concerns::First(Timestamp::from_millis(until)),
            Ok((_, until)) => Concerns::All(Timestamp::from_millis(until)),
            Err(_) => Concerns::All(now + self.minute / SHORTEST_PAUSE),
        }
    }

    /// How long a request lets others start before it, after this many refusals.
    pub(crate) fn step_back(&self, refusals: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(refusals.saturating_sub(1));
        jittered((self.minute / SHORTEST_PAUSE).saturating_mul(doubled).min(self.minute / LONGEST_PAUSE))
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

    /// A request that was under way has ended.
    pub(crate) async fn leave(&self, name: &str) -> RedisResult<()> {
        let mut leave = redis::cmd("ZREM");
        leave.arg(&self.under_way).arg(name);
        leave.exec_async(&mut self.connection.clone()).await
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
    pub(crate) async fn settle(&self, reserved: Used, used: Used, is_answered: bool) -> RedisResult<()> {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter_settle.lua")).arg(1).arg(&self.pace).arg(micros(self.minute));
        command.arg(micros(self.minute / BURST)).arg(u8::from(is_answered));
        let mut differs = is_answered;
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

    /// A request that tried whether a block is over has ended.
    pub(crate) async fn tried(&self, end: u64, is_answered: bool) -> RedisResult<()> {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("limiter_tried.lua")).arg(1).arg(&self.limit);
        command.arg(end).arg(u8::from(is_answered));
        command.exec_async(&mut self.connection.clone()).await
    }
}

/// Up to a tenth more, so that those who were turned away together do not come back together.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 + fastrand::f64() / 10.0)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
