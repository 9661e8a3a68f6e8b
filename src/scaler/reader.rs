//! One task per connection: reads all queues that triggers watch on it in one batch a tick.
//!
//! Deadline, pace, back-off and metrics are here, once for all sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::server::Connection;
use crate::sources::{Client, Plan, Published, ReadError, Sighting};
use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

/// Part of the time that reads between ticks may take, as a divisor: at most a fifth, however slow a batch is.
const QUICK_SHARE: u32 = 5;

/// Pause between two reads for waking while the backend says by itself that something has happened: these are for
/// what it cannot say, such as a delayed task that has come due.
const WAKE_WHILE_HEARD: Duration = Duration::from_secs(1);

/// Most queues of one batch. A larger one would hold up others on a backend that works off one at a time.
const BATCH: usize = 1_000;

/// The queues to read through one connection.
pub(super) type Watchlist = Arc<[Item]>;

/// What workers may use, by the scope of their limit.
pub(super) type Shares = BTreeMap<String, Published>;

/// One queue to read.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Names the queue.
    pub queue: Arc<str>,
    /// How to read it.
    pub plan: Arc<dyn Plan>,
    /// How often it is read.
    pub pace: Pace,
}

/// How often a queue is read. Where several triggers watch it, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// Once a tick.
    Tick,
    /// Between ticks too: KEDA subtracts its Jobs of now, and would start one more for each task that has ended since
    /// the last read.
    Quick,
    /// As quickly, and as soon as something is heard of it: somebody waits for its first task.
    Waking,
}

/// What one batch saw.
#[derive(Debug)]
pub(super) struct Batch {
    /// When the backend was asked: what it saw is no older.
    pub at: Timestamp,
    /// Whether this was a read between two ticks.
    pub between_ticks: bool,
    /// One result for each queue.
    pub results: Vec<(Arc<str>, Result<Sighting, ReadError>)>,
}

/// Reads one connection.
pub(super) struct Reader {
    pub(super) connection: Arc<Connection>,
    pub(super) watchlist: watch::Receiver<Watchlist>,
    /// What workers may use, to be written once a tick.
    pub(super) shares: watch::Receiver<Shares>,
    /// Queues to which something has happened, as their listener has heard.
    pub(super) heard: mpsc::Receiver<BTreeSet<Arc<str>>>,
    /// Whether it hears all that happens.
    pub(super) hears_all: watch::Receiver<bool>,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) tick: Duration,
}

/// What the reader keeps between two batches.
struct State {
    client: Option<Box<dyn Client>>,
    /// Queues that were asked for once: a new one is read at once.
    known: BTreeSet<Arc<str>>,
    /// Delays of the failures that may follow; as new after a success.
    delays: ExponentialBackoff,
    /// A rest for a backend that let nobody in.
    pause: Option<Pause>,
    /// How the last batch failed, if it did.
    failing: Option<&'static str>,
    /// How shares could last not be published, if they could not.
    not_published: Option<&'static str>,
    next_quick: Instant,
}

impl State {
    /// Whether a queue that was read before may be left out for once. It grows old meanwhile.
    fn rests(&self, item: &Item) -> bool {
        let client = self.client.as_ref();
        self.known.contains(&item.queue) && client.is_some_and(|client| client.rests(item.plan.as_ref()))
    }
}

/// A rest for a backend that failed.
struct Pause {
    /// When the next attempt may be made.
    until: Instant,
    error: ReadError,
}

