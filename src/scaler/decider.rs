//! The one task that decides. It owns every memory, so nothing is locked and nothing is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::server::Connection;
use crate::config::trigger::TriggerId;
use crate::engine::decision::Decision;
use crate::engine::estimate::Throughput;
use crate::engine::policy::Policy;
use crate::engine::signals::{Cause, Quality, Reading, Signal, Signals};
use crate::engine::{Memory, decide, want};
use crate::scaler::board::{Board, Evaluation, Watched};
use crate::scaler::reader::{Batch, Item, Reader, Watchlist};
use crate::sources::{ReadError, Sighting};
use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

/// Triggers decided in one go, a few microseconds each. After them RPCs have their turn.
const BETWEEN_YIELDS: usize = 64;

/// New triggers taken in at a time: each round makes a new watchlist, so a burst of them should share one.
const BEGUN_AT_A_TIME: usize = 4_096;

/// Batches that may wait for the decider; a reader that is further ahead waits itself.
const BATCHES_AHEAD: usize = 16;

/// The engine, as the decider calls it: want, then decide.
pub(super) type Engine = fn(&Policy, &Signals, &Memory, Timestamp) -> (Decision, Memory);

/// The real engine.
pub(super) fn engine(
    policy: &Policy,
    signals: &Signals,
    memory: &Memory,
    now: Timestamp,
) -> (Decision, Memory) {
    decide(policy, signals, want(policy, signals, memory), memory, now)
}

/// Decides about every trigger on the board.
pub(super) struct Decider {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    tick: Duration,
    engine: Engine,
    triggers: BTreeMap<TriggerId, Member>,
    queues: BTreeMap<Arc<str>, Queue>,
    readers: BTreeMap<Arc<str>, watch::Sender<Watchlist>>,
    batches: (mpsc::Sender<Batch>, mpsc::Receiver<Batch>),
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// When the last tick ended, for the liveness probe.
    heartbeat: Arc<AtomicU64>,
}

/// One trigger, and what is remembered of it.
struct Member {
    watched: Arc<Watched>,
    memory: Memory,
    queue: Arc<str>,
    decided_at: Timestamp,
    /// Whether the reader was last told that somebody waits for the first task.
    listed_as_waking: bool,
}

/// One queue, which several triggers may watch.
struct Queue {
    reading: Signal<Reading>,
    error: Option<Arc<str>>,
    throughput: Throughput,
    triggers: BTreeSet<TriggerId>,
}

impl Decider {
    pub(super) fn new(
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        tick: Duration,
        engine: Engine,
        tasks: (TaskTracker, CancellationToken),
    ) -> Self {
        let (tasks, shutdown) = tasks;
        let heartbeat = Arc::new(AtomicU64::new(clock.now().as_millis()));
        Self {
            board,
            clock,
            metrics,
            tick,
            engine,
            triggers: BTreeMap::new(),
            queues: BTreeMap::new(),
            readers: BTreeMap::new(),
            batches: mpsc::channel(BATCHES_AHEAD),
            tasks,
            shutdown,
            heartbeat,
        }
    }

