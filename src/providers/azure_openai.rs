//! OpenAI's models in Azure: OpenAI's names, fixed windows, resets in whole seconds, and often nonsense.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Response;
use super::{headroom, openai, times};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;

/// Requests are unknown unless the provider says that they renew every minute.
///
/// It enforces them in slices of ten seconds too, and then `remaining` is the rest of a slice: 19 of a limit
/// of 120 a minute. Whether `limit` is a slice's or a minute's is not said, so scaling could be six times too
/// much, and the rest of one slice says nothing of the next. Tokens renew every minute.
pub(super) fn headroom(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    let renews = |word: &str| response.header(&format!("x-ratelimit-renewalperiod-{word}"));
    let requests = openai::read(response, "requests").filter(|_| renews("requests") == Some("60"));
    let tokens =
        openai::read(response, "tokens").filter(|_| renews("tokens").is_none_or(|seconds| seconds == "60"));
    let requests = requests.map(|headroom| (Dimension::RequestsPerMinute, headroom));
    let tokens = tokens.map(|headroom| (Dimension::TokensPerMinute, headroom));
    requests.into_iter().chain(tokens).collect()
}

/// The time until a window that is used up renews. Its budget comes back all at once, so that `retry-after`,
/// which is often a second, only earns the next refusal. One of the headers exists in two spellings.
pub(super) fn renewal(response: &Response<'_>) -> Option<Duration> {
    if response.status != 429 {
        return None;
    }
    let wait = |name: &str| Some(times::moment(response.header(name)?, response.at)?.since(response.at));
    let used_up = |word: &&str| {
        let remaining = response.header(&format!("x-ratelimit-remaining-{word}"));
        remaining.and_then(headroom::count) == Some(0)
    };
    let windows = ["requests", "tokens"].into_iter().filter(used_up);
    let renewal = windows.filter_map(|word| wait(&format!("x-ratelimit-reset-{word}"))).max();
    renewal.max(wait("x-rate-limit-reset-tokens")).filter(|wait| !wait.is_zero())
}
