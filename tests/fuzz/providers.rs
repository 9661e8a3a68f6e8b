//! What an LLM provider, or somebody who answers in its place, sends.

use agent_scaler::engine::limit::Dimension;
use agent_scaler::providers::{Provider, Response};
use agent_scaler::timestamp::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use crate::budget::{fuzz, is_plain};
use crate::text::{changed, changes, cut, cuts, text};

const HEADERS: &[&str] = &[
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-renewalperiod-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-limit-project-tokens",
    "x-ratelimit-limit-req-minute",
    "x-ratelimit-remaining-req-minute",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "x-ratelimit-remaining-tokens-month",
    "x-ratelimit-remaining-day",
    "x-ratelimit-reset",
    "ratelimit-reset",
    "x-ratelimit-timeremaining",
    "x-amzn-errortype",
    "x-error-message",
    "anthropic-fast-input-tokens-limit",
    "anthropic-ratelimit-unified-status",
    "anthropic-ratelimit-unified-reset",
    "x-should-retry",
    "date",
];

fn bodies() -> [Value; 5] {
    [
        json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Limit: 0, Requested ~12,903. Retry in 7s.",
            "details": [{"violations": [{"quotaId": "RequestsPerDay", "quotaValue": "20"}]}, {"retryDelay": "46s"}]}}]),
        json!({"success": false, "error": "Out of quota. It will be replenished in 07:01:20.", "choices": [{"error": {"code": 503}}],
            "errors": [{"code": 4006, "detail": "free-models-per-day / month"}],
            "metadata": {"raw": "{\"message\": \"resets at 2026-08-20 12:00:41 UTC\"}", "headers": {"X-RateLimit-Reset": "1787227234000"}}}),
        json!({"error": {"type": "rate_limit_error", "code": "insufficient_quota", "details": {"error_code": "x"},
            "message": "You will regain access on 2026-09-01 at 00:00 UTC."}}),
        json!({"usage": {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 1, "prompt_tokens": 4, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 2}}}),
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 2}}}),
    ]
}

#[test]
fn whatever_a_provider_answers_makes_sense_or_none() {
    let headers = vec((prop::sample::select(HEADERS), text()), 0..12);
    let body = (0..5_usize, changes(), cuts(), prop::bool::ANY);
    let at = prop_oneof![Just(1_800_000_000_000), any::<u64>()];
    fuzz(
        "providers",
        &(any::<u16>(), headers, body, at),
        |(status, headers, (body, changes, cuts, streams), at)| {
            let text = changed(bodies()[body].clone(), &changes).to_string();
            let text = if streams {
                format!("event: x\ndata: {text}\n\ndata: {text}\n\ndata: [DONE]\n")
            } else {
                text
            };
            let body = String::from_utf8_lossy(&cut(text.into_bytes(), &cuts)).into_owned();
            let header =
                |name: &str| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
            let response = Response { status, headers: &header, body: &body, at: Timestamp::from_millis(at) };
            for provider in Provider::ALL {
                let said = provider.said(&response);
                is_plain(&format!("{said:?} {:?}", provider.usage(&body)))?;
                if said.seen.headroom.len() > Dimension::ALL.len() {
                    return Err(TestCaseError::fail("more dimensions than there are"));
                }
                if let Some(block) = said.seen.blocked {
                    is_plain(&block.until.to_string())?;
                }
            }
            Ok(())
        },
    );
}
