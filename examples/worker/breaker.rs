//! A circuit breaker: an endpoint that fails again and again is left alone for a while, and then tried by one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::limiter::jittered;

/// Failures in a row that open it.
const TOO_MANY: u32 = 5;

/// How long it stays open the first time; twice as long each further time, up to the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How often those who wait look whether it has closed.
const LOOK: Duration = Duration::from_millis(100);

/// The breaker of one endpoint.
pub(crate) struct Breaker {
    endpoint: &'static str,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests pass; so many failed in a row.
    Closed { failures: u32 },
    /// None passes until then.
    Open { until: Instant, times: u32 },
    /// One is under way, which decides.
    HalfOpen { times: u32 },
}

/// A request that was let through. Dropped without a word it changes nothing, but lets the next one try.
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    is_trial: bool,
    settled: bool,
}

impl Breaker {
    pub(crate) fn new(endpoint: &'static str) -> Arc<Self> {
        Arc::new(Self { endpoint, state: Mutex::new(State::Closed { failures: 0 }) })
    }

    /// Waits until a request may be tried.
    pub(crate) async fn pass(self: &Arc<Self>) -> Pass {
        loop {
            if let Some(is_trial) = self.try_pass() {
                return Pass { breaker: Arc::clone(self), is_trial, settled: false };
            }
            sleep(LOOK).await;
        }
    }

    /// Whether a request may be tried, and if so whether it is the one that decides.
    fn try_pass(&self) -> Option<bool> {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => Some(false),
            State::Open { until, times } if until <= Instant::now() => {
                *state = State::HalfOpen { times };
                Some(true)
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Whether requests pass.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The endpoint answered.
    pub(crate) fn succeeded(mut self) {
        self.settled = true;
        let mut state = self.breaker.state();
        match *state {
            State::Closed { .. } => *state = State::Closed { failures: 0 },
            State::HalfOpen { .. } if self.is_trial => {
                tracing::info!(endpoint = self.breaker.endpoint, "The endpoint answers again.");
                *state = State::Closed { failures: 0 };
            }
            // The late answer to a request from before it opened.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// The endpoint failed.
    pub(crate) fn failed(mut self) {
        self.settled = true;
        let mut state = self.breaker.state();
        let opened = match *state {
            State::Closed { failures } if failures + 1 < TOO_MANY => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => 0,
            State::HalfOpen { times } if self.is_trial => times + 1,
            State::Open { .. } | State::HalfOpen { .. } => return,
        };
        if opened == 0 {
            tracing::warn!(endpoint = self.breaker.endpoint, "The endpoint fails and is left alone.");
        }
        let pause = SHORTEST.saturating_mul(2_u32.saturating_pow(opened)).min(LONGEST);
        *state = State::Open { until: Instant::now() + jittered(pause), times: opened };
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_trial && !self.settled {
            let mut state = self.breaker.state();
            if let State::HalfOpen { times } = *state {
                *state = State::Open { until: Instant::now(), times };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.pass().await.failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_five_failures_in_a_row_and_not_before() {
        let breaker = Breaker::new("model");
        fail(&breaker, 4).await;
        breaker.pass().await.succeeded();
        fail(&breaker, 4).await;
        assert!(breaker.is_closed());
        fail(&breaker, 1).await;
        assert!(!breaker.is_closed());
        assert!(breaker.try_pass().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_tries_and_its_success_lets_all_through() {
        let breaker = Breaker::new("model");
        fail(&breaker, 5).await;
        let trial = breaker.pass().await;
        assert!(breaker.try_pass().is_none(), "a second one while the first is under way");
        trial.succeeded();
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_waits_longer_and_one_that_is_cut_off_frees_the_next() {
        let breaker = Breaker::new("model");
        fail(&breaker, 5).await;
        for at_least in [1, 2, 4] {
            let asked = Instant::now();
            let trial = breaker.pass().await;
            assert!(asked.elapsed() >= Duration::from_secs(at_least));
            trial.failed();
        }
        drop(breaker.pass().await);
        assert_eq!(breaker.try_pass(), Some(true));
    }
}
