//! What goes to the worker protocol between beats and at each beat. Reports are never worth an error of a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_scaler::engine::limit::{Allowance, LimitSeen};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Beat, Reporter, Standing, Tally};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock::RedisClock;

/// How long a report may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Headers are passed on at most this often.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The one reporter of this process.
pub(crate) struct Reports {
    reporter: Mutex<Reporter>,
    clock: Arc<RedisClock>,
    /// When headers were last passed on, in milliseconds since the epoch.
    sampled: AtomicU64,
    samples: Mutex<()>,
}

/// What the scaler and the other workers say.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) allowance: Option<Allowance>,
    pub(crate) block: Option<Standing>,
}

impl Reports {
    pub(crate) fn new(reporter: Reporter, clock: Arc<RedisClock>) -> Arc<Self> {
        Arc::new(Self {
            reporter: Mutex::new(reporter),
            clock,
            sampled: AtomicU64::new(0),
            samples: Mutex::new(()),
        })
    }

    /// Beats; `false` if it failed, and the tally is still to be counted.
    pub(crate) async fn beat(&self, beat: &Beat<'_>) -> bool {
        let beating = async {
            let mut reporter = self.reporter.lock().await;
            self.clock.set(reporter.time().await?);
            reporter.beat(beat, self.clock.now()).await
        };
        said("beat", timeout(PATIENCE, beating).await).is_some()
    }

    /// What there is to hear; `None` if Redis does not say.
    pub(crate) async fn news(&self) -> Option<News> {
        let asking = async {
            let mut reporter = self.reporter.lock().await;
            Ok(News { allowance: reporter.allowance().await?, block: reporter.standing().await? })
        };
        said("news", timeout(PATIENCE, asking).await)
    }

    /// A task has left its slot.
    pub(crate) async fn release(&self, task: &str) {
        let releasing = async { self.reporter.lock().await.release(task).await };
        said("release", timeout(PATIENCE, releasing).await);
    }

    /// The provider blocks the limit; `false` if others could not be told.
    pub(crate) async fn limits(&self, seen: &LimitSeen) -> bool {
        let telling = async { self.reporter.lock().await.limits(seen, self.clock.now()).await };
        said("limits", timeout(PATIENCE, telling).await).is_some()
    }

    /// Passes on what a success said of the limit, once a second, and without keeping the task waiting.
    pub(crate) fn sample(self: &Arc<Self>, seen: &LimitSeen) {
        let now = self.clock.now();
        let last = Timestamp::from_millis(self.sampled.load(Ordering::Relaxed));
        if seen.headroom.is_empty() || now.since(last) < SAMPLE_EVERY {
            return;
        }
        self.sampled.store(now.as_millis(), Ordering::Relaxed);
        let (reports, seen) = (Arc::clone(self), seen.clone());
        tokio::spawn(async move {
            // One at a time, also when Redis is slow.
            let Ok(_only) = reports.samples.try_lock() else { return };
            let telling = async {
                let mut reporter = reports.reporter.lock().await;
                // A success that was sent before others were refused must not end their block.
                if reporter.blocked().await?.is_some() {
                    return Ok(());
                }
                reporter.limits(&seen, reports.clock.now()).await
            };
            said("sample", timeout(PATIENCE, telling).await);
        });
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self, tally: &Tally) {
        let leaving = async { self.reporter.lock().await.leave(tally, self.clock.now()).await };
        said("leave", timeout(PATIENCE, leaving).await);
    }
}

/// The answer, if there is one; the log has the reason otherwise.
fn said<T>(what: &str, answer: Result<redis::RedisResult<T>, tokio::time::error::Elapsed>) -> Option<T> {
    match answer {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(what, %error, "A report failed.");
            None
        }
        Err(_) => {
            tracing::debug!(what, "A report took too long.");
            None
        }
    }
}
