//! Where partitions begin: asked for seldom, because it moves only as records reach the end of their retention.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{Answers, Place};

/// How long a start counts. A group that is behind it by then is seen to be further behind than it is.
const COUNTS: Duration = Duration::from_secs(60);

/// Age from which on a start is asked for when another one must be, so that all are asked for together.
const MAY_BE_RENEWED: Duration = Duration::from_secs(30);

/// Most partitions that are remembered. Beyond it all are forgotten, which costs one request a broker.
const MOST: usize = 500_000;

/// The starts of partitions, as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Starts {
    known: HashMap<Place, (u64, Instant)>,
}

impl Starts {
    /// Those of `places` whose start must be asked for.
    pub(super) fn due(&self, places: Vec<Place>, now: Instant) -> Vec<Place> {
        let is_older = |place: &Place, age| self.known.get(place).is_none_or(|(_, seen)| *seen + age <= now);
        if !places.iter().any(|place| is_older(place, COUNTS)) {
            return Vec::new();
        }
        places.into_iter().filter(|place| is_older(place, MAY_BE_RENEWED)).collect()
    }

    /// Takes in what was answered about `places`.
    pub(super) fn learn(&mut self, places: &[Place], answers: &Answers<u64>, now: Instant) {
        for place in places {
            if let Some(Ok(start)) = answers.get(place) {
                self.set(place, *start, now);
            }
        }
    }

    /// A group has reached the end of `place`: what it commits from now on lies behind the start for a while.
    pub(super) fn reached(&mut self, place: &Place, now: Instant) {
        let start = self.known.get(place).map_or(0, |(start, _)| *start);
        self.set(place, start, now);
    }

    /// The start of `place`, if it is known.
    pub(super) fn of(&self, place: &Place) -> Option<u64> {
        self.known.get(place).map(|(start, _)| *start)
    }

    fn set(&mut self, place: &Place, start: u64, now: Instant) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(place.clone(), (start, now));
    }
}
