//! Timelines for the tests of the rules: a trigger that is told what it sees, and asked what it wants.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::decision::{Answer, Decision, LimitedBy, Size};
use crate::engine::limit::share::{Bound, Cap, Share};
use crate::engine::limit::{Allowance, Block, Dimension};
use crate::engine::policy::{Policy, ReplicaRange, Workload};
pub(crate) use crate::engine::signals::Tasks;
use crate::engine::signals::{Cause, InFlight, Origins, Quality, Reading, Signal, Signals, Workers};
use crate::engine::want::Want;
use crate::engine::{Memory, decide, want};
use crate::timestamp::Timestamp;

/// A trigger on a timeline. Every question decides anew, as a tick does.
pub(crate) struct Trigger {
    policy: Policy,
    signals: Signals,
    share: Option<Arc<Share>>,
    memory: Memory,
    now: Timestamp,
    decision: Option<Decision>,
}

impl Trigger {
    pub(crate) fn with(change: impl FnOnce(&mut Policy)) -> Self {
        Self {
            policy: policy(change),
            signals: signals(Signal::Missing(Cause::new("not read yet")), None),
            share: None,
            memory: Memory::default(),
            now: Timestamp::default(),
            decision: None,
        }
    }

    /// Moves to `second` and decides on what was seen before.
    pub(crate) fn at(&mut self, second: u64) -> &mut Self {
        self.now = Timestamp::from_millis(second * 1_000);
        self.decide()
    }

    pub(crate) fn sees(&mut self, reading: Reading) -> &mut Self {
        self.signals.queue = Signal::Seen { value: reading, at: self.now, quality: Quality::Measured };
        self.signals.failed = None;
        self.decide()
    }

    /// A read that fails.
    pub(crate) fn fails(&mut self) -> &mut Self {
        self.signals.failed = Some(Cause::new("connection refused"));
        self.decide()
    }

    /// Whether the only source of running tasks stops reporting from now on.
    pub(crate) fn is_silent(&mut self, silent: bool) -> &mut Self {
        self.signals.silent = silent;
        self.decide()
    }

    pub(crate) fn serves_in(&mut self, service: Duration) -> &mut Self {
        self.signals.service = Signal::Seen { value: service, at: self.now, quality: Quality::Measured };
        self
    }

    /// From now on a limit leaves it this.
    pub(crate) fn shares(&mut self, cap: Cap) -> &mut Self {
        let bound = Bound::At(cap);
        self.share =
            Some(Arc::new(Share { limit: "anthropic-prod".into(), blocked: None, bound, full: false }));
        self
    }

    /// From now on requests wait in the model's own server, of which no limit is known.
    pub(crate) fn full(&mut self) -> &mut Self {
        let bound = Bound::Open(Cause::new("no limit is known"));
        self.share = Some(Arc::new(Share { limit: "llama".into(), blocked: None, bound, full: true }));
        self
    }

    /// From now on the provider refuses everything.
    pub(crate) fn blocked(&mut self, block: Block) -> &mut Self {
        let bound = Bound::Open(Cause::new("no limit is known"));
        self.share = Some(Arc::new(Share {
            limit: "anthropic-prod".into(),
            blocked: Some(block),
            bound,
            full: false,
        }));
        self
    }

    /// From now on tasks are known to have ended at this mark.
    pub(crate) fn ends(&mut self, mark: (u64, u64)) -> &mut Self {
        self.signals.last_ended = Some(mark);
        self
    }

    /// From now on workers report this.
    pub(crate) fn hears(&mut self, workers: Workers) -> &mut Self {
        self.signals.workers = Some(Arc::new(workers));
        self
    }

    fn decide(&mut self) -> &mut Self {
        if self.policy.expected_task_duration.is_some() && self.signals.service.seen().is_none() {
            let value = self.policy.expected_task_duration.unwrap_or_default();
            self.signals.service = Signal::Seen { value, at: self.now, quality: Quality::Estimated };
        }
        let Self { policy, signals, memory, now, .. } = &*self;
        let wanted = want(policy, signals, memory, *now);
        let (decision, memory) = decide(policy, signals, wanted, self.share.as_ref(), memory, *now);
        self.memory = memory;
        self.decision = Some(decision);
        self
    }

