//! What the providers' parsers make of the stub's answers, provider by provider.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::limit::Headroom;
use agent_scaler::engine::limit::Why;
use agent_scaler::providers::Provider;
use agent_scaler::providers::Refusal;
use serde_json::json;

use crate::llm_stub::{Heard, Stub};

/// The providers whose headers the stub can send.
const STYLES: [Provider; 5] =
    [Provider::Anthropic, Provider::OpenAi, Provider::AzureOpenAi, Provider::Groq, Provider::Mistral];

/// A stub that speaks as `provider` does: ten requests at once, and each dimension that it has headers for.
fn speaking_as(provider: Provider) -> Stub {
    Stub::start(&[
        &format!("--provider-headers={provider}"),
        "--first-token=0ms",
        "--requests-per-minute=10",
        "--input-tokens-per-minute=40000",
        "--output-tokens-per-minute=8000",
        "--tokens-per-minute=50000",
        "--requests-per-day=14400",
    ])
}

/// One call of the provider's API that is charged 1,000 input and 500 output tokens.
async fn call(stub: &Stub, provider: Provider) -> Heard {
    stub.client("key").ask(provider, "[steps=1 input=1000 output=500 think=0]", 0, false).await
}

/// Limit and rest of each dimension after one call, and the seconds in which a whole limit comes back.
fn expected(provider: Provider) -> Vec<(Dimension, u64, u64, u64)> {
    use Dimension::{
        InputTokensPerMinute, OutputTokensPerMinute, RequestsPerDay, RequestsPerMinute, TokensPerMinute,
    };
    let (requests, tokens) = ((RequestsPerMinute, 10, 9, 60), (TokensPerMinute, 50_000, 48_500, 60));
    if provider == Provider::Groq {
        return vec![tokens, (RequestsPerDay, 14_400, 14_399, 86_400)];
    }
    if provider == Provider::Anthropic {
        return vec![
            requests,
            (InputTokensPerMinute, 40_000, 39_000, 60),
            (OutputTokensPerMinute, 8_000, 7_500, 60),
            tokens,
        ];
    }
    vec![requests, tokens]
}

#[tokio::test]
async fn limits_and_what_is_left_are_read_as_they_are() {
    for provider in STYLES {
        let stub = speaking_as(provider);
        let heard = call(&stub, provider).await;
        assert_eq!((heard.used(provider).input_tokens, heard.used(provider).output_tokens), (1_000, 500));
        let said = heard.said(provider);
        assert_eq!((said.refusal, said.seen.blocked), (None, None));
        let seen: BTreeMap<Dimension, Headroom> = said.seen.headroom;
        let expected = expected(provider);
        let dimensions: Vec<_> = expected.iter().map(|(dimension, ..)| *dimension).collect();
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), dimensions, "{provider}");
        for (dimension, limit, remaining, window) in expected {
            let headroom = seen[&dimension];
            assert_eq!(headroom.limit, Some(limit), "{provider} {dimension}");
            // A little may have come back between the answer and its headers.
            let rest = headroom.remaining.unwrap();
            assert!((remaining..=remaining + limit / 20).contains(&rest), "{provider} {dimension} {rest}");
            let Some(reset) = headroom.reset else {
                assert_eq!(provider, Provider::Mistral, "{dimension}");
                continue;
            };
            // The reset follows from the rest. Some round it up to whole seconds; one that is a time of the
            // clock has come nearer on its way.
            let (reset, whole) = (reset.since(heard.at), Duration::from_secs((limit - rest) * window));
            let exact = whole / u32::try_from(limit).unwrap();
            let second = Duration::from_secs(1);
            let range = exact.saturating_sub(second)..=exact + second;
            assert!(range.contains(&reset), "{provider} {dimension} {reset:?} instead of {exact:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_a_rate_until_the_time_it_names() {
    for provider in STYLES {
        let stub = speaking_as(provider);
        let refused = loop {
            let heard = call(&stub, provider).await;
            if heard.status != 200 {
                break heard;
            }
        };
        assert_eq!(refused.status, 429, "{provider}");
        let said = refused.said(provider);
        assert_eq!(said.refusal, Some(Refusal::Rate), "{provider}");
        // Ten requests are gone, and one comes back in six seconds. Azure's and Mistral's windows come back as a whole;
        // Mistral's is the minute of the clock.
        let wait = refused.retry_after(provider);
        let is_whole = matches!(provider, Provider::AzureOpenAi | Provider::Mistral);
        let longest = Duration::from_secs(if is_whole { 60 } else { 6 });
        assert!(wait.is_some_and(|wait| wait <= longest), "{provider} {wait:?}");
        let blocked = said.seen.blocked.map(|block| (block.why, block.until.since(refused.at)));
        let whole = |wait: Duration| Duration::from_millis(u64::try_from(wait.as_millis()).unwrap());
        assert_eq!(blocked, wait.map(|wait| (Why::Rate, whole(wait))), "{provider}");
    }
}

#[tokio::test]
async fn bad_times_are_told_from_one_another() {
    for provider in STYLES {
        let stub = speaking_as(provider);
        for (command, refusal, blocked) in [
            (json!({"exhausted": "quota"}), Refusal::Quota, Some((Why::Quota, 600))),
            (json!({"exhausted": "spend"}), Refusal::Spend, Some((Why::Spend, 600))),
            (json!({"clear": true, "outage": {"answer": "503"}}), Refusal::Overload, None),
            (json!({"outage": {"answer": "529"}}), Refusal::Overload, None),
        ] {
            stub.control(&command).await;
            let heard = call(&stub, provider).await;
            let said = heard.said(provider);
            assert_eq!(said.refusal, Some(refusal), "{provider} {command}");
            let block = said.seen.blocked.map(|block| (block.why, block.until.since(heard.at).as_secs()));
            assert_eq!(block, blocked, "{provider} {command}");
        }
    }
}

#[tokio::test]
async fn a_limit_by_the_day_is_known_by_its_reset() {
    let stub = Stub::start(&["--first-token=0ms", "--requests-per-day=10000"]);
    let said = call(&stub, Provider::OpenAi).await.said(Provider::OpenAi);
    let seen: Vec<_> = said.seen.headroom.iter().map(|(dimension, seen)| (*dimension, seen.limit)).collect();
    assert_eq!(seen, [(Dimension::RequestsPerDay, Some(10_000))]);
}
