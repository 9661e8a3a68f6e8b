//! What this worker counts until the next beat reports it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::limit::Headroom;
use agent_scaler::engine::minutes::{Histogram, Used};
use agent_scaler::workers::tally::Tally;
use tokio::time::Instant;

/// The books of one process.
pub(crate) struct Books(Mutex<Entries>);

struct Entries {
    tally: Tally,
    /// Until when the three times below are in the tally.
    since: Instant,
    running: u32,
    waiting: u32,
    calling: u32,
}

/// What a task does with its slot's time.
#[derive(Clone, Copy)]
enum What {
    Runs,
    Waits,
    Calls,
}

/// Lasts as long as the task does what it says, however it ends.
pub(crate) struct Doing {
    books: Arc<Books>,
    what: What,
}

impl Books {
    pub(crate) fn new() -> Self {
        let tally = Tally::default();
        Self(Mutex::new(Entries { tally, since: Instant::now(), running: 0, waiting: 0, calling: 0 }))
    }

    /// A task holds a slot for as long as the answer lives.
    pub(crate) fn runs(self: &Arc<Self>) -> Doing {
        self.does(What::Runs)
    }

    /// A task waits for the rate limit for as long as the answer lives.
    pub(crate) fn waits(self: &Arc<Self>) -> Doing {
        self.does(What::Waits)
    }

    /// A task waits for the model for as long as the answer lives.
    pub(crate) fn calls(self: &Arc<Self>) -> Doing {
        self.does(What::Calls)
    }

    /// Whether any task waits for the model.
    pub(crate) fn is_calling(&self) -> bool {
        self.entries().calling > 0
    }

    fn does(self: &Arc<Self>, what: What) -> Doing {
        let mut entries = self.entries();
        *entries.number(what) += 1;
        Doing { books: Arc::clone(self), what }
    }

    /// A task was taken for the first time after it had waited so long.
    pub(crate) fn taken(&self, waited: Duration) {
        self.entries().tally.waits.add(Histogram::bucket(waited), 1);
    }

    /// A task was done after so long in slots.
    pub(crate) fn done(&self, ran: Duration) {
        let mut entries = self.entries();
        entries.tally.durations.add(Histogram::bucket(ran), 1);
        entries.tally.done += 1;
    }

    /// A task failed for good after so long in slots.
    pub(crate) fn failed(&self, ran: Duration) {
        let mut entries = self.entries();
        entries.tally.durations.add(Histogram::bucket(ran), 1);
        entries.tally.failed += 1;
    }

    /// The provider answered a request.
    pub(crate) fn admitted(&self, used: Used) {
        self.entries().tally.used.add(used);
    }

    /// The provider refused this many requests because of a limit that all share.
    pub(crate) fn refused(&self, requests: u64) {
        self.entries().tally.refused += requests;
    }

    /// What the provider said was left.
    pub(crate) fn left(&self, dimension: Dimension, headroom: &Headroom) {
        if let Some(remaining) = headroom.remaining {
            self.entries().tally.remaining.entry(dimension).or_insert((remaining, headroom.seen));
        }
    }

    /// Takes everything out that was counted, time up to this moment included.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.entries().tally)
    }

    /// Puts back what could not be reported.
    pub(crate) fn put_back(&self, tally: &Tally) {
        self.entries().tally.merge(tally);
    }

    /// The entries, with the time until now.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // A panic elsewhere leaves counters that are right.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let time = now - entries.since;
        entries.since = now;
        let (running, waiting, calling) = (entries.running, entries.waiting, entries.calling);
        entries.tally.busy += time * running;
        entries.tally.throttled += time * waiting;
        entries.tally.calling += time * calling;
        entries
    }
}

impl Entries {
    const fn number(&mut self, what: What) -> &mut u32 {
        match what {
            What::Runs => &mut self.running,
            What::Waits => &mut self.waiting,
            What::Calls => &mut self.calling,
        }
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        *self.books.entries().number(self.what) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_is_counted_while_tasks_run_and_not_only_when_they_end() {
        let books = Arc::new(Books::new());
        let second = Duration::from_secs(1);
        let (one, two) = (books.runs(), books.runs());
        tokio::time::advance(second).await;
        let waiting = books.waits();
        tokio::time::advance(second).await;
        let tally = books.take();
        assert_eq!((tally.busy, tally.throttled, tally.calling), (4 * second, second, Duration::ZERO));
        drop((one, waiting));
        let calling = books.calls();
        tokio::time::advance(second).await;
        drop((two, calling));
        tokio::time::advance(second).await;
        let tally = books.take();
        assert_eq!((tally.busy, tally.throttled, tally.calling), (second, Duration::ZERO, second));
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_reported_is_reported_with_the_next() {
        let books = Arc::new(Books::new());
        books.admitted(Used { requests: 1, input_tokens: 20, output_tokens: 3 });
        let lost = books.take();
        books.refused(1);
        books.put_back(&lost);
        let tally = books.take();
        assert_eq!((tally.used.input_tokens, tally.refused), (20, 1));
    }
}
