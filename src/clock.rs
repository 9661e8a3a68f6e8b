//! The only reader of the machine's clocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::timestamp::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The machine's clock: it follows the wall clock, which others' timestamps are compared with, and never runs backwards.
///
/// A wall clock that was set forward, or stood while the machine was suspended, is followed at once. Behind one that was
/// set back this clock goes on at half its speed until the two meet: nothing that happened is ever in the future, and
/// what is not renewed still grows old.
///
/// It goes by tokio's clock, so a test that pauses the runtime's time governs this one as well.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// The same moment by the machine's clock.
    monotonic: std::time::Instant,
    told: Mutex<Told>,
}

/// How far the wall clock is behind before that is said.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

impl SystemClock {
    /// A clock that starts with the machine's wall time.
    pub fn start() -> Self {
        let (wall, monotonic) = machine();
        let told = Told { time: wall, at: Duration::ZERO, is_ahead: false };
        Self { started: Instant::now(), monotonic, told: Mutex::new(told) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, monotonic) = machine();
        let at = self.started.elapsed();
        // The two are the same, unless a test pauses the runtime's time: then the wall clock stands as well.
        let wall = (wall + at).saturating_sub(monotonic.saturating_duration_since(self.monotonic));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let was_ahead = told.is_ahead;
        let time = told.advance(at, wall);
        let is_set_back = told.is_ahead && !was_ahead;
        drop(told);
        if is_set_back {
            let by = humantime::format_duration(Duration::from_secs((time.saturating_sub(wall)).as_secs()));
            tracing::warn!(%by, "The wall clock was set back; ours goes at half its speed until the two meet.");
        }
        Timestamp::default() + time
    }
}

/// The wall clock, as the time since the Unix epoch, and the clock that never jumps.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clocks")]
fn machine() -> (Duration, std::time::Instant) {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (wall.unwrap_or_default(), std::time::Instant::now())
}

/// The last time that was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Time since the Unix epoch.
    time: Duration,
    /// The same moment by the clock that never jumps.
    at: Duration,
    /// Whether the wall clock is worth a line behind.
    is_ahead: bool,
}

impl Told {
    /// The time at the moment `at`, when the wall clock says `wall`.
    fn advance(&mut self, at: Duration, wall: Duration) -> Duration {
        let passed = at.saturating_sub(self.at);
        self.at = self.at.max(at);
        self.time = wall.max(self.time + passed / 2);
        let ahead = self.time.saturating_sub(wall);
        self.is_ahead = ahead > WORTH_A_LINE || (self.is_ahead && !ahead.is_zero());
        self.time
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BEGIN: Duration = Duration::from_secs(1_800_000_000);

    fn begin() -> Told {
        Told { time: BEGIN, at: Duration::ZERO, is_ahead: false }
    }

    #[test]
    fn a_wall_clock_that_was_set_forward_is_followed_at_once() {
        let mut told = begin();
        let wall = BEGIN + Duration::from_secs(3_600);
        assert_eq!(told.advance(1_000 * MS, wall), wall);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_is_met_at_half_speed_and_said_once() {
        let (mut told, mut said) = (begin(), 0);
        for second in 1..=30 {
            let (at, was_ahead) = (Duration::from_secs(second), told.is_ahead);
            told.advance(at, (BEGIN + at).saturating_sub(Duration::from_secs(10)));
            said += u32::from(told.is_ahead && !was_ahead);
        }
        assert_eq!((told.time, said), (BEGIN + Duration::from_secs(20), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_test_that_pauses_the_time_governs_the_clock() {
        let clock = SystemClock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        let passed = clock.now().since(before);
        assert!((60_000..60_500).contains(&passed.as_millis()), "{passed:?}");
    }

    proptest! {
        /// Steps of the wall clock between readings, in milliseconds.
        #[test]
        fn time_never_runs_backwards_never_stands_and_meets_the_wall_clock(
            steps in prop::collection::vec((1_u64..5_000, -20_000_i64..20_000), 1..50),
        ) {
            let (mut told, mut at, mut offset) = (begin(), Duration::ZERO, 0_i64);
            let wall = |at: Duration, offset: i64| {
                let moved = BEGIN + at;
                let by = Duration::from_millis(offset.unsigned_abs());
                if offset < 0 { moved.saturating_sub(by) } else { moved + by }
            };
            for (passed, step) in steps {
                let before = told.time;
                at += Duration::from_millis(passed);
                offset += step;
                told.advance(at, wall(at, offset));
                prop_assert!(told.time >= before + Duration::from_millis(passed) / 2);
                prop_assert!(told.time >= wall(at, offset));
            }
            let gap = told.time.saturating_sub(wall(at, offset));
            at += gap * 2;
            prop_assert_eq!(told.advance(at, wall(at, offset)), wall(at, offset));
            prop_assert!(!told.is_ahead);
        }
    }
}
