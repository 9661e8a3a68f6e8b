//! Places that can be asked "what do you see?".
//!
//! A source knows nothing of KEDA, policies or replicas. Its deadline, pace, back-off and metrics belong
//! to `scaler::reader`, once for all sources. To add one, write a folder and add a line to [`ALL`].

pub mod named;
pub mod prometheus;

mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
mod redis;
mod round;
mod sqs;
mod tls_files;
mod web;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::engine::limit::{Allowance, LimitSeen};
use crate::engine::queries::Queried;
use crate::engine::signals::{Reading, Workers};
use crate::fields::{Fields, Key};

/// Every source in this build, in the order in which `agent-scaler keys` lists them.
pub const ALL: &[Spec] = &[
    redis::LIST,
    redis::STREAMS,
    redis::SORTED_SET,
    redis::CELERY,
    redis::BULLMQ,
    redis::RQ,
    redis::SIDEKIQ,
    redis::DRAMATIQ,
    redis::TASKIQ,
    #[cfg(feature = "kafka")]
    kafka::SPEC,
    sqs::QUEUE,
    prometheus::QUERY,
    http::JSON,
];

/// Sources that this build could have and has not.
pub const LEFT_OUT: &[&str] = if cfg!(feature = "kafka") { &[] } else { &["kafka"] };

/// A kind of queue.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Value of the trigger's `source` key.
    pub name: &'static str,
    /// One line for `agent-scaler keys`.
    pub summary: &'static str,
    /// The trigger keys that it reads.
    pub keys: &'static [Key],
    /// Keys of KEDA's own scaler of that name that go by another name here, and what to write instead.
    pub moved: &'static [(&'static str, &'static str)],
    /// Parses those keys; `None` if `fields` kept a problem. No I/O.
    pub parse: fn(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>>,
    /// The kinds of connection that it can be read through, the usual one first.
    pub connections: &'static [&'static ConnectionKind],
    /// The key that makes a trigger show its running tasks; `None` where every trigger shows them.
    pub to_show_running: Option<&'static str>,
}

/// A kind of backend that the server file can name a connection to; several sources may share one.
#[derive(Debug)]
pub struct ConnectionKind {
    /// Value of the connection's `type` key.
    pub name: &'static str,
    /// One line for `agent-scaler keys`.
    pub summary: &'static str,
    /// The keys of such a connection.
    pub keys: &'static [Key],
    /// Keys with which KEDA's triggers say where the backend is, and what to write instead.
    pub moved: &'static [(&'static str, &'static str)],
    /// How the first task of an inactive workload is noticed.
    pub wake: Wake,
    /// Parses those keys; `None` if `fields` kept a problem. No I/O.
    pub parse: fn(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>>,
    /// How workers report through it, if they can.
    pub reports: Option<Reports>,
}

/// How the first task of an inactive workload is noticed, which KEDA listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// By reads, with this pause between two of them.
    Polled(Duration),
    /// By the backend's own word ([`Endpoint::listen`]).
    Pushed {
        /// Pause between two reads while the backend does not say anything by itself.
        otherwise: Duration,
    },
}

impl Wake {
    /// Pause between two reads while nothing is pushed.
    pub const fn pause(self) -> Duration {
        match self {
            Self::Polled(pause) | Self::Pushed { otherwise: pause } => pause,
        }
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = humantime::format_duration(self.pause());
        match self {
            Self::Polled(_) => write!(f, "seen by a read every {pause}"),
            Self::Pushed { .. } => write!(f, "pushed within 50 ms, or else seen by a read every {pause}"),
        }
    }
}

/// How the worker protocol is read from a backend.
#[derive(Clone, Copy, Debug)]
pub struct Reports {
    /// What the workers of a scope report, in minutes of the given length.
    pub workers: fn(scope: &str, minute: Duration) -> Arc<dyn Plan>,
    /// What workers last saw of the limit of a scope.
    pub limit: fn(scope: &str) -> Arc<dyn Plan>,
}

