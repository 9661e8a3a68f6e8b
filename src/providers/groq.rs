//! Groq: OpenAI's names, but requests are counted by the day and tokens by the minute.

use std::collections::BTreeMap;

use super::headroom::Window;
use super::usage::Reported;
use super::{Refusal, Response, openai};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::engine::minutes::Used;

pub(super) fn headroom(response: &Response<'_>) -> BTreeMap<Dimension, Headroom> {
    openai::requests_and_tokens(response, Window::Day)
}

/// 498: the flexible tier has no room.
pub(super) fn refusal(status: u16) -> Option<Refusal> {
    (status == 498).then_some(Refusal::Overload)
}

/// Tokens from the cache do not count against the limit.
pub(super) fn usage(reported: &Reported) -> Option<Used> {
    let cached = reported.detail("prompt_tokens_details", "cached_tokens").unwrap_or(0);
    Some(Used {
        requests: 1,
        input_tokens: openai::prompt(reported)?.saturating_sub(cached),
        output_tokens: openai::completion(reported)?,
    })
}