    /// When the last tick ended, in milliseconds since the epoch.
    pub(super) fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.heartbeat)
    }

    /// Decides until shutdown.
    pub(super) async fn run(mut self, mut begins: mpsc::Receiver<Arc<Watched>>) {
        let mut tick = interval(self.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        let mut begun = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                count = begins.recv_many(&mut begun, BEGUN_AT_A_TIME) => {
                    if count == 0 {
                        return;
                    }
                    self.begin(begun.drain(..));
                }
                Some(batch) = self.batches.1.recv() => self.take(batch).await,
                _ = tick.tick() => self.look_around().await,
            }
        }
    }

    /// Begins to watch triggers, and connections where they are the first.
    fn begin(&mut self, begun: impl Iterator<Item = Arc<Watched>>) {
        let mut changed = BTreeSet::new();
        for watched in begun {
            let trigger = &watched.trigger;
            let connection = &trigger.connection;
            let queue: Arc<str> = format!("{} {}", connection.name, trigger.plan.queue()).into();
            self.read_from(connection);
            changed.insert(Arc::clone(&connection.name));
            let id = trigger.id.clone();
            if self.triggers.get(&id).is_some_and(|member| Arc::ptr_eq(&member.watched, &watched)) {
                // Known, and listened to from now on: the watchlist says whether its first task is waited for.
                continue;
            }
            self.queues.entry(Arc::clone(&queue)).or_insert_with(Queue::unread).triggers.insert(id.clone());
            let (memory, decided_at) = (Memory::default(), self.clock.now());
            let member = Member { watched, memory, queue, decided_at, listed_as_waking: false };
            self.triggers.insert(id.clone(), member);
            // Another trigger may have had this queue read already.
            self.decide_if_read(&id);
        }
        for connection in changed {
            self.publish_watchlist(&connection);
        }
    }

    fn decide_if_read(&mut self, id: &TriggerId) {
        let read = self.triggers.get(id).and_then(|member| self.queues.get(&member.queue));
        if read.is_some_and(|queue| queue.reading.seen().is_some()) {
            self.decide(id);
        }
    }

    /// Starts the reader of a connection, unless there is one.
    fn read_from(&mut self, connection: &Arc<Connection>) {
        if self.readers.contains_key(&connection.name) {
            return;
        }
        let (sender, watchlist) = watch::channel(Watchlist::default());
        let reader = Reader {
            connection: Arc::clone(connection),
            watchlist,
            batches: self.batches.0.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            tick: self.tick,
        };
        self.tasks.spawn(reader.run(self.shutdown.clone()));
        self.readers.insert(Arc::clone(&connection.name), sender);
    }

    /// Tells a reader what to read, if that has changed.
    fn publish_watchlist(&mut self, connection: &Arc<str>) {
        let Some(reader) = self.readers.get(connection) else { return };
        let mut items: BTreeMap<&Arc<str>, Item> = BTreeMap::new();
        for member in self.triggers.values_mut() {
            let wakes = member.wakes();
            let trigger = &member.watched.trigger;
            if trigger.connection.name != *connection {
                continue;
            }
            let item = items.entry(&member.queue).or_insert_with(|| Item {
                queue: Arc::clone(&member.queue),
                plan: Arc::clone(&trigger.plan),
                wakes: false,
            });
            item.wakes |= wakes;
            member.listed_as_waking = wakes;
        }
        let watchlist: Watchlist = items.into_values().collect();
        let same = |old: &Watchlist| {
            old.len() == watchlist.len()
                && old
                    .iter()
                    .zip(watchlist.iter())
                    .all(|(old, new)| (&old.queue, old.wakes) == (&new.queue, new.wakes))
        };
        reader.send_if_modified(|old| {
            let changed = !same(old);
            if changed {
                *old = Arc::clone(&watchlist);
            }
            changed
        });
    }

    /// Takes in what a batch saw, and decides about the triggers that it concerns.
    async fn take(&mut self, batch: Batch) {
        let mut decided = 0;
        let mut woken = false;
        for (name, result) in batch.results {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            let Some(result) = of_queue(result) else { continue };
            let same = result.as_ref().is_ok_and(|reading| queue.reading.seen() == Some(reading));
            queue.take(batch.at, result);
            // Reads that wake come several times a second; mostly there is still nothing.
            if batch.wakes && same {
                continue;
            }
            woken |= batch.wakes;
            for id in queue.triggers.clone() {
                self.decide(&id);
                decided += 1;
                if decided % BETWEEN_YIELDS == 0 {
                    yield_now().await;
                }
            }
        }
        // Active triggers need no more waking, and inactive ones do not wait for the next look around.
        if woken {
            self.publish_watchlist(&batch.connection);
        }
    }

    /// Forgets triggers, decides about those whose queue brings no news, and renews the watchlists that changed.
    async fn look_around(&mut self) {
        let now = self.clock.now();
        let mut changed = BTreeSet::new();
        for id in self.board.forget_unasked(now) {
            changed.extend(self.forget(&id));
        }
        let silent: Vec<TriggerId> = self
            .triggers
            .iter()
            .filter(|(_, member)| now.since(member.decided_at) >= self.tick)
            .map(|(id, _)| id.clone())
            .collect();
        for (count, id) in silent.iter().enumerate() {
            self.decide(id);
            if count % BETWEEN_YIELDS == BETWEEN_YIELDS - 1 {
                yield_now().await;
            }
        }
        // Streams come and go without a word.
        let turned = self.triggers.values().filter(|member| member.wakes() != member.listed_as_waking);
        changed.extend(turned.map(|member| Arc::clone(&member.watched.trigger.connection.name)));
        for connection in changed {
            self.publish_watchlist(&connection);
        }
        self.heartbeat.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }

    /// Forgets a trigger, and says on which connection.
    fn forget(&mut self, id: &TriggerId) -> Option<Arc<str>> {
        let member = self.triggers.remove(id)?;
        tracing::info!(trigger = %id, "Nobody asks for this trigger; it is forgotten.");
        if let Some(queue) = self.queues.get_mut(&member.queue) {
            queue.triggers.remove(id);
            if queue.triggers.is_empty() {
                self.queues.remove(&member.queue);
            }
        }
        Some(Arc::clone(&member.watched.trigger.connection.name))
    }

    fn decide(&mut self, id: &TriggerId) {
        let Some(member) = self.triggers.get_mut(id) else { return };
        let Some(queue) = self.queues.get(&member.queue) else { return };
        let now = self.clock.now();
        let policy = &member.watched.trigger.policy;
        let signals = queue.throughput.signals(policy, queue.reading.clone());
        let engine = self.engine;
        // A bug in a rule must cost one trigger, which then goes stale, and not all of them.
        let decided = catch_unwind(AssertUnwindSafe(|| engine(policy, &signals, &member.memory, now)));
        let Ok((decision, memory)) = decided else {
            tracing::error!(trigger = %id, "Deciding panicked; the trigger goes stale.");
            self.metrics.decision_panics.inc();
            return;
        };
        log_change(id, member.watched.evaluation().as_deref(), &decision);
        member.memory = memory;
        member.decided_at = now;
        member.watched.publish(Evaluation {
            signals: Arc::new(signals),
            decision: Arc::new(decision),
            error: queue.error.clone(),
        });
    }
}

