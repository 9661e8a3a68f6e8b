//! What workers use of a limit: all together minute by minute, and each trigger for one slot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::limit::policy::UsePerTask;
use crate::engine::minutes::{Minute, Used};
use crate::engine::signals::Quality;

/// Minutes that make a measurement: long enough for rare calls, short enough to follow a change.
const MINUTES: usize = 10;

/// Fewest requests and slot-minutes that make a measurement.
const ENOUGH_REQUESTS: u64 = 20;
const ENOUGH_SLOT_MINUTES: f64 = 1.0;

/// Minutes whose use by others is averaged, and the fewest that make a mean.
const MINUTES_OF_OTHERS: usize = 5;
const ENOUGH_MINUTES_OF_OTHERS: usize = 3;

/// Part of a limit from which on a bucket counts as full: what it overflowed cannot be told.
const FULL: f64 = 0.95;

/// Part of a limit below which use by others is noise: providers round what they print.
const NOISE: f64 = 0.05;

/// How many times more or less than what is known the use of others may be and still stand for it: tasks of one kind
/// differ by less.
const FAR: f64 = 4.0;

/// Saturation from which on use per slot says less than it should, because calls wait.
pub(super) const SATURATED: f64 = 0.8;

/// The minutes of a limit, all its workers together. Two triggers on one scope share its minutes: they count once.
pub(super) fn together<'a>(scopes: impl Iterator<Item = &'a [Arc<Minute>]>) -> BTreeMap<u64, Minute> {
    let mut all: BTreeMap<u64, Minute> = BTreeMap::new();
    for minute in scopes.flatten() {
        let sum =
            all.entry(minute.number).or_insert_with(|| Minute { number: minute.number, ..Minute::default() });
        sum.used.add(minute.used);
        sum.refused = sum.refused.saturating_add(minute.refused);
        sum.busy = sum.busy.saturating_add(minute.busy);
        for (dimension, said) in &minute.remaining {
            let first = sum.remaining.entry(*dimension).or_insert(*said);
            if said.1 < first.1 {
                *first = *said;
            }
        }
    }
    all
}

/// Use by others of a bucket that refills continuously, a minute, in the minute before `number`.
///
/// What left the bucket between the first answers of two minutes, less our own use. Below zero where calls that
/// were counted in this minute had left the bucket in the one before: only a sum over minutes tells. `None` where the bucket was
/// full, because nobody sees what overflows, and where the provider did not say.
///
/// `seen` holds the headers, and `all` the use of all our workers.
fn by_others(
    seen: &BTreeMap<u64, Minute>,
    all: &BTreeMap<u64, Minute>,
    number: u64,
    dimension: Dimension,
    limit: f64,
    length: Duration,
) -> Option<f64> {
    let earlier = number.checked_sub(1)?;
    let (before, after) = (seen.get(&earlier)?, seen.get(&number)?);
    let (left_before, at_before) = *before.remaining.get(&dimension)?;
    let (left_after, at_after) = *after.remaining.get(&dimension)?;
    let passed = at_after.since(at_before).as_secs_f64() / length.as_secs_f64();
    if passed <= 0.0 || left_after as f64 >= FULL * limit {
        return None;
    }
    let left_the_bucket = left_before as f64 + limit * passed - left_after as f64;
    Some(left_the_bucket / passed - all.get(&earlier)?.used.of(dimension)? as f64)
}

/// Mean use by others over the last minutes up to `number` whose headers in `seen` tell it; zero where too few do.
/// `all` is the use of all our workers.
pub(super) fn others(
    seen: &BTreeMap<u64, Minute>,
    all: &BTreeMap<u64, Minute>,
    number: u64,
    dimension: Dimension,
    limit: f64,
    length: Duration,
) -> f64 {
    let told: Vec<f64> = seen
        .range(..=number)
        .rev()
        .take(MINUTES_OF_OTHERS)
        .filter_map(|(number, _)| by_others(seen, all, *number, dimension, limit, length))
        .collect();
    // Calls that go on over the end of a minute need some of them to cancel out.
    if told.len() < ENOUGH_MINUTES_OF_OTHERS {
        return 0.0;
    }
    let mean = told.iter().sum::<f64>() / told.len() as f64;
    if mean < NOISE * limit { 0.0 } else { mean.min(limit) }
}

/// What one slot of a trigger uses, a minute, by dimension; for concurrency its calls at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UsePerSlot {
    requests: f64,
    input_tokens: f64,
    output_tokens: f64,
    calling: f64,
    pub(super) quality: Quality,
}

