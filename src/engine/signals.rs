//! What the engine is told: readings of a queue, and measurements with their time and quality.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::minutes::Minute;
use crate::engine::queries::Queries;
use crate::timestamp::Timestamp;

/// What one source saw in one read. `None` means that it cannot know, never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Tasks that a worker could take now.
    pub ready: Option<u64>,
    /// Delayed tasks whose time has come, which nobody has moved to the ready ones yet.
    pub due: Option<u64>,
    /// Delayed tasks that will be due within the start-up time of a replica.
    pub soon: Option<u64>,
    /// Tasks that no worker may take yet: those that will be due later, and those of a queue that is paused.
    pub delayed: Option<u64>,
    /// Tasks taken and not finished.
    pub in_flight: Option<InFlight>,
    /// Tasks that failed for good, and that nobody will take again by himself.
    pub dead: Option<u64>,
    /// How long the oldest ready task has waited.
    pub oldest: Option<Duration>,
    /// Totals since an epoch of the backend's own, from which the engine takes rates.
    pub counters: Counters,
    /// Most slots that can be of use: partitions, a queue's global concurrency.
    pub ceiling: Option<u32>,
    /// Parts of the queue (partitions) of which each slot is to have as many as the others; `None` where their
    /// lying unevenly does no harm.
    pub even_over: Option<u32>,
    /// How long tasks waited to be taken, over the last ten minutes.
    pub waits: Option<Percentile>,
    /// How long tasks ran, over the last ten minutes.
    pub services: Option<Percentile>,
    /// Figures that the source shows and that could not be read this time, with the reason. Their fields are
    /// `None`; all others stand.
    pub unknown: Vec<Cause>,
    /// Tasks in the fields above that this read did not see and that still hold replicas: an earlier read saw
    /// them and the source does not confirm yet that they are gone, or a worker has to start before its first
    /// task.
    pub kept: Tasks,
}

/// Numbers of tasks, as in a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Among those that a worker could take now.
    pub ready: u64,
    /// Among those that will be due soon.
    pub soon: u64,
    /// Among those taken and not finished.
    pub in_flight: u64,
}

impl Reading {
    /// Workers or a query report this many running tasks. At least as many of `in_flight` then count as seen,
    /// and not as held.
    pub(in crate::engine) fn is_told_of(&mut self, running: u64) {
        let all = self.in_flight.map_or(0, InFlight::tasks);
        let seen = all.saturating_sub(self.kept.in_flight).max(running);
        self.kept.in_flight = all.saturating_sub(seen);
    }
}

/// Tasks taken and not finished, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// The backend counts them.
    Known(u64),
    /// Derived from something else, as a lag of at least one is for Kafka.
    Estimated(u64),
}

impl InFlight {
    /// The number of tasks.
    pub const fn tasks(self) -> u64 {
        match self {
            Self::Known(tasks) | Self::Estimated(tasks) => tasks,
        }
    }
}

/// Totals that only grow, until the backend starts anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks ever put in.
    pub added: Option<u64>,
    /// Tasks ever finished.
    pub completed: Option<u64>,
}

/// A 95th percentile and the number of samples behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile {
    /// The value that 95 % of the samples do not exceed.
    pub p95: Duration,
    /// Number of samples.
    pub samples: u64,
}

impl Percentile {
    /// Fewest samples that make a 95th percentile: one of twenty lies beyond it.
    pub const ENOUGH: u64 = 20;

    /// The percentile, if there are samples enough to speak of one.
    pub fn known(self) -> Option<Duration> {
        (self.samples >= Self::ENOUGH).then_some(self.p95)
    }
}

/// A measurement, or the fact that there is none. Missing is never zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal<T> {
    /// It was seen.
    Seen {
        /// What was seen.
        value: T,
        /// When.
        at: Timestamp,
        /// How well it is known.
        quality: Quality,
    },
    /// It has never been seen, or no longer counts.
    Missing(Cause),
}

/// How well a value is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// Read or computed from what was read.
    Measured,
    /// Taken from the configuration until it is measured.
    Estimated,
}

/// Why a signal is missing, in a few words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(Arc<str>);

impl Cause {
    /// A cause in words, e.g. `not read yet`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T> Signal<T> {
    /// What was seen, if anything was.
    pub const fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen { value, .. } => Some(value),
            Self::Missing(_) => None,
        }
    }

    /// When it was seen, if it was.
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Seen { at, .. } => Some(*at),
            Self::Missing(_) => None,
        }
    }
}

/// What the workers of one scope report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workers {
    /// Tasks that somebody holds a live lease on.
    pub leases: u64,
    /// Workers that gave a sign of life lately.
    pub alive: Vec<Worker>,
    /// What they did, from the oldest minute that is kept to the present one; minutes without work are absent.
    pub minutes: Vec<Arc<Minute>>,
    /// Number of the present minute.
    pub minute: u64,
    /// Figures of the above that could not be read this time, with the reason.
    pub unknown: Vec<Cause>,
}

/// What one worker says of itself. A worker is one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// What it is about.
    pub state: WorkerState,
    /// Tasks it can run at a time.
    pub slots: u32,
    /// Tasks it runs.
    pub running: u32,
    /// When it took the oldest of them; `None` if it does not say.
    pub oldest: Option<Timestamp>,
    /// When one of its tasks last got on; `None` if it does not say.
    pub progress: Option<Timestamp>,
    /// Whether it keeps to its share of a limit by itself.
    pub paces: bool,
    /// Running tasks that were given out three times or more.
    pub poison: u32,
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It waits for a task.
    Idle,
    /// It runs at least one.
    Busy,
    /// It was told to go, and takes no more.
    Draining,
}

impl WorkerState {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Busy, Self::Draining];

    /// A word for the worker protocol.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
        }
    }

    /// The state of that label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.label() == label)
    }
}

/// Everything the engine is told about one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Signals {
    /// The last reading of the queue that succeeded.
    pub queue: Signal<Reading>,
    /// Why the queue could not be read since, if the last attempt failed.
    pub failed: Option<Cause>,
    /// Service time S: how long a task holds a slot.
    pub service: Signal<Duration>,
    /// New tasks per second; for explanation only, it decides nothing.
    pub arrivals: Signal<f64>,
    /// What workers report, as of their last reading that is fresh.
    pub workers: Option<Arc<Workers>>,
    /// Whether workers who alone can tell what runs could not be asked lately.
    pub silent: bool,
    /// Something that changes whenever a task ends; `None` if that is not known.
    pub last_ended: Option<(u64, u64)>,
    /// What queries of a metrics server told last; `None` if none are asked.
    pub queries: Option<Arc<Queries>>,
    /// Who told what of the above.
    pub origins: Origins,
}

/// Who told a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The queue itself.
    #[default]
    Queue,
    /// The workers, in their reports.
    Workers,
    /// A query of a metrics server.
    Queries,
    /// The trigger, until it is measured.
    Configuration,
}

impl Origin {
    /// A word for JSON and for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Workers => "workers",
            Self::Queries => "queries",
            Self::Configuration => "configuration",
        }
    }
}

/// Who told those numbers that several can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Running tasks.
    pub in_flight: Origin,
    /// Percentile of the wait.
    pub waits: Origin,
    /// Percentile of the service time.
    pub services: Origin,
    /// Mean service time.
    pub service: Origin,
    /// Arrivals.
    pub arrivals: Origin,
}
