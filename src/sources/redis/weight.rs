//! What it costs to look at the tasks in a key: how often those may be fetched that are long.

use tokio::time::{Duration, Instant};

/// What one task may cost before it is fetched less often than it changes.
pub(super) const LIGHT: usize = 64 << 10;

/// How much of heavy tasks is fetched in a second from one key.
const HEAVY_PER_SECOND: usize = 128 << 10;

/// How long a key is left alone whose task was too long to fetch; doubled each time.
const REST: Duration = Duration::from_secs(30);

/// How often that is doubled.
const MOST_DOUBLINGS: u32 = 5;

/// What tasks in one key have cost to fetch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    /// What the last ones cost on average; `None` if none was fetched.
    each: Option<usize>,
    /// How often the answer was too long, without one in between that was not.
    failures: u32,
    fetched: Option<Instant>,
}

impl Weight {
    /// After `count` tasks cost `cost`.
    pub(super) fn fetched(self, count: usize, cost: usize) -> Self {
        let each = cost.checked_div(count).or(self.each);
        Self { each, failures: 0, fetched: Some(Instant::now()) }
    }

    /// After an answer that was too long.
    pub(super) fn too_long(self) -> Self {
        let failures = self.failures.saturating_add(1);
        Self {
            each: Some(self.each.unwrap_or(LIGHT + 1).max(LIGHT + 1)),
            failures,
            fetched: Some(Instant::now()),
        }
    }

    /// What `count` tasks should cost.
    pub(super) fn of(self, count: usize) -> usize {
        self.each.map_or(LIGHT / 4, |each| each.saturating_mul(count))
    }

    /// How many of `count` tasks should be fetched at a time; at least one.
    pub(super) fn portion(self, count: usize) -> usize {
        let fit = self.each.map_or(count, |each| LIGHT / each.max(1));
        fit.clamp(1, count.max(1))
    }

    /// Whether they are so long that each fetch counts.
    pub(super) fn is_heavy(self) -> bool {
        self.each.is_some_and(|each| each > LIGHT)
    }

    /// Whether they should not be fetched yet.
    pub(super) fn rests(self) -> bool {
        let Some(fetched) = self.fetched else { return false };
        let rest = if self.failures > 0 {
            REST * (1 << (self.failures - 1).min(MOST_DOUBLINGS))
        } else if self.is_heavy() {
            Duration::from_secs((self.each.unwrap_or_default() / HEAVY_PER_SECOND) as u64)
        } else {
            return false;
        };
        fetched.elapsed() < rest
    }

    /// When it was last fetched: who has waited longest comes first.
    pub(super) const fn last(self) -> Option<Instant> {
        self.fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_light_never_rests_and_what_is_heavy_as_long_as_it_is_heavy() {
        let light = Weight::default().fetched(10, 10 * LIGHT);
        assert!(!light.is_heavy() && !light.rests() && light.portion(101) == 1);
        assert_eq!(Weight::default().fetched(10, 10_000).portion(101), 65);
        let heavy = Weight::default().fetched(1, 1 << 20);
        tokio::time::advance(Duration::from_millis(7_999)).await;
        assert!(heavy.is_heavy() && heavy.rests());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!heavy.rests());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_long_is_tried_ever_less_often_but_never_given_up() {
        let mut weight = Weight::default();
        for seconds in [30, 60, 120, 240, 480, 960, 960, 960] {
            weight = weight.too_long();
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert!(weight.rests(), "{seconds}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!weight.rests(), "{seconds}");
        }
        assert!(!weight.fetched(1, 100).is_heavy());
    }
}