impl UsePerSlot {
    /// Measured over the last ten minutes that tell: `is_free` says of a minute's number whether calls did not
    /// have to wait in it. Minutes in which workers report how long they waited tell in any case.
    pub(super) fn measured(
        minutes: &[Arc<Minute>],
        length: Duration,
        is_free: impl Fn(u64) -> bool,
    ) -> Option<Self> {
        let mut used = Used::default();
        let (mut held, mut calling) = (Duration::ZERO, Duration::ZERO);
        let telling = |minute: &&Arc<Minute>| minute.throttled.is_some() || is_free(minute.number);
        for minute in minutes.iter().rev().filter(telling).take(MINUTES) {
            used.add(minute.used);
            held = held.saturating_add(minute.busy.saturating_sub(minute.throttled.unwrap_or_default()));
            calling = calling.saturating_add(minute.calling);
        }
        let slot_minutes = held.as_secs_f64() / length.as_secs_f64();
        if used.requests < ENOUGH_REQUESTS || slot_minutes < ENOUGH_SLOT_MINUTES {
            return None;
        }
        Some(Self {
            requests: used.requests as f64 / slot_minutes,
            input_tokens: used.input_tokens as f64 / slot_minutes,
            output_tokens: used.output_tokens as f64 / slot_minutes,
            // Who does not say how long calls take calls all the time.
            calling: if calling.is_zero() {
                1.0
            } else {
                (calling.as_secs_f64() / held.as_secs_f64()).min(1.0)
            },
            quality: Quality::Measured,
        })
    }

    /// The mean of others on the same limit, which stands for who was not measured yet.
    pub(super) fn mean(measured: &[Self]) -> Option<Self> {
        if measured.is_empty() {
            return None;
        }
        let mean = |of: fn(&Self) -> f64| measured.iter().map(of).sum::<f64>() / measured.len() as f64;
        Some(Self {
            requests: mean(|uses| uses.requests),
            input_tokens: mean(|uses| uses.input_tokens),
            output_tokens: mean(|uses| uses.output_tokens),
            calling: mean(|uses| uses.calling),
            quality: Quality::Estimated,
        })
    }

    /// What is typical of several namespaces, of which one may report nonsense: of each number the middle one, or the
    /// smaller of two in the middle.
    pub(super) fn typical(means: &[Self]) -> Option<Self> {
        let middle = means.len().checked_sub(1)? / 2;
        let typical = |of: fn(&Self) -> f64| {
            let mut told: Vec<f64> = means.iter().map(of).collect();
            told.sort_by(f64::total_cmp);
            told[middle]
        };
        Some(Self {
            requests: typical(|uses| uses.requests),
            input_tokens: typical(|uses| uses.input_tokens),
            output_tokens: typical(|uses| uses.output_tokens),
            calling: typical(|uses| uses.calling),
            quality: Quality::Estimated,
        })
    }

    /// The same, but no more than a few times from what is known of each number.
    pub(super) fn near(self, known: Self) -> Self {
        let near = |told: f64, known: f64| {
            if known > 0.0 { told.clamp(known / FAR, known * FAR) } else { told }
        };
        Self {
            requests: near(self.requests, known.requests),
            input_tokens: near(self.input_tokens, known.input_tokens),
            output_tokens: near(self.output_tokens, known.output_tokens),
            ..self
        }
    }

    /// What the configuration says of a task, over the time that a task takes.
    pub(super) fn configured(task: UsePerTask, service: Option<Duration>, length: Duration) -> Option<Self> {
        let minutes = service.filter(|service| !service.is_zero())?.as_secs_f64() / length.as_secs_f64();
        if task == UsePerTask::default() {
            return None;
        }
        let a_minute = |amount: Option<f64>| amount.unwrap_or(0.0) / minutes;
        Some(Self {
            requests: a_minute(task.requests),
            input_tokens: a_minute(task.input_tokens),
            output_tokens: a_minute(task.output_tokens),
            calling: 1.0,
            quality: Quality::Estimated,
        })
    }

    /// Nothing is known but that a slot makes at most one call at a time.
    pub(super) const fn of_calls_only() -> Self {
        Self {
            requests: 0.0,
            input_tokens: 0.0,
            output_tokens: 0.0,
            calling: 1.0,
            quality: Quality::Estimated,
        }
    }

