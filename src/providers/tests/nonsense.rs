//! What no text in a header or a body may bring about.

use proptest::prelude::*;

use super::*;

/// Every header that some provider looks at.
const LOOKED_AT: &[&str] = &[
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-renewalperiod-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-rate-limit-reset-tokens",
    "x-ratelimit-limit-project-tokens",
    "x-ratelimit-limit-req-minute",
    "x-ratelimit-remaining-req-minute",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];

/// Text of any kind, and much that is nearly right.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "-?[0-9]{1,25}(\\.[0-9]{1,3})?",
        "-?[0-9]{0,6}(ns|us|µs|ms|s|m|h|d|w)?([0-9.]{0,6}(ms|s|m))?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|\\+00:00)",
        "[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Feb|Sep|Xyz) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        Just("0".to_owned()),
        Just("60".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_header_makes_a_limit_zero_or_the_past_a_block(
        status in prop_oneof![Just(200_u16), Just(429), Just(400), Just(529), 100..600_u16],
        values in prop::collection::vec(text(), LOOKED_AT.len()),
        body in prop_oneof![any::<String>(), text().prop_map(|text| {
            format!(r#"{{"error":{{"type":"x","message":"You will regain access on {text} at {text} UTC"}}}}"#)
        })],
    ) {
        let headers = LOOKED_AT.iter().map(|name| (*name).to_owned()).zip(values).collect();
        let answer = Answer { status, headers, body };
        for provider in Provider::ALL {
            let said = answer.said_to(provider);
            for (dimension, seen) in &said.seen.headroom {
                prop_assert_ne!(seen.limit, Some(0), "{}", dimension);
                prop_assert!(seen.limit.is_some() || seen.remaining.is_some());
                prop_assert!(seen.remaining.is_none_or(|rest| seen.limit.is_none_or(|limit| rest <= limit)));
                prop_assert!(seen.reset.is_none_or(|reset| reset >= AT));
            }
            prop_assert!(said.refusal.is_some() || (200..300).contains(&status));
            prop_assert!(said.seen.blocked.is_none_or(|block| block.until > AT));
            prop_assert!(said.wait != Some(Duration::ZERO));
            let _ = provider.usage(&answer.body);
        }
    }
}
