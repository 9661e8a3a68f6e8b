//! Limits in headers: the amount, the rest, and the time at which the limit is whole again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::window::Window;
use super::{Provider, Response, times};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::timestamp::Timestamp;

/// How far, in parts, an inferred window may miss a minute or a day.
const TOLERANCE: f64 = 0.1;

/// Resets are rounded to whole milliseconds.
const ROUNDING: f64 = 0.001;

const DAY: Duration = Window::Day.length();

/// Anthropic's names. `tokens` is a workspace's limit on the sum where it has one, else the sum of the other two,
/// which then never binds first. The headers of priority and fast tiers and of subscriptions are other budgets.
const ANTHROPIC: [(&str, Dimension); 4] = [
    ("requests", Dimension::RequestsPerMinute),
    ("input-tokens", Dimension::InputTokensPerMinute),
    ("output-tokens", Dimension::OutputTokensPerMinute),
    ("tokens", Dimension::TokensPerMinute),
];

/// Words of OpenAI's family, `x-ratelimit-limit-WORD`, with their dimensions by the minute and by the day. The last
/// two are Fireworks'.
const WORDS: [(&str, Dimension, Dimension); 6] = [
    ("requests", Dimension::RequestsPerMinute, Dimension::RequestsPerDay),
    ("tokens", Dimension::TokensPerMinute, Dimension::TokensPerDay),
    ("input-tokens", Dimension::InputTokensPerMinute, Dimension::InputTokensPerDay),
    ("output-tokens", Dimension::OutputTokensPerMinute, Dimension::OutputTokensPerDay),
    ("tokens-prompt", Dimension::InputTokensPerMinute, Dimension::InputTokensPerDay),
    ("tokens-generated", Dimension::OutputTokensPerMinute, Dimension::OutputTokensPerDay),
];

/// Families and words of headers that name their window: `x-ratelimit-limit-WORD-minute`. Mistral's word for
/// requests is `req`; its older answers use the family `bysize` for tokens. Kong counts only requests, and its
/// headers have no word.
const WINDOWED: [(&str, &str, Dimension, Dimension); 7] = [
    ("x-ratelimit", "requests-", Dimension::RequestsPerMinute, Dimension::RequestsPerDay),
    ("x-ratelimit", "req-", Dimension::RequestsPerMinute, Dimension::RequestsPerDay),
    ("x-ratelimit", "", Dimension::RequestsPerMinute, Dimension::RequestsPerDay),
    ("x-ratelimit", "tokens-", Dimension::TokensPerMinute, Dimension::TokensPerDay),
    ("x-ratelimitbysize", "", Dimension::TokensPerMinute, Dimension::TokensPerDay),
    ("x-ratelimit", "input-tokens-", Dimension::InputTokensPerMinute, Dimension::InputTokensPerDay),
    ("x-ratelimit", "output-tokens-", Dimension::OutputTokensPerMinute, Dimension::OutputTokensPerDay),
];

/// Everything that the headers of a response say of the limits it counts against.
///
/// All families are looked for, because a gateway passes on the headers of its provider. `provider` decides
/// where one name has two meanings.
pub(super) fn of(provider: Provider, response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let mut seen = by_inferred_window(provider, response);
    seen.extend(by_named_window(response));
    for (word, dimension) in ANTHROPIC {
        let name = |part: &str| format!("anthropic-ratelimit-{word}-{part}");
        let headroom = read(response, &name("limit"), &name("remaining"), Some(&name("reset")));
        seen.extend(headroom.map(|headroom| (dimension, headroom)));
    }
    seen.extend(by_draft(response));
    seen.extend(by_scope(response));
    // Cohere's trial keys. The month is left out, because its headers have a limit and no rest.
    let trial = |part: &str| format!("x-trial-endpoint-call-{part}");
    let trial = read(response, &trial("limit"), &trial("remaining"), None);
    seen.extend(trial.map(|headroom| (Dimension::RequestsPerMinute, headroom)));
    seen
}

