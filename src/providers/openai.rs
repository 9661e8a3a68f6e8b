//! OpenAI: `x-ratelimit-…` headers, budgets that refill evenly, resets as Go durations.

use std::collections::BTreeMap;

use super::Response;
use super::headroom::{self, Window};
use super::usage::Reported;
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::engine::minutes::Used;

/// Requests are counted by the minute, for small accounts by the day: the same header is used for both.
pub(super) fn headroom(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let mut seen = requests_and_tokens(response, Window::Minute);
    // A project's own limit binds where it is the smaller one.
    if let Some((dimension, project)) = tokens(response, "project-tokens") {
        let tightest = match seen.get(&dimension) {
            Some(account) if account.limit <= project.limit => *account,
            Some(_) | None => project,
        };
        seen.insert(dimension, tightest);
    }
    seen
}

/// The headers of requests and tokens as OpenAI names them. `requests_by` is the window in which requests
/// are counted where the reset does not show it.
pub(super) fn requests_and_tokens(
    response: &Response<'_>,
    requests_by: Window,
) -> BTreeMap<Dimension, Headroom> {
    let requests = read(response, "requests").map(|headroom| {
        let dimension = match headroom::window(&headroom).unwrap_or(requests_by) {
            Window::Minute => Dimension::RequestsPerMinute,
            Window::Day => Dimension::RequestsPerDay,
        };
        (dimension, headroom)
    });
    requests.into_iter().chain(tokens(response, "tokens")).collect()
}

fn tokens(response: &Response<'_>, word: &str) -> Option<(Dimension, Headroom)> {
    let headroom = read(response, word)?;
    let dimension = match headroom::window(&headroom).unwrap_or(Window::Minute) {
        Window::Minute => Dimension::TokensPerMinute,
        Window::Day => Dimension::TokensPerDay,
    };
    Some((dimension, headroom))
}

/// The three headers of one word.
pub(super) fn read(response: &Response<'_>, word: &str) -> Option<Headroom> {
    let name = |part: &str| format!("x-ratelimit-{part}-{word}");
    headroom::read(response, &name("limit"), &name("remaining"), Some(&name("reset")))
}

/// Tokens from the cache cost less and count all the same.
pub(super) fn usage(reported: &Reported) -> Option<Used> {
    Some(Used { requests: 1, input_tokens: prompt(reported)?, output_tokens: completion(reported)? })
}

pub(super) fn prompt(reported: &Reported) -> Option<u64> {
    reported.tokens("prompt_tokens").or_else(|| reported.tokens("input_tokens"))
}

pub(super) fn completion(reported: &Reported) -> Option<u64> {
    reported.tokens("completion_tokens").or_else(|| reported.tokens("output_tokens"))
}
