//! What workers did, minute by minute: the counters and histograms that they keep for everybody to read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::signals::Percentile;
use crate::timestamp::Timestamp;

/// Buckets of an octave: the bounds grow by a fifth from one bucket to the next.
const BUCKETS_AN_OCTAVE: f64 = 4.0;

/// Durations counted in buckets: bucket `i` begins at 2^(i/4) ms, so a percentile is at most 19 % too large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u8, u64>);

/// Everything that the workers of one scope did in one minute. Counters are sums over its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// Minutes since the Unix epoch, in lengths of the protocol's minute.
    pub number: u64,
    /// How long tasks ran that ended in it, throttling included.
    pub durations: Histogram,
    /// How long tasks waited that were taken in it.
    pub waits: Histogram,
    /// Tasks that were done.
    pub done: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Time that slots held a task.
    pub busy: Duration,
    /// Part of it in which a task waited because of a rate limit; `None` if no worker says.
    pub throttled: Option<Duration>,
    /// Part of it in which a task waited for the model's answer.
    pub calling: Duration,
    /// What the provider admitted.
    pub used: Used,
    /// Requests that the provider refused because of a rate limit.
    pub refused: u64,
    /// What the provider said was left, the first time in this minute, by dimension.
    pub remaining: BTreeMap<Dimension, (u64, Timestamp)>,
}

/// What was used of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests that were admitted.
    pub requests: u64,
    /// Tokens sent that count against the limit.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
}

impl Used {
    /// What was used of one dimension; `None` where use does not add up, as for concurrency.
    pub const fn of(self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::RequestsPerMinute | Dimension::RequestsPerDay => Some(self.requests),
            Dimension::InputTokensPerMinute | Dimension::InputTokensPerDay => Some(self.input_tokens),
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => Some(self.output_tokens),
            Dimension::TokensPerMinute | Dimension::TokensPerDay => {
                Some(self.input_tokens.saturating_add(self.output_tokens))
            }
            Dimension::Concurrency => None,
        }
    }

    /// Adds what another used.
    pub const fn add(&mut self, other: Self) {
        let Self { requests, input_tokens, output_tokens } = other;
        self.requests = self.requests.saturating_add(requests);
        self.input_tokens = self.input_tokens.saturating_add(input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(output_tokens);
    }
}

impl Histogram {
    /// The bucket of a duration: floor(4·log2 ms); what is shorter than 1 ms counts as 1 ms.
    pub fn bucket(duration: Duration) -> u8 {
        let millis = (duration.as_secs_f64() * 1_000.0).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded to u8's range")]
        let bucket = (BUCKETS_AN_OCTAVE * millis.log2()).floor().clamp(0.0, f64::from(u8::MAX)) as u8;
        bucket
    }

    /// Counts `times` durations of `bucket`.
    pub fn add(&mut self, bucket: u8, times: u64) {
        let count = self.0.entry(bucket).or_default();
        *count = count.saturating_add(times);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(bucket, times)| self.add(*bucket, *times));
    }

    /// Buckets that are not empty, with their counts, from short to long.
    pub fn buckets(&self) -> impl Iterator<Item = (u8, u64)> {
        self.0.iter().map(|(bucket, times)| (*bucket, *times))
    }

    /// Number of durations.
    pub fn samples(&self) -> u64 {
        self.0.values().fold(0, |sum, times| sum.saturating_add(*times))
    }

    /// The 95th percentile, as the upper bound of its bucket; `None` without samples.
    pub fn percentile(&self) -> Option<Percentile> {
        let samples = self.samples();
        let rank = (samples.saturating_mul(95)).div_ceil(100);
        let mut seen: u64 = 0;
        let (bucket, _) = self.0.iter().find(|(_, times)| {
            seen = seen.saturating_add(**times);
            seen >= rank && rank > 0
        })?;
        let millis = ((f64::from(*bucket) + 1.0) / BUCKETS_AN_OCTAVE).exp2();
        Some(Percentile { p95: Duration::from_secs_f64(millis / 1_000.0), samples })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_never_too_small_and_at_most_a_fifth_too_large(
            millis in prop::collection::vec(1..7_200_000_u64, 1..300),
        ) {
            let mut histogram = Histogram::default();
            let mut sorted = millis;
            sorted.sort_unstable();
            sorted.iter().for_each(|ms| histogram.add(Histogram::bucket(Duration::from_millis(*ms)), 1));
            let rank = (sorted.len() * 95).div_ceil(100);
            let exact = Duration::from_millis(sorted[rank - 1]);
            let seen = histogram.percentile().unwrap();
            prop_assert_eq!(seen.samples, sorted.len() as u64);
            prop_assert!(seen.p95 >= exact, "{:?} {exact:?}", seen.p95);
            prop_assert!(seen.p95.as_secs_f64() <= exact.as_secs_f64() * 1.1893, "{:?} {exact:?}", seen.p95);
        }
    }
}