impl Reader {
    /// Reads until nobody listens or `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        for label in ReadError::LABELS {
            // A series that begins with its first error has no rate when it matters.
            self.metrics.read_errors(&self.connection.name, label, 0);
        }
        let mut tick = interval(self.tick);
        // A late tick must not be followed by a burst of others.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut state = State {
            client: None,
            known: BTreeSet::new(),
            delays: delays(self.tick),
            pause: None,
            failing: None,
            not_published: None,
            next_quick: Instant::now(),
        };
        loop {
            let quick = self.watchlist.borrow().iter().any(|item| item.pace > Pace::Tick);
            let due = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => Due::All,
                changed = self.watchlist.changed() => match changed {
                    Ok(()) => Due::New,
                    Err(_) => return,
                },
                Some(queues) = self.heard.recv() => Due::Heard(queues),
                () = sleep_until(state.next_quick), if quick => Due::Quick,
            };
            let listens = tokio::select! {
                () = shutdown.cancelled() => return,
                listens = self.read_due(&due, &mut state) => listens,
            };
            if !listens {
                return;
            }
        }
    }

    async fn read_due(&mut self, due: &Due, state: &mut State) -> bool {
        // Only a read of what is new may take note of a change: another would pass over it.
        let watchlist = match due {
            Due::New => Arc::clone(&self.watchlist.borrow_and_update()),
            Due::All | Due::Quick | Due::Heard(_) => Arc::clone(&self.watchlist.borrow()),
        };
        let items: Vec<&Item> = watchlist.iter().filter(|item| due.takes(item, state)).collect();
        let started = Instant::now();
        if let Some(pause) = state.pause.as_ref().filter(|pause| started < pause.until) {
            // Triggers that begin in a pause learn why they must wait; all others know.
            state.next_quick = started + self.pause();
            return !matches!(due, Due::New) || self.send(self.failed(&items, &pause.error)).await;
        }
        state.pause = None;
        // Four fifths of a tick for all batches: a slow backend costs one reading and never two.
        let deadline = started + self.tick * 4 / 5;
        for batch in items.chunks(BATCH) {
            let failed = state.pause.as_ref().map(|pause| self.failed(batch, &pause.error));
            let batch = match failed {
                Some(failed) => failed,
                None => self.read(batch, due.is_between_ticks(), deadline, state).await,
            };
            if !self.send(batch).await {
                return false;
            }
        }
        if matches!(due, Due::All) {
            self.publish_shares(deadline, state).await;
        }
        match due {
            Due::All => state.known = watchlist.iter().map(|item| Arc::clone(&item.queue)).collect(),
            Due::New => state.known.extend(items.iter().map(|item| Arc::clone(&item.queue))),
            Due::Quick | Due::Heard(_) => {}
        }
        let rest = match due {
            Due::Quick => (started.elapsed() * QUICK_SHARE).max(self.pause()),
            // All were looked at.
            Due::All => self.pause(),
            Due::New | Due::Heard(_) => return true,
        };
        state.next_quick = Instant::now() + rest;
        true
    }

    /// Pause between two reads that are between ticks.
    fn pause(&self) -> Duration {
        let pause = self.connection.wake_every();
        let only_waking = || self.watchlist.borrow().iter().all(|item| item.pace != Pace::Quick);
        if *self.hears_all.borrow() && only_waking() { pause.max(WAKE_WHILE_HEARD) } else { pause }
    }

    async fn send(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }

    /// Reads one batch, connecting first where there is no connection.
    async fn read(
        &self,
        items: &[&Item],
        between_ticks: bool,
        deadline: Instant,
        state: &mut State,
    ) -> Batch {
        let at = self.clock.now();
        let started = Instant::now();
        let plans: Vec<Arc<dyn Plan>> = items.iter().map(|item| Arc::clone(&item.plan)).collect();
        let results = match timeout_at(deadline, self.ask(&plans, state)).await {
            Ok(results) => results,
            Err(_) => {
                let endpoint = self.connection.endpoint.address();
                vec![Err(ReadError::Deadline { endpoint }); plans.len()]
            }
        };
        self.metrics.read(&self.connection.name, started.elapsed());
        self.count_errors(&results);
        state.client = state
            .client
            .take()
            .filter(|client| client.mends_itself() || !results.iter().any(loses_connection));
        let error = results.iter().find_map(|result| result.as_ref().err());
        // That some queues could be read says nothing of those that could not.
        if error.is_some() || !between_ticks {
            self.log_change(state, error);
        }
        // No connection, whatever the reason: a refused login must not be repeated at the pace of the reads.
        match results.iter().find_map(|result| result.as_ref().err()) {
            Some(error) if state.client.is_none() => {
                let until = Instant::now() + state.delays.next().unwrap_or(self.tick);
                state.pause = Some(Pause { until, error: error.clone() });
            }
            Some(_) | None => state.delays = delays(self.tick),
        }
        let results = items.iter().map(|item| Arc::clone(&item.queue)).zip(results).collect();
        Batch { at, between_ticks, results }
    }

    async fn ask(&self, plans: &[Arc<dyn Plan>], state: &mut State) -> Vec<Result<Sighting, ReadError>> {
        // The client is taken out while it reads: one that a deadline interrupts may have answers of this
        // batch still under way, and must not be asked again.
        let mut client = match state.client.take() {
            Some(client) => client,
            None => match self.connection.endpoint.connect().await {
                Ok(client) => client,
                Err(error) => return vec![Err(error); plans.len()],
            },
        };
        let results = client.read(plans).await;
        state.client = Some(client);
        results
    }

    /// Tells workers what they may use. What cannot be written is written with the next tick: workers keep the
    /// last that they saw.
    async fn publish_shares(&self, deadline: Instant, state: &mut State) {
        let shares: Vec<Published> = self.shares.borrow().values().cloned().collect();
        let Some(mut client) = state.client.take_if(|_| !shares.is_empty()) else { return };
        let result = timeout_at(deadline, client.publish(&shares)).await;
        let (error, is_of_use) = match result {
            Ok(Ok(())) => (None, true),
            Ok(Err(error)) => {
                let is_of_use = client.mends_itself() || !error.loses_connection();
                (Some(error), is_of_use)
            }
            Err(_) => (Some(ReadError::Deadline { endpoint: self.connection.endpoint.address() }), false),
        };
        if is_of_use {
            state.client = Some(client);
        }
        let failing = error.as_ref().map(ReadError::label);
        if let Some(error) = error.filter(|_| failing != state.not_published) {
            let connection = &self.connection.name;
            tracing::warn!(%connection, %error, "Shares could not be published.");
        }
        state.not_published = failing;
    }

    /// An outage repeats itself with every batch: what is worth a line is its beginning, its end, another reason.
    fn log_change(&self, state: &mut State, error: Option<&ReadError>) {
        let failing = error.map(ReadError::label);
        if failing == state.failing {
            return;
        }
        state.failing = failing;
        let connection = &self.connection.name;
        match error {
            Some(error) => tracing::warn!(%connection, %error, "Source read failed."),
            None => tracing::info!(%connection, "Source is read again."),
        }
    }

    fn failed(&self, items: &[&Item], error: &ReadError) -> Batch {
        let results = items.iter().map(|item| (Arc::clone(&item.queue), Err(error.clone()))).collect();
        Batch { at: self.clock.now(), between_ticks: false, results }
    }

    fn count_errors(&self, results: &[Result<Sighting, ReadError>]) {
        for label in ReadError::LABELS {
            let of_this_kind =
                |result: &&Result<_, ReadError>| result.as_ref().is_err_and(|error| error.label() == label);
            let queues = results.iter().filter(of_this_kind).count() as u64;
            if queues > 0 {
                self.metrics.read_errors(&self.connection.name, label, queues);
            }
        }
    }
}

/// Why a batch is read.
enum Due {
    /// The tick: every queue but those that rest.
    All,
    /// The watchlist changed: queues that were never read.
    New,
    /// Some queues are read between ticks.
    Quick,
    /// Something has happened to these queues, and somebody waits for it.
    Heard(BTreeSet<Arc<str>>),
}

impl Due {
    fn takes(&self, item: &Item, state: &State) -> bool {
        match self {
            Self::All => !state.rests(item),
            Self::New => !state.known.contains(&item.queue),
            Self::Quick => item.pace > Pace::Tick,
            Self::Heard(queues) => item.pace == Pace::Waking && queues.contains(&item.queue),
        }
    }

    /// Whether such reads come between those of the tick.
    const fn is_between_ticks(&self) -> bool {
        matches!(self, Self::Quick | Self::Heard(_))
    }
}

fn loses_connection(result: &Result<Sighting, ReadError>) -> bool {
    result.as_ref().is_err_and(ReadError::loses_connection)
}

/// Doubling delays from a tenth of a tick to half of one, shaken so that our replicas do not return all at
/// once. With the shake the next tick reads again: an outage should be over for us when it is over.
pub(super) fn delays(tick: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(tick / 10)
        .with_max_delay(tick / 2)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests;
