//! What the reports of workers say about a queue: what runs, how long tasks take and wait.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::minutes::{Histogram, Minute};
use crate::engine::policy::Policy;
use crate::engine::queries::Queries;
use crate::engine::signals::{
    InFlight, Origin, Origins, Percentile, Reading, Signal, Worker, WorkerState, Workers,
};
use crate::timestamp::Timestamp;

/// Minutes that make a service time or a percentile, the present one included.
const MINUTES: u64 = 10;

/// Fewest tasks that make a service time. A single long task would otherwise stand for all.
const ENOUGH_TASKS: u64 = 20;

impl Workers {
    /// Whether anybody reports here what runs. A scope without any key may be misspelt, and says nothing.
    pub fn tell_what_runs(&self) -> bool {
        self.leases > 0 || !self.alive.is_empty() || !self.minutes.is_empty()
    }

    /// Tasks that run: those with a live lease, or those that workers speak of where these are more.
    pub fn running(&self) -> u64 {
        let spoken_of: u64 = self.alive.iter().map(|worker| u64::from(worker.running)).sum();
        self.leases.max(spoken_of)
    }

    /// Replicas that run a task and were not told to go; `None` if workers do not say. Those whose tasks are all
    /// stuck count as one.
    pub fn busy_replicas(&self, stuck_after: Duration, now: Timestamp) -> Option<u32> {
        if self.alive.is_empty() {
            return (self.leases == 0).then_some(0);
        }
        let busy = self.alive.iter().filter(|w| w.running > 0 && w.state != WorkerState::Draining);
        let (stuck, moving): (Vec<&Worker>, Vec<&Worker>) = busy.partition(|w| w.is_stuck(stuck_after, now));
        let replicas = moving.len() + usize::from(!stuck.is_empty());
        Some(u32::try_from(replicas).unwrap_or(u32::MAX))
    }

    /// Running tasks of workers that report progress, and have had none for `stuck_after`.
    pub fn stuck(&self, stuck_after: Duration, now: Timestamp) -> u64 {
        self.alive.iter().filter(|w| w.is_stuck(stuck_after, now)).map(|w| u64::from(w.running)).sum()
    }

    /// Running tasks that were given out three times or more.
    pub fn poison(&self) -> u64 {
        self.alive.iter().map(|worker| u64::from(worker.poison.min(worker.running))).sum()
    }

    /// Mean service time S without waits for a rate limit: slot-time over tasks that ended (Little's law on the
    /// service stage). `None` below 20 tasks.
    pub fn service(&self) -> Option<Duration> {
        let ended = self.recent().map(Minute::ended).fold(0, u64::saturating_add);
        if ended < ENOUGH_TASKS {
            return None;
        }
        let held = self.recent().map(Minute::held).fold(Duration::ZERO, Duration::saturating_add);
        Duration::try_from_secs_f64(held.as_secs_f64() / ended as f64).ok().filter(|mean| !mean.is_zero())
    }

    /// How long tasks waited to be taken.
    pub fn waits(&self) -> Option<Percentile> {
        self.merged(|minute| &minute.waits)
    }

    /// How long tasks ran, waits for a rate limit included.
    pub fn durations(&self) -> Option<Percentile> {
        self.merged(|minute| &minute.durations)
    }

    /// Something that changes whenever a task ends: the last minute in which one did, and how many.
    pub fn last_ended(&self) -> (u64, u64) {
        let last = self.minutes.iter().rev().find(|minute| minute.ended() > 0);
        last.map_or((0, 0), |minute| (minute.number, minute.ended()))
    }

    fn merged(&self, of: fn(&Minute) -> &Histogram) -> Option<Percentile> {
        let mut all = Histogram::default();
        self.recent().for_each(|minute| all.merge(of(minute)));
        all.percentile()
    }

    fn recent(&self) -> impl Iterator<Item = &Minute> {
        let first = self.minute.saturating_sub(MINUTES - 1);
        self.minutes.iter().map(AsRef::as_ref).filter(move |minute| minute.number >= first)
    }
}

impl Minute {
    /// Tasks that ended, well or not: both held a slot.
    pub const fn ended(&self) -> u64 {
        self.done.saturating_add(self.failed)
    }

    /// Slot-time without waits for a rate limit.
    pub fn held(&self) -> Duration {
        self.busy.saturating_sub(self.throttled.unwrap_or_default())
    }
}

impl Worker {
    /// A silent two-hour task is not stuck: only who reports progress can be without it.
    fn is_stuck(&self, stuck_after: Duration, now: Timestamp) -> bool {
        self.running > 0 && self.progress.is_some_and(|progress| now.since(progress) > stuck_after)
    }
}

/// What workers report, with what its age makes of it.
pub(super) struct Reported {
    /// Of late.
    pub(super) fresh: Option<Arc<Workers>>,
    /// Whenever that was.
    last: Option<Arc<Workers>>,
    /// They could be asked once, and lately could not.
    is_old: bool,
}

