//! Pages about many triggers, made in pieces while somebody reads them.
//!
//! 20,000 triggers make 50 MB of JSON. A page is never whole in memory, and a reader who does not read costs a piece
//! and, after a few seconds, nothing. There are few readers at a time, and one piece is made at a time, so that calls
//! have their turn between.

pub mod metrics;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use crate::telemetry::report::Report;
use crate::text::printable_json;
use crate::timestamp::Timestamp;

/// Pages that are read at a time: two scrapes, and some people.
const READERS: usize = 8;

/// How long another reader waits for a place. Prometheus gives up after ten seconds.
const PLACE: Duration = Duration::from_secs(8);

/// How long a reader may take nothing at all: less than others wait for its place.
const STALL: Duration = Duration::from_secs(4);

/// How long one page may be read.
const WHOLE: Duration = Duration::from_secs(60);

/// Size of a piece, in bytes; one that has reached it is not added to.
const PIECE: usize = 32 * 1024;

/// Most triggers that one piece looks at, a few microseconds each.
const TRIGGERS: usize = 256;

/// Seconds after which a reader who found no place may come again.
pub const COME_AGAIN: &str = "5";

/// Triggers as of one moment. The report on each is made when it is asked for.
pub trait Triggers: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// The report on one of them; `None` before its first evaluation.
    fn report(&self, index: usize) -> Option<Report>;
}

impl fmt::Debug for dyn Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} triggers", self.count())
    }
}

/// The places of those who read pages.
#[derive(Debug)]
pub struct Readers {
    places: Arc<Semaphore>,
    /// Whoever makes a piece.
    turn: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(READERS)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Readers {
    /// A page of `pieces`, which are made one by one as it is read; `None` while too many read already.
    pub async fn page(&self, pieces: impl Iterator<Item = String> + Send + 'static) -> Option<Body> {
        let place = timeout(PLACE, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?;
        let (made, taken) = mpsc::channel(1);
        let turn = Arc::clone(&self.turn);
        tokio::spawn(async move {
            // Who does not read in time finds that the page breaks off.
            drop(timeout_at(Instant::now() + WHOLE, make(pieces, made, &turn)).await);
            drop(place);
        });
        Some(Body::from_stream(stream::unfold(Some(taken), |taken| async move {
            let mut taken = taken?;
            match taken.recv().await {
                Some(Some(piece)) => Some((Ok(piece), Some(taken))),
                Some(None) => None,
                // Without the error a page that was cut would look whole.
                None => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
            }
        })))
    }
}

/// Makes pieces as they are taken, and says when there are no more.
async fn make(
    mut pieces: impl Iterator<Item = String> + Send,
    made: mpsc::Sender<Option<Bytes>>,
    turn: &Semaphore,
) {
    loop {
        let Ok(Ok(room)) = timeout(STALL, made.reserve()).await else { return };
        let Ok(turn) = turn.acquire().await else { return };
        let piece = pieces.next();
        drop(turn);
        let is_last = piece.is_none();
        room.send(piece.map(Bytes::from));
        if is_last {
            return;
        }
        yield_now().await;
    }
}

/// A list of what is shown of each trigger.
#[derive(Debug)]
pub struct List {
    triggers: Arc<dyn Triggers>,
    now: Timestamp,
    shape: Shape,
    next: usize,
    /// What stands before the next trigger; `None` once the end was written.
    before: Option<&'static str>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As text for people.
    Text,
    /// As JSON for programs.
    Json,
}

impl List {
    /// A list of `triggers` as of `now`.
    pub const fn new(triggers: Arc<dyn Triggers>, now: Timestamp, shape: Shape) -> Self {
        let before = match shape {
            Shape::Text => "",
            Shape::Json => "[",
        };
        Self { triggers, now, shape, next: 0, before: Some(before) }
    }

    fn write(&mut self, piece: &mut String, before: &'static str, report: &Report) {
        piece.push_str(before);
        let shown = report.shown(self.now);
        match self.shape {
            Shape::Text => piece.push_str(&shown.to_string()),
            Shape::Json => {
                // What is shown has texts for keys, and so is JSON always.
                piece.push_str(&printable_json(serde_json::to_string(&shown).unwrap_or_default()));
                self.before = Some(",");
            }
        }
    }
}

impl Iterator for List {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = String::new();
        let last = (self.next + TRIGGERS).min(self.triggers.count());
        while self.next < last && piece.len() < PIECE {
            let before = self.before?;
            if let Some(report) = self.triggers.report(self.next) {
                self.write(&mut piece, before, &report);
            }
            self.next += 1;
        }
        if self.next < self.triggers.count() {
            return Some(piece);
        }
        let before = self.before.take()?;
        if self.shape == Shape::Json {
            piece.push_str(if before == "[" { "[]" } else { "]" });
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    /// A page of `pieces` pieces.
    fn pieces(pieces: usize) -> impl Iterator<Item = String> + Send {
        std::iter::repeat_n("x".repeat(PIECE), pieces)
    }

    #[tokio::test(start_paused = true)]
    async fn readers_who_do_not_read_lose_their_place_to_those_who_wait() {
        let readers = Readers::default();
        let mut idle = Vec::new();
        for _ in 0..READERS {
            idle.push(readers.page(pieces(100)).await.expect("a place"));
        }
        let started = Instant::now();
        let page = readers.page(pieces(100)).await.expect("a place, once another is cut");
        assert!(started.elapsed() <= STALL, "{:?}", started.elapsed());
        assert_eq!(to_bytes(page, usize::MAX).await.unwrap().len(), 100 * PIECE);
        for page in idle {
            assert!(to_bytes(page, usize::MAX).await.is_err(), "a page that was cut does not look whole");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_has_a_piece_ahead_of_its_reader_and_no_more() {
        let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let counted = pieces(1_000).inspect(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        let page = Readers::default().page(counted).await.expect("a place");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(page);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_reads_a_little_at_a_time_has_a_minute() {
        let page = Readers::default().page(pieces(1_000)).await.expect("a place");
        let mut pieces = page.into_data_stream();
        let mut read = 0;
        let started = Instant::now();
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut pieces).await {
            read += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((59..=62).contains(&started.elapsed().as_secs()), "{read} in {:?}", started.elapsed());
    }
}
