//! Service time and arrival rate out of counters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::policy::Policy;
use crate::engine::queries::Queries;
use crate::engine::reports::Reported;
use crate::engine::signals::{Cause, InFlight, Origin, Origins, Quality, Reading, Signal, Signals, Workers};
use crate::timestamp::Timestamp;

/// Minutes that are remembered: long enough for rare tasks, short enough to follow a change.
const MINUTES: u64 = 10;

/// Fewest completions that make a service time. A single long task would otherwise stand for all.
const ENOUGH_COMPLETIONS: u64 = 20;

/// Longest time between two readings that still says what happened in between.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// What one queue got through in the last ten minutes. It belongs to the queue: triggers share it.
#[derive(Clone, Debug, Default)]
pub struct Throughput {
    last: Option<Sample>,
    minutes: VecDeque<Minute>,
}

/// The counters of one reading.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    in_flight: Option<u64>,
    completed: Option<u64>,
    added: Option<u64>,
}

/// Sums over the readings of one minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: u64,
    slot_seconds: f64,
    completed: u64,
    added: u64,
    /// Time over which `added` was counted.
    counted_seconds: f64,
}

impl Throughput {
    /// Takes in a reading that was made at `at`.
    pub fn observe(&mut self, at: Timestamp, reading: &Reading) {
        let sample = Sample {
            at,
            in_flight: reading.in_flight.map(InFlight::tasks),
            completed: reading.counters.completed,
            added: reading.counters.added,
        };
        // Two readings of one instant say nothing of what lies between: the first one stands.
        if self.last.is_some_and(|last| last.at == at) {
            return;
        }
        let Some(last) = self.last.replace(sample) else { return };
        self.forget_old_minutes(at);
        if started_anew(last.completed, sample.completed) || started_anew(last.added, sample.added) {
            self.minutes.clear();
            return;
        }
        let gap = at.since(last.at);
        if gap.is_zero() || gap > LONGEST_GAP {
            return;
        }
        self.add(last, sample, gap.as_secs_f64());
    }

    fn forget_old_minutes(&mut self, at: Timestamp) {
        let number = at.as_millis() / 60_000;
        while self.minutes.front().is_some_and(|minute| minute.number + MINUTES < number) {
            self.minutes.pop_front();
        }
    }

    fn add(&mut self, last: Sample, sample: Sample, seconds: f64) {
        // Most queues count nothing, and take no memory for it.
        if sample.completed.is_none() && sample.added.is_none() {
            return;
        }
        let number = sample.at.as_millis() / 60_000;
        if self.minutes.back().is_none_or(|minute| minute.number != number) {
            self.minutes.push_back(Minute { number, ..Minute::default() });
        }
        let Some(minute) = self.minutes.back_mut() else { return };
        // Slot-time and completions count only together: their ratio is the service time.
        if let (Some(before), Some(after), Some(done)) =
            (last.in_flight, sample.in_flight, grown(last.completed, sample.completed))
        {
            minute.slot_seconds += (before as f64 + after as f64) / 2.0 * seconds;
            minute.completed = minute.completed.saturating_add(done);
        }
        if let Some(added) = grown(last.added, sample.added) {
            minute.added = minute.added.saturating_add(added);
            minute.counted_seconds += seconds;
        }
    }

    /// Mean service time: slot-seconds over completions (Little's law on the service stage).
    ///
    /// The mean of what completed would be too small after a start, when only short tasks have finished.
    /// Tasks that a worker has fetched ahead count as running. `None` below 20 completions.
    pub fn service(&self) -> Option<Duration> {
        let completed: u64 = self.minutes.iter().map(|minute| minute.completed).fold(0, u64::saturating_add);
        if completed < ENOUGH_COMPLETIONS {
            return None;
        }
        let slot_seconds: f64 = self.minutes.iter().map(|minute| minute.slot_seconds).sum();
        Duration::try_from_secs_f64(slot_seconds / completed as f64).ok().filter(|mean| !mean.is_zero())
    }

