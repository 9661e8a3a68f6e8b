//! Answers by analogy with recorded ones: other numbers, other windows, other shapes.

use super::*;

/// A kind, the seconds to wait, and `, alone` if others go on; `-` is a success.
fn meaning(provider: Provider, status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let said = Answer::refused(status, headers, body).said_to(provider);
    let Some(refusal) = said.refusal else { return "-".to_owned() };
    let wait = said.wait.map(|wait| format!(" {}", wait.as_secs_f64())).unwrap_or_default();
    let alone = if said.others_go_on { ", alone" } else { "" };
    format!("{refusal:?}{wait}{alone}").to_lowercase()
}

/// OpenAI's shape around a sentence.
fn told(message: &str, kind: &str, code: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

#[test]
fn windows_numbers_and_sizes_of_openai_s_family() {
    use Provider::{Groq, Moonshot, OpenAi};
    let limited = |message: &str| told(message, "tokens", "rate_limit_exceeded");
    let reached = "Rate limit reached for m in organization o on";
    for (provider, status, message, expected) in [
        (OpenAi, 429, format!("{reached} tokens per min (TPM): Limit 10000, Used 9000, Requested 2500. Please try again in 9s."), "rate 9"),
        (OpenAi, 429, format!("{reached} tokens per min (TPM): Limit 10000, Used 9000, Requested 2500."), "rate 9"),
        (OpenAi, 429, format!("{reached} tokens per day (TPD): Limit 200000, Used 199420, Requested 1200."), "quota 267.84"),
        (OpenAi, 429, format!("{reached} requests per day (RPD): Limit 0, Used 0, Requested 1."), "quota"),
        (OpenAi, 429, "Request too large for m in organization o on tokens per min (TPM): Limit 30000, Requested 39107. The input or output tokens must be reduced.".to_owned(), "other, alone"),
        (OpenAi, 429, format!("{reached} tokens per min (TPM): Limit 30,000, Used 0, Requested 39,107."), "other, alone"),
        (OpenAi, 400, "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens.".to_owned(), "other, alone"),
        (Groq, 429, format!("{reached} requests per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in 2s."), "rate 2"),
        (Groq, 429, format!("{reached} audio seconds per hour (ASPH): Limit 7200, Used 7180, Requested 60. Please try again in 20s."), "quota 20"),
        (Moonshot, 429, "Your account o <ak> request reached max organization concurrency: 3, please try again after 1 seconds".to_owned(), "rate 1"),
    ] {
        assert_eq!(meaning(provider, status, &[], &limited(&message)), expected, "{message}");
    }
}

#[test]
fn money_is_told_from_offers_under_every_status() {
    use Provider::{Anthropic, DeepSeek, Fireworks, Gateway, Gemini, OpenAi, OpenRouter, Together, Xai};
    for (provider, status, body, expected) in [
        (OpenAi, 429, told("Your account is not active, please check your billing details.", "billing_not_active", "billing_not_active"), "spend"),
        (OpenAi, 429, told("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"), "spend"),
        (OpenAi, 429, told("Allocated quota exceeded, please increase your quota limit.", "insufficient_quota", "insufficient_quota"), "rate"),
        (OpenAi, 429, told("Rate limit reached. Add a payment method to raise your limit.", "requests", "rate_limit_exceeded"), "rate"),
        (Anthropic, 400, told("Your credit balance is too low to access the Anthropic API.", "invalid_request_error", ""), "spend"),
        (OpenRouter, 403, told("Key limit exceeded (monthly limit). Manage it using URL", "", ""), "spend"),
        (OpenRouter, 402, told("Insufficient credits", "", ""), "spend"),
        (Xai, 403, r#"{"code":"permission","error":"Your team doesn't have any credits or licenses yet. You can purchase those on URL."}"#.to_owned(), "spend"),
        (Fireworks, 412, told("Account a is suspended, possibly due to failure to pay past invoices.", "error", "PRECONDITION_FAILED"), "spend"),
        (Together, 402, told("Credit limit exceeded.", "credit_limit", ""), "spend"),
        (DeepSeek, 402, String::new(), "spend"),
        (Gemini, 429, told("Your project has exceeded its monthly spending cap.", "", ""), "spend"),
        (Gemini, 403, told("This API method requires billing to be enabled.", "", ""), "spend"),
        (Gateway, 400, told("ExceededBudget: User over budget. Spend: 11, Budget: 10", "budget_exceeded", "400"), "spend"),
        (Gateway, 429, told("Budget has been exceeded! Limit resets at: 2026-08-20 13:00:00 UTC", "budget_exceeded", "429"), "spend 3600"),
        (OpenAi, 403, told("Country not supported", "request_forbidden", "unsupported_country"), "other, alone"),
        (OpenAi, 401, told("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"), "other, alone"),
        (OpenAi, 412, told("Precondition failed", "", ""), "other, alone"),
    ] {
        assert_eq!(meaning(provider, status, &[], &body), expected, "{provider} {status} {body}");
    }
}

#[test]
fn long_windows_end_when_it_is_said() {
    use Provider::{Anthropic, AzureOpenAi, Bedrock, Cohere, Gateway, Gemini, Mistral, OpenAi, Vertex};
    let google = |ids: &[(&str, &str)]| {
        let violations: Vec<_> =
            ids.iter().map(|(id, value)| serde_json::json!({"quotaId": id, "quotaValue": value})).collect();
        serde_json::json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "details": [{"violations": violations}, {"retryDelay": "13s"}]}}])
        .to_string()
    };
    for (provider, status, headers, body, expected) in [
        (Gemini, 429, vec![], google(&[("TokensPerDay", "9"), ("RequestsPerMinute", "5")]), "quota 68400"),
        (Gemini, 429, vec![], google(&[("RequestsPerMinute", "5")]), "rate 13"),
        (Gemini, 429, vec![], google(&[("RequestsPerMinute", "0")]), "quota"),
        (OpenAi, 429, vec![], google(&[("RequestsPerHour", "5")]), "quota 13"),
        (Vertex, 429, vec![], told("Quota exceeded for aiplatform.googleapis.com/requests_per_day with base model: m.", "", ""), "quota"),
        (Bedrock, 429, vec![("x-amzn-errortype", "ThrottlingException")], r#"{"message":"Too many requests, please wait before trying again."}"#.to_owned(), "rate"),
        (Cohere, 429, vec![], r#"{"message":"You are using a Trial key, which is limited to 20 API calls / minute. Upgrade to 1000 calls / month at URL."}"#.to_owned(), "rate"),
        (Mistral, 429, vec![("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-limit-tokens-minute", "500")], "{}".to_owned(), "rate 60"),
        (Mistral, 429, vec![("x-ratelimit-remaining-tokens-month", "0")], "{}".to_owned(), "quota 993600"),
        (Anthropic, 429, vec![("retry-after", "3600")], told("You have exceeded your account's rate limit.", "rate_limit_error", ""), "quota 3600"),
        (Anthropic, 429, vec![("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", "1787230800")], "{}".to_owned(), "quota 3600"),
        (AzureOpenAi, 429, vec![("retry-after", "43200")], told("Requests have exceeded call rate limit. Please retry after 43200 seconds.", "", "429"), "rate 60"),
        (OpenAi, 429, vec![("retry-after", "86400")], told("Requests have exceeded the tokens per minute limit.", "", "429"), "rate 60"),
        (Gateway, 403, vec![], r#"{"statusCode":403,"message":"Token quota is exceeded. Try again in 2 hours 5 minutes."}"#.to_owned(), "quota 7500"),
        (Gateway, 403, vec![("retry-after", "2400")], r#"{"statusCode":403,"message":"Out of bandwidth quota. Quota will be replenished in 00:40:00."}"#.to_owned(), "quota 2400"),
        (Gateway, 429, vec![("x-ratelimit-remaining-day", "0"), ("x-ratelimit-limit-day", "100"), ("retry-after", "43200")], r#"{"message":"API rate limit exceeded"}"#.to_owned(), "quota 43200"),
        (Gateway, 429, vec![("x-ratelimit-remaining-hour", "0"), ("ratelimit-reset", "1200")], r#"{"message":"API rate limit exceeded"}"#.to_owned(), "quota 1200"),
        (OpenAi, 429, vec![], r#"{"errors":[{"message":"you have used up your daily free allocation of 10,000 neurons, please upgrade to a paid plan","code":4006}],"success":false}"#.to_owned(), "quota 43200"),
        (OpenAi, 429, vec![], r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_in_seconds":5400}}"#.to_owned(), "quota 5400"),
        (OpenAi, 403, vec![("retry-after", "40")], r#"{"message":"You have exceeded a secondary rate limit."}"#.to_owned(), "rate 40"),
        (OpenAi, 429, vec![], r#"{"detail":"Your rate limit is 6 requests per minute until you add a payment method. Your rate limit resets in ~4s.","retry_after":4}"#.to_owned(), "rate 4"),
    ] {
        assert_eq!(meaning(provider, status, &headers, &body), expected, "{provider} {status} {headers:?} {body}");
    }
}

#[test]
fn load_and_budgets_of_their_own_leave_others_alone() {
    use Provider::{Anthropic, AzureOpenAi, Bedrock, Cerebras, Gateway, Mistral, OpenAi, OpenRouter, Vertex};
    let fast = |limit: &'static str| {
        vec![
            ("anthropic-fast-input-tokens-limit", limit),
            ("anthropic-fast-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-remaining", "900"),
            ("retry-after", "7"),
        ]
    };
    for (provider, status, headers, body, expected) in [
        (Anthropic, 429, fast("0"), "{}".to_owned(), "other, alone"),
        (Anthropic, 429, fast("1000"), "{}".to_owned(), "rate 7, alone"),
        (Anthropic, 429, vec![], told("Extra usage is required for long context requests.", "rate_limit_error", ""), "other, alone"),
        (Anthropic, 529, vec![("retry-after", "9")], "{}".to_owned(), "overload 9"),
        (OpenAi, 429, vec![], told("Enqueued token limit reached for m. Limit: 90,000 enqueued tokens.", "", "token_limit_exceeded"), "rate, alone"),
        (OpenAi, 429, vec![], told("That model is currently overloaded with other requests.", "server_error", ""), "overload, alone"),
        (AzureOpenAi, 429, vec![], told("Your request exceeds the maximum usage size allowed during peak load. Please retry after 20 seconds.", "too_many_requests", "no_capacity"), "overload 20, alone"),
        (Bedrock, 429, vec![("x-amzn-errortype", "ModelNotReadyException")], r#"{"message":"The model is not ready."}"#.to_owned(), "overload, alone"),
        (Cerebras, 429, vec![], r#"{"message":"Try again soon.","param":"queue","code":"queue_exceeded"}"#.to_owned(), "overload, alone"),
        (Mistral, 429, vec![], r#"{"message":"Service tier capacity exceeded for this model.","code":"3505"}"#.to_owned(), "overload, alone"),
        (Vertex, 429, vec![], r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Resource exhausted. Please try again later."}}]"#.to_owned(), "overload, alone"),
        (OpenRouter, 502, vec![], told("Provider returned error", "", "502"), "other, alone"),
        (OpenRouter, 200, vec![], r#"{"choices":[{"finish_reason":"error","error":{"code":503,"message":"no"}}]}"#.to_owned(), "overload, alone"),
        (OpenRouter, 200, vec![], r#"{"error":{"code":401,"message":"No auth"}}"#.to_owned(), "other, alone"),
        (OpenRouter, 200, vec![], r#"{"error":{"code":402,"message":"Insufficient credits"}}"#.to_owned(), "spend"),
        (Anthropic, 200, vec![], "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n".to_owned(), "overload, alone"),
        (OpenAi, 200, vec![], r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"Rate limit reached on tokens per min (TPM): Limit 10, Used 9, Requested 2. Please try again in 6s."}}"#.to_owned(), "rate 6"),
        (OpenAi, 200, vec![], r#"{"choices":[{"message":{"content":"\"error\": overloaded"}}],"error":null}"#.to_owned(), "-"),
        (OpenAi, 503, vec![], r#"{"error":"Model m is currently loading","estimated_time":20.5}"#.to_owned(), "overload 20.5"),
        (Gateway, 429, vec![], r#"{"error":{"message":"No deployments available for selected model, Try again in 60 seconds."}}"#.to_owned(), "overload 60"),
        (OpenAi, 500, vec![("retry-after", "5")], told("The server had an error", "server_error", ""), "other, alone"),
        (OpenAi, 413, vec![("retry-after", "9")], String::new(), "other, alone"),
        (OpenAi, 429, vec![("retry-after", "0")], String::new(), "rate"),
        (OpenAi, 429, vec![], "error code: 1015".to_owned(), "rate"),
    ] {
        assert_eq!(meaning(provider, status, &headers, &body), expected, "{provider} {status} {headers:?} {body}");
    }
}