    pub(crate) fn decision(&self) -> &Decision {
        self.decision.as_ref().expect("the timeline has begun")
    }

    /// The last decision at `second`, if it is not renewed.
    pub(crate) fn answer_at(&self, second: u64) -> Answer {
        self.decision().answer_at(&self.policy, Timestamp::from_millis(second * 1_000))
    }

    pub(crate) fn known(&self) -> Option<Size> {
        self.decision().size()
    }

    pub(crate) fn size(&self) -> Size {
        self.known().expect("the answer is known")
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.size().replicas
    }

    #[track_caller]
    pub(crate) fn wants(&mut self, replicas: u32) -> &mut Self {
        assert_eq!(self.replicas(), replicas, "{}", self.decision());
        self
    }

    #[track_caller]
    pub(crate) fn limited_by(&mut self, limit: LimitedBy) -> &mut Self {
        assert_eq!(self.decision().limited_by, limit, "{}", self.decision());
        self
    }

    #[track_caller]
    pub(crate) fn active(&mut self) -> &mut Self {
        assert!(self.size().active, "{}", self.decision());
        self
    }

    #[track_caller]
    pub(crate) fn inactive(&mut self) -> &mut Self {
        assert!(!self.size().active, "{}", self.decision());
        self
    }

    #[track_caller]
    pub(crate) fn is_held(&mut self) -> &mut Self {
        assert!(matches!(self.decision().answer, Answer::Held(_)), "{}", self.decision());
        self
    }

    #[track_caller]
    pub(crate) fn is_unknown(&mut self) -> &mut Self {
        assert!(matches!(self.decision().answer, Answer::Unknown(_)), "{}", self.decision());
        self
    }
}

/// One slot a replica, two minutes of promise, half a minute of start-up, no bounds.
pub(crate) fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy {
        workload: Workload::Deployment,
        replicas: range(0, ReplicaRange::CEILING),
        tasks_per_replica: NonZeroU32::MIN,
        max_queue_wait: seconds(120),
        latency_target: None,
        expected_task_duration: None,
        stuck_after: seconds(3_600),
        start_up: seconds(30),
        drain_time: seconds(0),
        activation_backlog: 0,
        fresh_for: seconds(15),
    };
    change(&mut policy);
    policy
}

/// The demand for one reading.
pub(crate) fn wanted(policy: &Policy, reading: Reading, service: Option<Duration>) -> Want {
    let seen = Signal::Seen { value: reading, at: Timestamp::default(), quality: Quality::Measured };
    want(policy, &signals(seen, service), &Memory::default(), Timestamp::default())
        .expect("the queue was read")
}

pub(crate) fn signals(queue: Signal<Reading>, service: Option<Duration>) -> Signals {
    let service = service.map_or_else(
        || Signal::Missing(Cause::new("not measured")),
        |value| Signal::Seen { value, at: Timestamp::default(), quality: Quality::Measured },
    );
    let arrivals = Signal::Missing(Cause::new("not measured"));
    Signals {
        queue,
        failed: None,
        service,
        arrivals,
        workers: None,
        silent: false,
        last_ended: None,
        queries: None,
        origins: Origins::default(),
    }
}

/// A limit of 60 requests a minute that feeds so many replicas, and twice as many if it were twice as large.
pub(crate) fn capped(replicas: u32) -> Cap {
    Cap {
        replicas,
        fair: replicas,
        slots: f64::from(replicas),
        dimension: Dimension::RequestsPerMinute,
        amount: 60.0,
        room: 60.0,
        per_slot: 60.0 / f64::from(replicas),
        quality: Quality::Measured,
        k: 1.0,
        twice: replicas * 2,
        scarce: false,
        allowance: Allowance { slots: f64::from(replicas), rates: BTreeMap::new() },
    }
}

/// A queue that shows everything.
pub(crate) fn queue(ready: u64, running: u64) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(InFlight::Known(running)), ..Reading::default() }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn four() -> NonZeroU32 {
    NonZeroU32::new(4).expect("four is not zero")
}

pub(crate) fn range(min: u32, max: u32) -> ReplicaRange {
    ReplicaRange::try_new(min, max).expect("a valid range")
}
