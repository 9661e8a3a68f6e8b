//! One task per connection beside its reader, where the backend can say by itself that something has happened: has the
//! reader look at once at the queues of inactive triggers that somebody waits for.
//!
//! Without it, and while it cannot listen, the reader looks at its own pace: nothing but time is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::server::Connection;
use crate::scaler::reader::delays;
use crate::scaler::watchlist::{PlaceId, Watchlist};
use crate::sources::ReadError;

/// Shortest time between two reads of what was announced: a burst of first tasks is one read.
const REST: Duration = Duration::from_millis(20);

/// Part of the time that looking through what is waited for may take, as a divisor.
const WATCH_SHARE: u32 = 2;

/// How soon a backend that refuses to say anything is asked again: somebody may have granted the right.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Listens on one connection.
pub(super) struct Listener {
    pub(super) connection: Arc<Connection>,
    pub(super) watchlist: Watchlist,
    /// Tells the reader which places to read at once.
    pub(super) announced: mpsc::Sender<BTreeSet<PlaceId>>,
    /// Tells the reader whether all changes are announced.
    pub(super) announces_all: watch::Sender<bool>,
    pub(super) tick: Duration,
}

/// Why listening has ended.
enum End {
    /// Nobody reads any more.
    NobodyReads,
    /// For a whole tick nobody has waited for a first task.
    NobodyWaits,
    /// The backend never says anything by itself.
    Mute,
    /// The connection is of no more use, or there was none.
    Failed(ReadError),
}

impl Listener {
    /// Listens until `shutdown`, or until nobody reads.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.listen() => {}
        }
    }

    async fn listen(&mut self) {
        let mut delays_left = delays(self.tick);
        let mut said = None;
        loop {
            while !self.watchlist.has_waking() {
                if !self.watchlist.changed().await {
                    return;
                }
            }
            let end = self.hear(&mut said).await;
            let heard_something = self.announces_all.send_replace(false);
            let error = match end {
                End::NobodyReads | End::Mute => return,
                End::NobodyWaits => continue,
                End::Failed(error) => error,
            };
            if heard_something {
                delays_left = delays(self.tick);
            }
            self.log_change(&mut said, Some(&error));
            let rest = match error {
                ReadError::Denied { .. } => AFTER_REFUSAL,
                ReadError::Deadline { .. } | ReadError::Unreachable { .. } | ReadError::Unexpected { .. } => {
                    delays_left.next().unwrap_or(self.tick)
                }
            };
            sleep(rest).await;
        }
    }

    /// Connects, and passes on what is heard.
    async fn hear(&mut self, said: &mut Option<ReadError>) -> End {
        let endpoint = &self.connection.endpoint;
        let late = || ReadError::Deadline { endpoint: endpoint.address() };
        // A slow backend costs one attempt and never two.
        let patience = self.tick * 4 / 5;
        let mut listener = match timeout(patience, endpoint.listen()).await {
            Ok(Ok(Some(listener))) => listener,
            Ok(Ok(None)) => return End::Mute,
            Ok(Err(error)) => return End::Failed(error),
            Err(_) => return End::Failed(late()),
        };
        loop {
            let started = Instant::now();
            self.watchlist.mark_seen();
            let waking = self.watchlist.waking();
            let plans: Vec<_> = waking.iter().map(|item| Arc::clone(&item.plan)).collect();
            let due = match timeout(patience, listener.watch(&plans)).await {
                Ok(Ok(due)) => due,
                Ok(Err(error)) => return End::Failed(error),
                Err(_) => return End::Failed(late()),
            };
            let due = due.iter().filter_map(|index| waking.get(*index));
            let places: BTreeSet<PlaceId> = due.map(|item| item.place).collect();
            if !places.is_empty() && self.announced.send(places).await.is_err() {
                return End::NobodyReads;
            }
            let doubt = listener.doubt();
            self.log_change(said, doubt);
            self.announces_all.send_replace(doubt.is_none());
            sleep_until(started + REST.max(started.elapsed() * WATCH_SHARE)).await;
            tokio::select! {
                () = listener.heard() => {}
                changed = self.watchlist.changed() => if !changed { return End::NobodyReads },
                // Shows whether the connection is alive.
                () = sleep_until(started + self.tick) => if waking.is_empty() { return End::NobodyWaits },
            }
        }
    }

    /// What is worth a line is the first reason why nothing is pushed, another one, and the end of it.
    fn log_change(&self, said: &mut Option<ReadError>, error: Option<&ReadError>) {
        if said.as_ref() == error {
            return;
        }
        let connection = &self.connection.name;
        match error {
            Some(error) => {
                let pause = humantime::format_duration(self.connection.wake_every()).to_string();
                tracing::warn!(%connection, %error, pause, "First tasks are not pushed; their queues are read instead.");
            }
            None => tracing::info!(%connection, "First tasks are pushed again."),
        }
        *said = error.cloned();
    }
}

#[cfg(test)]
mod tests;
