//! What recorded answers say, provider by provider.

mod nonsense;
mod recorded;

use std::collections::BTreeMap;

use super::*;
use crate::engine::limit::{Dimension, Headroom};

/// 2026-08-20T12:00:00Z.
const AT: Timestamp = Timestamp::from_millis(1_787_227_200_000);

const UNTIL_NEXT_TRY: Duration = Duration::from_secs(600);

/// An answer as the tests write it down.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn ok(headers: &[(&str, &str)]) -> Self {
        Self::refused(200, headers, "")
    }

    fn refused(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { status, headers: headers.collect(), body: body.to_owned() }
    }

    fn ask<T>(&self, question: impl FnOnce(&Response<'_>) -> T) -> T {
        let value = |wanted: &str| {
            let found = self.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        question(&Response { status: self.status, headers: &value, body: &self.body, at: AT })
    }

    fn said_to(&self, provider: Provider) -> Said {
        self.ask(|response| provider.said(response))
    }
}

/// A line a dimension: its label, limit, rest and milliseconds to the reset.
fn lines(said: &Said) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let line = |(dimension, seen): (&Dimension, &Headroom)| {
        assert_eq!(seen.seen, AT);
        let reset = seen.reset.map(|reset| reset.as_millis() - AT.as_millis());
        format!("{} {}/{} {}", dimension.label(), number(seen.remaining), number(seen.limit), number(reset))
    };
    said.seen.headroom.iter().map(line).collect()
}

/// The three headers of OpenAI's family.
fn three<'a>(word: &str, values: [&'a str; 3]) -> Vec<(String, &'a str)> {
    let names = ["limit", "remaining", "reset"].map(|part| format!("x-ratelimit-{part}-{word}"));
    names.into_iter().zip(values).collect()
}

fn answer(headers: Vec<(String, &str)>) -> Answer {
    let headers = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Answer { status: 200, headers, body: String::new() }
}

#[test]
fn names_are_read_and_written_alike() {
    for provider in Provider::ALL {
        assert_eq!(provider.to_string().parse(), Ok(provider));
    }
    assert_eq!(
        "OpenAI".parse::<Provider>().unwrap_err().to_string(),
        "no provider is named `OpenAI`: use anthropic, openai, azure-openai, groq, mistral, gemini, vertex, bedrock, \
         openrouter, together, fireworks, deepseek, moonshot, xai, cohere, cerebras, gateway"
    );
}

