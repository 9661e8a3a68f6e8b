//! The error bodies of each provider, as it writes them.

use agent_scaler::engine::limit::Dimension;
use serde_json::{Value, json};

use crate::account::Refused;
use crate::conditions::{Down, Exhausted};
use crate::headers::go_duration;
use crate::settings::Style;

/// The body of a 429.
pub(crate) fn refused(style: Style, model: &str, refused: &Refused) -> Value {
    match style {
        Style::Anthropic => anthropic_refused(refused),
        Style::AzureOpenAi => azure_refused(refused),
        Style::Mistral => mistral_refused(refused),
        Style::OpenAi | Style::Groq | Style::None => openai_refused(model, refused),
    }
}

/// Status and body of an outage; `None` if there is no answer at all.
pub(crate) fn down(style: Style, down: Down) -> Option<(u16, Value)> {
    let text = "The server is overloaded. Please try again later.";
    let body = match style {
        Style::Anthropic => anthropic("overloaded_error", "Overloaded"),
        Style::OpenAi | Style::Groq | Style::None => openai(text, "server_error", "server_is_overloaded"),
        Style::AzureOpenAi => json!({"error": {"code": "503", "message": text}}),
        Style::Mistral => json!({"object": "error", "message": text, "type": "unavailable", "code": "3000"}),
    };
    match down {
        Down::Unavailable => Some((503, body)),
        Down::Overloaded => Some((529, body)),
        Down::Reset => None,
    }
}

/// The body of a 400.
pub(crate) fn invalid(style: Style, message: &str) -> Value {
    match style {
        Style::Anthropic => anthropic("invalid_request_error", message),
        Style::OpenAi | Style::Groq | Style::AzureOpenAi | Style::Mistral | Style::None => {
            json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}})
        }
    }
}

fn anthropic_refused(refused: &Refused) -> Value {
    match refused {
        Refused::Budget(exhausted) => {
            let (message, code) = match exhausted {
                Exhausted::Spend => (
                    "You have reached your API usage limits: your organization has crossed its monthly API usage \
                     threshold.",
                    "enforced_spend_limit_reached",
                ),
                Exhausted::Quota => {
                    ("Your organization has used up its quota.", "organization_usage_limit_exceeded")
                }
            };
            let mut body = anthropic("rate_limit_error", message);
            body["error"]["details"] = json!({"error_code": code});
            body
        }
        Refused::Concurrency { .. } => anthropic(
            "rate_limit_error",
            "Number of concurrent connections has exceeded your rate limit. Please try again later.",
        ),
        Refused::Rate { shown, .. } => anthropic(
            "rate_limit_error",
            &format!(
                "This request would exceed your organization's rate limit of {} {}. Please try again later.",
                shown.limit,
                words(shown.dimension)
            ),
        ),
    }
}

fn anthropic(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_stub"})
}

fn openai_refused(model: &str, refused: &Refused) -> Value {
    match refused {
        Refused::Budget(Exhausted::Quota) => openai(
            "Your organization has used up its quota.",
            "organization_usage_limit_exceeded",
            "organization_usage_limit_exceeded",
        ),
        Refused::Budget(Exhausted::Spend) => openai(
            "Your organization reached its enforced spend limit.",
            "server_error",
            "organization_spend_limit_exceeded",
        ),
        Refused::Concurrency { limit } => openai(
            &format!("Too many requests at a time for {model}. Limit: {limit}."),
            "requests",
            "rate_limit_exceeded",
        ),
        Refused::Rate { shown, wait } => {
            let again = wait.map_or("Your request is too large.".to_owned(), |wait| {
                format!("Please try again in {}.", go_duration(wait))
            });
            let used = shown.limit - shown.remaining;
            let counted = words(shown.dimension);
            let message = format!(
                "Rate limit reached for {model} in organization org-stub on {counted}: Limit {}, Used {used}. {again}",
                shown.limit
            );
            let kind = match shown.dimension {
                Dimension::RequestsPerMinute | Dimension::RequestsPerDay | Dimension::Concurrency => {
                    "requests"
                }
                Dimension::InputTokensPerMinute
                | Dimension::OutputTokensPerMinute
                | Dimension::TokensPerMinute
                | Dimension::InputTokensPerDay
                | Dimension::OutputTokensPerDay
                | Dimension::TokensPerDay => "tokens",
            };
            openai(&message, kind, "rate_limit_exceeded")
        }
    }
}

fn openai(message: &str, kind: &str, code: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn azure_refused(refused: &Refused) -> Value {
    match refused {
        Refused::Budget(_) => openai_refused("the deployment", refused),
        Refused::Concurrency { .. } | Refused::Rate { .. } => json!({"error": {
            "code": "429",
            "message": "Requests to the ChatCompletions_Create Operation have exceeded the rate limit of your \
                        current pricing tier. Please retry later.",
        }}),
    }
}

fn mistral_refused(refused: &Refused) -> Value {
    match refused {
        Refused::Budget(_) => openai_refused("the model", refused),
        Refused::Concurrency { .. } | Refused::Rate { .. } => json!({
            "object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": null,
            "code": "1300",
        }),
    }
}

const fn words(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::RequestsPerMinute => "requests per minute",
        Dimension::InputTokensPerMinute => "input tokens per minute",
        Dimension::OutputTokensPerMinute => "output tokens per minute",
        Dimension::TokensPerMinute => "tokens per minute",
        Dimension::RequestsPerDay => "requests per day",
        Dimension::InputTokensPerDay => "input tokens per day",
        Dimension::OutputTokensPerDay => "output tokens per day",
        Dimension::TokensPerDay => "tokens per day",
        Dimension::Concurrency => "concurrent requests",
    }
}
