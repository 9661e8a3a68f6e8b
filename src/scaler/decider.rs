//! The one task that decides. It owns every memory, so nothing is locked and nothing is shared.

mod limits;
mod member;
mod places;
mod watchlists;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
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
use crate::config::workers::LimitUse;
use crate::engine::decision::Decision;
use crate::engine::estimate::Throughput;
use crate::engine::limit::share::Share;
use crate::engine::policy::Policy;
use crate::engine::signals::Signals;
use crate::engine::{Memory, decide, want};
use crate::scaler::board::{Board, Evaluation, Watched};
use crate::scaler::listener::Listener;
use crate::scaler::observer::Voice;
use crate::scaler::reader::{Batch, Pace, Reader, Shares, Watchlist};
use crate::sources::{Plan, Wake};
use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

use limits::Shared;
use member::Member;
use places::Place;

/// Triggers decided in one go, a few microseconds each. After them RPCs have their turn.
const BETWEEN_YIELDS: usize = 64;

/// New triggers taken in at a time: each round makes a new watchlist, so a burst of them should share one.
const BEGUN_AT_A_TIME: usize = 4_096;

/// Batches that may wait for the decider; a reader that is further ahead waits itself.
const BATCHES_AHEAD: usize = 16;

/// The engine, as the decider calls it: want, then decide; what a limit leaves was divided before.
pub(super) type Engine = fn(&Policy, &Signals, Option<&Arc<Share>>, &Memory, Timestamp) -> (Decision, Memory);

/// The real engine.
pub(super) fn engine(
    policy: &Policy,
    signals: &Signals,
    share: Option<&Arc<Share>>,
    memory: &Memory,
    now: Timestamp,
) -> (Decision, Memory) {
    decide(policy, signals, want(policy, signals, memory, now), share, memory, now)
}

/// How a decider goes about its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) tick: Duration,
    /// Length of the workers' minute.
    pub(super) minute: Duration,
    pub(super) voice: Voice,
}

/// Decides about every trigger on the board.
pub(super) struct Decider {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    manner: Manner,
    engine: Engine,
    triggers: BTreeMap<TriggerId, Member>,
    places: BTreeMap<Arc<str>, Place>,
    limits: BTreeMap<Arc<str>, Shared>,
    readers: BTreeMap<Arc<str>, Orders>,
    batches: (mpsc::Sender<Batch>, mpsc::Receiver<Batch>),
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// When the last tick ended, for the liveness probe.
    heartbeat: Arc<AtomicU64>,
}

/// What a reader is told.
struct Orders {
    watchlist: watch::Sender<Watchlist>,
    shares: watch::Sender<Shares>,
}

impl Decider {
    pub(super) fn new(
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        manner: Manner,
        engine: Engine,
        tasks: (TaskTracker, CancellationToken),
    ) -> Self {
        let (tasks, shutdown) = tasks;
        let heartbeat = Arc::new(AtomicU64::new(clock.now().as_millis()));
        Self {
            board,
            clock,
            metrics,
            manner,
            engine,
            triggers: BTreeMap::new(),
            places: BTreeMap::new(),
            limits: BTreeMap::new(),
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
        let mut tick = interval(self.manner.tick);
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
            let id = watched.trigger.id.clone();
            changed.insert(Arc::clone(&watched.trigger.connection.name));
            if self.triggers.get(&id).is_some_and(|member| Arc::ptr_eq(&member.watched, &watched)) {
                // Known, and listened to from now on: the watchlist says whether its first task is waited for.
                continue;
            }
            let member = self.join(watched);
            let connection = |key| Some(Arc::clone(&self.places.get(key)?.connection.name));
            changed.extend(member.places().filter_map(connection));
            self.triggers.insert(id.clone(), member);
            // Other triggers may have had all of this read already.
            if self.is_answered(&id) {
                self.divide_limits_of(slice::from_ref(&id));
                self.decide(&id);
            }
        }
        for connection in changed {
            self.publish_watchlist(&connection);
        }
    }