/// A queue to read: parsed and valid, and not connected to anything.
pub trait Plan: Any + fmt::Debug + Send + Sync {
    /// Names the queue in full, e.g. `list acme:tasks`. Two plans with one text read the same thing.
    fn queue(&self) -> String;

    /// The queue's name, which workers report under unless they are told another.
    fn name(&self) -> String;

    /// Every name on the backend that a read touches, for the tenants' patterns.
    fn names(&self) -> Vec<&str>;

    /// Whether a read can tell what runs.
    fn shows_running(&self) -> bool;

    /// The places in which a read counts tasks. Two triggers that share a place count its tasks twice.
    fn counts_in(&self) -> Vec<Counted> {
        self.names().into_iter().map(Counted::at).collect()
    }

    /// The same queue, looked at for replicas that take this long to start: delayed tasks that are due within it
    /// are [soon](Reading::soon). `None` if that makes no difference.
    fn starting_in(&self, start_up: Duration) -> Option<Arc<dyn Plan>> {
        let _ = start_up;
        None
    }

    /// Most commands or requests of one read, at least 1; of one that remembers what cannot change, the second time.
    fn cost(&self) -> usize {
        1
    }

    /// What a read sends, in the backend's own words, for `plan --verbose`.
    fn commands(&self) -> Vec<String>;

    /// How long a worker may keep a task before another is given it too, where the trigger tells.
    fn given_again_after(&self) -> Option<Duration> {
        None
    }

    /// What a read costs, where the backend has its calls paid.
    fn price(&self) -> Option<Price> {
        None
    }

    /// Whether a read sends a query that the trigger wrote, which may read whatever the backend holds.
    fn asks_freely(&self) -> bool {
        false
    }
}

/// A place on the backend in which tasks are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its name, as a text shows it. Equal texts on one connection are one place.
    pub place: String,
    /// The trigger key whose `false` leaves this place out, where a framework has one such key for all of its
    /// queues.
    pub switch: Option<&'static str>,
    /// What each trigger should have of its own, where that is not its queue.
    pub own: Option<&'static str>,
    /// Wider places that it is a part of.
    pub within: Vec<String>,
}

impl Counted {
    /// A place that no key leaves out.
    pub fn at(place: impl Into<String>) -> Self {
        Self { place: place.into(), switch: None, own: None, within: Vec::new() }
    }
}

/// What one read of a plan costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Calls of one read.
    pub calls: u32,
    /// US dollars for a million reads, before any discount.
    pub dollars_per_million: f64,
    /// The year whose price list that is.
    pub as_of: u16,
}

/// A backend to connect to: parsed and valid, and not connected.
#[async_trait]
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Its address, without credentials.
    fn address(&self) -> String;

    /// A weakness that its operator chose and should know of.
    fn caution(&self) -> Option<&'static str> {
        None
    }

    /// Connects. Credentials are read from their files anew each time.
    ///
    /// # Errors
    /// When the backend cannot be reached or refuses.
    async fn connect(&self) -> Result<Box<dyn Client>, ReadError>;

    /// Why `plan` is not read here, whoever asks: it would change what the connection itself says.
    fn refuses(&self, plan: &dyn Plan) -> Option<String> {
        let _ = plan;
        None
    }

    /// Longest time between two reads of a queue where nothing happens; zero where every tick reads it.
    fn longest_pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Pause between two reads for waking, where the connection has its own; otherwise its kind's holds.
    fn wake_every(&self) -> Option<Duration> {
        None
    }

    /// Opens a second connection, on which the backend says by itself that something has happened; `None` if it
    /// never does.
    ///
    /// # Errors
    /// When the backend cannot be reached or refuses.
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, ReadError> {
        Ok(None)
    }
}

/// One open connection.
#[async_trait]
pub trait Client: Send {
    /// Reads all `plans` in one batch: one result for each, in order.
    ///
    /// The caller sees to the deadline and drops the client after it, or after an error that
    /// [loses the connection](ReadError::loses_connection).
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>>;

