//! Times and durations, in all the forms that providers write them.

use std::time::Duration;

use super::Response;
use crate::timestamp::Timestamp;

/// Longest time that is believed. Budgets are a month's at most, so anything longer is a slip.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Numbers from these on are seconds and milliseconds since the Unix epoch. 1e9 s as a duration would be 32
/// years, and 1e11 as seconds since the epoch would be the year 5138.
const UNIX_SECONDS: f64 = 1e9;
const UNIX_MILLIS: f64 = 1e11;

/// The time that a response asks to wait; `None` if it asks for none.
///
/// Less than a millisecond is no answer: Azure sends `retry-after-ms: 0` in blocks that last for minutes.
pub(super) fn retry_after(response: &Response<'_>) -> Option<Duration> {
    let millis = || Some(number(response.header("retry-after-ms")?)? / 1_000.0);
    let exact = millis().and_then(believed).filter(|wait| *wait >= Duration::from_millis(1));
    exact.or_else(|| {
        let until = moment(response.header("retry-after")?, response.at)?;
        Some(until.since(response.at)).filter(|wait| !wait.is_zero())
    })
}

/// A time that is written as such (RFC 3339, HTTP date, Unix seconds or milliseconds), or as a duration from `at` on
/// (seconds with or without a fraction, Go duration). `None` if it is neither, negative or beyond belief.
pub(super) fn moment(text: &str, at: Timestamp) -> Option<Timestamp> {
    if let Some(number) = number(text) {
        return match number {
            UNIX_MILLIS.. => unix_millis(number, at),
            UNIX_SECONDS.. => unix_millis(number * 1_000.0, at),
            _ => Some(at + believed(number)?),
        };
    }
    if let Some(duration) = go_duration(text) {
        return Some(at + duration);
    }
    let moment = Timestamp::of_rfc3339(text).or_else(|| Timestamp::of_http_date(text))?;
    (moment.since(at) <= LONGEST).then_some(moment)
}

/// A duration as Go prints it: `6m0s`, `8.64s`, `120ms`, `2m59.56s`; also with days, which Go does not have.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(unit_at);
        let (unit, tail) =
            tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        seconds += amount.parse::<f64>().ok()? * seconds_of(unit)?;
        rest = tail;
    }
    believed(seconds)
}

const fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit.as_bytes() {
        b"d" => 86_400.0,
        b"h" => 3_600.0,
        b"m" => 60.0,
        b"s" => 1.0,
        b"ms" => 1e-3,
        // Both signs that are read as micro.
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1e-6,
        b"ns" => 1e-9,
        _ => return None,
    })
}

fn unix_millis(number: f64, at: Timestamp) -> Option<Timestamp> {
    let moment = Timestamp::default() + Duration::try_from_secs_f64(number / 1_000.0).ok()?;
    (moment.since(at) <= LONGEST).then_some(moment)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// A duration of at most `LONGEST`; `None` for a negative or longer one.
pub(super) fn believed(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-06-01T12:00:00Z.
    const AT: Timestamp = Timestamp::from_millis(1_717_243_200_000);

    #[test]
    fn every_form_that_providers_write_is_read() {
        for (text, millis) in [
            ("1s", 1_000),
            ("6m0s", 360_000),
            ("8.64s", 8_640),
            ("120ms", 120),
            ("2m59.56s", 179_560),
            ("1h30m", 5_400_000),
            ("1d2h", 93_600_000),
            ("500us", 0),
            ("1500µs", 1),
            ("0s", 0),
            ("7", 7_000),
            ("7.66", 7_660),
            (" 55 ", 55_000),
            ("0", 0),
            ("2024-06-01T12:00:30Z", 30_000),
            ("2024-06-01T12:00:00.250Z", 250),
            ("2024-06-01T12:01:00+00:00", 60_000),
            ("Sat, 01 Jun 2024 12:02:00 GMT", 120_000),
            ("1717243205000", 5_000),
            ("1717243205", 5_000),
        ] {
            assert_eq!(moment(text, AT), Some(AT + Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_unknown() {
        for text in [
            "",
            " ",
            "-1",
            "-1s",
            "inf",
            "NaN",
            "soon",
            "s",
            "1x",
            "1.2.3s",
            "5 minutes",
            "1e300",
            "99999999999h",
            "367d",
            "2024-13-01T00:00:00Z",
            "3024-06-01T12:00:00Z",
            "1e15",
            "Sat, 01 Foo 2024 12:02:00 GMT",
            "Sat, 01 Jun 2024 12:02:00 CEST",
        ] {
            assert_eq!(moment(text, AT), None, "{text}");
        }
    }
}
