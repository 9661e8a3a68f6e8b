//! A token bucket in virtual time: it refills evenly, and is full when nobody uses it.

use std::time::Duration;

/// Sums of small parts may miss a whole number by this much of it.
const SLACK: f64 = 1e-9;

/// An amount that refills. Times are counted from any start, and never run backwards.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    capacity: f64,
    /// What comes back a second, less what others take; negative if they take more.
    rate: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full bucket that refills by `rate` a second.
    pub(crate) const fn full(capacity: f64, rate: f64, at: Duration) -> Self {
        Self { capacity, rate, level: capacity, at }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let level = (self.level + self.rate * passed).min(self.capacity);
        // Others cannot take what is not there; a debt of our own stays.
        self.level = if self.rate < 0.0 { level.max(self.level.min(0.0)) } else { level };
    }

    /// Goes on with another size and rate. What does not fit any more is lost.
    pub(crate) fn change(&mut self, capacity: f64, rate: f64, now: Duration) {
        self.advance(now);
        (self.capacity, self.rate) = (capacity, rate);
        self.level = self.level.min(capacity);
    }

    /// Makes it full.
    pub(crate) const fn fill(&mut self) {
        self.level = self.capacity;
    }

    /// What is there. Negative after more was taken than there was.
    pub(crate) const fn level(&self) -> f64 {
        self.level
    }

    /// Whether `amount` is there.
    pub(crate) fn holds(&self, amount: f64) -> bool {
        self.level + SLACK * self.capacity >= amount
    }

    /// Takes `amount`, whether it is there or not.
    pub(crate) fn take(&mut self, amount: f64) {
        self.level -= amount;
    }

    /// Puts `amount` back, as far as it fits.
    pub(crate) fn give(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.capacity);
    }

    /// How long until `amount` is there, if nobody else takes of it; `None` if it never will be.
    pub(crate) fn wait_for(&self, amount: f64) -> Option<Duration> {
        if self.holds(amount) {
            return Some(Duration::ZERO);
        }
        let possible = amount <= self.capacity * (1.0 + SLACK) && self.rate > 0.0;
        possible.then(|| Duration::from_secs_f64((amount - self.level) / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn an_idle_bucket_refills_to_the_top_and_no_further() {
        let mut bucket = Bucket::full(60.0, 1.0, Duration::ZERO);
        bucket.take(60.0);
        assert!(!bucket.holds(1.0));
        bucket.advance(seconds(30.0));
        assert_eq!(bucket.level(), 30.0);
        bucket.advance(seconds(3_600.0));
        assert_eq!(bucket.level(), 60.0);
    }

    #[test]
    fn a_change_in_between_counts_from_then_on() {
        let mut bucket = Bucket::full(60.0, 1.0, Duration::ZERO);
        bucket.take(60.0);
        bucket.change(24.0, 0.4, seconds(10.0));
        assert_eq!(bucket.level(), 10.0);
        bucket.advance(seconds(20.0));
        assert_eq!(bucket.level(), 14.0);
        bucket.change(60.0, 1.0, seconds(120.0));
        assert_eq!(bucket.level(), 24.0);
        bucket.advance(seconds(130.0));
        assert_eq!(bucket.level(), 34.0);
    }

    #[test]
    fn others_take_what_is_there_and_no_more() {
        let mut bucket = Bucket::full(10.0, -1.0, Duration::ZERO);
        bucket.advance(seconds(4.0));
        assert_eq!(bucket.level(), 6.0);
        bucket.advance(seconds(40.0));
        assert_eq!(bucket.level(), 0.0);
        assert_eq!(bucket.wait_for(1.0), None);
    }

    proptest! {
        /// The bound that makes a bucket: at most the burst, and the rate for as long as it lasted.
        #[test]
        fn no_window_admits_more_than_burst_and_rate_allow(
            rate in 0.1..100.0_f64,
            burst in 1.0..200.0_f64,
            wanted in prop::collection::vec((0.0..3.0_f64, 0.1..20.0_f64), 1..80),
        ) {
            let mut bucket = Bucket::full(burst, rate, Duration::ZERO);
            let mut now = 0.0;
            let mut admitted = Vec::new();
            for (pause, amount) in wanted {
                now += pause;
                bucket.advance(seconds(now));
                if bucket.holds(amount) {
                    bucket.take(amount);
                    admitted.push((now, amount));
                }
                for (begin, (since, _)) in admitted.iter().enumerate() {
                    let sum: f64 = admitted[begin..].iter().map(|(_, amount)| amount).sum();
                    prop_assert!(sum <= burst + rate * (now - since) + 1e-6 * burst, "{sum} since {since}");
                }
            }
        }

        #[test]
        fn the_wait_it_names_is_the_wait_it_takes(
            rate in 0.1..100.0_f64, burst in 1.0..200.0_f64, taken in 0.0..1.0_f64, part in 0.01..1.0_f64,
        ) {
            let mut bucket = Bucket::full(burst, rate, Duration::ZERO);
            bucket.take(burst * taken);
            let amount = burst * part;
            let wait = bucket.wait_for(amount).unwrap();
            if wait > Duration::from_micros(10) {
                let mut early = bucket.clone();
                early.advance(wait.mul_f64(0.99));
                prop_assert!(!early.holds(amount));
            }
            bucket.advance(wait + Duration::from_nanos(10));
            prop_assert!(bucket.holds(amount));
        }
    }
}