/// OpenAI's family. The same name is used for limits by the minute and by the day: the reset shows which.
fn by_inferred_window(provider: Provider, response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let mut seen = BTreeMap::new();
    for (word, minute, day) in WORDS {
        let Some(headroom) = three(response, word).filter(|_| is_of_a_minute(provider, response, word))
        else {
            continue;
        };
        let by_default =
            if provider == Provider::Groq && word == "requests" { Window::Day } else { Window::Minute };
        let inferred = evenly_refilled(&headroom).unwrap_or(by_default);
        seen.insert(if inferred == Window::Day { day } else { minute }, headroom);
    }
    // A project's own limit binds where it is the smaller one.
    if let Some(project) = three(response, "project-tokens") {
        let of_day = evenly_refilled(&project) == Some(Window::Day);
        let dimension = if of_day { Dimension::TokensPerDay } else { Dimension::TokensPerMinute };
        let account = seen.get(&dimension).filter(|account| account.limit <= project.limit);
        seen.insert(dimension, account.copied().unwrap_or(project));
    }
    seen
}

/// Whether Azure's headers of this word count a minute. Requests do only if a header says that they renew every
/// 60 s.
///
/// Azure also enforces requests in slices of ten seconds, and then `remaining` is the rest of a slice: 19 of a
/// slice of 120 / 6 = 20. Nothing shows whether `limit` is a slice's or a minute's, so a limit computed from it
/// could be six times too large. Tokens always renew every minute.
fn is_of_a_minute(provider: Provider, response: &Response<'_>, word: &str) -> bool {
    if provider != Provider::AzureOpenAi {
        return true;
    }
    match response.header(&format!("x-ratelimit-renewalperiod-{word}")) {
        Some(seconds) => seconds == "60",
        None => word != "requests",
    }
}

fn by_named_window(response: &Response<'_>) -> impl Iterator<Item = (Dimension, Headroom)> {
    WINDOWED.into_iter().flat_map(move |(family, word, minute, day)| {
        [(minute, Window::Minute), (day, Window::Day)].into_iter().filter_map(move |(dimension, window)| {
            let name = |part: &str| named_window(family, part, word, window);
            Some((dimension, read(response, &name("limit"), &name("remaining"), Some(&name("reset")))?))
        })
    })
}

/// The name of a header that holds its window.
fn named_window(family: &str, part: &str, word: &str, window: Window) -> String {
    format!("{family}-{part}-{word}{}", window.word())
}

/// LiteLLM's own limits, which have a scope in their names. The smallest binds.
fn by_scope(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let mut seen: BTreeMap<Dimension, Headroom> = BTreeMap::new();
    for scope in ["api_key", "user", "team", "model_per_key", "organization"] {
        for (word, minute, _) in WORDS {
            let name = |part: &str| format!("x-ratelimit-{scope}-{part}-{word}");
            let Some(headroom) = read(response, &name("limit"), &name("remaining"), None) else { continue };
            let smallest = seen.get(&minute).filter(|other| other.limit <= headroom.limit);
            let smallest = smallest.copied().unwrap_or(headroom);
            seen.insert(minute, smallest);
        }
    }
    seen
}

/// Requests as Envoy and the drafts of the IETF name them: `x-ratelimit-limit: 100, 100;w=60`. Without a window of a
/// minute or a day they are unknown.
fn by_draft(response: &Response<'_>) -> Option<(Dimension, Headroom)> {
    ["x-ratelimit", "ratelimit"].into_iter().find_map(|family| {
        let name = |part: &str| format!("{family}-{part}");
        let limit = response.header(&name("limit"))?;
        let policy = response.header(&name("policy")).unwrap_or(limit);
        let dimension = match parameter(policy, "w")? {
            60 => Dimension::RequestsPerMinute,
            86_400 => Dimension::RequestsPerDay,
            _ => return None,
        };
        let limit = limit.split([',', ';']).next().and_then(count).filter(|limit| *limit > 0)?;
        let left = read(response, "", &name("remaining"), Some(&name("reset")));
        let left = left.unwrap_or(Headroom { seen: response.at, ..Headroom::default() });
        let remaining = left.remaining.filter(|remaining| *remaining <= limit);
        Some((dimension, Headroom { limit: Some(limit), remaining, ..left }))
    })
}

/// The seconds until a limit is renewed, in the newer draft's `ratelimit: "api";r=0;t=55`.
pub(super) fn draft_reset(response: &Response<'_>) -> Option<Duration> {
    let limit = response.header("ratelimit").filter(|limit| parameter(limit, "r") == Some(0))?;
    parameter(limit, "t").map(Duration::from_secs).filter(|wait| *wait <= DAY)
}

/// A parameter of a structured header: `w` of `100;w=60`.
fn parameter(text: &str, name: &str) -> Option<u64> {
    let value = |part: &str| part.trim().strip_prefix(name)?.strip_prefix('=').and_then(count);
    text.split([';', ',']).find_map(value)
}

