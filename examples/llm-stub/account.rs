//! One account: its buckets, its conditions, its counts. Pure: the time comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;

use crate::bucket::Bucket;
use crate::conditions::{Command, Conditions, Exhausted};
use crate::counts::Counts;

/// What every account is limited to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) amounts: BTreeMap<Dimension, u64>,
    pub(crate) concurrency: Option<u64>,
    /// What may come at once, as a part of a minute's amount.
    pub(crate) burst: f64,
    pub(crate) minute: Duration,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) input_tokens: u64,
    /// What it will generate.
    pub(crate) output_tokens: u64,
    /// What it might generate, for all the provider knows: `max_tokens`.
    pub(crate) most_output: u64,
}

/// The buckets of one API key.
#[derive(Debug)]
pub(crate) struct Account {
    meters: Vec<Meter>,
    concurrency: Option<u64>,
    pub(crate) conditions: Conditions,
    pub(crate) counts: Counts,
}

/// One limited dimension. What is admitted and what is shown differ while only a part is admitted, or where a
/// burst is not a minute's amount.
#[derive(Debug)]
struct Meter {
    dimension: Dimension,
    limit: u64,
    window: Duration,
    /// What fits in at once, at full capacity.
    burst: f64,
    admits: Bucket,
    shows: Bucket,
    /// Output of requests under way: taken, and not shown as taken before they end.
    held: f64,
}

/// What the headers say of one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) dimension: Dimension,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until it is whole again.
    pub(crate) reset: Duration,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refused {
    /// A bucket does not hold what it needs; it will after `wait`, or never.
    Rate { shown: Shown, wait: Option<Duration> },
    /// Too many at a time.
    Concurrency { limit: u64 },
    /// A budget is used up.
    Budget(Exhausted),
}

impl Refused {
    /// A word for the counts.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Rate { shown, .. } => shown.dimension.label(),
            Self::Concurrency { .. } => Dimension::Concurrency.label(),
            Self::Budget(Exhausted::Quota) => "quota",
            Self::Budget(Exhausted::Spend) => "spend",
        }
    }
}

impl Account {
    pub(crate) fn new(limits: &Limits, conditions: Conditions, now: Duration) -> Self {
        let meters =
            limits.amounts.iter().map(|(dimension, limit)| Meter::new(*dimension, *limit, limits, now));
        let mut account = Self {
            meters: meters.collect(),
            concurrency: limits.concurrency,
            conditions,
            counts: Counts::default(),
        };
        account.apply(now);
        account.meters.iter_mut().for_each(|meter| meter.admits.fill());
        account
    }

    /// Lets time pass: each condition ends exactly when it should, however seldom this is called.
    pub(crate) fn advance(&mut self, now: Duration) {
        while let Some(end) = self.conditions.next_end().filter(|end| *end <= now) {
            self.conditions.end(end);
            self.apply(end);
        }
        self.refill(now);
    }

    /// Begins what a command says.
    pub(crate) fn obey(&mut self, command: &Command, now: Duration) {
        self.advance(now);
        self.conditions.begin(command, now);
        self.apply(now);
    }

    /// Admits a request, or says why not; then it has cost nothing.
    pub(crate) fn admit(&mut self, need: Need, now: Duration) -> Result<(), Refused> {
        self.advance(now);
        if let Some(exhausted) = self.conditions.exhausted() {
            return Err(Refused::Budget(exhausted));
        }
        if let Some(limit) = self.concurrency.filter(|limit| self.counts.running >= *limit) {
            return Err(Refused::Concurrency { limit });
        }
        let short = |meter: &&Meter| !meter.admits.holds(need.of(meter.dimension));
        // Of several that are short, the one that takes longest tells when to come again.
        let wait = |meter: &Meter| meter.admits.wait_for(need.of(meter.dimension));
        let patience = |meter: &&Meter| wait(meter).unwrap_or(Duration::MAX);
        if let Some(meter) = self.meters.iter().filter(short).max_by_key(patience) {
            return Err(Refused::Rate { shown: meter.shown(), wait: wait(meter) });
        }
        for meter in &mut self.meters {
            meter.take(need.of(meter.dimension));
            meter.held += need.output_of(meter.dimension);
        }
        self.counts.running += 1;
        self.counts.most_running = self.counts.most_running.max(self.counts.running);
        Ok(())
    }

