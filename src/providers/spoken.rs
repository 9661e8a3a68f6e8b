//! Reads times to wait in sentences.

use std::time::Duration;

use super::times;
use crate::timestamp::Timestamp;

/// Phrases that a duration follows directly.
const FOR: [&str; 11] = [
    "try again in ",
    "try again after ",
    "retry in ",
    "retry after ",
    "wait ",
    "available in ",
    "replenished in ",
    "reset in ",
    "resets in ",
    "reset after ",
    "renewed in ",
];

/// Phrases that a point in time follows.
const UNTIL: [&str; 11] = [
    "resets at",
    "reset at",
    "resets on",
    "reset on",
    "access on",
    "available at",
    "available on",
    "try again at",
    "try again after",
    "try again on",
    "until",
];

/// The longest time to wait that a text names; `None` if it names none, or zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.to_lowercase();
    let named = FOR.iter().flat_map(|phrase| after(&text, phrase));
    named.filter_map(leading_duration).filter(|wait| !wait.is_zero()).max()
}

/// The latest point in time that a text names as the end of a limit; `None` if it names none in the future.
pub(super) fn instant(text: &str, at: Timestamp) -> Option<Timestamp> {
    let lower = text.to_lowercase();
    let named = UNTIL.iter().flat_map(|phrase| after(&lower, phrase));
    named.filter_map(|rest| leading_instant(rest, at)).filter(|until| *until > at).max()
}

/// Each text that follows `phrase`.
fn after<'t>(text: &'t str, phrase: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(phrase).map(|(index, found)| &text[index + found.len()..])
}

/// The duration with which a text begins: `4m27.84s`, `20 seconds`, `2 hours and 3 minutes`, `07:01:20`.
fn leading_duration(text: &str) -> Option<Duration> {
    let text = text.trim_start_matches(['~', ' ']);
    if let Some(duration) = clock(text) {
        return Some(duration);
    }
    let (mut rest, mut seconds, mut found) = (text, 0.0, false);
    while let Some((number, tail)) = leading_number(rest) {
        let tail = tail.trim_start_matches(' ');
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(end);
        // A number without a unit is in seconds, if it is the first and no other word follows.
        let Some(unit) = seconds_of(word).or_else(|| (word.is_empty() && !found).then_some(1.0)) else {
            break;
        };
        seconds += number * unit;
        found = true;
        rest = tail.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
    found.then(|| times::believed(seconds)).flatten()
}

/// `h:m:s`, also with days before: `d.h:m:s`.
fn clock(text: &str) -> Option<Duration> {
    let (days, text) = match text.split_once('.') {
        Some((days, rest)) if rest.contains(':') && days.bytes().all(|byte| byte.is_ascii_digit()) => {
            (days, rest)
        }
        _ => ("0", text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let parts: Vec<u32> = text[..end].split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let days = days.parse::<u32>().ok()?;
    times::believed(
        f64::from(days) * 86_400.0
            + f64::from(hours) * 3_600.0
            + f64::from(minutes) * 60.0
            + f64::from(seconds),
    )
}

/// The number with which a text begins, and the text behind it. A full stop at its end belongs to the sentence.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    Some((number.parse().ok()?, &text[number.len()..]))
}

fn seconds_of(word: &str) -> Option<f64> {
    Some(match word {
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// The point in time with which a text begins: `2026-09-01 at 00:00 UTC`, `: 2026-08-20 12:00:41 UTC`, RFC 3339.
fn leading_instant(text: &str, at: Timestamp) -> Option<Timestamp> {
    let text = text.trim_start_matches([':', ' ']);
    let date = text.get(..10).filter(|date| date.bytes().filter(|byte| *byte == b'-').count() == 2)?;
    let rest = &text[10..];
    let rest = rest.strip_prefix(" at ").or_else(|| rest.strip_prefix([' ', 't'])).unwrap_or("");
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(rest.len());
    let time = rest[..end].trim_end_matches('.');
    // Zones other than UTC are unknown, because their abbreviations are ambiguous.
    let zone = rest[end..].trim_start();
    let is_utc =
        ["", "utc", "gmt", "z", "+00:00", "+0000"].iter().any(|utc| !utc.is_empty() && zone.starts_with(utc));
    let time = match time.matches(':').count() {
        _ if time.is_empty() => "00:00:00".to_owned(),
        1 if is_utc => format!("{time}:00"),
        2 if is_utc => time.to_owned(),
        _ => return None,
    };
    times::moment(&format!("{date}T{time}Z"), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-08-20T12:00:00Z.
    const AT: Timestamp = Timestamp::from_millis(1_787_227_200_000);

    #[test]
    fn durations_are_found_in_sentences() {
        for (text, millis) in [
            ("Please try again in 20s. Visit URL", Some(20_000)),
            ("Please try again in 644ms.", Some(644)),
            ("Please try again in 4m27.84s.", Some(267_840)),
            ("Please try again in 50.597142857s.", Some(50_597)),
            ("please try again after 1 seconds", Some(1_000)),
            ("Please retry after 86400 seconds.", Some(86_400_000)),
            ("Please wait 52220 seconds before retrying.", Some(52_220_000)),
            ("Quota will be replenished in 07:01:20.", Some(25_280_000)),
            ("Quota will be replenished in 1.16:10:17. You might", Some(144_617_000)),
            ("Your quota will reset after 1h49m8s.", Some(6_548_000)),
            ("Please retry in 45.578569677s.", Some(45_578)),
            ("Your rate limit resets in ~4s.", Some(4_000)),
            ("Try again in 2 hours and 3 minutes.", Some(7_380_000)),
            ("Try again in 1 day, 2 hours.", Some(93_600_000)),
            ("retry after 30", Some(30_000)),
            ("Please wait 0 seconds before retrying.", None),
            ("Please wait a moment and try again.", None),
            ("try again in 400 days", None),
            ("try again later", None),
            ("try again in ", None),
            ("try again in 5 apples", None),
        ] {
            assert_eq!(duration(text).map(|wait| wait.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn points_in_time_are_found_in_sentences() {
        let in_millis = |text| instant(text, AT).map(|until| until.since(AT).as_millis());
        for (text, millis) in [
            ("Limit resets at: 2026-08-20 12:00:41 UTC", Some(41_000)),
            ("You will regain access on 2026-09-01 at 00:00 UTC.", Some(993_600_000)),
            ("The quota resets on 2026-08-21", Some(43_200_000)),
            ("blocked until 2026-08-20T12:00:07.250Z", Some(7_250)),
            ("Resets at 2026-08-20T12:00:07+00:00.", Some(7_000)),
            ("Resets at 2026-08-20 12:00:07 CEST", None),
            ("Resets at 2026-08-19 12:00:07 UTC", None),
            ("Resets at noon", None),
            ("until 2026-13-45", None),
            ("until ääää-öö-üü", None),
        ] {
            assert_eq!(in_millis(text), millis, "{text}");
        }
    }
}
