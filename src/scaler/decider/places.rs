//! What is read, and what was last seen of it: queues, workers, queries and limits, each once for all triggers.

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::server::Connection;
use crate::engine::estimate::Throughput;
use crate::engine::limit::LimitSeen;
use crate::engine::queries::Queries;
use crate::engine::signals::{Cause, Quality, Reading, Signal, Workers};
use crate::scaler::fair_queue::Owner;
use crate::scaler::watchlist::PlaceId;
use crate::sources::{ReadError, Sighting};
use crate::timestamp::Timestamp;

/// Names a place: two triggers of one namespace that read the same have one place.
///
/// Namespaces share no places, so that each read has one owner who pays for it. What nobody owns, a rate limit, is
/// read once for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PlaceName {
    /// The connection.
    pub(super) connection: Arc<str>,
    owner: Owner,
    /// What is read through it.
    what: Arc<str>,
}

impl PlaceName {
    pub(super) fn of(connection: &Connection, owner: Owner, what: Arc<str>) -> Self {
        Self { connection: Arc::clone(&connection.name), owner, what }
    }
}

/// One thing that is read, for one or several triggers.
pub(super) struct Place {
    pub(super) id: PlaceId,
    pub(super) name: PlaceName,
    /// Numbers of the triggers that it is read for, in order.
    triggers: Vec<u64>,
    /// Whether a read has ended, well or not.
    pub(super) is_answered: bool,
    /// When the last read began, however it ended.
    pub(super) read_at: Option<Instant>,
    /// Why the last read failed, if it did.
    pub(super) error: Option<Arc<str>>,
    pub(super) seen: Seen,
}

/// What was last seen.
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// A queue, and what it got through.
    Queue(Signal<Reading>, Box<Throughput>),
    /// Workers.
    Workers(Signal<Arc<Workers>>),
    /// A limit.
    Limit(Signal<LimitSeen>),
    /// The answers of queries, each with its own time.
    Queries(Arc<Queries>),
}

impl Place {
    pub(super) fn unread(id: PlaceId, name: PlaceName) -> Self {
        let (triggers, seen) = (Vec::new(), Seen::Nothing);
        Self { id, name, triggers, is_answered: false, read_at: None, error: None, seen }
    }

    /// Numbers of the triggers that it is read for.
    pub(super) fn triggers(&self) -> impl Iterator<Item = u64> {
        self.triggers.iter().copied()
    }

    /// Is read for one more trigger.
    pub(super) fn join(&mut self, number: u64) {
        if let Err(at) = self.triggers.binary_search(&number) {
            // Nearly all places are read for one trigger.
            self.triggers.reserve_exact(usize::from(self.triggers.is_empty()));
            self.triggers.insert(at, number);
        }
    }