impl Reported {
    pub(super) fn of(workers: Option<&Signal<Arc<Workers>>>, policy: &Policy, now: Timestamp) -> Self {
        let Some(Signal::Seen { value, at, .. }) = workers else {
            return Self { fresh: None, last: None, is_old: false };
        };
        let is_fresh = now.since(*at) <= policy.fresh_for;
        let last = Some(Arc::clone(value)).filter(|workers| workers.tell_what_runs());
        Self { fresh: last.clone().filter(|_| is_fresh), last, is_old: !is_fresh }
    }

    /// Puts into the queue's reading what queries and workers know of it.
    pub(super) fn put_into(
        &self,
        value: &mut Reading,
        origins: &mut Origins,
        queries: Option<&Queries>,
        policy: &Policy,
        now: Timestamp,
    ) {
        if let Some(queries) = queries {
            queries.put_into(value, origins, policy, now);
        }
        let seen = value.in_flight.map(InFlight::tasks);
        if let Some(workers) = &self.fresh {
            let running = seen.unwrap_or(0).max(workers.running());
            value.in_flight = match value.in_flight {
                Some(InFlight::Estimated(tasks)) if tasks >= running => Some(InFlight::Estimated(running)),
                Some(_) | None => Some(InFlight::Known(running)),
            };
            value.is_told_of(workers.running());
            if seen.is_none_or(|seen| seen < running) {
                origins.in_flight = Origin::Workers;
            }
            if let Some(waits) = workers.waits() {
                (value.waits, origins.waits) = (Some(waits), Origin::Workers);
            }
            if let Some(services) = workers.durations() {
                (value.services, origins.services) = (Some(services), Origin::Workers);
            }
            return;
        }
        // Running tasks are not shown any more, so the last number stands. For Jobs it would start Jobs.
        if !policy.workload.is_held() {
            return;
        }
        let reported = self.last.as_ref().map(|workers| workers.running());
        let told = queries.and_then(Queries::last_running);
        if let (None, Some(last)) = (seen, reported.max(told)) {
            value.in_flight = Some(InFlight::Estimated(last));
            origins.in_flight = if told < reported { Origin::Workers } else { Origin::Queries };
        }
    }

    /// Whether what ran was told once, and is not told any more.
    pub(super) fn is_silent(&self, queries: Option<&Queries>, policy: &Policy, now: Timestamp) -> bool {
        let told = queries.is_some_and(|queries| queries.running(policy, now).is_some());
        let was_told = queries.is_some_and(|queries| queries.last_running().is_some());
        let was_reported = self.is_old && self.last.is_some();
        self.fresh.is_none() && !told && (was_reported || was_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_time_is_net_of_throttling_and_needs_twenty_tasks() {
        let minute = |number, done| Minute {
            number,
            done,
            busy: Duration::from_secs(600),
            throttled: Some(Duration::from_secs(200)),
            ..Minute::default()
        };
        assert_eq!(reports(vec![minute(100, 19)]).service(), None);
        assert_eq!(reports(vec![minute(99, 10), minute(100, 10)]).service(), Some(Duration::from_secs(40)));
        assert_eq!(reports(vec![minute(90, 20)]).service(), None, "ten minutes ago");
    }

    #[test]
    fn counts_beyond_belief_do_not_overflow() {
        let most = |number| Minute {
            number,
            done: u64::MAX,
            failed: u64::MAX,
            busy: Duration::MAX,
            throttled: Some(Duration::MAX),
            ..Minute::default()
        };
        assert_eq!(reports(vec![most(99), most(100)]).service(), None);
        let busy = |number| Minute { throttled: None, ..most(number) };
        assert!(reports(vec![busy(99), busy(100)]).service().is_some());
        let mut waits = Minute { number: 100, ..Minute::default() };
        (0..=u8::MAX).for_each(|bucket| waits.waits.add(bucket, u64::MAX));
        assert!(reports(vec![waits]).waits().is_some());
    }

    #[test]
    fn stuck_workers_hold_one_replica_together_and_draining_ones_none() {
        let now = Timestamp::from_millis(10_000_000);
        let hour = Duration::from_secs(3_600);
        let worker = |state, progress: Option<u64>| Worker {
            state,
            slots: 4,
            running: 2,
            oldest: None,
            progress: progress.map(|ago| now - Duration::from_secs(ago)),
            paces: true,
            poison: 3,
        };
        let busy = |progress| worker(WorkerState::Busy, progress);
        let alive = vec![
            busy(Some(10)),
            busy(None),
            busy(Some(4_000)),
            busy(Some(5_000)),
            worker(WorkerState::Draining, None),
        ];
        let workers = Workers { alive, leases: 9, ..Workers::default() };
        assert_eq!(workers.busy_replicas(hour, now), Some(3));
        assert_eq!(workers.stuck(hour, now), 4);
        assert_eq!(workers.running(), 10);
        assert_eq!(workers.poison(), 10, "no more than run");
    }

    #[test]
    fn leases_without_workers_do_not_say_how_many_replicas_are_busy() {
        let of = |leases| {
            Workers { leases, ..Workers::default() }.busy_replicas(Duration::ZERO, Timestamp::default())
        };
        assert_eq!((of(3), of(0)), (None, Some(0)));
    }

    fn reports(minutes: Vec<Minute>) -> Workers {
        let minutes = minutes.into_iter().map(Into::into).collect();
        Workers { minutes, minute: 100, ..Workers::default() }
    }
}