    /// A new member, all of whose places are read from now on.
    fn join(&mut self, watched: Arc<Watched>) -> Member {
        let trigger = &watched.trigger;
        let id = &trigger.id;
        let queue = self.watch(&trigger.connection, &trigger.plan, id);
        let workers = trigger.workers.as_ref().map(|at| self.watch(&at.connection, &at.plan, id));
        let queries = trigger.queries.as_ref().map(|at| self.watch(&at.connection, &at.plan, id));
        let limit = trigger.limit.as_ref().map(|LimitUse { limit, .. }| {
            let shared = self.limits.entry(Arc::clone(&limit.name));
            shared.or_insert_with(|| Shared::new(Arc::clone(limit))).triggers.insert(id.clone());
            (Arc::clone(&limit.name), self.watch(&limit.connection, &limit.plan, id))
        });
        let headroom = trigger.limit.as_ref().and_then(|LimitUse { limit, .. }| limit.headroom.as_ref());
        let headroom = headroom.map(|at| self.watch(&at.connection, &at.plan, id));
        let decided_at = self.clock.now();
        let (memory, share, listed) = (Memory::default(), None, Pace::Tick);
        Member { watched, memory, queue, workers, queries, limit, headroom, share, decided_at, listed }
    }

    /// Has a place read for a trigger, and says which.
    fn watch(&mut self, connection: &Arc<Connection>, plan: &Arc<dyn Plan>, id: &TriggerId) -> Arc<str> {
        self.read_from(connection);
        let key = places::key(connection, plan.as_ref());
        let place = self.places.entry(Arc::clone(&key)).or_insert_with(|| Place::unread(connection, plan));
        place.triggers.insert(id.clone());
        key
    }

    /// Whether all that is read for a trigger has been answered once, well or not: a decision on half of it would
    /// ask for replicas that the other half does not allow.
    fn is_answered(&self, id: &TriggerId) -> bool {
        self.triggers.get(id).is_some_and(|member| {
            member.places().all(|key| self.places.get(key).is_some_and(|place| place.is_answered))
        })
    }

    /// Starts the reader of a connection, unless there is one.
    fn read_from(&mut self, connection: &Arc<Connection>) {
        if self.readers.contains_key(&connection.name) {
            return;
        }
        let (watchlist, watched) = watch::channel(Watchlist::default());
        let (shares, published) = watch::channel(Shares::default());
        // A reader that is busy will have looked at most of what is heard until it is not.
        let (heard, hearing) = mpsc::channel(1);
        let (hears_all, heard_all) = watch::channel(false);
        // Where nobody is told, nobody waits for a first task.
        if let (Wake::Pushed { .. }, Voice::TellsWorkers) = (connection.kind.wake, self.manner.voice) {
            let (connection, watchlist, tick) = (Arc::clone(connection), watched.clone(), self.manner.tick);
            let listener = Listener { connection, watchlist, heard, hears_all, tick };
            self.tasks.spawn(listener.run(self.shutdown.clone()));
        }
        let reader = Reader {
            connection: Arc::clone(connection),
            watchlist: watched,
            shares: published,
            heard: hearing,
            hears_all: heard_all,
            batches: self.batches.0.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            tick: self.manner.tick,
        };
        self.tasks.spawn(reader.run(self.shutdown.clone()));
        self.readers.insert(Arc::clone(&connection.name), Orders { watchlist, shares });
    }

    /// Takes in what a batch saw, and decides about the triggers that it concerns.
    async fn take(&mut self, batch: Batch) {
        let mut concerned = BTreeSet::new();
        for (key, result) in batch.results {
            let Some(place) = self.places.get_mut(&key) else { continue };
            let changed = place.take(batch.at, result);
            // Reads between ticks come several times a second; mostly nothing has changed.
            if changed || !batch.between_ticks {
                concerned.extend(place.triggers.iter().cloned());
            }
        }
        let concerned: Vec<TriggerId> = concerned.into_iter().collect();
        self.decide_politely(&concerned).await;
        // Active triggers need no more waking, and inactive ones do not wait for the next look around.
        if batch.between_ticks {
            let turned = self.turned(concerned.iter().filter_map(|id| self.triggers.get(id)));
            turned.iter().for_each(|connection| self.publish_watchlist(connection));
        }
    }