/// The three headers of one word.
fn three(response: &Response<'_>, word: &str) -> Option<Headroom> {
    let name = |part: &str| format!("x-ratelimit-{part}-{word}");
    read(response, &name("limit"), &name("remaining"), Some(&name("reset")))
}

/// Reads three headers; `None` if they have neither the limit nor the rest.
///
/// A limit that is there and makes no sense spoils the dimension: providers that send `-1` or `0` for a limit
/// send nonsense in the other two as well.
fn read(response: &Response<'_>, limit: &str, remaining: &str, reset: Option<&str>) -> Option<Headroom> {
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
fn count(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The window of a budget that refills evenly, from the time until it is whole again.
///
/// With such a budget `reset = missing / limit · window`, where `limit − remaining` is `missing` rounded up to
/// a whole number. `None` where nothing is missing, and where the window is neither a minute nor a day: then
/// the headers do not follow the rule.
fn evenly_refilled(headroom: &Headroom) -> Option<Window> {
    let Headroom { limit, remaining, reset, seen } = *headroom;
    let limit = limit?;
    let missing = limit.checked_sub(remaining?).filter(|missing| *missing > 0)?;
    let reset = reset?.since(seen).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
    let (limit, missing) = (limit as f64, missing as f64);
    let shortest = (reset - ROUNDING) * limit / missing;
    // With one missing it may be next to nothing that is, and the window of any length.
    let longest = (reset + ROUNDING) * limit / (missing - 1.0);
    let may_be = |window: Window| {
        let seconds = window.length().as_secs_f64();
        reset > 0.0 && shortest <= seconds * (1.0 + TOLERANCE) && longest >= seconds * (1.0 - TOLERANCE)
    };
    [Window::Minute, Window::Day].into_iter().find(|window| may_be(*window))
}

/// The budget of a day of which nothing is left.
pub(super) fn day_used_up(headroom: &BTreeMap<Dimension, Headroom>) -> Option<Headroom> {
    let used_up =
        |(dimension, seen): &(&Dimension, &Headroom)| dimension.is_daily() && seen.remaining == Some(0);
    headroom.iter().find(used_up).map(|(_, seen)| *seen)
}

/// The time until a day that is used up admits one more request. A day that refills evenly does so after one
/// `limit`-th of a day; its reset is the time until all of it is back.
pub(super) fn first_of_day(headroom: &BTreeMap<Dimension, Headroom>) -> Option<Duration> {
    let day = day_used_up(headroom)?;
    let whole = day.reset?.since(day.seen);
    match day.limit.and_then(|limit| u32::try_from(limit).ok()) {
        Some(limit) if evenly_refilled(&day) == Some(Window::Day) => Some(DAY / limit.max(1)),
        _ => Some(whole),
    }
}

/// The time until each bucket of a minute that is used up is whole again: a minute at most, whatever its reset says.
pub(super) fn renewal(response: &Response<'_>, headroom: &BTreeMap<Dimension, Headroom>) -> Option<Duration> {
    let until = |reset: Option<Timestamp>| Some(reset?.since(response.at)).filter(|wait| !wait.is_zero());
    let is_empty = |seen: &Headroom| seen.remaining == Some(0);
    let known = headroom.iter().filter(|(dimension, seen)| !dimension.is_daily() && is_empty(seen));
    // Azure's requests are not in `headroom`, and may be used up nevertheless.
    let requests = three(response, "requests").filter(is_empty);
    let longest = known.map(|(_, seen)| *seen).chain(requests).filter_map(|seen| until(seen.reset)).max()?;
    Some(longest.min(Window::Minute.length()))
}

/// The longest window of which a header says that nothing is left.
pub(super) fn windows_used_up(response: &Response<'_>) -> Option<Window> {
    Window::ALL.into_iter().rev().find(|window| {
        WINDOWED.iter().any(|(family, word, ..)| {
            let of = |part: &str| response.header(&named_window(family, part, word, *window));
            of("remaining") == Some("0") && of("limit") != Some("0")
        })
    })
}

/// Whether the plan does not include the model. Mistral sends a limit of zero then; other providers send zeros
/// without a meaning.
pub(super) fn plan_has_none(provider: Provider, response: &Response<'_>) -> bool {
    provider == Provider::Mistral
        && ["req-minute", "tokens-minute"]
            .iter()
            .any(|word| response.header(&format!("x-ratelimit-limit-{word}")) == Some("0"))
}
