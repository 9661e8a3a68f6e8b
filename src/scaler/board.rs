//! The triggers in use, and the last evaluation of each.

mod latest;
mod occupancy;
mod streams;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::trigger::{FORGOTTEN_AFTER, Trigger};
use crate::engine::decision::Decision;
use crate::engine::limit::share::LimitState;
use crate::engine::signals::Signals;
use crate::telemetry::pages::Triggers;
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

use latest::Latest;
use occupancy::Occupancy;

pub(super) use streams::{OpenStream, SpecStream, TooManyStreams};

/// Most open streams of a kind on one trigger. KEDA has one, and a few that it has lost and we have not noticed yet.
const MOST_STREAMS: u32 = 32;

/// Most open streams of specs for triggers that are refused, all together.
const MOST_REFUSED: u32 = 1_000;

/// Every trigger in use. RPC handlers read it, the decider writes it.
#[derive(Debug)]
pub struct Board {
    occupancy: Mutex<Occupancy>,
    /// Tells the decider of new triggers, new streams, and triggers that are watched no more.
    changes: mpsc::Sender<Change>,
    max_triggers: usize,
    next_number: AtomicU64,
    hasher: RandomState,
    /// Open streams of specs for triggers that are refused.
    refused: Arc<AtomicU32>,
}

/// What the decider is told.
#[derive(Debug)]
pub(super) enum Change {
    /// A trigger is watched from now on, a stream of it was opened, or a call waits for a new reading of its
    /// queue.
    Watched(Arc<Watched>),
    /// The trigger with this number is watched no more.
    Dropped(u64),
}

/// One trigger in use.
#[derive(Debug)]
pub struct Watched {
    /// The trigger.
    pub trigger: Trigger,
    /// When the first call about it came.
    pub since: Timestamp,
    /// Tells triggers in use apart. A number is never given twice.
    pub(super) number: u64,
    /// What is read, in full.
    pub(super) queue: Arc<str>,
    /// The request that it was last parsed from.
    request: AtomicU64,
    asked_ms: AtomicU64,
    /// When a call last asked for a new reading of its queue.
    question: Mutex<Option<Instant>>,
    /// Whether a call has asked for more than its spec.
    is_wanted: AtomicBool,
    is_dropped: AtomicBool,
    /// Streams that are open on it.
    streams: AtomicU32,
    /// Streams of its spec that are open.
    specs: AtomicU32,
    evaluations: Latest<Evaluation>,
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
    /// Its tasks were read at this time or later.
    pub as_of: Instant,
}

/// A hash of what a call says of a trigger, with a key of this process: the same call gives the same trigger without
/// being parsed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request(u64);

/// What a trigger is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its first read begins early; its number is not asked for yet.
    Spec,
    /// Its number.
    Answer,
}

/// There is no room for another trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{max_triggers} triggers are watched already, the most that maxTriggers allows")]
pub struct Full {
    /// The limit.
    pub max_triggers: usize,
}

impl Board {
    /// An empty board, and where the decider learns of changes.
    pub(super) fn new(max_triggers: u32) -> (Self, mpsc::Receiver<Change>) {
        let max_triggers = max_triggers as usize;
        // Half of it is for hints, which never take the place of a new trigger.
        let (changes, receiver) = mpsc::channel(max_triggers.saturating_mul(2).max(64));
        let board = Self {
            occupancy: Mutex::default(),
            changes,
            max_triggers,
            next_number: AtomicU64::new(0),
            hasher: RandomState::new(),
            refused: Arc::default(),
        };
        (board, receiver)
    }

    /// What a call says of a trigger of ScaledObject `name` in `namespace`.
    pub fn request(&self, namespace: &str, name: &str, metadata: &BTreeMap<String, String>) -> Request {
        Request(self.hasher.hash_one((namespace, name, metadata)))
    }

