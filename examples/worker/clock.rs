//! Redis's time, by which workers on several machines agree.

use std::sync::atomic::{AtomicI64, Ordering};

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::timestamp::Timestamp;

/// The machine's clock and how far Redis's is ahead of it.
pub(crate) struct RedisClock {
    own: SystemClock,
    ahead_ms: AtomicI64,
}

impl RedisClock {
    pub(crate) fn start() -> Self {
        Self { own: SystemClock::start(), ahead_ms: AtomicI64::new(0) }
    }

    /// The present, by Redis's clock.
    pub(crate) fn now(&self) -> Timestamp {
        let own = self.own.now().as_millis();
        Timestamp::from_millis(own.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// Redis has just said that it is `redis`.
    pub(crate) fn set(&self, redis: Timestamp) {
        let millis = |at: Timestamp| i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.store(millis(redis) - millis(self.own.now()), Ordering::Relaxed);
    }
}
