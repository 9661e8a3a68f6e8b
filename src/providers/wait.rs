//! How long a refusal lasts: the places where an answer names a time, and the bounds on that time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Fault;
use super::refusal::{LONGEST_RATE, Verdict};
use super::window::Window;
use super::{Provider, Refusal, Response, calendar, headroom, spoken, times};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::timestamp::Timestamp;

/// The wait for a rate that asks for more than `LONGEST_RATE`: a bucket of a minute is full again by then.
const UNBELIEVED_RATE: Duration = Duration::from_secs(60);

/// Headers with the seconds, or the point in time, until the refusal ends, the most exact first.
const RESETS: [&str; 6] = [
    "x-ai-ratelimit-retry-after",
    "x-ratelimit-timeremaining",
    "x-rate-limit-reset-tokens",
    "ratelimit-reset",
    "ratelimitbysize-reset",
    "x-ratelimit-reset",
];

/// Largest difference between a time in a text and the same time in a header, which is in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// How long to wait; `None` if the answer names no time.
pub(super) fn of(
    provider: Provider,
    response: &Response<'_>,
    fault: &Fault,
    verdict: Verdict,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Duration> {
    let wait = match verdict.refusal {
        Refusal::Other => None,
        // `retry-after` is ignored: providers send it with every refusal, and it is not the end of a budget in
        // money.
        Refusal::Spend => spoken::instant(fault.text(), response.at)
            .or_else(|| end_in_words(response, fault))
            .map(|until| until.since(response.at)),
        Refusal::Quota if verdict.is_endless => None,
        Refusal::Quota => of_budget(response, fault, verdict.window, headroom),
        Refusal::Overload => asked(response, fault).map(bounded),
        Refusal::Rate => of_rate(provider, response, fault, headroom).map(bounded),
    };
    // 0 s stands beside limits on concurrent requests, and names no wait.
    wait.filter(|wait| *wait >= Duration::from_millis(1))
}

/// The time as it is named, or one minute if it is longer than a rate can last.
fn bounded(wait: Duration) -> Duration {
    if wait > LONGEST_RATE { UNBELIEVED_RATE } else { wait }
}

fn of_rate(
    provider: Provider,
    response: &Response<'_>,
    fault: &Fault,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Duration> {
    let asked = asked(response, fault);
    // Azure renews a whole window at once. A request after `retry-after`, which is often 1 s, would be refused
    // again.
    let renewal = headroom::renewal(response, headroom);
    if provider == Provider::AzureOpenAi {
        return asked.map(bounded).max(renewal.map(bounded));
    }
    asked.or_else(|| refill(fault, Window::Minute)).or(renewal).or_else(|| end_of_window(response))
}

/// A budget that counts over more than a minute.
fn of_budget(
    response: &Response<'_>,
    fault: &Fault,
    window: Option<Window>,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Duration> {
    let until = |until: Timestamp| until.since(response.at);
    if window == Some(Window::Day) && fault.violations.iter().any(|violation| violation.window() == window) {
        // `retryDelay` beside it is the delay of a minute's limit.
        return calendar::midnight_pacific(response.at).map(until);
    }
    if let Some(until) = subscription(response) {
        return Some(until.since(response.at));
    }
    let longest = window.map_or(Duration::MAX, Window::length);
    let is_told = || spoken::duration(fault.text()).is_some() || !fault.waits.is_empty();
    let asked = asked(response, fault)
        .filter(|wait| *wait <= longest.saturating_add(longest / 10))
        // A header's few seconds beside a budget of unknown length belong to the rate limiter, and not to the
        // budget.
        .filter(|wait| window.is_some() || *wait > LONGEST_RATE || is_told());
    asked
        .or_else(|| refill(fault, window?))
        .or_else(|| headroom::first_of_day(headroom))
        .or_else(|| end_of_window(response))
        .or_else(|| end_in_words(response, fault).map(until))
}

/// The end of a budget that the text names in words: the month's end, or the day's for Cloudflare's free
/// allocation.
fn end_in_words(response: &Response<'_>, fault: &Fault) -> Option<Timestamp> {
    let is_of_month = fault.says(&["next month", "beginning of the month", "first of the month"]);
    let is_of_day = fault.says(&["neurons", "daily free allocation", "midnight utc"])
        || fault.has_code(&["4006", "3036"]);
    let window = if is_of_month { Window::Month } else { Window::Day };
    (is_of_month || is_of_day).then(|| calendar::end_of(window, response.at)).flatten()
}

/// The time that a text, a header or a field of the body asks for.
pub(super) fn asked(response: &Response<'_>, fault: &Fault) -> Option<Duration> {
    let until = |text: &str| Some(times::moment(text, response.at)?.since(response.at));
    let positive = |wait: &Duration| !wait.is_zero();
    let spoken = spoken::duration(fault.text())
        .or_else(|| Some(spoken::instant(fault.text(), response.at)?.since(response.at)));
    let headers = || RESETS.iter().filter_map(|name| until(response.header(name)?)).find(positive);
    let fields = || fault.waits.iter().filter_map(|text| until(text)).find(positive);
    let inner = || {
        let names = ["retry-after", "x-ratelimit-reset"];
        names.iter().filter_map(|name| until(fault.header(name)?)).find(positive)
    };
    let written = times::retry_after(response)
        .or_else(fields)
        .or_else(inner)
        .or_else(headers)
        .or_else(|| headroom::draft_reset(response));
    match (spoken, written) {
        // Both are the same time, and the header is rounded up.
        (Some(spoken), Some(written)) if spoken.abs_diff(written) <= ROUNDING => Some(spoken.min(written)),
        (spoken, written) => spoken.max(written),
    }
}

/// The time until an evenly refilled limit admits a request, from the numbers in its text: (used + requested −
/// limit) / limit · window.
fn refill(fault: &Fault, window: Window) -> Option<Duration> {
    let (limit, used, asked) = (fault.number("limit")?, fault.number("used")?, fault.number("requested")?);
    let missing = used.checked_add(asked)?.checked_sub(limit)?;
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
    let part = missing as f64 / limit as f64;
    (part <= 1.0).then(|| window.length().mul_f64(part))
}

/// The time until a window that is used up ends by the clock, where headers name the window and no reset.
fn end_of_window(response: &Response<'_>) -> Option<Duration> {
    let window = headroom::windows_used_up(response)?;
    Some(calendar::end_of(window, response.at)?.since(response.at))
}

/// When an Anthropic subscription admits requests again. It counts over five hours and seven days.
pub(super) fn subscription(response: &Response<'_>) -> Option<Timestamp> {
    let header = |name: &str| response.header(&format!("anthropic-ratelimit-unified-{name}"));
    let rejected = |name: &str| header(&format!("{name}status")).is_some_and(|status| status == "rejected");
    let reset = |name: &str| times::moment(header(&format!("{name}reset"))?, response.at);
    let windows = ["5h-", "7d-"].into_iter().filter(|name| rejected(name)).filter_map(reset);
    let whole = || rejected("").then(|| reset("")).flatten();
    windows.max().or_else(whole).filter(|until| *until > response.at)
}
