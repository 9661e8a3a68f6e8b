//! Demand in slots, with the terms that it was made of.

use std::time::Duration;

use crate::engine::policy::{Policy, Workload};

/// What of a float is a rounding error and not a task.
const ROUNDING: f64 = 1e-6;

/// One trigger's demand, before any limit, with the terms that it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Want {
    /// Backlog Q: tasks that a worker could take now.
    pub backlog: u64,
    /// D(L): delayed tasks that will be due when a replica that starts now is ready.
    pub soon: u64,
    /// Running tasks F; `None` where the queue cannot show them.
    pub in_flight: Option<u64>,
    /// Running tasks that are stuck or poison: each kind weighs one replica.
    pub odd: Odd,
    /// The promise W that holds.
    pub promise: Duration,
    /// By how much tasks alone take longer than the latency target: no number of replicas meets it.
    pub out_of_reach: Option<Duration>,
    /// Time T left to start the backlog once replicas are ready.
    pub time_to_start: Duration,
    /// Service time S, measured or expected; `None` while it is not known.
    pub service: Option<Duration>,
    /// Part d of the backlog that needs a slot of its own: 1 while S is not known.
    pub part: f64,
    /// Whether the promise is being missed, so that the whole backlog counts.
    pub promise_missed: bool,
    /// The demand: F + d·(Q + D(L)).
    pub slots: f64,
}

/// Running tasks that do not do what tasks should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// Their worker reports progress, and they have none.
    pub stuck: u64,
    /// They were given out three times or more.
    pub poison: u64,
}

impl Odd {
    /// Slots that `running` tasks weigh, these among them: the stuck ones one replica together, and the poison.
    pub fn weigh(self, policy: &Policy, running: u64) -> u64 {
        let Self { stuck, poison } = self;
        let replica = u64::from(policy.tasks_per_replica.get());
        let stuck = stuck.min(running);
        let poison = poison.min(running - stuck);
        running - stuck - poison + stuck.min(replica) + poison.min(replica)
    }
}

impl Want {
    /// Tasks that wait or will when a replica that starts now is ready.
    pub const fn waiting(&self) -> u64 {
        self.backlog.saturating_add(self.soon)
    }

    /// Running tasks that are known of.
    pub fn running(&self) -> u64 {
        self.in_flight.unwrap_or(0)
    }

    /// Replicas for `slots` slots, `tasks_per_replica` to each.
    pub(super) fn replicas(policy: &Policy, slots: f64) -> u32 {
        // Bounded first, so that the conversion is exact.
        let replicas = (slots / f64::from(policy.tasks_per_replica.get()) - ROUNDING).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u32's range")]
        let whole = replicas.clamp(0.0, f64::from(u32::MAX)) as u32;
        whole
    }

    /// Replicas for the demand.
    pub fn demanded(&self, policy: &Policy) -> u32 {
        Self::replicas(policy, self.slots)
    }

    /// Slots with which no task would have to wait for another.
    pub fn for_every_task(&self, policy: &Policy) -> f64 {
        let running = match policy.workload {
            Workload::Deployment => self.odd.weigh(policy, self.running()),
            Workload::Job => self.running(),
        };
        running as f64 + self.waiting() as f64
    }
}
