//! What queries of a metrics server tell of a queue's tasks, and for how long that stands.

use std::time::Duration;

use crate::engine::policy::Policy;
use crate::engine::signals::{Cause, InFlight, Origin, Origins, Percentile, Reading};
use crate::timestamp::Timestamp;

/// How long rates and percentiles stand when nobody tells them any more: as long as the time that they are taken
/// over. What runs changes with every task, and stands no longer than a reading is fresh.
const STANDS: Duration = Duration::from_secs(600);

/// The answer to one query: `None` if it was not asked for, else a value or why there is none.
pub type Told<T> = Option<Result<T, Cause>>;

/// What one look saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queried {
    /// Tasks taken and not finished.
    pub in_flight: Told<u64>,
    /// New tasks per second.
    pub arrivals: Told<f64>,
    /// Mean time that a task holds a slot.
    pub service: Told<Duration>,
    /// 95th percentile of the time that tasks run.
    pub services: Told<Tail>,
    /// 95th percentile of the time that tasks wait to be taken.
    pub waits: Told<Tail>,
}

/// A 95th percentile out of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The percentile, and the number of samples behind it.
    pub percentile: Percentile,
    /// Whether it lies beyond the highest bucket: then it is at least as long as that, and nobody knows how long.
    pub is_at_least: bool,
}

/// What queries told last, each number with its time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queries {
    in_flight: Kept<u64>,
    arrivals: Kept<f64>,
    service: Kept<Duration>,
    services: Kept<Tail>,
    waits: Kept<Tail>,
    /// Why the last look saw nothing at all, if it did not.
    failure: Option<Cause>,
}

/// What one query told last, and why it told nothing since, if it did not.
#[derive(Clone, Debug, PartialEq)]
struct Kept<T> {
    last: Option<(T, Timestamp)>,
    cause: Option<Cause>,
}

/// One query as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it asks for, with its unit.
    pub name: &'static str,
    /// What it told last; `None` if it never told anything.
    pub value: Option<f64>,
    /// When.
    pub at: Option<Timestamp>,
    /// Why it told nothing the last time, or why what it told is not relied upon.
    pub cause: Option<Cause>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { last: None, cause: None }
    }
}

impl<T: Copy> Kept<T> {
    fn take(&mut self, at: Timestamp, told: Told<T>) {
        match told {
            None => {}
            Some(Ok(value)) => *self = Self { last: Some((value, at)), cause: None },
            Some(Err(cause)) => self.cause = Some(cause),
        }
    }

    fn within(&self, time: Duration, now: Timestamp) -> Option<T> {
        self.last.filter(|(_, at)| now.since(*at) <= time).map(|(value, _)| value)
    }

    fn line(&self, name: &'static str, shown: fn(T) -> f64, doubt: fn(T) -> Option<Cause>) -> Option<Line> {
        if self.last.is_none() && self.cause.is_none() {
            return None;
        }
        let (value, at) = (self.last.map(|(value, _)| shown(value)), self.last.map(|(_, at)| at));
        let doubt = self.last.and_then(|(value, _)| doubt(value));
        Some(Line { name, value, at, cause: self.cause.clone().or(doubt) })
    }
}

impl Queries {
    /// Nothing, because of a failure.
    pub fn failed(cause: Cause) -> Self {
        Self { failure: Some(cause), ..Self::default() }
    }

    /// Takes in what was seen at `at`. What was asked for and not told keeps its last value, which grows old.
    pub fn take(&mut self, at: Timestamp, queried: Queried) {
        let Queried { in_flight, arrivals, service, services, waits } = queried;
        self.in_flight.take(at, in_flight);
        self.arrivals.take(at, arrivals);
        self.service.take(at, service);
        self.services.take(at, services);
        self.waits.take(at, waits);
        self.failure = None;
    }

    /// Takes in that a look saw nothing at all.
    pub fn fail(&mut self, cause: Cause) {
        self.failure = Some(cause);
    }

