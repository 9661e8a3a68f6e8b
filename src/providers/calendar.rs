//! When days, months and other windows of the clock end.

use jiff::tz::TimeZone;
use jiff::{ToSpan, ZonedDateTime};

use super::window::Window;
use crate::timestamp::Timestamp;

/// The POSIX rule of Pacific time, because images need not have a time zone database.
const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

/// The next midnight in California, at which Google's days begin.
pub(super) fn midnight_pacific(at: Timestamp) -> Option<Timestamp> {
    let here = zoned(at, TimeZone::posix(PACIFIC).ok()?)?;
    timestamp(&here.tomorrow().ok()?.start_of_day().ok()?)
}

/// The end of the window of the clock, in UTC, in which `at` lies. `None` for a week, because providers begin
/// weeks on different days.
pub(super) fn end_of(window: Window, at: Timestamp) -> Option<Timestamp> {
    let now = zoned(at, TimeZone::UTC)?;
    let day = now.start_of_day().ok()?;
    let end = match window {
        Window::Second | Window::Minute | Window::Hour => {
            let length = u64::try_from(window.length().as_millis()).ok()?;
            return Some(Timestamp::from_millis((at.as_millis() / length + 1).checked_mul(length)?));
        }
        Window::Day => day.checked_add(1.day()),
        Window::Week => return None,
        Window::Month => day.first_of_month().and_then(|first| first.checked_add(1.month())),
    };
    timestamp(&end.ok()?)
}

fn zoned(at: Timestamp, zone: TimeZone) -> Option<ZonedDateTime> {
    let millis = i64::try_from(at.as_millis()).ok()?;
    Some(jiff::Timestamp::from_millisecond(millis).ok()?.to_zoned_datetime(zone))
}

fn timestamp(time: &ZonedDateTime) -> Option<Timestamp> {
    Some(Timestamp::from_millis(u64::try_from(time.timestamp().as_millisecond()).ok()?))
}
