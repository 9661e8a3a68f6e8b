//! How often one owner may have a line of one kind written: whoever can cause an event at will cannot fill a disk.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;
use super::{Reason, count_dropped};
use crate::text::Short;

/// Lines of one owner that may come at once, and how many follow in a second.
const OF_ONE: Allowance = Allowance { burst: 10.0, per_second: 1.0 };

/// The same for all owners together: 20,000 triggers that begin at once are no news one by one.
const OF_ALL: Allowance = Allowance { burst: 2_000.0, per_second: 50.0 };

/// Owners of whom is known what they have said. More share one allowance.
const MOST_OWNERS: usize = 4_096;

/// Seconds after which an owner who says nothing has its whole allowance again, and may be forgotten.
const REFILLED: f64 = OF_ONE.burst / OF_ONE.per_second;

/// Fields that name the owner of an event, in the order in which they count. The first part of a ScaledObject's name
/// is its namespace, which is the owner of all its objects.
const OWNERS: [&str; 5] = ["scaled_object", "namespace", "trigger", "connection", "limit"];

/// A number of lines at once, and a number in a second.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    burst: f64,
    per_second: f64,
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    /// Lines that were left out since the last one that was written.
    left_out: u64,
}

impl Bucket {
    const fn full(allowance: Allowance, at: Instant) -> Self {
        Self { left: allowance.burst, at, left_out: 0 }
    }

    fn refill(&mut self, allowance: Allowance, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + seconds * allowance.per_second).min(allowance.burst);
        self.at = now;
    }
}

/// What all owners have said lately.
#[derive(Debug, Default)]
pub struct Rates {
    owners: HashMap<u64, Bucket>,
    all: Option<Bucket>,
    /// For owners beyond those that are known.
    others: Option<Bucket>,
}

impl Rates {
    /// Whether `owner` may have a line written: then with the number of lines that were left out before it.
    pub fn take(&mut self, owner: &impl Hash, now: Instant) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        owner.hash(&mut hasher);
        let owner = hasher.finish();
        if self.owners.len() >= MOST_OWNERS && !self.owners.contains_key(&owner) {
            self.owners.retain(|_, bucket| {
                now.saturating_duration_since(bucket.at).as_secs_f64() < REFILLED || bucket.left_out > 0
            });
        }
        let full = || Bucket::full(OF_ONE, now);
        let bucket = if self.owners.len() < MOST_OWNERS || self.owners.contains_key(&owner) {
            self.owners.entry(owner).or_insert_with(full)
        } else {
            self.others.get_or_insert_with(full)
        };
        let all = self.all.get_or_insert_with(|| Bucket::full(OF_ALL, now));
        bucket.refill(OF_ONE, now);
        all.refill(OF_ALL, now);
        if bucket.left < 1.0 || all.left < 1.0 {
            bucket.left_out += 1;
            count_dropped(Reason::Rate, 1);
            return None;
        }
        bucket.left -= 1.0;
        all.left -= 1.0;
        Some(std::mem::take(&mut bucket.left_out))
    }
}

/// The layer that lets events pass at their rate. Levels that are for debugging pass always: whoever asks for them
/// wants all of them, and the queue is bounded.
pub(super) struct Limit {
    queue: Arc<Queue>,
    rates: Mutex<Rates>,
}

impl Limit {
    pub(super) const fn new(queue: Arc<Queue>, rates: Rates) -> Self {
        Self { queue, rates: Mutex::new(rates) }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut owner = Owner::default();
        event.record(&mut owner);
        let key = (event.metadata().callsite(), owner.name());
        let passes = self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(&key, Instant::now());
        if let Some(left_out @ 1..) = passes {
            self.queue.left_out(left_out);
        }
        passes.is_some()
    }
}

/// The owner of an event, as its fields name it.
#[derive(Default)]
struct Owner {
    /// Place of the field in `OWNERS`, and the name.
    found: Option<(usize, String)>,
}

impl Owner {
    /// Most characters by which owners differ; longer names share an allowance.
    const LONGEST: usize = 400;

    fn name(&self) -> &str {
        match &self.found {
            Some((0, object)) => object.split('/').next().unwrap_or_default(),
            Some((_, name)) => name,
            None => "",
        }
    }
}

impl Visit for Owner {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Some(place) = OWNERS.iter().position(|name| *name == field.name()) else { return };
        if self.found.as_ref().is_none_or(|(found, _)| place < *found) {
            let mut name = String::new();
            // Writing into a `String` cannot fail.
            let _ = write!(name, "{}", Short { value: format_args!("{value:?}"), longest: Self::LONGEST });
            self.found = Some((place, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_owner_has_a_burst_and_then_one_line_a_second_and_is_told_what_was_left_out() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let passed = (0..1_000).filter(|_| rates.take(&"loud", start).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(rates.take(&"quiet", start), Some(0), "nobody pays for another");
        assert_eq!(rates.take(&"loud", start + Duration::from_secs(1)), Some(990));
        assert_eq!(rates.take(&"loud", start + Duration::from_secs(1)), None);
    }

    #[test]
    fn owners_that_are_invented_are_bounded_together() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let passed = (0..100_000).filter(|owner: &u32| rates.take(owner, start).is_some()).count();
        assert_eq!(passed, 2_000);
        assert!(rates.owners.len() <= MOST_OWNERS);
        let later = start + Duration::from_secs(60);
        let passed = (200_000..300_000).filter(|owner: &u32| rates.take(owner, later).is_some()).count();
        assert!(passed <= 2_000, "{passed}");
        assert!(rates.owners.len() <= MOST_OWNERS);
    }
}
