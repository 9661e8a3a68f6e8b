//! A point in time, in whole milliseconds: cheap to make in tests, easy to store in traces.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last millisecond of the year 9999: RFC 3339 has no later one, and formatting it would fail.
    const LAST_WRITTEN: Self = Self(253_402_300_799_999);

    /// The point `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to this point; zero if `earlier` is later, because clocks of two machines differ.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// A time as RFC 3339 writes it, in UTC; `None` for anything else.
    pub fn of_rfc3339(text: &str) -> Option<Self> {
        let text = text.trim();
        let utc = text.strip_suffix("+00:00").map(|local| format!("{local}Z"));
        let time = humantime::parse_rfc3339_weak(utc.as_deref().unwrap_or(text)).ok()?;
        Some(Self::default() + time.duration_since(UNIX_EPOCH).ok()?)
    }

    /// A time as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`; `None` for anything else.
    pub fn of_http_date(text: &str) -> Option<Self> {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let [_, day, month, year, time, "GMT"] = words[..] else { return None };
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        Self::of_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self > Self::LAST_WRITTEN {
            return write!(f, "{} ms since 1970", self.0);
        }
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_shown() {
        let shown = |millis| Timestamp::from_millis(millis).to_string();
        assert_eq!(shown(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(shown(253_402_300_800_000), "253402300800000 ms since 1970");
        assert_eq!(shown(u64::MAX), "18446744073709551615 ms since 1970");
    }

    #[test]
    fn a_later_start_gives_no_time_at_all() {
        let early = Timestamp::from_millis(1_000);
        let late = early + Duration::from_secs(2);
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late - Duration::from_secs(2), early);
    }
}