    /// New tasks per second. `None` before a minute has been counted.
    pub fn arrivals(&self) -> Option<f64> {
        let seconds: f64 = self.minutes.iter().map(|minute| minute.counted_seconds).sum();
        let added: u64 = self.minutes.iter().map(|minute| minute.added).fold(0, u64::saturating_add);
        (seconds >= 60.0).then(|| added as f64 / seconds)
    }

    /// Everything the engine is told about a trigger with `policy` on this queue, whose workers report `workers`
    /// and of which `queries` tell; each `None` if nobody is asked.
    pub fn signals(
        &self,
        policy: &Policy,
        queue: Signal<Reading>,
        workers: Option<&Signal<Arc<Workers>>>,
        queries: Option<Arc<Queries>>,
        now: Timestamp,
    ) -> Signals {
        let reported = Reported::of(workers, policy, now);
        let mut origins = Origins::default();
        let asked = queries.as_deref();
        let shows_running = queue.seen().is_some_and(|reading| reading.in_flight.is_some());
        let queue = match queue {
            Signal::Seen { mut value, at, quality } => {
                reported.put_into(&mut value, &mut origins, asked, policy, now);
                Signal::Seen { value, at, quality }
            }
            Signal::Missing(cause) => Signal::Missing(cause),
        };
        let (service, origin) = self.service_of(policy, &reported, asked, now);
        origins.service = origin;
        let (arrivals, origin) = self.arrivals_of(asked, now);
        origins.arrivals = origin;
        let counted = self.last.and_then(|sample| sample.completed).map(|completed| (0, completed));
        // A task may have ended in a minute that could not be read.
        let told = reported.fresh.as_ref().filter(|workers| workers.unknown.is_empty());
        let last_ended = told.map(|workers| workers.last_ended()).or(counted);
        let silent = !shows_running && reported.is_silent(asked, policy, now);
        Signals {
            queue,
            failed: None,
            service,
            arrivals,
            workers: reported.fresh,
            silent,
            last_ended,
            queries,
            origins,
        }
    }

    /// Service time: as workers report it, as a query tells it, as the queue shows it, as the user expects it.
    fn service_of(
        &self,
        policy: &Policy,
        reported: &Reported,
        queries: Option<&Queries>,
        now: Timestamp,
    ) -> (Signal<Duration>, Origin) {
        let at = self.last.map(|sample| sample.at).unwrap_or_default();
        let measured = |value, at| Signal::Seen { value, at, quality: Quality::Measured };
        // What workers report is net of what a rate limit cost them; what others see is not.
        if let Some(value) = reported.fresh.as_ref().and_then(|workers| workers.service()) {
            return (measured(value, at), Origin::Workers);
        }
        if let Some((value, at)) = queries.and_then(|queries| queries.service(now)) {
            return (measured(value, at), Origin::Queries);
        }
        if let Some(value) = self.service() {
            return (measured(value, at), Origin::Queue);
        }
        if let Some(value) = policy.expected_task_duration {
            return (Signal::Seen { value, at, quality: Quality::Estimated }, Origin::Configuration);
        }
        (Signal::Missing(Cause::new("fewer than 20 tasks were seen to finish")), Origin::Queue)
    }

    fn arrivals_of(&self, queries: Option<&Queries>, now: Timestamp) -> (Signal<f64>, Origin) {
        let at = self.last.map(|sample| sample.at).unwrap_or_default();
        let told = queries.and_then(|queries| queries.arrivals(now)).map(|told| (told, Origin::Queries));
        let seen = || self.arrivals().map(|value| ((value, at), Origin::Queue));
        match told.or_else(seen) {
            Some(((value, at), origin)) => (Signal::Seen { value, at, quality: Quality::Measured }, origin),
            None => (Signal::Missing(Cause::new("not counted for a minute yet")), Origin::Queue),
        }
    }
}