#[test]
fn anthropic_says_requests_and_both_kinds_of_tokens() {
    let said = Answer::ok(&[
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-08-20T12:00:01Z"),
        ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "1998000"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-08-20T12:00:02Z"),
        ("anthropic-ratelimit-output-tokens-limit", "400000"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-08-20T12:01:00Z"),
        ("anthropic-ratelimit-tokens-limit", "2400000"),
        ("anthropic-ratelimit-tokens-remaining", "1998000"),
        ("anthropic-ratelimit-tokens-reset", "2026-08-20T12:01:00Z"),
        ("anthropic-priority-input-tokens-limit", "10000"),
        ("anthropic-priority-input-tokens-remaining", "9618"),
    ])
    .said_to(Provider::Anthropic);
    assert_eq!(
        lines(&said),
        [
            "requests 3999/4000 1000",
            "input_tokens 1998000/2000000 2000",
            "output_tokens 0/400000 60000",
            "tokens 1998000/2400000 60000",
        ]
    );
    assert_eq!((said.refusal, said.seen.blocked), (None, None));
}

#[test]
fn a_rest_that_was_rounded_up_beyond_the_limit_is_unknown() {
    let said = Answer::ok(&[
        ("anthropic-ratelimit-input-tokens-limit", "25500"),
        ("anthropic-ratelimit-input-tokens-remaining", "26000"),
    ]);
    assert_eq!(lines(&said.said_to(Provider::Anthropic)), ["input_tokens ?/25500 ?"]);
}

/// Recorded answers: limit, rest, reset, and what the reset shows the window to be.
#[test]
fn the_window_is_inferred_from_the_reset() {
    use Provider::{Groq, OpenAi};
    for (provider, word, values, expected) in [
        (OpenAi, "requests", ["500", "499", "120ms"], "requests 499/500 120"),
        (OpenAi, "requests", ["3500", "3499", "17ms"], "requests 3499/3500 17"),
        (OpenAi, "requests", ["60", "59", "1s"], "requests 59/60 1000"),
        (OpenAi, "requests", ["10000", "9999", "8.64s"], "requests_day 9999/10000 8640"),
        (OpenAi, "requests", ["10000", "10000", "0s"], "requests 10000/10000 0"),
        (OpenAi, "tokens", ["6000", "5974", "260ms"], "tokens 5974/6000 260"),
        (OpenAi, "tokens", ["150000", "149984", "6m0s"], "tokens 149984/150000 360000"),
        (OpenAi, "requests", ["10000", "9999", "1.7s"], "requests_day 9999/10000 1700"),
        (OpenAi, "requests", ["500", "499", "24ms"], "requests 499/500 24"),
        (OpenAi, "tokens", ["2000000", "1999990", "0s"], "tokens 1999990/2000000 0"),
        (OpenAi, "tokens", ["200000", "100000", "12h0m0s"], "tokens_day 100000/200000 43200000"),
        (OpenAi, "project-tokens", ["6000", "5974", "260ms"], "tokens 5974/6000 260"),
        (Groq, "requests", ["1000", "998", "2m52.8s"], "requests_day 998/1000 172800"),
        (Groq, "requests", ["14400", "14370", "2m59.56s"], "requests_day 14370/14400 179560"),
        (Groq, "requests", ["1000", "1000", "0s"], "requests_day 1000/1000 0"),
        (Groq, "requests", ["1000", "999", "0s"], "requests_day 999/1000 0"),
        (Groq, "requests", ["30", "29", "2s"], "requests 29/30 2000"),
        (Groq, "tokens", ["12000", "11961", "194ms"], "tokens 11961/12000 194"),
        (Groq, "tokens", ["18000", "17997", "7.66s"], "tokens 17997/18000 7660"),
    ] {
        let said = answer(three(word, values)).said_to(provider);
        assert_eq!(lines(&said), [expected], "{provider} {word} {values:?}");
    }
}

#[test]
fn of_an_account_s_and_a_project_s_tokens_the_smaller_limit_counts() {
    for (account, project, expected) in
        [("6000", "4000", "tokens 3000/4000 ?"), ("3500", "4000", "tokens 3000/3500 ?")]
    {
        let mut headers = three("tokens", [account, "3000", ""]);
        headers.extend(three("project-tokens", [project, "3000", ""]));
        assert_eq!(lines(&answer(headers).said_to(Provider::OpenAi)), [expected]);
    }
}

#[test]
fn azure_s_requests_are_unknown_unless_they_renew_every_minute() {
    for (renewal, expected) in [
        (Some("60"), vec!["requests 19/120 3000", "tokens 61353/80000 1000"]),
        (Some("10"), vec!["tokens 61353/80000 1000"]),
        (None, vec!["tokens 61353/80000 1000"]),
    ] {
        let mut headers = three("requests", ["120", "19", "3"]);
        headers.extend(three("tokens", ["80000", "61353", "1"]));
        headers.extend(renewal.map(|seconds| ("x-ratelimit-renewalperiod-requests".to_owned(), seconds)));
        assert_eq!(lines(&answer(headers).said_to(Provider::AzureOpenAi)), expected, "{renewal:?}");
    }
}

#[test]
fn mistral_names_the_window_and_no_reset() {
    let said = Answer::ok(&[
        ("x-ratelimit-limit-req-minute", "50"),
        ("x-ratelimit-remaining-req-minute", "49"),
        ("x-ratelimit-limit-tokens-minute", "50000"),
        ("x-ratelimit-remaining-tokens-minute", "47300"),
        ("x-ratelimit-tokens-query-cost", "1300"),
    ]);
    assert_eq!(lines(&said.said_to(Provider::Mistral)), ["requests 49/50 ?", "tokens 47300/50000 ?"]);
}

#[test]
fn nonsense_is_unknown_and_never_zero() {
    for (values, expected) in [
        (["-1", "-1", "0"], None),
        (["0", "0", "0s"], None),
        (["0", "", ""], None),
        (["many", "5", "1s"], None),
        (["6000", "-1", "0"], Some("tokens ?/6000 0")),
        (["6000", "", ""], Some("tokens ?/6000 ?")),
        (["6000", "18446744073709551615", "1s"], Some("tokens ?/6000 1000")),
        (["6000", "5974", "-5s"], Some("tokens 5974/6000 ?")),
        (["", "0", ""], Some("tokens 0/? ?")),
    ] {
        for provider in [Provider::OpenAi, Provider::AzureOpenAi, Provider::Groq] {
            let said = answer(three("tokens", values)).said_to(provider);
            assert_eq!(lines(&said), Vec::from_iter(expected), "{provider} {values:?}");
        }
    }
}

/// A reason, and the seconds of the block, if there is one.
fn refused(provider: Provider, status: u16, headers: &[(&str, &str)], body: &str) -> (Refusal, Option<u64>) {
    let said = Answer::refused(status, headers, body).said_to(provider);
    let refusal = said.refusal.unwrap();
    let blocked = said.seen.blocked;
    assert!(blocked.is_none_or(|block| Some(block.why) == refusal.why()));
    (refusal, blocked.map(|block| block.until.since(AT).as_secs()))
}

#[test]
fn a_rate_blocks_for_as_long_as_the_provider_says() {
    let too_many =
        r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    for (provider, headers, expected) in [
        (Provider::Anthropic, vec![("retry-after", "42")], Some(42)),
        (Provider::OpenAi, vec![("retry-after", "1"), ("retry-after-ms", "7200")], Some(7)),
        (Provider::OpenAi, vec![("retry-after", "Thu, 20 Aug 2026 12:00:05 GMT")], Some(5)),
        (Provider::OpenAi, vec![("retry-after", "Thu, 20 Aug 2026 11:59:00 GMT")], None),
        (Provider::OpenAi, vec![("retry-after", "-3")], None),
        (Provider::OpenAi, vec![("retry-after-ms", "0.5")], None),
        (Provider::Groq, vec![("retry-after", "7.66")], Some(7)),
        (Provider::Mistral, vec![], None),
        (Provider::AzureOpenAi, vec![("retry-after", "1"), ("retry-after-ms", "0")], Some(1)),
        // No limit by the minute lasts a day.
        (Provider::AzureOpenAi, vec![("retry-after", "86400")], Some(60)),
        (Provider::AzureOpenAi, vec![("retry-after", "240")], Some(240)),
        (Provider::AzureOpenAi, vec![("x-rate-limit-reset-tokens", "55")], Some(55)),
        (
            Provider::AzureOpenAi,
            vec![
                ("retry-after", "1"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "40"),
                ("x-ratelimit-remaining-requests", "7"),
                ("x-ratelimit-reset-requests", "50"),
            ],
            Some(40),
        ),
    ] {
        let seen = refused(provider, 429, &headers, too_many);
        assert_eq!(seen, (Refusal::Rate, expected), "{provider} {headers:?}");
    }
}

#[test]
fn spent_money_blocks_until_there_is_new_or_for_ten_minutes() {
    let anthropic = |status: u16, kind: &str, message: &str, code: &str| {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}","details":{{"error_code":"{code}"}}}}}}"#
        );
        refused(Provider::Anthropic, status, &[], &body)
    };
    let until_tried = Some(UNTIL_NEXT_TRY.as_secs());
    // From noon of 20 August to the first of September.
    let month_end = Some(11 * 86_400 + 12 * 3_600);
    let again = "You will regain access on 2026-09-01 at 00:00 UTC.";
    for (seen, until) in [
        (anthropic(429, "rate_limit_error", "Spent.", "enforced_spend_limit_reached"), until_tried),
        (anthropic(429, "rate_limit_error", again, "enforced_spend_limit_reached"), month_end),
        (
            anthropic(
                400,
                "invalid_request_error",
                &format!("You have reached your specified API usage limits. {again}"),
                "",
            ),
            month_end,
        ),
        (
            anthropic(400, "invalid_request_error", "Your credit balance is too low to access it.", ""),
            until_tried,
        ),
        (anthropic(402, "billing_error", "Pay.", ""), until_tried),
        (
            anthropic(
                429,
                "rate_limit_error",
                "You will regain access on 2026-08-01 at 00:00 UTC.",
                "enforced_spend_limit_reached",
            ),
            until_tried,
        ),
    ] {
        assert_eq!(seen, (Refusal::Spend, until));
    }
    assert_eq!(anthropic(400, "invalid_request_error", "max_tokens: required", ""), (Refusal::Other, None));
}

