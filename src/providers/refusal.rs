//! Why a response is no success, from its status and the words of its body.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Provider, Refusal, Response, anthropic, groq, mistral, times};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;
use crate::timestamp::Timestamp;

/// Codes of a budget in money that is used up.
const SPENT: [&str; 4] = [
    "enforced_spend_limit_reached",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "billing_error",
];

/// Codes of another budget that is used up.
const USED_UP: [&str; 2] = ["insufficient_quota", "organization_usage_limit_exceeded"];

/// The error in a body: the words it is known by, and its text for people.
pub(super) struct ErrorBody {
    words: Vec<String>,
    message: String,
}

impl ErrorBody {
    /// Reads `{"error": {…}}`, or the same without the outer part. What is no JSON has no words.
    fn read(body: &str) -> Self {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
        let word = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
        let words = [
            word(error.get("type")),
            word(error.get("code")),
            word(error.get("details").and_then(|details| details.get("error_code"))),
        ];
        Self {
            words: words.into_iter().flatten().collect(),
            message: word(error.get("message")).unwrap_or_default(),
        }
    }

    /// Whether it is known by `word`.
    pub(super) fn is(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }

    /// Whether its text holds `phrase`.
    pub(super) fn says(&self, phrase: &str) -> bool {
        self.message.contains(phrase)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }
}

/// Why `response` is no success; `None` if it is one.
pub(super) fn of(
    provider: Provider,
    response: &Response<'_>,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Refusal> {
    if (200..300).contains(&response.status) {
        return None;
    }
    let body = ErrorBody::read(response.body);
    let own = match provider {
        Provider::Anthropic => anthropic::refusal(response.status, &body),
        Provider::Groq => groq::refusal(response.status),
        Provider::Mistral => mistral::refusal(response, &body),
        _ => None,
    };
    let spend_limit = body.words.iter().any(|word| word.ends_with("_spend_limit_exceeded"));
    Some(match response.status {
        _ if own.is_some() => own?,
        402 => Refusal::Spend,
        _ if spend_limit || body.is_any(&SPENT) => Refusal::Spend,
        _ if body.is_any(&USED_UP) => Refusal::Quota,
        429 if day_used_up(headroom).is_some() => Refusal::Quota,
        429 => Refusal::Rate,
        503 | 529 => Refusal::Overload,
        _ => Refusal::Other,
    })
}

/// The budget of a day of which nothing is left.
pub(super) fn day_used_up(headroom: &BTreeMap<Dimension, Headroom>) -> Option<Headroom> {
    let used_up =
        |(dimension, seen): &(&Dimension, &Headroom)| dimension.is_daily() && seen.remaining == Some(0);
    headroom.iter().find(used_up).map(|(_, seen)| *seen)
}

/// When there will be a new budget, as Anthropic writes it for people:
/// `You will regain access on 2026-09-01 at 00:00 UTC.`
pub(super) fn regained(response: &Response<'_>) -> Option<Timestamp> {
    let body = ErrorBody::read(response.body);
    let (_, rest) = body.message.split_once("regain access on ")?;
    let (day, rest) = rest.split_once(" at ")?;
    let (time, _) = rest.split_once(" UTC")?;
    times::moment(&format!("{day}T{time}:00Z"), response.at)
}