/// Whether a counter ran backwards: the stream was deleted, the server lost its data.
fn started_anew(before: Option<u64>, after: Option<u64>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if after < before)
}

fn grown(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after?.checked_sub(before?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::Workload;
    use crate::engine::queries::Queried;
    use crate::engine::signals::{Counters, Tasks};
    use crate::engine::{Memory, want};

    /// Twenty minutes of a stream with 12 slots and tasks of 20 to 100 s, seen through its counters only.
    #[test]
    fn service_time_is_absent_at_first_and_then_within_a_fifth() {
        let mut throughput = Throughput::default();
        let mut plant = Plant::new(12);
        let mut first_known = None;
        for tick in 0..240_u64 {
            let reading = plant.advance(5);
            throughput.observe(Timestamp::from_millis(tick * 5_000), &reading);
            match throughput.service() {
                None => assert!(plant.completed < 20 + 12, "still unknown after {}", plant.completed),
                Some(mean) => {
                    assert!(plant.completed >= 20, "known after {} tasks", plant.completed);
                    first_known.get_or_insert(tick);
                    let error = mean.as_secs_f64() / plant.mean_of_finished() - 1.0;
                    // The first tasks to finish are the short ones, so the plant's own mean needs a while.
                    assert!(tick < 60 || error.abs() <= 0.2, "tick {tick}: off by {error:.2}");
                }
            }
        }
        assert!(first_known.is_some_and(|tick| tick < 60), "{first_known:?}");
    }

    #[test]
    fn a_counter_that_runs_backwards_starts_anew() {
        let mut throughput = Throughput::default();
        for (tick, completed) in [(0, 0), (1, 30), (2, 60)] {
            throughput.observe(at(tick), &counted(4, completed));
        }
        assert!(throughput.service().is_some());
        throughput.observe(at(3), &counted(4, 2));
        assert_eq!(throughput.service(), None);
    }

    #[test]
    fn a_long_silence_counts_for_nothing() {
        let mut throughput = Throughput::default();
        throughput.observe(at(0), &counted(4, 0));
        throughput.observe(at(20), &counted(4, 100));
        assert_eq!(throughput.service(), None);
    }

    #[test]
    fn what_is_older_than_ten_minutes_is_forgotten() {
        let mut throughput = Throughput::default();
        for tick in 0..=12 {
            throughput.observe(at(tick), &counted(4, tick * 10));
        }
        assert!(throughput.service().is_some());
        for tick in 13..=160 {
            throughput.observe(at(tick), &counted(4, 120));
        }
        assert_eq!(throughput.service(), None);
    }

    #[test]
    fn arrivals_are_unknown_for_a_minute_and_then_a_rate() {
        let mut throughput = Throughput::default();
        for tick in 0..=24 {
            let counters = Counters { added: Some(tick * 15), completed: None };
            throughput.observe(at(tick), &Reading { counters, ..Reading::default() });
            assert_eq!(throughput.arrivals().is_some(), tick >= 12, "tick {tick}");
        }
        assert_eq!(throughput.arrivals(), Some(3.0));
    }

    #[test]
    fn workers_tell_what_a_list_cannot_and_their_silence_is_not_idleness() {
        let policy = crate::engine::testing::policy(|_| {});
        let list = Signal::Seen {
            value: Reading { ready: Some(3), ..Reading::default() },
            at: at(0),
            quality: Quality::Measured,
        };
        let told = |leases, read: Timestamp, now| {
            let value = Arc::new(Workers { leases, ..Workers::default() });
            let workers = Signal::Seen { value, at: read, quality: Quality::Measured };
            let signals = Throughput::default().signals(&policy, list.clone(), Some(&workers), None, now);
            (signals.queue.seen().unwrap().in_flight, signals.silent)
        };
        assert_eq!(told(7, at(0), at(3)), (Some(InFlight::Known(7)), false));
        assert_eq!(told(7, at(0), at(4)), (Some(InFlight::Estimated(7)), true));
        assert_eq!(told(0, at(0), at(3)), (None, false), "nobody reports under this name");
    }

    #[test]
    fn old_reports_of_workers_start_no_jobs_and_new_ones_do() {
        let policy = crate::engine::testing::policy(|policy| policy.workload = Workload::Job);
        let told = |read: Timestamp, kept| {
            let kept = Tasks { in_flight: kept, ..Tasks::default() };
            let in_flight = (kept.in_flight > 0).then_some(InFlight::Estimated(kept.in_flight));
            let value = Reading { ready: Some(3), in_flight, kept, ..Reading::default() };
            let queue = Signal::Seen { value, at: at(4), quality: Quality::Measured };
            let value = Arc::new(Workers { leases: 7, ..Workers::default() });
            let workers = Signal::Seen { value, at: read, quality: Quality::Measured };
            let signals = Throughput::default().signals(&policy, queue, Some(&workers), None, at(4));
            want(&policy, &signals, &Memory::default(), at(4)).unwrap().running()
        };
        assert_eq!((told(at(1), 0), told(at(0), 0)), (7, 0));
        assert_eq!((told(at(1), 20), told(at(0), 20)), (7, 0), "the queue itself counts none of its twenty");
        assert_eq!(told(at(1), 2), 7);
    }

    #[test]
    fn a_query_that_failed_starts_no_jobs_for_its_last_answer() {
        let job = crate::engine::testing::policy(|policy| policy.workload = Workload::Job);
        let deployment = crate::engine::testing::policy(|_| {});
        let mut queries = Queries::default();
        queries.take(at(0), Queried { in_flight: Some(Ok(4)), ..Queried::default() });
        assert_eq!((queries.running(&job, at(1)), queries.running(&deployment, at(1))), (Some(4), Some(4)));
        let nothing = Some(Err(Cause::new("no series")));
        let mut partly = queries.clone();
        partly.take(at(1), Queried { in_flight: nothing, ..Queried::default() });
        queries.fail(Cause::new("connection refused"));
        for queries in [queries, partly] {
            assert_eq!((queries.running(&job, at(1)), queries.running(&deployment, at(1))), (None, Some(4)));
        }
    }

    fn at(tick: u64) -> Timestamp {
        Timestamp::from_millis(tick * 5_000)
    }

    fn counted(in_flight: u64, completed: u64) -> Reading {
        let counters = Counters { added: None, completed: Some(completed) };
        Reading { in_flight: Some(InFlight::Known(in_flight)), counters, ..Reading::default() }
    }

    /// Slots that always have a next task, second by second.
    struct Plant {
        left: Vec<u64>,
        lengths: Vec<u64>,
        completed: u64,
        seconds_finished: u64,
        started: u64,
    }

    impl Plant {
        fn new(slots: usize) -> Self {
            let mut plant =
                Self { left: vec![], lengths: vec![], completed: 0, seconds_finished: 0, started: 0 };
            for _ in 0..slots {
                let length = plant.next_length();
                plant.left.push(length);
                plant.lengths.push(length);
            }
            plant
        }

        fn next_length(&mut self) -> u64 {
            self.started += 1;
            20 + self.started * 37 % 81
        }

        fn advance(&mut self, seconds: u64) -> Reading {
            for _ in 0..seconds {
                for slot in 0..self.left.len() {
                    self.left[slot] -= 1;
                    if self.left[slot] == 0 {
                        self.completed += 1;
                        self.seconds_finished += self.lengths[slot];
                        self.lengths[slot] = self.next_length();
                        self.left[slot] = self.lengths[slot];
                    }
                }
            }
            counted(self.left.len() as u64, self.completed)
        }

        fn mean_of_finished(&self) -> f64 {
            self.seconds_finished as f64 / self.completed as f64
        }
    }
}
