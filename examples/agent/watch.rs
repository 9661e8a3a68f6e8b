//! Looks at the queue and at what workers report, once a second.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use agent_scaler::sources::{Client, ReadError, Sighting};
use agent_scaler::telemetry::Chain;
use agent_scaler::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::link::Fault;
use crate::pressure::Seen;
use crate::settings::{Kind, Settings};
use crate::store::Store;

/// How often there is a look.
const EVERY: Duration = Duration::from_secs(1);

/// A look that is older says nothing of the present: nobody is refused for it.
const STALE: Duration = Duration::from_secs(10);

/// Redis may be silent for so long before this process stops to call itself ready: a restart of Redis should not
/// empty the Service, whose callers would then get no answer at all.
const UNREADY_AFTER: Duration = Duration::from_secs(5);

/// A watcher that has not looked around for so long has stopped. Its looks have deadlines, whatever Redis does.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What has been seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// When the watcher last looked, whatever came of it.
    beat: Instant,
    /// When Redis last answered to a request like those of callers.
    answered: Option<Instant>,
    /// How far Redis's clock is from ours.
    skew: Skew,
    /// The last look that told something.
    seen: Option<(Seen, Instant)>,
    /// Looks that failed since the start.
    pub(crate) failures: u64,
}

impl Watched {
    /// Whether the process does its work.
    pub(crate) fn alive(&self) -> bool {
        self.beat.elapsed() < DEAD_AFTER
    }

    /// Whether Redis has ever answered.
    pub(crate) fn started(&self) -> bool {
        self.answered.is_some()
    }

    /// Whether Redis answers.
    pub(crate) fn ready(&self) -> bool {
        self.answered.is_some_and(|answered| answered.elapsed() < UNREADY_AFTER)
    }

    /// Redis's time when our clock shows `ours`, as well as it is known. Workers go by it, and so do we: times that
    /// are compared come from one clock.
    pub(crate) fn now(&self, ours: Timestamp) -> Timestamp {
        ours + self.skew.ahead - self.skew.behind
    }

    /// What was seen lately.
    pub(crate) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref().filter(|(_, at)| at.elapsed() < STALE).map(|(seen, _)| seen)
    }
}

/// How far one clock is ahead of another or behind it; one of the two is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Skew {
    ahead: Duration,
    behind: Duration,
}

impl Skew {
    fn of(theirs: Timestamp, ours: Timestamp) -> Self {
        Self { ahead: theirs.since(ours), behind: ours.since(theirs) }
    }
}

/// Begins to look, until the process ends.
pub(crate) fn start(
    settings: &Arc<Settings>,
    store: Arc<Store>,
    clock: Arc<SystemClock>,
) -> watch::Receiver<Watched> {
    let watched =
        Watched { beat: Instant::now(), answered: None, skew: Skew::default(), seen: None, failures: 0 };
    let (sender, receiver) = watch::channel(watched);
    let watcher = Watcher { settings: Arc::clone(settings), store, clock, client: None };
    tokio::spawn(watcher.run(sender));
    receiver
}

struct Watcher {
    settings: Arc<Settings>,
    store: Arc<Store>,
    clock: Arc<SystemClock>,
    client: Option<Box<dyn Client>>,
}

/// A look that told nothing.
#[derive(Debug, thiserror::Error)]
enum Blind {
    #[error("the queue cannot be read")]
    Read(#[from] ReadError),
    #[error("the queue cannot be asked")]
    Ask(#[from] Fault),
}

impl Watcher {
    async fn run(mut self, watched: watch::Sender<Watched>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silent, mut blind) = (None, None);
        loop {
            ticks.tick().await;
            watched.send_modify(|watched| watched.beat = Instant::now());
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
            let (skew, look) = tokio::join!(skew(&store, &clock), self.look());
            match news(&mut silent, skew.as_ref().err().map(|fault| Chain(fault).to_string())) {
                Some(Some(error)) => tracing::warn!(error, "Redis does not answer; callers get 503."),
                Some(None) => tracing::info!("Redis answers again."),
                None => {}
            }
            match news(&mut blind, look.as_ref().err().map(|blind| Chain(blind).to_string())) {
                Some(Some(error)) => tracing::warn!(error, "The queue and its limit cannot be looked at."),
                Some(None) => tracing::info!("The queue and its limit are seen again."),
                None => {}
            }
            watched.send_modify(|watched| {
                if let Ok(skew) = skew {
                    watched.answered = Some(Instant::now());
                    watched.skew = skew;
                }
                match look {
                    Ok(seen) => watched.seen = Some((seen, Instant::now())),
                    Err(_) => watched.failures += 1,
                }
            });
        }
    }

    async fn look(&mut self) -> Result<Seen, Blind> {
        let mut seen = self.read().await?;
        if self.settings.queue.kind == Kind::List {
            let now = self.store.time().await?;
            seen.oldest = self.store.oldest_of_list().await?.map(|enqueued| now.since(enqueued));
        }
        if let Some(reports) = &self.settings.plans.reports {
            seen.share = self.store.share(&reports.share).await?;
        }
        Ok(seen)
    }

    /// Reads queue, workers and limit in one round trip.
    async fn read(&mut self) -> Result<Seen, ReadError> {
        let Settings { redis, plans, .. } = &*self.settings;
        let mut all = vec![Arc::clone(&plans.queue)];
        all.extend(plans.reports.iter().flat_map(|reports| [&reports.workers, &reports.limit]).cloned());
        let client = &mut self.client;
        let sightings = timeout(redis.timeout, async {
            let mut open = match client.take() {
                Some(open) => open,
                None => redis.endpoint.connect().await?,
            };
            let sightings = open.read(&all).await;
            // A client that was cut off in the middle, or has lost its connection, does not come back here.
            if !lost(&sightings) {
                *client = Some(open);
            }
            sightings.into_iter().collect::<Result<Vec<_>, _>>()
        });
        let silent = || ReadError::Deadline { endpoint: redis.endpoint.address() };
        let mut seen = Seen::default();
        for sighting in sightings.await.map_err(|_| silent())?? {
            match sighting {
                Sighting::Queue(reading) => {
                    seen.backlog = reading.ready;
                    seen.oldest = reading.oldest;
                }
                Sighting::Workers(workers) => seen.workers = Some(workers),
                Sighting::Limit(limit) => seen.limit = Some(limit),
                Sighting::Queried(_) | Sighting::Unchanged => {}
            }
        }
        Ok(seen)
    }
}

fn lost(sightings: &[Result<Sighting, ReadError>]) -> bool {
    sightings.iter().any(|sighting| sighting.as_ref().is_err_and(ReadError::loses_connection))
}

/// Asks Redis what its clock shows.
async fn skew(store: &Store, clock: &SystemClock) -> Result<Skew, Fault> {
    let asked = clock.now();
    let theirs = store.time().await?;
    // It looked at its clock about in the middle.
    Ok(Skew::of(theirs, asked + clock.now().since(asked) / 2))
}

/// What goes wrong, if that is another thing than before.
fn news(before: &mut Option<String>, error: Option<String>) -> Option<Option<String>> {
    if *before == error {
        return None;
    }
    before.clone_from(&error);
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_followed() {
        let [early, late] = [1_000, 5_000].map(Timestamp::from_millis);
        for (theirs, ours) in [(early, late), (late, early), (early, early)] {
            let skew = Skew::of(theirs, ours);
            let watched = Watched { beat: Instant::now(), answered: None, skew, seen: None, failures: 0 };
            assert_eq!(watched.now(ours), theirs);
        }
    }
}