    /// Is read for one trigger less, and says whether none is left.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        if let Ok(at) = self.triggers.binary_search(&number) {
            self.triggers.remove(at);
        }
        self.triggers.is_empty()
    }

    /// Takes in the result of a read, and says whether it was other than the one before. A failed read leaves
    /// what was last seen, which grows old.
    pub(super) fn take(
        &mut self,
        (at, began): (Timestamp, Instant),
        result: Result<Sighting, ReadError>,
    ) -> bool {
        self.is_answered = true;
        self.read_at = Some(began);
        match result {
            // Why the read before it failed is still true.
            Ok(Sighting::Unchanged) => false,
            Ok(sighting) => {
                self.error = None;
                self.log_unknown(&sighting);
                self.seen.take(at, sighting)
            }
            Err(error) => {
                let text: Arc<str> = error.to_string().into();
                let changed = self.error.as_ref() != Some(&text);
                if let Seen::Queries(queries) = &mut self.seen {
                    Arc::make_mut(queries).fail(Cause::new(Arc::clone(&text)));
                }
                self.error = Some(text);
                changed
            }
        }
    }

    /// Logs a line when figures become unknown, are known again, or are unknown for another reason.
    fn log_unknown(&self, sighting: &Sighting) {
        let now = match sighting {
            Sighting::Queue(reading) => reading.unknown.as_slice(),
            Sighting::Workers(workers) => workers.unknown.as_slice(),
            Sighting::Limit(_) | Sighting::Queried(_) | Sighting::Unchanged => return,
        };
        let before = match &self.seen {
            Seen::Queue(Signal::Seen { value, .. }, _) => value.unknown.as_slice(),
            Seen::Workers(Signal::Seen { value, .. }) => value.unknown.as_slice(),
            Seen::Queue(Signal::Missing(_), _)
            | Seen::Workers(Signal::Missing(_))
            | Seen::Nothing
            | Seen::Limit(_)
            | Seen::Queries(_) => &[],
        };
        if before == now {
            return;
        }
        let PlaceName { connection, owner: _, what } = &self.name;
        match now {
            [] => tracing::info!(%connection, read = %what, "All figures are known again."),
            [cause, ..] => tracing::warn!(%connection, read = %what, %cause, "Some figures are not known."),
        }
    }

    /// The reading of a queue, or why there is none.
    pub(super) fn reading(&self) -> Signal<Reading> {
        match &self.seen {
            Seen::Queue(reading, _) => reading.clone(),
            Seen::Nothing | Seen::Workers(_) | Seen::Limit(_) | Seen::Queries(_) => {
                Signal::Missing(self.cause())
            }
        }
    }

    /// What the queue got through.
    pub(super) fn throughput(&self) -> Option<&Throughput> {
        match &self.seen {
            Seen::Queue(_, throughput) => Some(throughput),
            Seen::Nothing | Seen::Workers(_) | Seen::Limit(_) | Seen::Queries(_) => None,
        }
    }

    /// What workers report.
    pub(super) const fn workers(&self) -> Option<&Signal<Arc<Workers>>> {
        match &self.seen {
            Seen::Workers(workers) => Some(workers),
            Seen::Nothing | Seen::Queue(..) | Seen::Limit(_) | Seen::Queries(_) => None,
        }
    }

    /// What workers last saw of a limit.
    pub(super) fn limit(&self) -> Signal<LimitSeen> {
        match &self.seen {
            Seen::Limit(seen) => seen.clone(),
            Seen::Nothing | Seen::Queue(..) | Seen::Workers(_) | Seen::Queries(_) => {
                Signal::Missing(self.cause())
            }
        }
    }

    /// The answers of queries.
    pub(super) fn queries(&self) -> Option<Arc<Queries>> {
        match &self.seen {
            Seen::Queries(queries) => Some(Arc::clone(queries)),
            Seen::Nothing => Some(Arc::new(Queries::failed(self.cause()))),
            Seen::Queue(..) | Seen::Workers(_) | Seen::Limit(_) => None,
        }
    }

    fn cause(&self) -> Cause {
        self.error.as_ref().map_or_else(|| Cause::new("no answer yet"), |error| Cause::new(Arc::clone(error)))
    }
}

impl Seen {
    fn take(&mut self, at: Timestamp, sighting: Sighting) -> bool {
        fn seen<T>(value: T, at: Timestamp) -> Signal<T> {
            Signal::Seen { value, at, quality: Quality::Measured }
        }
        match (&mut *self, sighting) {
            (Self::Queue(last, throughput), Sighting::Queue(reading)) => {
                let changed = last.seen() != Some(&reading);
                throughput.observe(at, &reading);
                *last = seen(reading, at);
                changed
            }
            (_, Sighting::Queue(reading)) => {
                let mut throughput = Box::<Throughput>::default();
                throughput.observe(at, &reading);
                *self = Self::Queue(seen(reading, at), throughput);
                true
            }
            (_, Sighting::Unchanged) => false,
            (_, Sighting::Workers(workers)) => {
                *self = Self::Workers(seen(Arc::new(workers), at));
                true
            }
            (_, Sighting::Limit(limit)) => {
                *self = Self::Limit(seen(limit, at));
                true
            }
            (Self::Queries(queries), Sighting::Queried(queried)) => {
                Arc::make_mut(queries).take(at, queried);
                true
            }
            (_, Sighting::Queried(queried)) => {
                let mut queries = Queries::default();
                queries.take(at, queried);
                *self = Self::Queries(Arc::new(queries));
                true
            }
        }
    }
}
