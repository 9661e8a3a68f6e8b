//! An error inside an answer whose status says success, or inside the events of a stream.

use serde_json::Value;

use super::scalar;

/// The `finish_reason` of an answer that DeepSeek breaks off because it is overloaded.
const NO_RESOURCE: &str = "insufficient_system_resource";

/// The error in an answer whose status says success, or in the events of a stream: the error and the codes
/// beside it, without the text of the answer.
pub(super) fn failure(body: &str) -> Option<Value> {
    // Most answers hold no error, and this search is cheaper than parsing them a second time.
    if !["\"error", "xception\"", NO_RESOURCE].iter().any(|sign| body.contains(sign)) {
        return None;
    }
    match serde_json::from_str::<Value>(body) {
        Ok(answer) => of(&answer),
        Err(_) => events(body).find_map(|event| of(&event)),
    }
}

fn of(answer: &Value) -> Option<Value> {
    let answer = answer.get(0).unwrap_or(answer).as_object()?;
    let is_failed = answer.get("success") == Some(&Value::Bool(false));
    let is_exception = |(name, value): &(&String, &Value)| {
        name.as_str() == "error" && is_told(value)
            || name.to_lowercase().ends_with("exception") && value.is_object()
    };
    if is_failed || answer.iter().any(|field| is_exception(&field)) {
        let codes = answer.iter().filter(|(name, value)| {
            matches!(name.as_str(), "error" | "errors") || !value.is_array() && !value.is_object()
        });
        let exceptions = answer.iter().filter(|field| is_exception(field));
        return Some(codes.chain(exceptions).map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    let choices = answer.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if choices.iter().any(|choice| choice.get("finish_reason").is_some_and(|reason| reason == NO_RESOURCE)) {
        return Some(serde_json::json!({ "status": 503 }));
    }
    let of_choices = choices.iter().filter_map(|choice| choice.get("error"));
    let of_response = answer.get("response").and_then(|response| response.get("error"));
    let error = of_choices.chain(of_response).find(|error| is_told(error))?;
    Some(serde_json::json!({ "error": error }))
}

/// Whether an error has content: many answers have an empty `error` beside their result.
fn is_told(error: &Value) -> bool {
    match error {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The events of a stream that are JSON.
pub(super) fn events(body: &str) -> impl Iterator<Item = Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok())
}

/// The status that an error inside a success names.
pub(super) fn status(answer: &Value) -> u16 {
    let error = answer.get("error").map(|error| error.get(0).unwrap_or(error));
    let names = ["code", "status", "status_code"];
    let named = error.into_iter().chain([answer]).flat_map(|of| names.map(|name| of.get(name)));
    named
        .filter_map(|value| scalar(value?))
        .filter_map(|text| text.parse().ok())
        .find(|status| (400..600).contains(status))
        .unwrap_or(0)
}
