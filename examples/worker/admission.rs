//! A request that may start, with its reservation and its place among the requests under way.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::minutes::Used;
use redis::RedisResult;

use crate::limiter::Limiter;

/// The admission of one request.
pub(crate) struct Admission {
    limiter: Option<Arc<Limiter>>,
    reserved: Used,
    /// Its name among the requests under way, where they are counted.
    name: Option<String>,
    /// The end of the block that it tries, in milliseconds since the epoch.
    tries: Option<u64>,
    /// How long it waited.
    pub(crate) waited: Duration,
}

impl Admission {
    /// For a request whose moment has come.
    pub(crate) fn of(limiter: &Arc<Limiter>, reserved: Used, tries: Option<u64>) -> Self {
        Self { limiter: Some(Arc::clone(limiter)), reserved, name: None, tries, waited: Duration::ZERO }
    }

    /// For a worker without a limit.
    pub(crate) fn free() -> Self {
        Self { limiter: None, reserved: Used::default(), name: None, tries: None, waited: Duration::ZERO }
    }

    /// Sets its place among the requests under way, if those are counted.
    pub(crate) fn enters(&mut self, name: Option<String>, waited: Duration) {
        self.name = name;
        self.waited = waited;
    }

    /// Whether the request tries whether a block is over.
    pub(crate) const fn is_trial(&self) -> bool {
        self.tries.is_some()
    }

    /// The request was answered, and used this much.
    pub(crate) async fn answered(mut self, used: Used) {
        let tries = self.tries.take();
        let Some(limiter) = &self.limiter else { return };
        said(limiter.settle(self.reserved, used, true).await);
        if let Some(end) = tries {
            said(limiter.tried(end, true).await);
        }
    }

    /// The request was refused. It used no tokens, but it was sent: if its request were given back too, the
    /// next one would follow at once.
    pub(crate) async fn refused(self) {
        if let Some(limiter) = &self.limiter {
            said(limiter.settle(self.reserved, Used { requests: 1, ..Used::default() }, false).await);
        }
    }
}

/// Logs a correction that failed.
fn said(settled: RedisResult<()>) {
    if let Err(error) = settled {
        tracing::debug!(%error, "A reservation could not be corrected.");
    }
}

impl Drop for Admission {
    /// Leaves its place, also when the task is cancelled during a request.
    fn drop(&mut self) {
        let Some(limiter) = self.limiter.take() else { return };
        let (name, tries) = (self.name.take(), self.tries.take());
        if name.is_none() && tries.is_none() {
            return;
        }
        tokio::spawn(async move {
            if let Some(end) = tries {
                // If this fails, another request tries when this one's time is over.
                said(limiter.tried(end, false).await);
            }
            if let Some(name) = name {
                // If this fails, the place is free when the request's time is over.
                said(limiter.leave(&name).await);
            }
        });
    }
}