    /// Why the last look saw nothing at all, if it did not.
    pub const fn failure(&self) -> Option<&Cause> {
        self.failure.as_ref()
    }

    /// Every query that was asked, in a fixed order.
    pub fn lines(&self) -> Vec<Line> {
        let Self { in_flight, arrivals, service, services, waits, failure: _ } = self;
        let seconds = |tail: Tail| tail.percentile.p95.as_secs_f64();
        let lines = [
            in_flight.line("in_flight", |tasks| tasks as f64, |_| None),
            arrivals.line("arrivals_per_second", |rate| rate, |_| None),
            service.line("service_seconds", |mean| mean.as_secs_f64(), |_| None),
            services.line("service_p95_seconds", seconds, Tail::doubt),
            waits.line("wait_p95_seconds", seconds, Tail::doubt),
        ];
        lines.into_iter().flatten().collect()
    }

    /// Running tasks by an answer that is fresh; for Jobs by the last answer.
    pub(in crate::engine) fn running(&self, policy: &Policy, now: Timestamp) -> Option<u64> {
        let failed = self.failure.is_some() || self.in_flight.cause.is_some();
        self.in_flight.within(policy.fresh_for, now).filter(|_| policy.workload.is_held() || !failed)
    }

    /// Tasks that ran when that was last told.
    pub(in crate::engine) fn last_running(&self) -> Option<u64> {
        self.in_flight.last.map(|(tasks, _)| tasks)
    }

    /// Mean service time.
    pub(in crate::engine) fn service(&self, now: Timestamp) -> Option<(Duration, Timestamp)> {
        self.service.last.filter(|(_, at)| now.since(*at) <= STANDS)
    }

    /// New tasks per second.
    pub(in crate::engine) fn arrivals(&self, now: Timestamp) -> Option<(f64, Timestamp)> {
        self.arrivals.last.filter(|(_, at)| now.since(*at) <= STANDS)
    }

    /// Puts into a reading of the queue what queries know better.
    pub(in crate::engine) fn put_into(
        &self,
        reading: &mut Reading,
        origins: &mut Origins,
        policy: &Policy,
        now: Timestamp,
    ) {
        if let Some(running) = self.running(policy, now) {
            let seen = reading.in_flight.map(InFlight::tasks);
            if seen.is_none_or(|seen| seen < running) {
                reading.in_flight = Some(InFlight::Known(running));
                origins.in_flight = Origin::Queries;
            }
            reading.is_told_of(running);
        }
        // A time that is at least so long is good for one thing: to break a promise that is shorter.
        let wait = self
            .waits
            .within(STANDS, now)
            .filter(|tail| !tail.is_at_least || tail.percentile.p95 > policy.max_queue_wait);
        if let Some(tail) = wait {
            reading.waits = Some(tail.percentile);
            origins.waits = Origin::Queries;
        }
        if let Some(tail) = self.services.within(STANDS, now).filter(|tail| !tail.is_at_least) {
            reading.services = Some(tail.percentile);
            origins.services = Origin::Queries;
        }
    }
}

