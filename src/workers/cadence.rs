//! The length of the protocol's minute, and every time that follows from it.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// Minutes that are kept and read: what the engine looks back to at most.
pub const MINUTES_KEPT: u64 = 30;

/// The pace of the protocol. Its minute is a minute; tests and demonstrations take a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cadence {
    /// Milliseconds of a minute; at least 1.
    minute: u64,
}

impl Cadence {
    /// The pace with a minute of this length; at least a millisecond.
    pub fn of(minute: Duration) -> Self {
        Self { minute: u64::try_from(minute.as_millis()).unwrap_or(u64::MAX).max(1) }
    }

    /// The number of the minute in which `at` lies.
    pub const fn number(self, at: Timestamp) -> u64 {
        at.as_millis() / self.minute
    }

    /// How often a worker gives a sign of life.
    pub const fn beat(self) -> Duration {
        Duration::from_millis(self.minute / 6)
    }

    /// A worker that has given no sign of life for longer is gone.
    pub const fn gone_after(self) -> Duration {
        Duration::from_millis(self.minute / 2)
    }

    /// How long what nobody writes to is kept.
    pub const fn kept(self) -> Duration {
        Duration::from_millis(self.minute.saturating_mul(MINUTES_KEPT))
    }
}

/// A duration in whole seconds as `EXPIRE` takes them, rounded up.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_follows_from_the_minute() {
        let real = Cadence::of(Duration::from_secs(60));
        assert_eq!(real.number(Timestamp::from_millis(119_999)), 1);
        assert_eq!(real.number(Timestamp::from_millis(120_000)), 2);
        assert_eq!(real.beat(), Duration::from_secs(10));
        assert_eq!(real.gone_after(), Duration::from_secs(30));
        assert_eq!(seconds(real.kept()), 1_800);
        assert_eq!(seconds(Cadence::of(Duration::from_millis(50)).kept()), 2);
        assert_eq!(Cadence::of(Duration::ZERO).number(Timestamp::from_millis(7)), 7);
    }
}