    /// What a slot takes of the room of a dimension. A daily budget has room for tasks that end in it, so a slot
    /// takes what one task does.
    pub(super) fn of(&self, dimension: Dimension, service: Option<Duration>, length: Duration) -> f64 {
        let a_minute = match dimension {
            Dimension::RequestsPerMinute | Dimension::RequestsPerDay => self.requests,
            Dimension::InputTokensPerMinute | Dimension::InputTokensPerDay => self.input_tokens,
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => self.output_tokens,
            Dimension::TokensPerMinute | Dimension::TokensPerDay => self.input_tokens + self.output_tokens,
            Dimension::Concurrency => self.calling,
        };
        if dimension.is_daily() {
            a_minute * service.map_or(0.0, |service| service.as_secs_f64() / length.as_secs_f64())
        } else {
            a_minute
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn use_per_slot_is_net_of_throttling_and_frozen_where_calls_wait_unseen() {
        let throttled = minute(1, 30, 10, Some(Duration::from_secs(5 * 60)));
        let uses = UsePerSlot::measured(&[throttled.into()], MINUTE, |_| false).unwrap();
        assert_eq!(uses.of(Dimension::RequestsPerMinute, None, MINUTE), 6.0);

        let free: Arc<Minute> = minute(1, 60, 10, None).into();
        let jammed: Arc<Minute> = minute(2, 30, 10, None).into();
        let uses = UsePerSlot::measured(&[free, jammed], MINUTE, |number| number == 1).unwrap();
        assert_eq!(uses.of(Dimension::RequestsPerMinute, None, MINUTE), 6.0);
    }

    #[test]
    fn too_little_is_no_measurement() {
        assert_eq!(UsePerSlot::measured(&[minute(1, 19, 10, None).into()], MINUTE, |_| true), None);
        assert_eq!(UsePerSlot::measured(&[minute(1, 100, 0, None).into()], MINUTE, |_| true), None);
        assert_eq!(UsePerSlot::measured(&[], MINUTE, |_| true), None);
    }

    #[test]
    fn what_left_the_bucket_without_us_was_taken_by_others() {
        // A bucket of 60 that refills by one a second; we use 40 a minute and somebody else 20.
        let minutes = minutes(&[(1, 30), (2, 30), (3, 30), (4, 30)], 40);
        assert_eq!(of_sixty(&minutes, 4), 20.0);
        assert_eq!(of_sixty(&minutes, 3), 0.0, "two samples");
    }

    #[test]
    fn calls_that_end_a_minute_later_than_they_left_the_bucket_are_nobody_elses() {
        let mut minutes = minutes(&[(1, 30), (2, 30), (3, 30), (4, 30), (5, 30)], 60);
        // Eight calls of the first and of the third minute are counted in the next.
        for (number, minute) in &mut minutes {
            minute.used.requests = if number % 2 == 1 { 52 } else { 68 };
        }
        assert_eq!(of_sixty(&minutes, 5), 0.0);
    }

    #[test]
    fn a_full_bucket_tells_nothing_and_noise_is_nobody() {
        assert_eq!(of_sixty(&minutes(&[(1, 60), (2, 60), (3, 58), (4, 58)], 5), 3), 0.0);
        assert_eq!(of_sixty(&minutes(&[(1, 30), (2, 30), (3, 30), (4, 30)], 58), 4), 0.0);
    }

    #[test]
    fn a_daily_budget_has_room_for_tasks_and_not_for_minutes() {
        let uses = UsePerSlot::measured(&[minute(1, 60, 10, None).into()], MINUTE, |_| true).unwrap();
        let half_an_hour = Some(MINUTE * 30);
        assert_eq!(uses.of(Dimension::RequestsPerDay, half_an_hour, MINUTE), 180.0);
    }

    /// Use of 60 requests a minute by others.
    fn of_sixty(minutes: &BTreeMap<u64, Minute>, number: u64) -> f64 {
        others(minutes, minutes, number, Dimension::RequestsPerMinute, 60.0, MINUTE)
    }

    fn minutes(left: &[(u64, u64)], requests: u64) -> BTreeMap<u64, Minute> {
        let minute = |(number, left): &(u64, u64)| {
            let at = Timestamp::from_millis(number * 60_000);
            let remaining = BTreeMap::from([(Dimension::RequestsPerMinute, (*left, at))]);
            let used = Used { requests, ..Used::default() };
            (*number, Minute { number: *number, used, remaining, ..Minute::default() })
        };
        left.iter().map(minute).collect()
    }

    fn minute(number: u64, requests: u64, slots: u32, throttled: Option<Duration>) -> Minute {
        let used = Used { requests, ..Used::default() };
        Minute { number, used, busy: MINUTE * slots, throttled, ..Minute::default() }
    }
}
