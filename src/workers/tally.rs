//! What a worker has counted and not reported yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::minutes::{Histogram, Used};
use crate::timestamp::Timestamp;

/// What a worker did since the last beat that succeeded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How long tasks ran that ended, throttling included.
    pub durations: Histogram,
    /// How long tasks had waited that were taken.
    pub waits: Histogram,
    /// Tasks that were done.
    pub done: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Time that slots held a task; of tasks that still run, too.
    pub busy: Duration,
    /// Part of it in which a task waited because of a rate limit, the pause after a refusal included.
    pub throttled: Duration,
    /// Part of it in which a task waited for the model's answer.
    pub calling: Duration,
    /// Use by requests that the provider answered. An error is not counted, whatever its status.
    pub used: Used,
    /// Requests that the provider refused for a rate or a budget that all requests of the limit share.
    pub refused: u64,
    /// What the provider said was left, the first time since, by dimension.
    pub remaining: BTreeMap<Dimension, (u64, Timestamp)>,
}

impl Tally {
    /// Adds what was counted elsewhere, or later.
    pub fn merge(&mut self, other: &Self) {
        let Self { durations, waits, done, failed, busy, throttled, calling, used, refused, remaining } =
            other;
        self.durations.merge(durations);
        self.waits.merge(waits);
        self.done = self.done.saturating_add(*done);
        self.failed = self.failed.saturating_add(*failed);
        self.busy = self.busy.saturating_add(*busy);
        self.throttled = self.throttled.saturating_add(*throttled);
        self.calling = self.calling.saturating_add(*calling);
        self.used.add(*used);
        self.refused = self.refused.saturating_add(*refused);
        for (dimension, left) in remaining {
            let first = self.remaining.entry(*dimension).or_insert(*left);
            if left.1 < first.1 {
                *first = *left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_everything_and_keeps_the_first_header() {
        let at = Timestamp::from_millis;
        let mut durations = Histogram::default();
        durations.add(3, 1);
        let one = Tally {
            waits: durations.clone(),
            durations,
            done: 1,
            failed: 2,
            busy: Duration::from_micros(500),
            throttled: Duration::from_micros(200),
            calling: Duration::from_micros(100),
            used: Used { requests: 3, input_tokens: 4, output_tokens: 5 },
            refused: 6,
            remaining: BTreeMap::from([(Dimension::RequestsPerMinute, (100, at(1)))]),
        };
        let mut sum = one.clone();
        sum.merge(&Tally {
            remaining: BTreeMap::from([
                (Dimension::RequestsPerMinute, (90, at(2))),
                (Dimension::TokensPerMinute, (7, at(2))),
            ]),
            ..one
        });
        let mut durations = Histogram::default();
        durations.add(3, 2);
        let twice = Tally {
            waits: durations.clone(),
            durations,
            done: 2,
            failed: 4,
            busy: Duration::from_millis(1),
            throttled: Duration::from_micros(400),
            calling: Duration::from_micros(200),
            used: Used { requests: 6, input_tokens: 8, output_tokens: 10 },
            refused: 12,
            remaining: BTreeMap::from([
                (Dimension::RequestsPerMinute, (100, at(1))),
                (Dimension::TokensPerMinute, (7, at(2))),
            ]),
        };
        assert_eq!(sum, twice);
    }
}
