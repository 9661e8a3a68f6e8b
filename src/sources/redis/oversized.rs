//! Queues whose answers are longer than those of others: they are read apart, so that they cost themselves only.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use tokio::time::{Duration, Instant};

use super::layout::Layout;

/// How long one is left alone that was too long even alone; doubled each time.
const REST: Duration = Duration::from_secs(10);

/// How often that is doubled: five minutes.
const MOST_DOUBLINGS: u32 = 5;

/// How long one that has an answer like others is read apart all the same.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// Most of them; there are as many triggers.
const MOST: usize = 20_000;

/// Most whose answers were short the last time: queues, workers and limits of all triggers.
const MOST_PROVEN: usize = 100_000;

/// Those that are read apart.
#[derive(Default)]
pub(super) struct Oversized {
    queues: HashMap<Layout, Since>,
    /// Those whose answers were short, by their hashes: a false friend costs one round trip.
    proven: HashSet<u64>,
    hasher: RandomState,
}

struct Since {
    at: Instant,
    /// How often it was too long even alone.
    failures: u32,
}

impl Oversized {
    /// Whether a queue is read apart.
    pub(super) fn has(&self, layout: &Layout) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(layout)
    }

    /// Whether its last answer was short: those go first, so that however many others are long, these are read.
    pub(super) fn is_proven(&self, layout: &Layout) -> bool {
        self.proven.contains(&self.hasher.hash_one(layout))
    }

    /// Whether it is not read at all for now.
    pub(super) fn rests(&self, layout: &Layout) -> bool {
        self.queues.get(layout).is_some_and(|since| {
            let doublings = since.failures.saturating_sub(1).min(MOST_DOUBLINGS);
            since.failures > 0 && since.at.elapsed() < REST * (1 << doublings)
        })
    }

    /// Reads a queue apart from now on.
    pub(super) fn add(&mut self, layout: &Layout) {
        self.proven.remove(&self.hasher.hash_one(layout));
        if let Some(since) = self.queues.get_mut(layout) {
            since.at = Instant::now();
            return;
        }
        if self.queues.len() >= MOST {
            self.queues.clear();
        }
        self.queues.insert(layout.clone(), Since { at: Instant::now(), failures: 0 });
    }

    /// It was too long even alone.
    pub(super) fn failed(&mut self, layout: &Layout) {
        self.add(layout);
        if let Some(since) = self.queues.get_mut(layout) {
            since.failures = since.failures.saturating_add(1);
        }
    }

    /// It was read, and its answer was as long as others'; after a while it is read with them again.
    pub(super) fn was_short(&mut self, layout: &Layout) {
        if self.queues.is_empty() || !self.queues.contains_key(layout) {
            if self.proven.len() >= MOST_PROVEN {
                self.proven.clear();
            }
            self.proven.insert(self.hasher.hash_one(layout));
            return;
        }
        if let Some(since) = self.queues.get_mut(layout) {
            since.failures = 0;
            if since.at.elapsed() >= WATCHED_FOR {
                self.queues.remove(layout);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::reader::LimitScope;

    #[tokio::test(start_paused = true)]
    async fn one_that_is_too_long_even_alone_rests_ever_longer_and_comes_back_when_it_is_short() {
        let (mut oversized, layout) = (Oversized::default(), Layout::Limit(LimitScope::new("a")));
        oversized.add(&layout);
        assert!(oversized.has(&layout) && !oversized.rests(&layout));
        for seconds in [10, 20, 40, 80, 160, 320, 320] {
            oversized.failed(&layout);
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(oversized.rests(&layout), "{seconds}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!oversized.rests(&layout), "{seconds}");
        }
        oversized.was_short(&layout);
        assert!(!oversized.has(&layout));
    }
}
