//! Mistral: headers that name their window, no resets, no `retry-after`.

use std::collections::BTreeMap;

use super::refusal::ErrorBody;
use super::{Refusal, Response, headroom};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;

const HEADERS: [(&str, Dimension); 2] =
    [("req-minute", Dimension::RequestsPerMinute), ("tokens-minute", Dimension::TokensPerMinute)];

pub(super) fn headroom(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let read = |(word, dimension): (&str, Dimension)| {
        let name = |part: &str| format!("x-ratelimit-{part}-{word}");
        Some((dimension, headroom::read(response, &name("limit"), &name("remaining"), None)?))
    };
    HEADERS.into_iter().filter_map(read).collect()
}

/// A limit of zero beside a 429 means that the plan does not have this model: waiting does not help. The
/// shared capacity of a tier is the provider's trouble and not this account's.
pub(super) fn refusal(response: &Response<'_>, body: &ErrorBody) -> Option<Refusal> {
    let none =
        |(word, _): (&str, Dimension)| response.header(&format!("x-ratelimit-limit-{word}")) == Some("0");
    if response.status == 429 && HEADERS.into_iter().any(none) {
        return Some(Refusal::Quota);
    }
    body.is("service_tier_capacity_exceeded").then_some(Refusal::Overload)
}