fn of_queue(result: Result<Sighting, ReadError>) -> Option<Result<Reading, ReadError>> {
    match result {
        Ok(Sighting::Queue(reading)) => Some(Ok(reading)),
        Ok(Sighting::Workers(_) | Sighting::Limit(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// A held decision repeats every tick: what is worth a line is another reason, or another activity.
fn log_change(id: &TriggerId, last: Option<&Evaluation>, decision: &Decision) {
    let of = |decision: &Decision| (decision.limited_by, decision.size().map(|size| size.active));
    if last.is_none_or(|last| of(&last.decision) != of(decision)) {
        tracing::info!(trigger = %id, limited_by = decision.limited_by.label(), %decision, "Decided otherwise.");
    }
}

impl Member {
    /// Whether somebody waits for this trigger's first task.
    fn wakes(&self) -> bool {
        let active =
            self.watched.evaluation().and_then(|last| last.decision.size()).is_some_and(|size| size.active);
        !active && self.watched.has_listeners()
    }
}

impl Queue {
    fn unread() -> Self {
        Self {
            reading: Signal::Missing(Cause::new("no answer yet")),
            error: None,
            throughput: Throughput::default(),
            triggers: BTreeSet::new(),
        }
    }

    /// A failed read leaves the last good reading, which grows old.
    fn take(&mut self, at: Timestamp, result: Result<Reading, ReadError>) {
        match result {
            Ok(reading) => {
                self.throughput.observe(at, &reading);
                self.reading = Signal::Seen { value: reading, at, quality: Quality::Measured };
                self.error = None;
            }
            Err(error) => {
                let text: Arc<str> = error.to_string().into();
                if self.reading.seen().is_none() {
                    self.reading = Signal::Missing(Cause::new(Arc::clone(&text)));
                }
                self.error = Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
