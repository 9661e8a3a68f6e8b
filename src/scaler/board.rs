//! The triggers in use, and the last evaluation of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::trigger::{Trigger, TriggerId};
use crate::engine::decision::Decision;
use crate::engine::limit::share::LimitState;
use crate::engine::signals::Signals;
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

/// A trigger that nobody asked about for so long is forgotten: its ScaledObject is gone or was changed.
/// KEDA asks every 30 s by default, and even a `pollingInterval` of ten minutes is within it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Every trigger in use. RPC handlers read it, the decider writes it.
#[derive(Debug)]
pub struct Board {
    watched: Mutex<BTreeMap<TriggerId, Arc<Watched>>>,
    /// Tells the decider of new triggers and new listeners.
    begun: mpsc::Sender<Arc<Watched>>,
    max_triggers: usize,
}

/// One trigger in use.
#[derive(Debug)]
pub struct Watched {
    /// The trigger.
    pub trigger: Trigger,
    /// When the first call about it came.
    pub since: Timestamp,
    queue: Arc<str>,
    asked_ms: AtomicU64,
    evaluation: watch::Sender<Option<Arc<Evaluation>>>,
}

/// What was decided about a trigger, and what it was decided from.
#[derive(Debug)]
pub struct Evaluation {
    /// What was seen.
    pub signals: Arc<Signals>,
    /// What followed.
    pub decision: Arc<Decision>,
    /// The rate limit that it shares, if it shares one.
    pub limit: Option<Arc<LimitState>>,
    /// Why the last read failed, if it did.
    pub error: Option<Arc<str>>,
}

/// There is no room for another trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{max_triggers} triggers are watched already, the most that maxTriggers allows")]
pub struct Full {
    /// The limit.
    pub max_triggers: usize,
}

impl Board {
    /// An empty board, and where the decider learns of new triggers.
    pub fn new(max_triggers: u32) -> (Self, mpsc::Receiver<Arc<Watched>>) {
        let max_triggers = max_triggers as usize;
        // Half of it is for hints, which never take the place of a new trigger.
        let (begun, begins) = mpsc::channel(max_triggers.saturating_mul(2));
        (Self { watched: Mutex::default(), begun, max_triggers }, begins)
    }

    /// The trigger, which is watched from now on.
    ///
    /// # Errors
    /// When it is new and the board is full.
    pub fn watch(&self, trigger: Trigger, now: Timestamp) -> Result<Arc<Watched>, Full> {
        let mut all = self.lock();
        if let Some(watched) = all.get(&trigger.id) {
            watched.asked_ms.store(now.as_millis(), Ordering::Relaxed);
            return Ok(Arc::clone(watched));
        }
        let full = Full { max_triggers: self.max_triggers };
        if all.len() >= self.max_triggers {
            return Err(full);
        }
        let id = trigger.id.clone();
        let watched = Arc::new(Watched {
            queue: trigger.plan.queue().into(),
            trigger,
            since: now,
            asked_ms: AtomicU64::new(now.as_millis()),
            evaluation: watch::Sender::new(None),
        });
        // A decider that is so far behind takes no more.
        self.begun.try_send(Arc::clone(&watched)).map_err(|_| full)?;
        all.insert(id, Arc::clone(&watched));
        Ok(watched)
    }

    /// Every later evaluation of a trigger, whose first task is looked for more often from now on.
    pub fn listen(&self, watched: &Arc<Watched>) -> watch::Receiver<Option<Arc<Evaluation>>> {
        let evaluations = watched.subscribe();
        // Without the hint the decider finds out when it next looks around.
        if self.begun.capacity() > self.max_triggers {
            drop(self.begun.try_send(Arc::clone(watched)));
        }
        evaluations
    }

    /// Forgets the triggers that nobody asks about, and says which.
    pub fn forget_unasked(&self, now: Timestamp) -> Vec<TriggerId> {
        let mut all = self.lock();
        let unasked = |watched: &Watched| {
            let asked = Timestamp::from_millis(watched.asked_ms.load(Ordering::Relaxed));
            !watched.has_listeners() && now.since(asked) > FORGOTTEN_AFTER
        };
        let forgotten: Vec<TriggerId> = all
            .values()
            .filter(|watched| unasked(watched))
            .map(|watched| watched.trigger.id.clone())
            .collect();
        for id in &forgotten {
            all.remove(id);
        }
        forgotten
    }

    /// Reports on the triggers of one ScaledObject, or on all, that have been evaluated.
    pub fn reports(&self, of: Option<(&str, &str)>) -> Vec<Report> {
        let wanted = |id: &TriggerId| of.is_none_or(|of| of == (&id.namespace, &id.name));
        let all: Vec<Arc<Watched>> =
            self.lock().iter().filter(|(id, _)| wanted(id)).map(|(_, watched)| Arc::clone(watched)).collect();
        all.iter().filter_map(|watched| watched.report()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TriggerId, Arc<Watched>>> {
        // Nothing in the critical sections leaves the map half changed.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// The last evaluation; `None` before the first.
    pub fn evaluation(&self) -> Option<Arc<Evaluation>> {
        self.evaluation.borrow().clone()
    }

    /// The last evaluation and every later one.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Evaluation>>> {
        self.evaluation.subscribe()
    }

    /// Whether a stream is open on this trigger, or a first call waits for it.
    pub fn has_listeners(&self) -> bool {
        self.evaluation.receiver_count() > 0
    }

    /// Publishes an evaluation.
    pub fn publish(&self, evaluation: Evaluation) {
        self.evaluation.send_replace(Some(Arc::new(evaluation)));
    }

    /// What is shown of it; `None` before the first evaluation.
    pub fn report(&self) -> Option<Report> {
        let evaluation = self.evaluation()?;
        let Trigger { id, policy, source, plan: _, connection, workers: _, limit: _, queries } =
            &self.trigger;
        let Evaluation { signals, decision, limit, error } = evaluation.as_ref();
        Some(Report {
            namespace: Arc::clone(&id.namespace),
            name: Arc::clone(&id.name),
            trigger: id.fingerprint.to_string(),
            source: source.name,
            connection: Arc::clone(&connection.name),
            queries: queries.as_ref().map(|queries| Arc::clone(&queries.connection.name)),
            queue: Arc::clone(&self.queue),
            policy: *policy,
            signals: Arc::clone(signals),
            decision: Arc::clone(decision),
            limit: limit.clone(),
            error: error.clone(),
        })
    }
}
