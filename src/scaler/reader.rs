//! One task per connection: reads all places that triggers watch on it, in batches in which every owner has its turn.
//!
//! Deadline, pace, back-off and metrics are here, once for all sources.

mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::server::Connection;
use crate::scaler::fair_queue::FairQueue;
use crate::scaler::watchlist::{Item, PlaceId, Watchlist};
use crate::sources::{Client, Plan, ReadError, Sighting};
use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

pub(super) use shares::Shares;

/// Part of the time that reads between ticks may take, as a divisor: at most a fifth, however slow a batch is.
const QUICK_SHARE: u32 = 5;

/// Pause between two reads for waking while the backend announces changes by itself: these are for what it cannot
/// announce, such as a delayed task that has come due.
const WAKE_WHILE_PUSHED: Duration = Duration::from_secs(1);

/// Longest pause between two reads that a call waits for, also where the connection's reads for waking are
/// further apart.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Most commands of one batch. A larger one would delay others on a backend that works off one at a time.
const BATCH_COST: usize = 4_000;

/// Least cost of a plan, so that a batch has at most 1,000 of them.
const LEAST_COST: usize = 4;

/// What one batch saw.
#[derive(Debug)]
pub(super) struct Batch {
    /// When the backend was asked: what it saw is no older.
    pub at: Timestamp,
    /// The same on the clock that only goes forward.
    pub began: Instant,
    /// Whether this was a read between two ticks.
    pub between_ticks: bool,
    /// One result for each place.
    pub results: Vec<(PlaceId, Result<Sighting, ReadError>)>,
}

/// Reads one connection.
pub(super) struct Reader {
    pub(super) connection: Arc<Connection>,
    pub(super) watchlist: Watchlist,
    /// What workers may use, to be written once a tick.
    pub(super) shares: watch::Receiver<Shares>,
    /// Places that have changed, as the backend has announced.
    pub(super) announced: mpsc::Receiver<BTreeSet<PlaceId>>,
    /// Whether the backend announces all changes.
    pub(super) announces_all: watch::Receiver<bool>,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) tick: Duration,
}

/// What the reader keeps between two batches.
struct State {
    client: Option<Box<dyn Client>>,
    /// What is left to read of the present tick, and until when that may go on.
    round: FairQueue<Item>,
    deadline: Instant,
    /// What the last round had no time for, in the order of its lines.
    late: Vec<PlaceId>,
    /// Delays of the failures that may follow; as new after a success.
    delays: ExponentialBackoff,
    /// A rest for a backend that let nobody in.
    pause: Option<Pause>,
    /// How the last batch failed, if it did.
    failing: Option<&'static str>,
    /// How shares could last not be published, if they could not.
    not_published: Option<&'static str>,
    /// The earliest times of the next read for waking and of the next read that a call waits for.
    next_waking: Instant,
    next_asked: Instant,
}

