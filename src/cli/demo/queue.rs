//! A queue in memory. It is the demo's own and in no table of sources.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::signals::{Counters, InFlight, Percentile, Reading};
use crate::fields::{Fields, Key, Need};
use crate::sources::named::Named;
use crate::sources::{Client, ConnectionKind, Endpoint, Plan, ReadError, Sighting, Spec, Wake};
use crate::timestamp::Timestamp;

const QUEUE_NAME: Key = Key {
    name: "queueName",
    need: Need::Required,
    unit: "name",
    help: "any name: there is one queue",
    example: "agent-tasks",
};

/// The demo's table of sources.
pub(super) const SOURCES: &[Spec] = &[Spec {
    name: "embedded",
    summary: "a queue in memory",
    keys: &[QUEUE_NAME],
    moved: &[],
    parse: |fields: &mut Fields<'_>| Some(Arc::new(Named(fields.read(&QUEUE_NAME)?))),
    connections: &[&KIND],
    to_show_running: None,
}];

/// The kind of the demo's one connection.
pub(super) const KIND: ConnectionKind = ConnectionKind {
    name: "embedded",
    summary: "this process",
    keys: &[],
    moved: &[],
    wake: Wake::Polled(Duration::from_millis(200)),
    parse: |_| None,
    reports: None,
};

/// Tasks that wait and tasks that run.
#[derive(Debug, Default)]
pub(super) struct EmbeddedQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Task>,
    running: u64,
    tally: Tally,
}

/// One agent task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    length: Duration,
    put_at: Timestamp,
}

/// What became of all tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) put: u64,
    pub(super) done: u64,
    pub(super) killed: u64,
    pub(super) waits: Vec<Duration>,
}

impl EmbeddedQueue {
    /// Puts in a task that takes `length`.
    pub(super) fn put(&self, length: Duration, now: Timestamp) {
        let mut state = self.lock();
        state.waiting.push_back(Task { length, put_at: now });
        state.tally.put += 1;
    }

    /// Takes the oldest task, and says when it will be done.
    pub(super) fn take(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        let Task { length, put_at } = state.waiting.pop_front()?;
        state.running += 1;
        state.tally.waits.push(now.since(put_at));
        Some(now + length)
    }

    /// Ends a task that ran to its end.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.running -= 1;
        state.tally.done += 1;
    }

    /// Ends a task whose replica was taken away.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.running -= 1;
        state.tally.killed += 1;
    }

    /// Tasks that wait, and tasks that run.
    pub(super) fn depth(&self) -> (usize, u64) {
        let state = self.lock();
        (state.waiting.len(), state.running)
    }

    pub(super) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    fn reading(&self) -> Reading {
        let state = self.lock();
        let State { waiting, running, tally } = &*state;
        let mut waits = tally.waits.clone();
        waits.sort_unstable();
        let p95 = waits.get(waits.len() * 95 / 100).copied();
        Reading {
            ready: Some(waiting.len() as u64),
            in_flight: Some(InFlight::Known(*running)),
            counters: Counters { added: Some(tally.put), completed: Some(tally.done) },
            waits: p95.map(|p95| Percentile { p95, samples: waits.len() as u64 }),
            ..Reading::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue as a backend that the server connects to.
pub(super) fn endpoint(queue: &Arc<EmbeddedQueue>) -> Arc<dyn Endpoint> {
    Arc::new(Here(Arc::clone(queue)))
}

#[derive(Debug)]
struct Here(Arc<EmbeddedQueue>);

#[async_trait]
impl Endpoint for Here {
    fn address(&self) -> String {
        "this process".to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl Client for Here {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        plans.iter().map(|_| Ok(self.0.reading().into())).collect()
    }
}
