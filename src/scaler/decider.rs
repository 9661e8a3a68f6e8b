//! The one task that decides. It owns every memory, so nothing is locked and nothing is shared.

mod limits;
mod member;
mod membership;
mod places;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::trigger::{Trigger, TriggerId};
use crate::engine::decision::Decision;
use crate::engine::estimate::Throughput;
use crate::engine::limit::share::Share;
use crate::engine::policy::Policy;
use crate::engine::signals::{Cause, Signals};
use crate::engine::{Memory, decide, want};
use crate::scaler::board::{Board, Change, Evaluation};
use crate::scaler::observer::Voice;
use crate::scaler::reader::{Batch, Shares};
use crate::scaler::watchlist::{PlaceId, WatchlistWriter};
use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

use limits::Shared;
use member::Member;
use places::{Place, PlaceName};

/// Triggers decided in one go, a few microseconds each. After them RPCs have their turn.
const BETWEEN_YIELDS: usize = 64;

/// Changes of the board taken in at a time, a few microseconds each.
const CHANGES_AT_A_TIME: usize = 64;

/// Batches that may wait for the decider; a reader that is further ahead waits itself.
const BATCHES_AHEAD: usize = 16;

/// Batches taken in at a time: limits are divided once for all of them.
const BATCHES_AT_A_TIME: usize = 4;

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
    /// By their numbers on the board. Numbers only grow, which leaves the nodes of such a map half empty: boxes keep
    /// the empty half small.
    triggers: BTreeMap<u64, Box<Member>>,
    places: BTreeMap<PlaceId, Box<Place>>,
    place_ids: HashMap<PlaceName, PlaceId>,
    next_place: u64,
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
    watchlist: WatchlistWriter,
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
            place_ids: HashMap::new(),
            next_place: 0,
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
    pub(super) async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        let mut tick = interval(self.manner.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        let (mut changed, mut batches) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                count = changes.recv_many(&mut changed, CHANGES_AT_A_TIME) => {
                    if count == 0 {
                        return;
                    }
                    changed.drain(..).for_each(|change| self.take_change(change));
                }
                _ = self.batches.1.recv_many(&mut batches, BATCHES_AT_A_TIME) => {
                    self.take(batches.drain(..)).await;
                }
                _ = tick.tick() => self.take_stock().await,
            }
        }
    }

    fn take_change(&mut self, change: Change) {
        match change {
            Change::Watched(watched) if watched.is_over(self.clock.now()) => {}
            Change::Watched(watched) => {
                let number = watched.number;
                if !self.triggers.contains_key(&number) {
                    let member = self.join(watched);
                    self.triggers.insert(number, Box::new(member));
                    // Other triggers may have had all of this read already.
                    if self.is_answered(number) {
                        self.divide_limits_of(&[number]);
                        self.decide(number);
                    }
                }
                self.renew_pace(number);
            }
            Change::Dropped(number) => self.forget(number),
        }
    }

    /// Takes in what batches saw, and decides about the triggers that they concern.
    async fn take(&mut self, batches: impl Iterator<Item = Batch>) {
        let mut concerned: Vec<u64> = Vec::new();
        for Batch { at, began, between_ticks, results } in batches {
            for (id, result) in results {
                let Some(place) = self.places.get_mut(&id) else { continue };
                let changed = place.take((at, began), result);
                // Reads between ticks come several times a second; mostly nothing has changed.
                if changed || !between_ticks {
                    concerned.extend(place.triggers());
                } else {
                    let members = place.triggers().filter_map(|number| self.triggers.get(&number));
                    let asked = members.filter(|member| member.watched.is_asked());
                    concerned.extend(asked.map(|member| member.watched.number));
                }
            }
        }
        concerned.sort_unstable();
        concerned.dedup();
        self.decide_politely(&concerned).await;
    }

    /// Decides about many triggers, and lets others have their turn between. Limits are divided first, with the
    /// news of all.
    async fn decide_politely(&mut self, triggers: &[u64]) {
        self.divide_limits_of(triggers);
        for some in triggers.chunks(BETWEEN_YIELDS) {
            for number in some {
                self.decide(*number);
                // An active trigger needs no more waking, and an inactive one does not wait for the next tick.
                self.renew_pace(*number);
            }
            yield_now().await;
        }
    }

    /// Drops triggers that are over, decides about those whose queue brings no news, and renews the paces that
    /// streams have changed by coming and going.
    async fn take_stock(&mut self) {
        let now = self.clock.now();
        let numbers: Vec<u64> = self.triggers.keys().copied().collect();
        let mut silent = Vec::new();
        for some in numbers.chunks(BETWEEN_YIELDS) {
            for number in some {
                let Some(member) = self.triggers.get(number) else { continue };
                if member.watched.is_over(now) {
                    let watched = Arc::clone(&member.watched);
                    self.board.drop_trigger(&watched);
                    self.forget(*number);
                } else if now.since(member.decided_at) >= self.manner.tick {
                    silent.push(*number);
                } else {
                    self.renew_pace(*number);
                }
            }
            yield_now().await;
        }
        self.decide_politely(&silent).await;
        self.heartbeat.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }

    /// What the engine is told about a trigger.
    fn signals(&self, member: &Member, now: Timestamp) -> Option<Signals> {
        let place = self.places.get(&member.queue)?;
        let policy = &member.watched.trigger.policy;
        let workers = member.workers.and_then(|id| self.places.get(&id));
        // Tasks that workers last reported may have ended, and KEDA would start a Job for each.
        let workers = workers.filter(|place| policy.workload.is_held() || place.error.is_none());
        let workers = workers.and_then(|place| place.workers());
        let queries = member.queries.and_then(|id| self.places.get(&id)?.queries());
        let nothing = Throughput::default();
        let throughput = place.throughput().unwrap_or(&nothing);
        let signals = throughput.signals(policy, place.reading(), workers, queries, now);
        let failed = place.error.as_ref().map(|error| Cause::new(Arc::clone(error)));
        Some(Signals { failed, ..signals })
    }

    /// When all places of a trigger's tasks were last read; a place that cannot be read does not count.
    fn as_of(&self, member: &Member) -> Instant {
        let told = member.of_tasks().filter_map(|id| self.places.get(&id));
        told.filter(|place| place.error.is_none())
            .filter_map(|place| place.read_at)
            .min()
            .unwrap_or_else(Instant::now)
    }

    fn decide(&mut self, number: u64) {
        let now = self.clock.now();
        let Some(member) = self.triggers.get(&number) else { return };
        let queue = self.places.get(&member.queue);
        if queue.is_some_and(|place| place.is_answered) && !self.is_answered(number) {
            return;
        }
        let Some(signals) = self.signals(member, now) else { return };
        let error = queue.and_then(|place| place.error.clone());
        let limit = member.limit.as_ref().and_then(|limit| self.limits.get(&limit.name)?.state.clone());
        let Trigger { id, policy, .. } = &member.watched.trigger;
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
        let as_of = self.as_of(member);
        member.watched.publish(Evaluation { signals, decision, limit, error, as_of });
        if let Some(member) = self.triggers.get_mut(&number) {
            member.memory = memory;
            member.decided_at = now;
        }
    }
}

/// A held decision repeats every tick: what is worth a line is another reason, or another activity.
fn log_change(id: &TriggerId, last: Option<&Evaluation>, decision: &Decision) {
    let of = |decision: &Decision| (decision.limited_by, decision.size().map(|size| size.active));
    if last.is_none_or(|last| of(&last.decision) != of(decision)) {
        tracing::info!(trigger = %id, limited_by = decision.limited_by.label(), %decision, "Decision changed.");
    }
}

#[cfg(test)]
mod tests;
