//! The requests of one batch: how many at a time, in which order, and for how long.
//!
//! A request that hangs costs itself: it gives up its place to others after a while, it has less time than the batch,
//! and in the next batch it is no longer among the first.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// Of the time of a batch, what all its requests have; the rest is for what is done with the answers.
const ALL: (u32, u32) = (7, 8);

/// Of that, what one request has: of a tick of 5 s, 3 s.
const ONE: (u32, u32) = (6, 7);

/// Of that, for how long a request keeps its place: fifty that hang are all asked in a batch, eight at a time.
const PLACE: (u32, u32) = (1, 16);

/// After so many requests that were answered when they were last made, one comes that was not.
const PROVEN_BEFORE_ONE: usize = 3;

/// How long it is remembered whether a request was answered: a plan that is read at all is read more often. What is
/// remembered is bounded by the requests that can be made within that time.
const REMEMBERED: Duration = Duration::from_secs(120);

/// How the requests of one client are made.
#[derive(Debug)]
pub(super) struct Round {
    /// Requests that are made at a time.
    places: usize,
    /// Requests that may be under way at a time, with those that have given up their place.
    under_way: usize,
    /// Longest time of all requests, however much time the batch has.
    longest: Option<Duration>,
    /// When the batch must have returned; `None` is never.
    deadline: Option<Instant>,
    past: BTreeMap<u64, Past>,
    hasher: RandomState,
}

/// What a request last came to.
#[derive(Clone, Copy, Debug)]
struct Past {
    asked_at: Instant,
    answered: bool,
}

/// When the requests of a batch must be over.
#[derive(Clone, Copy, Debug)]
struct Times {
    until: Instant,
    one: Duration,
    place: Duration,
}

/// What a request came to.
enum Outcome<A> {
    Answered(A),
    /// No answer within the time of one request.
    Late,
    /// There was no time for it, or less than that.
    CutOff,
}

impl Round {
    /// Rounds of so many requests at a time, and of so many in all that may be under way.
    pub(super) fn new(places: usize, under_way: usize) -> Self {
        let (past, hasher) = (BTreeMap::new(), RandomState::new());
        Self { places, under_way, longest: None, deadline: None, past, hasher }
    }

    /// The same, where all requests of a batch take no longer than that.
    pub(super) fn no_longer_than(self, longest: Duration) -> Self {
        Self { longest: Some(longest), ..self }
    }

    /// Says by when the next batch must have returned.
    pub(super) fn answer_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Makes one request for each of `keys`, which are all different, and says what was answered in time. Those that
    /// were answered when they were last made come first, and of equal ones those that were made longest ago.
    pub(super) async fn ask<K, A, F>(
        &mut self,
        keys: Vec<K>,
        request: impl Fn(K) -> F,
    ) -> BTreeMap<K, Option<A>>
    where
        K: Clone + Hash + Ord,
        F: Future<Output = A>,
    {
        let now = Instant::now();
        self.past.retain(|_, past| now.duration_since(past.asked_at) < REMEMBERED);
        let times = self.times(now);
        let places = Semaphore::new(self.places);
        let requests: Vec<_> = self
            .in_order(keys)
            .into_iter()
            .map(|key| {
                let answer = request(key.clone());
                async { (key, made(answer, &places, times).await) }
            })
            .collect();
        let outcomes: Vec<(K, Outcome<A>)> =
            stream::iter(requests).buffer_unordered(self.under_way).collect().await;
        let taken = outcomes.into_iter().map(|(key, outcome)| {
            let (answered, answer) = match outcome {
                Outcome::Answered(answer) => (true, Some(answer)),
                Outcome::Late => (false, None),
                Outcome::CutOff => return (key, None),
            };
            self.past.insert(self.hasher.hash_one(&key), Past { asked_at: now, answered });
            (key, answer)
        });
        taken.collect()
    }

    fn times(&self, now: Instant) -> Option<Times> {
        let left = self.deadline.map(|deadline| part(deadline.duration_since(now), ALL));
        let all = [left, self.longest].into_iter().flatten().min()?;
        Some(Times { until: now + all, one: part(all, ONE), place: part(all, PLACE) })
    }

    /// Those that were answered, in their order, and among them the others: first those that were never made.
    fn in_order<K: Hash>(&self, keys: Vec<K>) -> Vec<K> {
        let past = |key: &K| self.past.get(&self.hasher.hash_one(key));
        let (mut proven, mut others): (Vec<K>, Vec<K>) =
            keys.into_iter().partition(|key| past(key).is_some_and(|past| past.answered));
        // Both are stable: what was made in one batch stays in the order in which it was given.
        proven.sort_by_key(|key| past(key).map(|past| past.asked_at));
        others.sort_by_key(|key| past(key).map(|past| past.asked_at));
        let (mut proven, mut others) = (proven.into_iter(), others.into_iter());
        let mut order = Vec::with_capacity(proven.len() + others.len());
        while proven.len() + others.len() > 0 {
            order.extend(proven.by_ref().take(PROVEN_BEFORE_ONE));
            order.extend(others.next());
        }
        order
    }
}

/// Waits for a place and makes the request, which keeps the place for a while only.
async fn made<A>(answer: impl Future<Output = A>, places: &Semaphore, times: Option<Times>) -> Outcome<A> {
    let Some(Times { until, one, place }) = times else {
        let _place = places.acquire().await;
        return Outcome::Answered(answer.await);
    };
    let Ok(held) = timeout_at(until, places.acquire()).await else { return Outcome::CutOff };
    let late_at = Instant::now() + one;
    let mut answer = pin!(timeout_at(late_at.min(until), answer));
    let answered = match timeout(place, &mut answer).await {
        Ok(answered) => answered,
        Err(_) => {
            drop(held);
            answer.await
        }
    };
    let late = if late_at <= until { Outcome::Late } else { Outcome::CutOff };
    answered.map_or(late, Outcome::Answered)
}

fn part(time: Duration, (numerator, denominator): (u32, u32)) -> Duration {
    time * numerator / denominator
}

#[cfg(test)]
mod tests;
