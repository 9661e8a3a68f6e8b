//! Anthropic: `anthropic-ratelimit-…` headers, token buckets that refill evenly, resets in RFC 3339.

use std::collections::BTreeMap;

use super::headroom;
use super::refusal::ErrorBody;
use super::usage::Reported;
use super::{Refusal, Response};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::engine::minutes::Used;

/// `tokens` is a workspace's limit on the sum where it has one, else the sum of the other two, which then
/// never binds first. The headers of priority and fast tiers and of subscriptions are other budgets.
const HEADERS: [(&str, Dimension); 4] = [
    ("requests", Dimension::RequestsPerMinute),
    ("input-tokens", Dimension::InputTokensPerMinute),
    ("output-tokens", Dimension::OutputTokensPerMinute),
    ("tokens", Dimension::TokensPerMinute),
];

pub(super) fn headroom(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let read = |(word, dimension): (&str, Dimension)| {
        let name = |part: &str| format!("anthropic-ratelimit-{word}-{part}");
        let headroom = headroom::read(response, &name("limit"), &name("remaining"), Some(&name("reset")))?;
        Some((dimension, headroom))
    };
    HEADERS.into_iter().filter_map(read).collect()
}

/// Budgets in money come as a 429 with a code, or as a 400 where the customer set the limit.
pub(super) fn refusal(status: u16, body: &ErrorBody) -> Option<Refusal> {
    let spent = status == 400 && (body.says("API usage limits") || body.says("credit balance is too low"));
    if spent {
        return Some(Refusal::Spend);
    }
    // The status is 529; within a stream that has begun there is only the word.
    body.is("overloaded_error").then_some(Refusal::Overload)
}

/// What was read from the cache does not count against the limit; what was written to it does.
pub(super) fn usage(reported: &Reported) -> Option<Used> {
    let written = reported.tokens("cache_creation_input_tokens").unwrap_or(0);
    Some(Used {
        requests: 1,
        input_tokens: reported.tokens("input_tokens")?.saturating_add(written),
        output_tokens: reported.tokens("output_tokens")?,
    })
}