#[test]
fn codes_of_openai_s_family_tell_money_and_quota_from_a_rate() {
    for (code, refusal) in [
        ("insufficient_quota", Refusal::Spend),
        ("organization_usage_limit_exceeded", Refusal::Quota),
        ("credit_balance_exhausted", Refusal::Spend),
        ("organization_spend_limit_exceeded", Refusal::Spend),
        ("project_spend_limit_exceeded", Refusal::Spend),
        ("billing_hard_limit_reached", Refusal::Spend),
    ] {
        for provider in [Provider::OpenAi, Provider::AzureOpenAi, Provider::Groq] {
            let body = format!(r#"{{"error":{{"message":"No.","type":"{code}","code":"{code}"}}}}"#);
            // The short time to wait is the rate limiter's and not the budget's.
            let seen = refused(provider, 429, &[("retry-after", "1")], &body);
            assert_eq!(seen, (refusal, Some(UNTIL_NEXT_TRY.as_secs())), "{provider} {code}");
        }
    }
    let zero = [("x-ratelimit-limit-req-minute", "0")];
    let seen = refused(Provider::Mistral, 429, &zero, r#"{"message":"Rate limit exceeded"}"#);
    assert_eq!(seen, (Refusal::Quota, Some(UNTIL_NEXT_TRY.as_secs())));
}

#[test]
fn a_day_that_is_used_up_blocks_until_something_of_it_is_back() {
    let day = |reset: &'static str| {
        [
            ("x-ratelimit-limit-requests", "1000"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", reset),
        ]
    };
    for (headers, until) in [
        ([&day("24h0m0s")[..], &[("retry-after", "86.4")]].concat(), 86),
        // It refills evenly, and the reset is the time until all of it is back.
        (day("24h0m0s").to_vec(), 86),
        (day("9h0m0s").to_vec(), 32_400),
        (day("later").to_vec(), 600),
    ] {
        assert_eq!(refused(Provider::Groq, 429, &headers, ""), (Refusal::Quota, Some(until)), "{headers:?}");
    }
}

#[test]
fn overload_is_told_from_other_failures() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let tier =
        r#"{"object":"error","message":"Full.","type":"service_tier_capacity_exceeded","code":"3505"}"#;
    let hyper_text = "<html>502 Bad Gateway</html>";
    for (provider, status, headers, body, expected) in [
        (Provider::Anthropic, 529, vec![], overloaded, (Refusal::Overload, None)),
        (Provider::Anthropic, 500, vec![], overloaded, (Refusal::Overload, None)),
        (Provider::OpenAi, 503, vec![("retry-after", "30")], "", (Refusal::Overload, Some(30))),
        (Provider::Groq, 498, vec![], "", (Refusal::Overload, None)),
        (Provider::Mistral, 429, vec![], tier, (Refusal::Overload, None)),
        (Provider::OpenAi, 500, vec![("retry-after", "30")], "", (Refusal::Other, None)),
        (Provider::OpenAi, 502, vec![], hyper_text, (Refusal::Other, None)),
        (Provider::OpenAi, 401, vec![], r#"{"error":"no key"}"#, (Refusal::Other, None)),
        (Provider::OpenAi, 429, vec![], hyper_text, (Refusal::Rate, None)),
    ] {
        assert_eq!(refused(provider, status, &headers, body), expected, "{provider} {status}");
    }
}