    /// Says by when the next [`read`](Self::read) must have returned. A client that makes a request for each plan gives
    /// up, a little before, on those that were not answered, so that no other loses its answer by them.
    fn answer_by(&mut self, deadline: Instant) {
        let _ = deadline;
    }

    /// Whether the tick may leave `plan` out, because its calls cost money and the last of them found it idle
    /// a short while ago. What is new or waited for is read all the same.
    fn rests(&self, plan: &dyn Plan) -> bool {
        let _ = plan;
        false
    }

    /// Whether it goes on after an error that loses a connection, because it has several and mends them by itself.
    fn mends_itself(&self) -> bool {
        false
    }

    /// Tells workers what they may use, where the backend can carry that.
    ///
    /// # Errors
    /// When it could not be written.
    async fn publish(&mut self, shares: &[Published]) -> Result<(), ReadError> {
        let _ = shares;
        Ok(())
    }
}

/// A connection on which a backend says by itself that something has happened to a queue.
#[async_trait]
pub trait Listener: Send {
    /// Listens to `plans` from now on and to no others, and says which of them must be read: those that it did not
    /// listen to before, and those to which something has happened since.
    ///
    /// What happens after it has returned is heard; so a read after it misses nothing. The caller sees to the
    /// deadline, and calls at least once a tick, which also shows whether the connection is alive.
    ///
    /// # Errors
    /// When the connection is of no more use.
    async fn watch(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<usize>, ReadError>;

    /// Waits until something has happened, to a queue or to the connection: [`watch`](Self::watch) says what. May be
    /// dropped at any time without missing anything.
    async fn heard(&mut self);

    /// Why it may miss something, if so: reads must then go on as if there were nobody to listen.
    fn doubt(&self) -> Option<&ReadError>;
}

/// What one read saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting {
    /// A queue.
    Queue(Reading),
    /// Workers.
    Workers(Workers),
    /// A limit.
    Limit(LimitSeen),
    /// The answers of queries about a queue's tasks.
    Queried(Queried),
    /// Nothing, because each call costs money and the last one is recent: what it saw stands, and grows old.
    Unchanged,
}

impl From<Reading> for Sighting {
    fn from(reading: Reading) -> Self {
        Self::Queue(reading)
    }
}

/// What the workers of one limit may use, by their scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Scope of the limit.
    pub limit: String,
    /// Scope of workers → what they may use.
    pub allowances: Vec<(String, Allowance)>,
}

/// Why a queue could not be read. Names the endpoint, never a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No answer in time.
    #[error("{endpoint} did not answer in time")]
    Deadline {
        /// Who was asked.
        endpoint: String,
    },
    /// No connection, or it broke.
    #[error("{endpoint} cannot be reached: {message}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// What the connection said.
        message: String,
    },
    /// The backend knows us and says no, or does not know us.
    #[error("{endpoint} refuses: {message}")]
    Denied {
        /// Who was asked.
        endpoint: String,
        /// What it said, and what it takes.
        message: String,
    },
    /// An answer that makes no sense for this queue.
    #[error("{endpoint}: {message}")]
    Unexpected {
        /// Who was asked.
        endpoint: String,
        /// What it said.
        message: String,
    },
}

impl ReadError {
    /// Every label, for metrics that exist from the start.
    pub const LABELS: [&'static str; 4] = ["deadline", "unreachable", "denied", "unexpected"];

    /// A word for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => Self::LABELS[0],
            Self::Unreachable { .. } => Self::LABELS[1],
            Self::Denied { .. } => Self::LABELS[2],
            Self::Unexpected { .. } => Self::LABELS[3],
        }
    }

    /// Whether the connection is of no more use.
    pub const fn loses_connection(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Unreachable { .. })
    }
}

#[cfg(test)]
mod tests;