    /// The trigger that the same call has begun.
    pub fn known(
        &self,
        namespace: &str,
        name: &str,
        request: Request,
        purpose: Purpose,
        now: Timestamp,
    ) -> Option<Arc<Watched>> {
        let occupancy = self.lock();
        let same = |watched: &&Arc<Watched>| watched.request.load(Ordering::Relaxed) == request.0;
        let watched = Arc::clone(occupancy.of(namespace, name).iter().find(same)?);
        drop(occupancy);
        watched.is_requested(request, purpose, now);
        Some(watched)
    }

    /// The trigger, which is watched from now on.
    ///
    /// # Errors
    /// When it is new, there is no room, and no other namespace has more than its part.
    pub fn watch(
        &self,
        trigger: Trigger,
        request: Request,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Arc<Watched>, Full> {
        let mut occupancy = self.lock();
        let of_object = occupancy.of(&trigger.id.namespace, &trigger.id.name);
        if let Some(watched) = of_object.iter().find(|watched| watched.trigger.id == trigger.id) {
            watched.is_requested(request, purpose, now);
            return Ok(Arc::clone(watched));
        }
        let full = Full { max_triggers: self.max_triggers };
        // A decider that is so far behind gets no more.
        let permit = self.changes.try_reserve().map_err(|_| full)?;
        let (places, mut dropped) = (occupancy::places_of(&trigger), Vec::new());
        let has_room =
            occupancy.make_room((&trigger.id, places, purpose), self.max_triggers, now, &mut dropped);
        // Without the messages the decider finds the marks at its next tick.
        dropped.iter().for_each(|dropped| drop(self.changes.try_send(Change::Dropped(dropped.number))));
        if !has_room {
            return Err(full);
        }
        let watched = Arc::new(Watched {
            queue: trigger.plan.queue().into(),
            trigger,
            since: now,
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            request: AtomicU64::new(request.0),
            asked_ms: AtomicU64::new(now.as_millis()),
            question: Mutex::default(),
            is_wanted: AtomicBool::new(purpose == Purpose::Answer),
            is_dropped: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            specs: AtomicU32::new(0),
            evaluations: Latest::default(),
        });
        occupancy.insert(Arc::clone(&watched));
        permit.send(Change::Watched(Arc::clone(&watched)));
        drop(occupancy);
        Ok(watched)
    }

    /// Has all places of a trigger's tasks read at once, and returns the first evaluation as of `asked` or
    /// later. `None` if the trigger is not watched any more.
    pub(super) async fn ask(&self, watched: &Arc<Watched>, asked: Instant) -> Option<Arc<Evaluation>> {
        {
            let mut question = watched.question();
            *question = (*question).max(Some(asked));
        }
        self.hint(watched);
        let mut version = 0;
        loop {
            let (newer, evaluation) = watched.evaluations.newer_than(version).await?;
            if asked <= evaluation.as_of {
                return Some(evaluation);
            }
            version = newer;
        }
    }

    /// Tells the decider that a trigger is to be read at another pace. If the message is lost, the decider
    /// notices at its next tick.
    fn hint(&self, watched: &Arc<Watched>) {
        if self.changes.capacity() > self.max_triggers {
            drop(self.changes.try_send(Change::Watched(Arc::clone(watched))));
        }
    }

    /// Opens a stream on a trigger, whose first task is looked for more often from now on.
    ///
    /// # Errors
    /// When the trigger has its most.
    pub(super) fn open_stream(&self, watched: Arc<Watched>) -> Result<OpenStream, TooManyStreams> {
        let before = watched.streams.fetch_add(1, Ordering::Relaxed);
        // Dropped, it is counted no more.
        let stream = OpenStream { watched, version: 0 };
        if before >= MOST_STREAMS {
            return Err(TooManyStreams { most: MOST_STREAMS });
        }
        self.hint(&stream.watched);
        Ok(stream)
    }

    /// Opens a stream of the spec of a trigger, `None` if it is refused: its spec is told all the same.
    ///
    /// # Errors
    /// When the trigger, or all that are refused, have their most.
    pub(super) fn open_spec(&self, watched: Option<Arc<Watched>>) -> Result<SpecStream, TooManyStreams> {
        let (stream, most) = match watched {
            Some(watched) => (SpecStream::Watched(watched), MOST_STREAMS),
            None => (SpecStream::Refused(Arc::clone(&self.refused)), MOST_REFUSED),
        };
        let before = stream.count().fetch_add(1, Ordering::Relaxed);
        if before >= most { Err(TooManyStreams { most }) } else { Ok(stream) }
    }

    /// Drops a trigger.
    pub(super) fn drop_trigger(&self, watched: &Arc<Watched>) {
        self.lock().remove(watched);
    }

    /// The triggers of one ScaledObject, or all.
    pub fn triggers(&self, of: Option<(&str, &str)>) -> Vec<Arc<Watched>> {
        match of {
            Some((namespace, name)) => self.lock().of(namespace, name).to_vec(),
            None => self.lock().all(),
        }
    }

    /// Reports on the triggers of one ScaledObject, or on all, that have been evaluated.
    pub fn reports(&self, of: Option<(&str, &str)>) -> Vec<Report> {
        self.triggers(of).iter().filter_map(|watched| watched.report()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Occupancy> {
        // Nothing in the critical sections leaves the maps half changed.
        self.occupancy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For pages, which ask for one report after the other.
impl Triggers for Vec<Arc<Watched>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn report(&self, index: usize) -> Option<Report> {
        self.get(index)?.report()
    }
}

impl Watched {
    fn is_requested(&self, request: Request, purpose: Purpose, now: Timestamp) {
        self.request.store(request.0, Ordering::Relaxed);
        self.asked_ms.store(now.as_millis(), Ordering::Relaxed);
        if purpose == Purpose::Answer {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is watched no more, or should not be, because no call has asked for it for 15 minutes.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.is_unrequested(FORGOTTEN_AFTER, now) || self.is_dropped.load(Ordering::Relaxed)
    }

    /// Whether no stream is open on it, and no call has asked for it for longer than `time`.
    fn is_unrequested(&self, time: Duration, now: Timestamp) -> bool {
        !self.has_streams() && now.since(self.asked()) > time
    }

    /// When a call last asked for it.
    fn asked(&self) -> Timestamp {
        Timestamp::from_millis(self.asked_ms.load(Ordering::Relaxed))
    }

    /// The last evaluation; `None` before the first.
    pub fn evaluation(&self) -> Option<Arc<Evaluation>> {
        self.evaluations.get()
    }

    /// The last evaluation, or the first one as soon as there is one; `None` if the trigger is watched no more.
    pub async fn evaluated(&self) -> Option<Arc<Evaluation>> {
        let (_, evaluation) = self.evaluations.newer_than(0).await?;
        Some(evaluation)
    }

    /// Whether a call waits for a newer evaluation than the present one.
    pub(super) fn is_asked(&self) -> bool {
        let question = *self.question();
        question.zip(self.evaluation()).is_some_and(|(asked, last)| last.as_of < asked)
    }

    fn question(&self) -> MutexGuard<'_, Option<Instant>> {
        // The critical sections only assign, so a panic leaves no inconsistent value.
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stream is open on this trigger.
    pub(super) fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    /// Publishes an evaluation.
    pub fn publish(&self, evaluation: Evaluation) {
        self.evaluations.publish(Arc::new(evaluation));
    }

    /// What is shown of it; `None` before the first evaluation.
    pub fn report(&self) -> Option<Report> {
        let evaluation = self.evaluation()?;
        let Trigger { id, policy, source, plan: _, connection, workers: _, limit: _, queries } =
            &self.trigger;
        let Evaluation { signals, decision, limit, error, as_of: _ } = evaluation.as_ref();
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
            to_show_running: self.trigger.to_show_running(),
            error: error.clone(),
        })
    }
}