impl State {
    /// Whether a place may be left out for once. Its reading grows old meanwhile.
    fn rests(&self, item: &Item) -> bool {
        self.client.as_ref().is_some_and(|client| client.rests(item.plan.as_ref()))
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
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.read_all() => {}
        }
    }

    async fn read_all(&mut self) {
        let mut tick = interval(self.tick);
        // A late tick must not be followed by a burst of others.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let mut state = State {
            client: None,
            round: FairQueue::default(),
            deadline: now,
            late: Vec::new(),
            delays: delays(self.tick),
            pause: None,
            failing: None,
            not_published: None,
            next_waking: now,
            next_asked: now,
        };
        let mut is_open = true;
        while is_open {
            let (unread, round) = (self.watchlist.has_unread(), !state.round.is_empty());
            let (waking, asked) = (self.watchlist.has_waking(), self.watchlist.has_asked());
            // One batch at a time, and none of these can keep another from its turn.
            let is_read = tokio::select! {
                _ = tick.tick() => self.begin_round(&mut state).await,
                changed = self.watchlist.changed(), if !unread => {
                    is_open = changed;
                    true
                }
                () = ready(()), if unread => self.read_unread(&mut state).await,
                () = ready(()), if round => self.read_round(&mut state).await,
                Some(places) = self.announced.recv() => {
                    let items = self.watchlist.still_waking(&places);
                    self.read_between_ticks(items, &mut state).await
                }
                () = sleep_until(state.next_waking), if waking => self.read_waking(&mut state).await,
                () = sleep_until(state.next_asked), if asked => self.read_asked(&mut state).await,
            };
            is_open &= is_read;
        }
    }

    /// Begins to read everything once. What the last round had no time for leads its owner's line now.
    async fn begin_round(&mut self, state: &mut State) -> bool {
        let is_open = self.give_up_round(state).await;
        let late = std::mem::take(&mut state.late);
        let now = Instant::now();
        // Four fifths of a tick for all batches: a slow backend costs one reading and never two.
        state.deadline = now + self.tick * 4 / 5;
        if state.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return is_open;
        }
        self.publish_shares(now + self.tick * 2 / 5, state).await;
        let mut items: BTreeMap<PlaceId, Item> =
            self.watchlist.read_before().into_iter().map(|item| (item.place, item)).collect();
        let first: Vec<Item> = late.iter().filter_map(|place| items.remove(place)).collect();
        for item in first.into_iter().chain(items.into_values()) {
            if !state.rests(&item) {
                let cost = cost(&item);
                state.round.push(item.owner.clone(), item, cost);
            }
        }
        // All are looked at.
        state.next_waking = now + self.pause();
        is_open
    }

    /// Reads one batch of the round.
    async fn read_round(&mut self, state: &mut State) -> bool {
        if state.deadline <= Instant::now() {
            return self.give_up_round(state).await;
        }
        let items = state.round.take(BATCH_COST);
        let deadline = state.deadline;
        self.read_or_fail(&items, false, deadline, state).await
    }

    /// Ends the round, and reports what it had no time for.
    async fn give_up_round(&self, state: &mut State) -> bool {
        let late = std::mem::take(&mut state.round).take(usize::MAX);
        if late.is_empty() {
            return true;
        }
        state.late.extend(late.iter().map(|item| item.place));
        let error = ReadError::Deadline { endpoint: self.connection.endpoint.address() };
        let batch = self.failed(&late, &error);
        self.count_errors(batch.results.iter().map(|(_, result)| result));
        self.send(batch).await
    }

    /// Reads places that were never read, a batch of them.
    async fn read_unread(&mut self, state: &mut State) -> bool {
        self.watchlist.mark_seen();
        let items = self.watchlist.take_unread(BATCH_COST);
        let deadline = Instant::now() + self.tick * 4 / 5;
        self.read_or_fail(&items, false, deadline, state).await
    }

    /// Reads all places whose first task a stream waits for.
    async fn read_waking(&mut self, state: &mut State) -> bool {
        let started = Instant::now();
        let items = self.watchlist.waking();
        let is_open = self.read_between_ticks(items, state).await;
        state.next_waking = Instant::now() + (started.elapsed() * QUICK_SHARE).max(self.pause());
        is_open
    }

    /// Reads all places that a call waits for.
    async fn read_asked(&mut self, state: &mut State) -> bool {
        let started = Instant::now();
        let items = self.watchlist.asked();
        let is_open = self.read_between_ticks(items, state).await;
        let pause = self.connection.wake_every().min(LONGEST_WAIT);
        state.next_asked = Instant::now() + (started.elapsed() * QUICK_SHARE).max(pause);
        is_open
    }

    async fn read_between_ticks(&mut self, items: Vec<Item>, state: &mut State) -> bool {
        let now = Instant::now();
        if state.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return true;
        }
        let deadline = now + self.tick * 4 / 5;
        let mut queue = FairQueue::default();
        for item in items {
            let cost = cost(&item);
            queue.push(item.owner.clone(), item, cost);
        }
        while !queue.is_empty() {
            let items = queue.take(BATCH_COST);
            if !self.read_or_fail(&items, true, deadline, state).await {
                return false;
            }
        }
        true
    }

    /// Reads a batch, or says why it has to wait: triggers that begin in a pause learn it so.
    async fn read_or_fail(
        &mut self,
        items: &[Item],
        between_ticks: bool,
        deadline: Instant,
        state: &mut State,
    ) -> bool {
        if items.is_empty() {
            return true;
        }
        state.pause = state.pause.take().filter(|pause| Instant::now() < pause.until);
        let batch = match &state.pause {
            Some(pause) => self.failed(items, &pause.error),
            None => self.read(items, between_ticks, deadline, state).await,
        };
        self.send(batch).await
    }

    /// Pause between two reads for waking.
    fn pause(&self) -> Duration {
        let pause = self.connection.wake_every();
        if *self.announces_all.borrow() { pause.max(WAKE_WHILE_PUSHED) } else { pause }
    }

    async fn send(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }

    /// Reads one batch, connecting first where there is no connection.
    async fn read(&self, items: &[Item], between_ticks: bool, deadline: Instant, state: &mut State) -> Batch {
        let at = self.clock.now();
        let started = Instant::now();
        let plans: Vec<Arc<dyn Plan>> = items.iter().map(|item| Arc::clone(&item.plan)).collect();
        let asked = self.within(deadline, self.ask(&plans, deadline, state)).await;
        let results = asked.unwrap_or_else(|error| vec![Err(error); plans.len()]);
        self.metrics.read(&self.connection.name, started.elapsed());
        self.count_errors(results.iter());
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
        let results = items.iter().map(|item| item.place).zip(results).collect();
        Batch { at, began: started, between_ticks, results }
    }

    /// What `work` of the client gives, unless it takes too long or panics: a bug costs this batch and its client.
    async fn within<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Result<T, ReadError> {
        let endpoint = || self.connection.endpoint.address();
        let message = || "the client panicked, which is a bug".to_owned();
        match timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(done) => done.map_err(|_| ReadError::Unexpected { endpoint: endpoint(), message: message() }),
            Err(_) => Err(ReadError::Deadline { endpoint: endpoint() }),
        }
    }

    async fn ask(
        &self,
        plans: &[Arc<dyn Plan>],
        deadline: Instant,
        state: &mut State,
    ) -> Vec<Result<Sighting, ReadError>> {
        // The client is taken out while it reads: one that a deadline interrupts may have answers of this
        // batch still under way, and must not be asked again.
        let mut client = match state.client.take() {
            Some(client) => client,
            None => match self.connection.endpoint.connect().await {
                Ok(client) => client,
                Err(error) => return vec![Err(error); plans.len()],
            },
        };
        client.answer_by(deadline);
        let results = client.read(plans).await;
        state.client = Some(client);
        results
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

    fn failed(&self, items: &[Item], error: &ReadError) -> Batch {
        let results = items.iter().map(|item| (item.place, Err(error.clone()))).collect();
        Batch { at: self.clock.now(), began: Instant::now(), between_ticks: false, results }
    }

    fn count_errors<'a>(&self, results: impl Iterator<Item = &'a Result<Sighting, ReadError>>) {
        let mut places: BTreeMap<&'static str, u64> = BTreeMap::new();
        for error in results.filter_map(|result| result.as_ref().err()) {
            *places.entry(error.label()).or_default() += 1;
        }
        for (label, places) in places {
            self.metrics.read_errors(&self.connection.name, label, places);
        }
    }
}

/// What a place costs of a batch.
fn cost(item: &Item) -> usize {
    item.plan.cost().max(LEAST_COST)
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