    /// Ends a request that generated what it was to.
    pub(crate) fn finish(&mut self, need: Need, now: Duration) {
        self.settle(need, need.output_tokens, now);
    }

    /// Ends a request whose client has gone away: its output costs nothing.
    pub(crate) fn abandon(&mut self, need: Need, now: Duration) {
        self.settle(need, 0, now);
        self.counts.abandoned += 1;
    }

    /// What the headers say.
    pub(crate) fn shown(&mut self, now: Duration) -> Vec<Shown> {
        self.advance(now);
        self.meters.iter().map(Meter::shown).collect()
    }

    fn settle(&mut self, need: Need, output: u64, now: Duration) {
        self.advance(now);
        let used = Need { output_tokens: output, most_output: output, ..need };
        for meter in &mut self.meters {
            let held = need.output_of(meter.dimension);
            meter.held = (meter.held - held).max(0.0);
            let unused = held - used.output_of(meter.dimension);
            meter.admits.give(unused);
            meter.shows.give(unused);
        }
        self.counts.running = self.counts.running.saturating_sub(1);
    }

    fn refill(&mut self, now: Duration) {
        for meter in &mut self.meters {
            meter.admits.advance(now);
            meter.shows.advance(now);
        }
    }

    /// Puts the conditions into effect.
    fn apply(&mut self, now: Duration) {
        let (capacity, external) = (self.conditions.capacity(), self.conditions.external());
        for meter in &mut self.meters {
            let minutes = if meter.dimension.is_daily() { MINUTES_A_DAY } else { 1.0 };
            let others = external.of(meter.dimension) * minutes / meter.window.as_secs_f64();
            let rate = float(meter.limit) / meter.window.as_secs_f64();
            // A bucket of requests that does not hold one would never admit any.
            let least = if capacity > 0.0 { Need::default().of(meter.dimension) } else { 0.0 };
            meter.admits.change((meter.burst * capacity).max(least), rate * capacity - others, now);
            meter.shows.change(float(meter.limit), rate - others, now);
        }
    }
}

/// Minutes of a day, whatever the length of the minute.
const MINUTES_A_DAY: f64 = 1_440.0;

impl Meter {
    fn new(dimension: Dimension, limit: u64, limits: &Limits, now: Duration) -> Self {
        let (window, burst) = if dimension.is_daily() {
            (limits.minute.mul_f64(MINUTES_A_DAY), float(limit))
        } else {
            (limits.minute, float(limit) * limits.burst)
        };
        let rate = float(limit) / window.as_secs_f64();
        Self {
            dimension,
            limit,
            window,
            burst,
            admits: Bucket::full(burst, rate, now),
            shows: Bucket::full(float(limit), rate, now),
            held: 0.0,
        }
    }

    fn take(&mut self, amount: f64) {
        self.admits.take(amount);
        self.shows.take(amount);
    }

    /// Whole numbers, rounded down; the reset follows from them, as it does with the providers.
    fn shown(&self) -> Shown {
        let whole = (self.shows.level() + self.held).floor().clamp(0.0, float(self.limit));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from zero to the limit")]
        let remaining = whole as u64;
        let missing = float(self.limit - remaining) / float(self.limit).max(1.0);
        Shown { dimension: self.dimension, limit: self.limit, remaining, reset: self.window.mul_f64(missing) }
    }
}

impl Need {
    /// What is taken of a dimension.
    fn of(self, dimension: Dimension) -> f64 {
        let input = float(self.input_tokens);
        match dimension {
            Dimension::RequestsPerMinute | Dimension::RequestsPerDay => 1.0,
            Dimension::InputTokensPerMinute | Dimension::InputTokensPerDay => input,
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => self.output_of(dimension),
            Dimension::TokensPerMinute | Dimension::TokensPerDay => input + self.output_of(dimension),
            Dimension::Concurrency => 0.0,
        }
    }

    /// The part of it that is output: of output tokens what is generated, as Anthropic counts, and of all
    /// tokens what might be, as OpenAI does.
    const fn output_of(self, dimension: Dimension) -> f64 {
        match dimension {
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => float(self.output_tokens),
            Dimension::TokensPerMinute | Dimension::TokensPerDay => float(self.most_output),
            Dimension::RequestsPerMinute
            | Dimension::InputTokensPerMinute
            | Dimension::RequestsPerDay
            | Dimension::InputTokensPerDay
            | Dimension::Concurrency => 0.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53")]
const fn float(amount: u64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests;
