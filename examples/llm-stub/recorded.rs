//! Recorded answers of providers, which the stub replays unchanged: to every request, or to those that hold a
//! word.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

/// Placeholder in a header or body for the time at which a limit is whole again, in milliseconds since the
/// epoch.
const RESET: &str = "RESET";

/// How far that time is ahead by default.
const RESET_IN: Duration = Duration::from_secs(3_600);

/// Recorded answers by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded(BTreeMap<String, Arc<Answer>>);

/// One answer. Other fields of a file are ignored.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    name: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, or text.
    #[serde(default)]
    body: Value,
    /// Only requests that hold this word get it.
    if_holds: Option<String>,
    /// The name of the answer that the others get; without it the stub answers them itself.
    #[serde(rename = "else")]
    otherwise: Option<String>,
}

/// Which requests get a recorded answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// The name of the answer.
    answer: String,
    /// Only requests that hold this word get it.
    if_holds: Option<String>,
    /// The name of the answer that the others get.
    #[serde(rename = "else")]
    otherwise: Option<String>,
    /// How far `RESET` is ahead.
    #[serde(default, deserialize_with = "crate::conditions::duration")]
    reset_in: Option<Duration>,
}

impl Recorded {
    /// Reads a file: an object of answers by name, or a list of answers with names.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
        let invalid = |error: serde_json::Error| format!("{path}: {error}");
        let value: Value = serde_json::from_str(&text).map_err(invalid)?;
        let answers: BTreeMap<String, Answer> = if value.is_array() {
            let answers: Vec<Answer> = serde_json::from_value(value).map_err(invalid)?;
            answers.into_iter().map(|answer| (answer.name.clone(), answer)).collect()
        } else {
            serde_json::from_value(value).map_err(invalid)?
        };
        Ok(Self(answers.into_iter().map(|(name, answer)| (name, Arc::new(answer))).collect()))
    }

    /// Checks that each answer of `replay` exists; the error is a text for people.
    pub(crate) fn has(&self, replay: &Replay) -> Result<(), String> {
        let own = self.0.get(&replay.answer).and_then(|answer| answer.otherwise.as_ref());
        let names = [Some(&replay.answer), replay.otherwise.as_ref(), own];
        match names.into_iter().flatten().find(|name| !self.0.contains_key(*name)) {
            Some(name) => Err(format!("replay: no answer is named `{name}` (see --answers)")),
            None => Ok(()),
        }
    }

    /// The answer to a request, with its name; `None` if the stub answers by itself.
    pub(crate) fn to(&self, replay: &Replay, request: &str) -> Option<(&str, Arc<Answer>)> {
        let (name, answer) = self.0.get_key_value(&replay.answer)?;
        let word = replay.if_holds.as_ref().or(answer.if_holds.as_ref());
        if word.is_none_or(|word| request.contains(word.as_str())) {
            return Some((name, Arc::clone(answer)));
        }
        let (name, answer) =
            self.0.get_key_value(replay.otherwise.as_ref().or(answer.otherwise.as_ref())?)?;
        Some((name, Arc::clone(answer)))
    }
}

impl Replay {
    /// When limits are whole again.
    pub(crate) fn reset(&self, now: Timestamp) -> Timestamp {
        now + self.reset_in.unwrap_or(RESET_IN)
    }
}

impl Answer {
    /// The response, in which limits are whole again at `reset`.
    pub(crate) fn response(&self, reset: Timestamp) -> Response {
        let reset = reset.as_millis().to_string();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (kind, body) = match &self.body {
            Value::Null => ("text/plain", String::new()),
            Value::String(text) => ("text/plain", text.clone()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                ("application/json", with(self.body.clone(), &reset).to_string())
            }
        };
        let mut response = (status, [("content-type", kind)], Body::from(body)).into_response();
        for (name, value) in &self.headers {
            let value = if value == RESET { &reset } else { value };
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A body with a time in place of `RESET`.
fn with(body: Value, reset: &str) -> Value {
    match body {
        Value::String(ref text) if text == RESET => Value::String(reset.to_owned()),
        Value::Array(values) => values.into_iter().map(|value| with(value, reset)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, with(value, reset))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(text: &str) -> Recorded {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Recorded::read(file.path().to_str().unwrap()).unwrap()
    }

    fn replay(text: &str) -> Replay {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn requests_that_hold_a_word_get_one_answer_and_the_others_another() {
        let by_name = r#"{"no": {"status": 429, "if_holds": "HUGE", "else": "yes"}, "yes": {"status": 200}}"#;
        let listed = r#"[{"name": "no", "status": 429}, {"name": "yes", "status": 200, "reason": "why"}]"#;
        let name = |recorded: &Recorded, replay: &Replay, request| {
            recorded.to(replay, request).map(|(name, _)| name.to_owned())
        };
        let own = (recorded(by_name), replay(r#"{"answer": "no"}"#));
        let said = (recorded(listed), replay(r#"{"answer": "no", "if_holds": "HUGE", "else": "yes"}"#));
        for (recorded, replay) in [own, said] {
            assert_eq!(recorded.has(&replay), Ok(()));
            assert_eq!(name(&recorded, &replay, "a HUGE one").as_deref(), Some("no"));
            assert_eq!(name(&recorded, &replay, "a small one").as_deref(), Some("yes"));
        }
        let stub = replay(r#"{"answer": "no", "if_holds": "HUGE"}"#);
        assert_eq!(name(&recorded(listed), &stub, "a small one"), None);
        assert!(recorded(listed).has(&replay(r#"{"answer": "maybe"}"#)).is_err());
    }

    #[tokio::test]
    async fn the_time_of_a_reset_is_one_to_come() {
        let answers = r#"{"day": {"status": 429, "headers": {"x-reset": "RESET"}, "body": {"error": {"at": ["RESET"]}}}}"#;
        let recorded = recorded(answers);
        let replay = replay(r#"{"answer": "day", "reset_in": "1s"}"#);
        let (_, answer) = recorded.to(&replay, "").unwrap();
        let response = answer.response(replay.reset(Timestamp::from_millis(500)));
        assert_eq!(response.headers()["x-reset"], "1500");
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        assert_eq!(body, r#"{"error":{"at":["1500"]}}"#);
    }
}
