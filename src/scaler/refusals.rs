//! Which refusals are worth a line in the log. KEDA repeats a wrong request for ever, and a peer may vary it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::telemetry::log::rate::Rates;
use crate::text::Short;

/// Refusals that are known to have been logged. Beyond so many the oldest is forgotten, and logged once more.
const KNOWN: usize = 1_000;

/// Most characters of the reason in the log. The answer holds all of it, and `agent-scaler check` more.
const LONGEST_REASON: usize = 400;

/// The refusals that were logged.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    known: BTreeSet<u64>,
    /// The same, the oldest first.
    order: VecDeque<u64>,
    rates: Rates,
}

impl Refusals {
    /// Logs a refusal, unless it was logged before or its namespace has said too much lately.
    pub(super) fn log(&self, namespace: &str, name: &str, reason: &impl Display) {
        // Beyond this length two refusals are one: it bounds what is hashed.
        let reason = Short { value: one_line(&reason.to_string()), longest: LONGEST_REASON }.to_string();
        let Some(left_out) = self.is_news(namespace, &(namespace, name, &reason), Instant::now()) else {
            return;
        };
        let scaled_object = format!("{namespace}/{name}");
        if left_out > 0 {
            tracing::warn!(scaled_object, error = reason, left_out, "Trigger refused.");
        } else {
            tracing::warn!(scaled_object, error = reason, "Trigger refused.");
        }
    }

    /// Whether a refusal is to be logged: then with the number of those of its namespace that were left out before.
    fn is_news(&self, namespace: &str, refusal: &impl Hash, now: Instant) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        refusal.hash(&mut hasher);
        let refusal = hasher.finish();
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.known.contains(&refusal) {
            return None;
        }
        let left_out = logged.rates.take(&namespace, now)?;
        if logged.order.len() >= KNOWN
            && let Some(oldest) = logged.order.pop_front()
        {
            logged.known.remove(&oldest);
        }
        logged.known.insert(refusal);
        logged.order.push_back(refusal);
        Some(left_out)
    }
}

/// Several problems, one after the other.
fn one_line(reason: &str) -> String {
    let mut lines = reason.lines().map(str::trim);
    let subject = lines.next().unwrap_or_default();
    let problems: Vec<&str> = lines.collect();
    format!("{subject} {}", problems.join("; ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_is_news_once_and_many_are_news_at_their_namespaces_rate() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let news = |namespace: &str, number: u32, now| refusals.is_news(namespace, &(namespace, number), now);
        assert_eq!((news("acme", 0, start), news("acme", 0, start)), (Some(0), None));
        let said = (1..100_000).filter(|number| news("acme", *number, start).is_some()).count();
        assert_eq!(said, 9, "the rest of its burst");
        assert_eq!(news("zeta", 1, start), Some(0), "nobody pays for another");
        // What was left out is news when there is room for it.
        assert_eq!(news("acme", 99_999, start + Duration::from_secs(1)), Some(99_990));
    }

    /// A peer that goes round among more refusals than are known has one line a second, and no more.
    #[test]
    fn refusals_that_take_turns_are_bounded_by_the_rate() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let mut said = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            said += (0..2_000).filter(|number: &u32| refusals.is_news("acme", number, now).is_some()).count();
        }
        assert!(said <= 610, "{said} lines in ten minutes");
        assert!(refusals.0.lock().unwrap().known.len() <= KNOWN);
    }
}