    /// Decides about many triggers, and lets others have their turn between. Limits are divided first, with the
    /// news of all.
    async fn decide_politely(&mut self, triggers: &[TriggerId]) {
        self.divide_limits_of(triggers);
        for some in triggers.chunks(BETWEEN_YIELDS) {
            some.iter().for_each(|id| self.decide(id));
            yield_now().await;
        }
    }

    /// Forgets triggers, decides about those whose queue brings no news, and renews the watchlists that changed.
    async fn look_around(&mut self) {
        let now = self.clock.now();
        let mut changed = BTreeSet::new();
        for id in self.board.forget_unasked(now) {
            changed.extend(self.forget(&id));
        }
        let silent =
            self.triggers.iter().filter(|(_, member)| now.since(member.decided_at) >= self.manner.tick);
        let silent: Vec<TriggerId> = silent.map(|(id, _)| id.clone()).collect();
        self.decide_politely(&silent).await;
        // Streams come and go without a word.
        changed.extend(self.turned(self.triggers.values()));
        for connection in changed {
            self.publish_watchlist(&connection);
        }
        self.heartbeat.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }

    /// Forgets a trigger, and says on which connections it was read.
    fn forget(&mut self, id: &TriggerId) -> BTreeSet<Arc<str>> {
        let mut connections = BTreeSet::new();
        let Some(member) = self.triggers.remove(id) else { return connections };
        tracing::info!(trigger = %id, "Nobody asks for this trigger; it is forgotten.");
        for key in member.places() {
            let Some(place) = self.places.get_mut(key) else { continue };
            connections.insert(Arc::clone(&place.connection.name));
            place.triggers.remove(id);
            if place.triggers.is_empty() {
                self.places.remove(key);
            }
        }
        self.leave_limit(&member, id);
        connections
    }

    /// What the engine is told about a trigger.
    fn signals(&self, member: &Member, now: Timestamp) -> Option<Signals> {
        let place = self.places.get(&member.queue)?;
        let workers = member.workers.as_ref().and_then(|key| self.places.get(key)?.workers());
        let queries = member.queries.as_ref().and_then(|key| self.places.get(key)?.queries());
        let policy = &member.watched.trigger.policy;
        let nothing = Throughput::default();
        Some(place.throughput().unwrap_or(&nothing).signals(policy, place.reading(), workers, queries, now))
    }

    fn decide(&mut self, id: &TriggerId) {
        let now = self.clock.now();
        let Some(member) = self.triggers.get(id) else { return };
        let queue = self.places.get(&member.queue);
        if queue.is_some_and(|place| place.is_answered) && !self.is_answered(id) {
            return;
        }
        let Some(signals) = self.signals(member, now) else { return };
        let error = queue.and_then(|place| place.error.clone());
        let limit = member.limit.as_ref().and_then(|(name, _)| self.limits.get(name)?.state.clone());
        let policy = &member.watched.trigger.policy;
        let (engine, share) = (self.engine, member.share.as_ref());
        // A bug in a rule must cost one trigger, which then goes stale, and not all of them.
        let decided = catch_unwind(AssertUnwindSafe(|| engine(policy, &signals, share, &member.memory, now)));
        let Ok((decision, memory)) = decided else {
            tracing::error!(trigger = %id, "Deciding panicked; the trigger goes stale.");
            self.metrics.decision_panics.inc();
            return;
        };
        log_change(id, member.watched.evaluation().as_deref(), &decision);
        let (signals, decision) = (Arc::new(signals), Arc::new(decision));
        member.watched.publish(Evaluation { signals, decision, limit, error });
        if let Some(member) = self.triggers.get_mut(id) {
            member.memory = memory;
            member.decided_at = now;
        }
    }
}

/// A held decision repeats every tick: what is worth a line is another reason, or another activity.
fn log_change(id: &TriggerId, last: Option<&Evaluation>, decision: &Decision) {
    let of = |decision: &Decision| (decision.limited_by, decision.size().map(|size| size.active));
    if last.is_none_or(|last| of(&last.decision) != of(decision)) {
        tracing::info!(trigger = %id, limited_by = decision.limited_by.label(), %decision, "Decided otherwise.");
    }
}

#[cfg(test)]
mod tests;