impl Tail {
    /// Why it is not relied upon as it is.
    fn doubt(self) -> Option<Cause> {
        let Percentile { p95: _, samples } = self.percentile;
        if self.percentile.known().is_none() {
            return Some(Cause::new(format!("of {samples} samples, fewer than {}", Percentile::ENOUGH)));
        }
        self.is_at_least.then(|| Cause::new("or more: it lies beyond the highest bucket of the histogram"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{policy, queue, seconds};

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn what_is_no_longer_told_keeps_its_value_and_says_why() {
        let mut queries = Queries::default();
        queries.take(START, Queried { in_flight: Some(Ok(7)), ..Queried::default() });
        let cause = Cause::new("no result");
        queries
            .take(START + seconds(5), Queried { in_flight: Some(Err(cause.clone())), ..Queried::default() });
        let line = Line { name: "in_flight", value: Some(7.0), at: Some(START), cause: Some(cause) };
        assert_eq!(queries.lines(), [line]);
        let policy = policy(|_| {});
        assert_eq!(queries.running(&policy, START + seconds(15)), Some(7));
        assert_eq!(queries.running(&policy, START + seconds(16)), None);
        assert_eq!(queries.last_running(), Some(7));
    }

    #[test]
    fn the_larger_of_what_the_queue_and_a_query_say_runs() {
        let mut queries = Queries::default();
        queries.take(START, Queried { in_flight: Some(Ok(7)), ..Queried::default() });
        for (in_flight, merged, origin) in [
            (None, InFlight::Known(7), Origin::Queries),
            (Some(InFlight::Known(3)), InFlight::Known(7), Origin::Queries),
            (Some(InFlight::Estimated(3)), InFlight::Known(7), Origin::Queries),
            (Some(InFlight::Known(9)), InFlight::Known(9), Origin::Queue),
            (Some(InFlight::Estimated(9)), InFlight::Estimated(9), Origin::Queue),
        ] {
            let (mut reading, mut origins) = (Reading { in_flight, ..queue(1, 0) }, Origins::default());
            queries.put_into(&mut reading, &mut origins, &policy(|_| {}), START);
            assert_eq!((reading.in_flight, origins.in_flight), (Some(merged), origin), "{in_flight:?}");
        }
    }

    #[test]
    fn a_percentile_beyond_the_highest_bucket_breaks_shorter_promises_and_says_nothing_of_others() {
        for (promise, known) in [(9, true), (10, false), (11, false)] {
            let tail = Tail { percentile: Percentile { p95: seconds(10), samples: 100 }, is_at_least: true };
            let mut queries = Queries::default();
            let both = Queried { waits: Some(Ok(tail)), services: Some(Ok(tail)), ..Queried::default() };
            queries.take(START, both);
            let (mut reading, mut origins) = (queue(1, 0), Origins::default());
            let policy = policy(|policy| policy.max_queue_wait = seconds(promise));
            queries.put_into(&mut reading, &mut origins, &policy, START);
            assert_eq!(reading.waits.is_some(), known, "{promise}");
            assert_eq!(reading.services, None, "{promise}");
            let causes: Vec<_> =
                queries.lines().into_iter().map(|line| line.cause.unwrap().to_string()).collect();
            assert_eq!(causes, ["or more: it lies beyond the highest bucket of the histogram"; 2]);
        }
    }

    #[test]
    fn percentiles_stand_for_ten_minutes() {
        let tail = Tail { percentile: Percentile { p95: seconds(10), samples: 100 }, is_at_least: false };
        let mut queries = Queries::default();
        queries.take(
            START,
            Queried { services: Some(Ok(tail)), service: Some(Ok(seconds(4))), ..Queried::default() },
        );
        queries.fail(Cause::new("down"));
        for (after, stands) in [(600, true), (601, false)] {
            let (mut reading, mut origins) = (queue(1, 0), Origins::default());
            queries.put_into(&mut reading, &mut origins, &policy(|_| {}), START + seconds(after));
            assert_eq!(reading.services.is_some(), stands, "{after}");
            assert_eq!(queries.service(START + seconds(after)).is_some(), stands, "{after}");
        }
    }

    #[test]
    fn a_percentile_says_why_it_is_not_relied_upon() {
        let tail = |samples, is_at_least| Tail {
            percentile: Percentile { p95: Duration::from_secs(9), samples },
            is_at_least,
        };
        assert_eq!(tail(20, false).doubt(), None);
        assert_eq!(tail(19, false).doubt(), Some(Cause::new("of 19 samples, fewer than 20")));
        let beyond = "or more: it lies beyond the highest bucket of the histogram";
        assert_eq!(tail(20, true).doubt(), Some(Cause::new(beyond)));
    }
}
