//! The three headers of one dimension: a limit, what is left, and when it is whole again.

use super::{Response, times};
use crate::engine::limit::Headroom;

/// How far, in parts, an inferred window may miss a minute or a day.
const TOLERANCE: f64 = 0.1;

/// Resets are rounded to whole milliseconds.
const ROUNDING: f64 = 0.001;

/// A span over which a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Minute,
    Day,
}

/// Reads the three headers; `None` if they tell neither the limit nor what is left of it.
///
/// A limit that is there and makes no sense spoils the dimension: providers that send `-1` or `0` for a limit
/// send nonsense in the other two as well.
pub(super) fn read(
    response: &Response<'_>,
    limit: &str,
    remaining: &str,
    reset: Option<&str>,
) -> Option<Headroom> {
    let limit = match response.header(limit) {
        Some(text) => Some(count(text).filter(|limit| *limit > 0)?),
        None => None,
    };
    let remaining = response
        .header(remaining)
        .and_then(count)
        .filter(|remaining| limit.is_none_or(|limit| *remaining <= limit));
    let reset = reset
        .and_then(|name| response.header(name))
        .and_then(|text| times::moment(text, response.at))
        // One that has passed tells nothing of the future.
        .filter(|reset| *reset >= response.at);
    (limit.is_some() || remaining.is_some()).then_some(Headroom {
        limit,
        remaining,
        reset,
        seen: response.at,
    })
}

/// A whole number that is not negative.
pub(super) fn count(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The window of a budget that refills evenly, from the time until it is whole again.
///
/// With such a budget `reset = missing / limit · window`, where `limit − remaining` is `missing` rounded up to
/// a whole number. `None` where nothing is missing, and where the window is neither a minute nor a day: then
/// the headers do not follow the rule.
pub(super) fn window(headroom: &Headroom) -> Option<Window> {
    let Headroom { limit, remaining, reset, seen } = *headroom;
    let limit = limit?;
    let missing = limit.checked_sub(remaining?).filter(|missing| *missing > 0)?;
    let reset = reset?.since(seen).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
    let (limit, missing) = (limit as f64, missing as f64);
    let shortest = (reset - ROUNDING) * limit / missing;
    // With one missing it may be next to nothing that is, and the window of any length.
    let longest = (reset + ROUNDING) * limit / (missing - 1.0);
    let may_be = |seconds: f64| {
        reset > 0.0 && shortest <= seconds * (1.0 + TOLERANCE) && longest >= seconds * (1.0 - TOLERANCE)
    };
    match (may_be(60.0), may_be(86_400.0)) {
        (true, _) => Some(Window::Minute),
        (_, true) => Some(Window::Day),
        (false, false) => None,
    }
}
